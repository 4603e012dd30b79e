"""No revision blocks a table in use for long, or breaks the release that still runs meanwhile.

testing/audit/ sees it; alembic/README.md lists the hazards, and says how a revision accepts one.
"""

from collections.abc import Callable
from contextlib import closing

import pytest
from sqlalchemy import URL

from app.migrate.errors import shorten
from testing.audit import Audit
from testing.audit.messages import MESSAGES, Report
from testing.revisions import declared, released, settings, unreleased, where
from testing.rows import Examples, Filler

UNRELEASED = (
    "Hazards such as these fail the tests from the first release on: set `released` in "
    "pyproject.toml when a revision has been deployed."
)


def test_revisions_are_safe_for_tables_in_use(
    subtests: pytest.Subtests,
    released_database: URL,
    example_rows: Examples,
    record_property: Callable[[str, object], None],
) -> None:
    """Before the first release, hazards to running code and busy tables are notes."""
    filler, notes = Filler(example_rows), list[str]()
    with closing(Audit(released_database, filler)) as audit:
        for report in filter(None, map(audit.check, unreleased())):
            notes += judge(report, subtests)
    for note in [*notes, *[UNRELEASED] * bool(notes), *filler.notes()]:
        record_property("note", note)
    audit.raise_failure()


def judge(report: Report, subtests: pytest.Subtests) -> list[str]:
    """Fail a subtest where it has findings; those that are notes."""
    of_all, own = settings().get("accepted_risks", {}), declared(report.script, "accepted_risks")
    own = own if own and own is not of_all else {}
    found = report.remaining({*of_all, *own})
    hazards = [str(it) for it in found if released() or "always" in MESSAGES[it.hazard][-1]]
    notes = [str(it).splitlines()[0] for it in found if str(it) not in hazards]
    if hazards:
        hazards.append(f"  To accept one, say why in {shorten(report.script.path)}:")
        hazards.append('    accepted_risks = {"<hazard>": "<reason>"}')
    with subtests.test(report.script.revision):
        if problems := hazards + wrong_risks(report, own):
            pytest.fail("\n".join(problems), pytrace=False)
    return notes


def wrong_risks(report: Report, accepted: dict[str, object]) -> list[str]:
    """What is wrong with its accepted risks: hazard -> reason."""
    place, lines = where(report.script, "accepted_risks"), []
    seen = {finding.hazard for finding in report.findings}
    for hazard, reason in accepted.items():
        if hazard not in MESSAGES:
            lines.append(f"{place}: {hazard}: no such hazard; there are {', '.join(MESSAGES)}")
        elif not (isinstance(reason, str) and reason.strip()):
            lines.append(f"{place}: {hazard}: say why, in a sentence for those who read it later")
        elif hazard not in seen and not report.without_rows:
            lines.append(f"{place}: {hazard}: this revision has no such hazard; remove it")
    return lines

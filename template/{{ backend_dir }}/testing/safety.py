"""No revision blocks a table in use for long, or breaks the release that still runs meanwhile.

testing/audit/ sees it; alembic/README.md lists the hazards, and says how a revision accepts one.
"""

from collections.abc import Callable

import pytest
from alembic.script import Script
from sqlalchemy import URL

from testing import audit
from testing.audit.messages import ALWAYS, MESSAGES, Report
from testing.reversible import test_every_revision_can_be_reverted_and_applied_again as reversible
from testing.revisions import released, shorten, unreleased, where
from testing.rows import Examples, Filler

UNRELEASED = (
    "Hazards such as these fail the tests from the first release on: set `released` in "
    "pyproject.toml when a revision has been deployed."
)


def test_revisions_are_safe_for_tables_in_use(
    released_database: URL,
    example_rows: Examples,
    request: pytest.FixtureRequest,
    record_property: Callable[[str, object], None],
) -> None:
    """Checked until it is released; before the first release most hazards are notes."""
    old, filler = released(), Filler(example_rows)
    reports = audit.run(released_database, filler)
    problems, failed = [], ""
    for report in reports:
        found = report.remaining(accepted_risks(report.script))
        hazards = [str(it) for it in found if old or it.hazard in ALWAYS]
        for finding in found:
            if not (old or finding.hazard in ALWAYS):
                record_property("note", str(finding).splitlines()[0])
        if found and not old:
            record_property("note", UNRELEASED)
        filler.checked(report.script, report.without_rows)
        if hazards:
            hazards.append(f"  To accept one, say why in {shorten(report.script.path)}:")
            hazards.append('    accepted_risks = {"<hazard>": "<reason>"}')
        problems += [*hazards, *needless(report), *wrong(report.script)]
        if report.failure:
            later = len(unreleased()) - len(reports)
            failed = f"{report.failure}\n  Not audited: this and {later} later revisions"
    for note in filler.notes():
        record_property("note", note)
    told = any(getattr(item, "function", None) is reversible for item in request.session.items)
    if problems or (failed and not told):  # else one problem would count as two
        pytest.fail("\n".join([*problems, failed]).strip(), pytrace=False)
    if failed:
        pytest.skip(failed)


def accepted_risks(script: Script) -> dict[str, object]:
    """Hazard -> reason."""
    return dict(getattr(script.module, "accepted_risks", {}))


def wrong(script: Script) -> list[str]:
    """What is wrong with its accepted risks."""
    place, lines = where(script, "accepted_risks"), []
    for hazard, reason in accepted_risks(script).items():
        if hazard not in MESSAGES:
            lines.append(f"{place}: {hazard}: no such hazard; there are {', '.join(MESSAGES)}")
        elif not (isinstance(reason, str) and reason.strip()):
            lines.append(f"{place}: {hazard}: say why, in a sentence for those who read it later")
    return lines


def needless(report: Report) -> list[str]:
    """Accepted risks that it does not take."""
    if report.failure or report.without_rows:
        return []
    found = {finding.hazard for finding in report.findings}
    place = where(report.script, "accepted_risks")
    return [
        f"{place}: {hazard}: this revision has no such hazard; remove it from accepted_risks"
        for hazard in accepted_risks(report.script)
        if hazard in MESSAGES and hazard not in found
    ]

"""No revision locks a busy table for long, or breaks the code that still runs meanwhile.

testing/audit/ sees it; alembic/README.md has the hazards, and how a revision accepts one.
"""

import tomllib

import pytest
from alembic.script import Script
from sqlalchemy import URL

from testing.audit import Audit, Report, report_failure
from testing.audit.hazards import WHY
from testing.databases import BACKEND, temporary_database
from testing.revisions import revisions, scripts, shorten, where
from testing.server import database_name


def test_revisions_are_safe_for_tables_in_use(server: URL, subtests: pytest.Subtests) -> None:
    """A revision is judged until it is released; it may accept a risk, and has to say why."""
    done = released()
    judged = [script for script in revisions() if script.revision not in done]
    for report in audit(server, judged):
        with subtests.test(msg=report.script.revision):
            risks = accepted(report.script)
            lines = [str(it) for it in report.findings if it.hazard not in risks]
            lines += [report.failure] if report.failure else []
            if lines:
                cure = (
                    f"To accept one, write into {shorten(report.script.path)} why it does no harm:"
                )
                lines += [cure, '  accepted_risks = {"<hazard>": "<reason>"}']
                pytest.fail("\n".join(lines), pytrace=False)


def released() -> set[str]:
    """What is not judged again: `released` of [tool.migrations] in pyproject.toml, and before."""
    settings = tomllib.loads((BACKEND / "pyproject.toml").read_text("utf-8"))
    points = settings.get("tool", {}).get("migrations", {}).get("released", [])
    points = tuple(filter(None, [points] if isinstance(points, str) else points))
    known = {script.revision for script in revisions()}
    unknown = set(points) - known
    assert not unknown, f"pyproject.toml: [tool.migrations] released: no revision {unknown}"
    walk = scripts().iterate_revisions(points, "base", inclusive=True) if points else ()
    return {script.revision for script in walk}


def accepted(script: Script) -> dict[str, str]:
    """The `accepted_risks` of a revision: hazard -> reason."""
    risks = getattr(script.module, "accepted_risks", {})
    place = where(script, "accepted_risks")
    for hazard, reason in risks.items():
        names = ", ".join(sorted(WHY))
        assert hazard in WHY, f"{place}: {hazard} is no hazard; there are {names}"
        assert isinstance(reason, str), f"{place}: {hazard}: the reason is a sentence"
        assert reason.strip(), f"{place}: {hazard}: say why, for those who read it later"
    return dict(risks)


def audit(server: URL, judged: list[Script]) -> list[Report]:
    """Run the revisions, and watch those to be judged; up to one that cannot be run."""
    name = database_name("audit")
    reports: list[Report] = []
    failed: Script | None = None  # on rows of our making, after it had committed something
    while judged:
        with temporary_database(server, name) as url, Audit(url) as run:
            for script in revisions()[: revisions().index(judged[-1]) + 1]:
                if script not in judged[len(reports) :]:
                    run.skip(script)
                    continue
                try:
                    reports.append(run.up(script, rows=script is not failed))
                except Exception as error:
                    if script is failed:
                        return [*reports, report_failure(script, error)]
                    failed = script
                    break
            else:
                return reports
    return reports

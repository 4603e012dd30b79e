"""No revision locks a busy table for long, or breaks the code that still runs meanwhile.

testing/audit/ sees it; alembic/README.md has the hazards, and how a revision accepts one.
"""

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from alembic.script import Script
from sqlalchemy import URL

from testing.audit import Audit, Report, report_failure
from testing.audit.hazards import SQUAWK, WHY
from testing.databases import BACKEND, temporary_database
from testing.revisions import Steps, revisions, scripts, shorten, where


def test_revisions_are_safe_for_tables_in_use(server: URL, subtests: pytest.Subtests) -> None:
    """A revision is judged until it is released; it may accept a risk, and has to say why."""
    done = released()
    judged = [script for script in revisions() if script.revision not in done]
    with subtests.test(msg="squawk"):
        if squawk_program() is None:
            pytest.skip("no squawk here: what only it sees, such as too long names, goes unseen")
    read = squawk(judged)
    for report in audit(server, judged):
        with subtests.test(msg=report.script.revision):
            risks = accepted(report.script)
            lines = [str(it) for it in report.findings if it.hazard not in risks]
            lines += [report.failure] if report.failure else []
            for rule, message in read.get(report.script.revision, []):
                if rule not in risks and (rule in SQUAWK or report.failure):
                    lines.append(f"{where(report.script, 'upgrade')}: {rule}: {message}")
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
    points = (points,) if isinstance(points, str) else tuple(points)
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
        names = ", ".join(sorted({*WHY, *SQUAWK}))
        assert hazard in {*WHY, *SQUAWK}, f"{place}: {hazard} is no hazard; there are {names}"
        assert isinstance(reason, str), f"{place}: {hazard}: the reason is a sentence"
        assert reason.strip(), f"{place}: {hazard}: say why, for those who read it later"
    return dict(risks)


def audit(server: URL, judged: list[Script]) -> list[Report]:
    """Run the revisions, and watch those to be judged; up to one that cannot be run."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    name = f"test_{os.environ['TEST_RUN']}_{worker}_audit"
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


def squawk_program() -> str | None:
    """Where it is; there are platforms that it has no wheel for."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return shutil.which("squawk", path=path)


def squawk(judged: list[Script]) -> dict[str, list[tuple[str, str]]]:
    """What squawk says of the SQL of revisions: revision -> rules and messages."""
    program = squawk_program()
    if program is None or not judged:
        return {}
    found: dict[str, list[tuple[str, str]]] = {}
    with TemporaryDirectory() as folder, Steps() as steps:
        for script in revisions():
            try:
                text = "\n".join(steps.up(script))
            except Exception:  # noqa: S112 (it has no offline form: test_offline.py speaks of it)
                continue
            if script in judged:
                Path(folder, f"{script.revision}.sql").write_text(text, "utf-8")
        options = ["--config", str(BACKEND / ".squawk.toml"), "--reporter", "json"]
        done = subprocess.run(
            [program, *options, *sorted(Path(folder).iterdir())],
            capture_output=True,
            check=False,
            encoding="utf-8",
        )
        for issue in json.loads(done.stdout):
            rules = found.setdefault(Path(issue["file"]).stem, [])
            rules.append((issue["rule_name"], issue["message"]))
    return found

"""What ran, and what could not.

Three kinds of tests, in this order: fast, `server` (an embedded PostgreSQL), `docker`. What could
not run is counted in a table at the end, with the command that would let it; with CI=true it fails.
"""

import os
from collections import Counter
from pathlib import Path

import pytest

DOCKER = Path(__file__).resolve().parents[1] / "docker"
KINDS = ("fast", "server", "docker")
# Begun before the others of their kind, so that no worker is left alone with one at the end.
LONGEST = {
    "test_acceptance.py",
    "test_autogenerate.py",
    "test_branch.py",
    "test_faults.py",
    "test_guide.py",
    "test_production.py",
    "test_recipes.py",
    "test_run.py",
    "test_safety.py",
    "test_scripts.py",
    "test_suite_catches.py",
    "test_update.py",
}


def kind_of(item: pytest.Item) -> str:
    """fast, server or docker."""
    return next((kind for kind in KINDS[1:] if item.get_closest_marker(kind)), KINDS[0])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Fast tests first, Docker last, and of each kind the longest files first."""
    for item in items:
        if item.path.is_relative_to(DOCKER):
            item.add_marker("docker")
        item.user_properties.append(("kind", kind_of(item)))  # for the reports of it
    items.sort(key=lambda item: (KINDS.index(kind_of(item)), item.path.name not in LONGEST))


def cannot_run(why: str, command: str) -> None:
    """Skip, which the table at the end counts; in CI, fail.

    Args:
        why: what is missing.
        command: what to type to have it.
    """
    if os.environ.get("CI") == "true":
        pytest.fail(f"{why} (in CI nothing may be left out)", pytrace=False)
    pytest.skip(f"{why}: {command}")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In CI, a test that was skipped in whatever way is a failure."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") == "true" and reporter and reporter.getreports("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The table: how many ran of each kind, how many could not, and why."""
    ended: dict[str, tuple[str, str]] = {}
    reasons: dict[str, set[str]] = {kind: set() for kind in KINDS}
    said: list[str] = []
    for outcome in ("passed", "skipped", "failed", "error"):  # each test once: the last one counts
        for report in terminalreporter.getreports(outcome):
            properties = dict(getattr(report, "user_properties", ()))
            kind = str(properties.get("kind", KINDS[0]))
            ended[report.nodeid] = kind, outcome
            if "line" in properties and report.when == "call":
                said.append(str(properties["line"]))
            if outcome == "skipped" and isinstance(report.longrepr, tuple):
                why = " ".join(str(report.longrepr[2]).split())  # on one line of the table
                reasons[kind].add(why.removeprefix("Skipped: "))
    counts = Counter(ended.values())
    terminalreporter.section("what ran")
    terminalreporter.line(f"{'kind':8}{'passed':>8}{'failed':>8}{'could not run':>15}  why")
    for kind in KINDS:
        failed = counts[kind, "failed"] + counts[kind, "error"]
        terminalreporter.line(
            f"{kind:8}{counts[kind, 'passed']:8}{failed:8}{counts[kind, 'skipped']:15}  "
            + "; ".join(sorted(reasons[kind]))
        )
    for line in said:
        terminalreporter.line(line)
    if os.environ.get("CI") == "true" and any(reasons.values()):
        terminalreporter.line("With CI=true, what could not run is a failure.")

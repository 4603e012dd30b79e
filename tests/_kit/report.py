"""What ran, and what could not.

Three kinds of tests, in this order: fast, `server` (an embedded PostgreSQL), `docker`. What could
not run is counted in a table at the end, with the command that would let it; with CI=true it fails.
"""

import os
import subprocess
import time
from collections import Counter, defaultdict
from functools import cache
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


@cache
def _commit() -> int | None:
    """The number of the commit that CI tests; None elsewhere."""
    if os.environ.get("CI") != "true":
        return None
    return int(subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=DOCKER), 16)


def part_of(parts: int) -> slice:
    """What runs of a list of cases: all; in CI one part, another one with each commit."""
    commit = _commit()
    return slice(None) if commit is None else slice(commit % parts, None, parts)


def seed_of(variable: str) -> int:
    """Of a random test: what the variable says, else of CI's commit, else another one each time."""
    given = os.environ.get(variable)
    return int(given) if given else (_commit() or time.time_ns()) % 2**32


def leave_for_other_commits(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Of the cases of a test, or tests with the same `of`, deselect those whose turn it is not."""
    cases = defaultdict[str, list[pytest.Item]](list)
    for item in items:
        if mark := item.get_closest_marker("in_turn"):
            cases[mark.kwargs.get("of", item.nodeid.partition("[")[0])].append(item)
    for some in cases.values():
        [parts] = some[0].get_closest_marker("in_turn").args  # type: ignore[union-attr]
        chosen = some[part_of(min(parts, len(some)))]
        left = [item for item in some if item not in chosen]
        chosen[0].user_properties.append(("left", len(left)))
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in left]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Fast tests first, Docker last, and of each kind the longest files first."""
    leave_for_other_commits(config, items)
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
    left = 0
    for outcome in ("passed", "skipped", "failed", "error"):  # each test once: the last one counts
        for report in terminalreporter.getreports(outcome):
            properties = dict(getattr(report, "user_properties", ()))
            kind = str(properties.get("kind", KINDS[0]))
            ended[report.nodeid] = kind, outcome
            if report.when == "call":
                left += int(properties.get("left", 0))
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
    if left:
        said.append(f"left for other commits: {left} cases")
    for line in said:
        terminalreporter.line(line)
    if os.environ.get("CI") == "true" and any(reasons.values()):
        terminalreporter.line("With CI=true, what could not run is a failure.")

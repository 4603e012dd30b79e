"""Fixtures: the template as it stands in the working tree, and projects rendered from it.

Three kinds of tests, in this order: fast, `server` (an embedded PostgreSQL), `docker`. What could
not run is counted in a table at the end, with the command that would let it; with CI=true it fails.
"""

import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

# Copier's way to run git copies the environment when it is imported: isolate git before that.
os.environ |= {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_COUNT": "2",  # what is made here need not be small
    "GIT_CONFIG_KEY_0": "maintenance.auto",
    "GIT_CONFIG_VALUE_0": "false",
    "GIT_CONFIG_KEY_1": "core.looseCompression",
    "GIT_CONFIG_VALUE_1": "0",
    "GIT_TEMPLATE_DIR": "",  # no sample hooks in every repository
    "GIT_AUTHOR_NAME": "Test",
    "GIT_AUTHOR_EMAIL": "test@example.invalid",
    "GIT_COMMITTER_NAME": "Test",
    "GIT_COMMITTER_EMAIL": "test@example.invalid",
}

import copier
import pytest
from copier import Settings

from tests.quick import forget, quickened

ROOT = Path(__file__).resolve().parents[1]
BACKEND = ROOT / "template" / "{{ backend_dir }}"
WORKING_TREE = "v999.0.0"  # the tag that the working tree gets in the clone
KINDS = ("fast", "server", "docker")


def kind_of(item: pytest.Item) -> str:
    """fast, server or docker."""
    return next((kind for kind in KINDS[1:] if item.get_closest_marker(kind)), KINDS[0])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Fast tests first, Docker last."""
    for item in items:
        if item.path.is_relative_to(ROOT / "tests" / "docker"):
            item.add_marker("docker")
        item.user_properties.append(("kind", kind_of(item)))  # for the reports of it
    items.sort(key=lambda item: KINDS.index(kind_of(item)))


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


def git(folder: Path, *words: str) -> str:
    """Run git; returns what it printed."""
    done = subprocess.run(["git", *words], cwd=folder, check=True, text=True, capture_output=True)
    return done.stdout.strip()


@dataclass
class Project:
    """A rendered project, in git."""

    path: Path
    answers: dict[str, str]

    @property
    def backend(self) -> Path:
        """The folder of the Python code."""
        return self.path / self.answers.get("backend_dir", "backend")

    def commit(self, message: str = "edit") -> None:
        """Commit everything."""
        git(self.path, "add", "--all")
        git(self.path, "commit", "--quiet", "--allow-empty", "-m", message)

    def files(self) -> dict[str, bytes]:
        """Every committed file: path -> content."""
        names = filter(None, git(self.path, "ls-files", "-z").split("\0"))
        return {name: (self.path / name).read_bytes() for name in names}


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Generator[Path]:
    """A repository of its own with the working tree, committed and tagged.

    Not a clone: where this one is shallow, so is its clone, of which Copier warns.
    """
    clone = tmp_path_factory.mktemp("template") / "copier-postgres"
    clone.mkdir()
    git(clone, "init", "--quiet", "-b", "main")
    listed = git(ROOT, "ls-files", "--cached", "--others", "--exclude-standard", "-z")
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).exists():
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, clone / name)
    git(clone, "add", "--all")
    git(clone, "commit", "--quiet", "--allow-empty", "-m", "working tree")
    git(clone, "tag", "-a", WORKING_TREE, "-m", WORKING_TREE)
    yield clone
    forget()


Render = Callable[..., Project]


@pytest.fixture(scope="session")
def render(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Render:
    """Render a project of its own: `render(backend_dir=".")`; always as a stranger, untrusted."""

    def render(**answers: str) -> Project:
        path = tmp_path_factory.mktemp("projects") / "demo-shop"
        with quickened():
            copier.run_copy(
                str(template),
                path,
                data={"project_name": "Demo Shop", **answers},
                vcs_ref=WORKING_TREE,
                defaults=True,
                quiet=True,
                settings=Settings(),
            )
        git(path, "init", "--quiet", "-b", "main")
        project = Project(path, answers)
        project.commit("generated")
        return project

    return render


@pytest.fixture(scope="session")
def rendered(render: Render) -> Render:
    """The same, made once per set of answers: for tests that change nothing."""
    return cache(render)

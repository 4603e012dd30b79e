"""Fixtures: the template as it stands in the working tree, and projects rendered from it."""

import os
import shutil
import subprocess
from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

# Copier's way to run git copies the environment when it is imported: set it before that.
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
    "PYTHONDONTWRITEBYTECODE": "1",  # what a script leaves behind is compared with what was there
}

import copier
import pytest
from copier import Settings

from tests._kit.quick import forget, quickened
from tests._kit.report import (
    pytest_collection_modifyitems,
    pytest_sessionfinish,
    pytest_terminal_summary,
)

# Where pytest looks for them.
__all__ = ["pytest_collection_modifyitems", "pytest_sessionfinish", "pytest_terminal_summary"]
pytest_plugins = ["tests._kit.servers"]

ROOT = Path(__file__).resolve().parents[1]
WORKING_TREE = "v999.0.0"  # the tag that the working tree gets in the clone


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

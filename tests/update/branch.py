"""The recommended way: testing/update.py, in this process, with Copier in this process.

What Copier renders for one answers file, release and option is made once; a test about the
rendering itself asks for a fresh one.
"""

import io
import os
import shutil
import tempfile
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, chdir, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import copier
import pytest
from copier import Settings, VcsRef
from plumbum import local

from tests._kit.support import template_module
from tests.conftest import git
from tests.update.edits import ANSWERS

BRANCH = "template-update"
MERGE = ("merge", "--quiet", "--ff-only", "--no-overwrite-ignore", BRANCH)
_kept: dict[tuple[object, ...], Path] = {}


@dataclass
class Ended:
    """How the program ended; the worktree is there after conflicts."""

    code: int | str | None
    said: str
    worktree: Path


def update_in_a_branch(
    project: Path,
    *options: str,
    fresh: bool = False,
    before_each: Callable[[], None] = lambda: None,
) -> Ended:
    """Type `python backend/testing/update.py` in the project's folder.

    Args:
        project: the folder.
        options: of the command.
        fresh: whether nothing may come from an earlier rendering.
        before_each: called before each command that the program runs.
    """
    program = template_module("testing.update")
    code: int | str | None = 0
    said = io.StringIO()
    with ExitStack() as stack:
        stack.enter_context(same_environment())
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        usual = program.run

        def run(*words: Any, **more: Any) -> str:
            before_each()
            if words[0] != "copier":
                return str(usual(*words, **more))
            (_copier if fresh else _kept_copier)(words[1], words[2:-1], words[-1])
            return ""

        patch.setattr(program, "run", run)
        stack.enter_context(redirect_stdout(said))
        stack.enter_context(redirect_stderr(said))
        stack.enter_context(chdir(project))
        try:
            program.main(list(options))
        except SystemExit as end:
            code = end.code
    top = Path(git(project, "rev-parse", "--show-toplevel"))
    return Ended(code, said.getvalue(), top.with_name(f"{top.name}-{BRANCH}"))


@contextmanager
def same_environment() -> Generator[None]:
    """What is set in the block is not set after it."""
    before = dict(os.environ)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def git_of_here() -> Generator[None]:
    """Copier's git has the environment of now, not of when Copier was imported."""
    with local.env():
        for name in local.env.keys() - os.environ.keys():
            del local.env[name]
        local.env.update(os.environ)
        yield


def _copier(verb: str, options: Sequence[str], project: Path) -> None:
    """What the command does, in this process."""
    given: dict[str, Any] = {"data": {}}
    for option in options:
        name, _, value = option.removeprefix("--").partition("=")
        if name == "data":
            given["data"] |= [value.split("=", 1)]
        else:
            given[name.replace("-", "_")] = value or True
    if given.get("vcs_ref") == VcsRef.CURRENT.value:
        given["vcs_ref"] = VcsRef.CURRENT
    given |= {"overwrite": True, "settings": Settings()}
    with git_of_here():
        {"recopy": copier.run_recopy, "update": copier.run_update}[verb](project, **given)


def _kept_copier(verb: str, options: Sequence[str], project: Path) -> None:
    """The same, but what it leaves is kept for the next with the same answers and options."""
    key = (verb, *options, (project / ANSWERS).read_bytes())
    if key not in _kept:
        _copier(verb, options, project)
        _kept[key] = Path(tempfile.mkdtemp(), "kept")
        shutil.copytree(project, _kept[key], ignore=shutil.ignore_patterns(".git"))
        return
    for path in project.iterdir():
        if path.name != ".git":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    # With the time of now, as Copier writes files: git takes one of the same size, time and inode
    # for the one that it knows.
    shutil.copytree(_kept[key], project, copy_function=shutil.copy, dirs_exist_ok=True)

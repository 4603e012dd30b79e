"""Copier in this process for a fifth of the time; what it does stays the same.

A release is cloned, read and asked for its version once. The two renderings that an update compares
are made once for the same answers, with their commit, and then copied. Jinja compiles each text
once, and is not asked about texts that mean themselves. Git is not asked where its objects are, nor
for each file whether modes count, where they do; and Copier's commits are made once, since no hook
reformats them. test_render.py and test_update.py compare with what Copier does by itself.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import copier._main
import copier._subproject
import copier._tools
import jinja2
import pytest
from copier._template import Template
from plumbum import local

Worker, _operation = copier._main.Worker, copier._main._operation
_releases: dict[tuple[str, Any], Template] = {}
_compiled: dict[object, Any] = {}
_renderings: dict[str, Path] = {}  # what they were rendered from -> where they are, committed
_compile, _render = jinja2.Environment.compile, Worker._render_string
_answers_relpath = vars(Worker)["answers_relpath"].fget
_run_copy, _initialize = Worker.run_copy, Worker._git_initialize_repo


def _release(url: str, ref: Any = None, **more: Any) -> Template:
    if (url, ref) not in _releases:
        _releases[url, ref] = Template(url=url, ref=ref, **more)
    return _releases[url, ref]


def _compile_once(self: jinja2.Environment, source: Any, *words: Any, **more: Any) -> Any:
    key = (source, words, tuple(more.items()))
    if key not in _compiled:
        _compiled[key] = _compile(self, source, *words, **more)
    return _compiled[key]


def _render_what_is_templated(self: Any, text: str, *words: Any, **more: Any) -> str:
    return _render(self, text, *words, **more) if "{" in text else text


def _answers_relpath_that_is_templated(self: Any) -> Path:
    path = Path(self.answers_file or self.template.answers_relpath)
    return _answers_relpath(self) if "{" in str(path) else path


def _objects_of_a_plain_repository(path: Path) -> Path:
    return path.absolute() / ".git" / "objects"


def _run_copy_once(self: Any) -> None:
    folder = Path(self.dst_path)
    if not folder.name.startswith("copier._main."):  # a project's own, not one to compare with
        return _run_copy(self)
    source = repr((self.src_path, self.vcs_ref, self.data, self.exclude, _operation.get()))
    kept = _renderings.get(source)
    if not kept or not kept.exists():
        _run_copy(self)
        kept = Path(shutil.copytree(folder, Path(tempfile.mkdtemp()) / "kept", symlinks=True))
        with local.cwd(kept):
            _initialize(self)
        pack(kept)
        _renderings[source] = kept
    shutil.copytree(kept, folder, symlinks=True, dirs_exist_ok=True)
    return None


def _initialize_once(self: Any) -> None:
    if Path(str(local.cwd), ".git").exists():  # such a copy; some files may be deleted since
        _commit_once(self)
    else:
        _initialize(self)


def _commit_once(_: Any, message: str = "dumb commit") -> None:
    words = ["commit", "--allow-empty", "-am", message, "--no-gpg-sign", "--no-verify"]
    subprocess.run(["git", *words], cwd=str(local.cwd), check=True, capture_output=True)


def pack(repository: Path) -> None:
    """Make its objects one file, which is copied sooner than a hundred."""
    subprocess.run(["git", "repack", "-adq"], cwd=repository, check=True)


@contextmanager
def quickened() -> Generator[None]:
    """For as long as the block lasts. The repositories must not change from one to the next."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (copier._main, copier._subproject):
            patch.setattr(module, "Template", _release)
        patch.setattr(Template, "_cleanup", lambda _: None)
        patch.setattr(jinja2.Environment, "compile", _compile_once)
        patch.setattr(Worker, "run_copy", _run_copy_once)
        patch.setattr(Worker, "_git_initialize_repo", _initialize_once)
        patch.setattr(Worker, "_git_commit", _commit_once)
        patch.setattr(Worker, "_render_string", _render_what_is_templated)
        patch.setattr(Worker, "answers_relpath", property(_answers_relpath_that_is_templated))
        patch.setattr(copier._tools, "get_git_objects_dir", _objects_of_a_plain_repository)
        if os.name == "posix":
            patch.setattr(Worker, "_sync_git_index_executable_bit", lambda *_: None)
        yield


def forget() -> None:
    """Remove the clones and what was rendered; outside of such a block."""
    for release in _releases.values():
        release._cleanup()
    _releases.clear()
    for kept in _renderings.values():
        shutil.rmtree(kept.parent, ignore_errors=True)
    _renderings.clear()

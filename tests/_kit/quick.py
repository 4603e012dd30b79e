"""Copier in this process for a third of the time; what it does stays the same.

A release is cloned, read and asked for its version once. Jinja compiles each text once. Where modes
count, git is not asked for each file whether they do. Thirty updates take 18 seconds of processor
time, and 57 without. test_update.py compares with what Copier does by itself.
"""

import os
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import copier._main
import copier._subproject
import jinja2
import pytest
from copier._template import Template

_releases: dict[tuple[str, Any], Template] = {}
_compiled: dict[object, Any] = {}
_compile = jinja2.Environment.compile


def _release(url: str, ref: Any = None, **more: Any) -> Template:
    if (url, ref) not in _releases:
        _releases[url, ref] = Template(url=url, ref=ref, **more)
    return _releases[url, ref]


def _compile_once(self: jinja2.Environment, source: Any, *words: Any, **more: Any) -> Any:
    key = (source, words, tuple(more.items()))
    if key not in _compiled:
        _compiled[key] = _compile(self, source, *words, **more)
    self.preprocess(str(source))  # at which Copier's extension forgets the last `yield`
    return _compiled[key]


@contextmanager
def quickened() -> Generator[None]:
    """For as long as the block lasts. The repositories must not change from one to the next."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (copier._main, copier._subproject):
            patch.setattr(module, "Template", _release)
        patch.setattr(Template, "_cleanup", lambda _: None)
        patch.setattr(jinja2.Environment, "compile", _compile_once)
        if os.name == "posix":
            # Whatever it is called in another release of Copier: without it all is slower.
            name = "_sync_git_index_executable_bit"
            patch.setattr(copier._main.Worker, name, lambda *_: None, raising=False)
        yield


def forget() -> None:
    """Remove the clones; outside of such a block."""
    for release in _releases.values():
        release._cleanup()
    _releases.clear()

"""Commands and scripts of a rendered project, quickly: forks of a process that has the libraries.

Nothing of the project is imported before the fork; each command has an environment, a folder and
an exit code of its own, as in a process that was started for it.
"""

import gc
import importlib
import json
import os
import runpy
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO


class Forks:
    """The parent of the forks, for as long as the block lasts."""

    def __enter__(self) -> Self:
        self.process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(self, *error: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.process.communicate()

    def run(
        self, module: str, words: list[str], folder: Path, environment: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        """`python -m <module> <words>` in `folder`."""
        code, out, err = self._ask([module, words, str(folder), dict(environment)])
        return subprocess.CompletedProcess([module, *words], code, out, err)

    def start(
        self, script: Path, folder: Path, environment: Mapping[str, str]
    ) -> tuple[TextIO, TextIO]:
        """`python <script>` in `folder`; returns its standard input, to be closed, and output."""
        with tempfile.TemporaryDirectory() as place:
            pipes = [Path(place, name) for name in ("in", "out")]
            for pipe in pipes:
                os.mkfifo(pipe)
            words = [str(pipe) for pipe in pipes]
            self._ask([str(script), words, str(folder), dict(environment)])
            return pipes[0].open("w"), pipes[1].open()

    def _ask(self, request: list[Any]) -> Any:
        assert self.process.stdin
        assert self.process.stdout
        print(json.dumps(request), file=self.process.stdin, flush=True)
        return json.loads(self.process.stdout.readline())


@cache
def forks() -> Forks:
    """The one that tests share; it ends with this process, which closes its standard input."""
    return Forks().__enter__()


def _become(module: str, words: list[str], folder: str, environment: dict[str, str]) -> int:
    """Do in the fork what Python does for `python` and `python -m`; returns the exit code."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [module, *words]
    sys.path[0] = folder
    try:
        if module.endswith(".py"):
            runpy.run_path(module, run_name="__main__")
        else:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
            return 1
        return end.code or 0
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _start(request: list[Any]) -> int:
    """Fork a script that goes on; its words are the pipes that it talks through."""
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            os.dup2(os.open(request[1][0], os.O_RDONLY), 0)
            os.dup2(os.open(request[1][1], os.O_WRONLY), 1)
            sys.stdin = os.fdopen(0)  # nothing of what the parent may have read
            code = _become(*request)
        finally:
            os._exit(code)
    return pid


def _run(request: list[Any]) -> tuple[int, str, str]:
    """Fork, and wait for the end."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        child = os.fork()
        if child == 0:
            code = 70
            try:
                os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
                os.dup2(out.fileno(), 1)
                os.dup2(err.fileno(), 2)
                code = _become(*request)
                sys.stdout.flush()
                sys.stderr.flush()
            finally:
                os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        out.seek(0)
        err.seek(0)
        return code, out.read(), err.read()


if __name__ == "__main__":
    for library in (
        *("alembic.autogenerate", "alembic.command", "alembic.config", "asyncpg", "psycopg2"),
        *(
            "pydantic_settings",
            "pytest",
            "sqlalchemy.dialects.postgresql",
            "sqlalchemy.ext.asyncio",
        ),
    ):
        importlib.import_module(library)
    gc.freeze()  # no fork looks for garbage in what is imported
    for line in sys.stdin:
        asked = json.loads(line)
        print(json.dumps((_start if asked[0].endswith(".py") else _run)(asked)), flush=True)

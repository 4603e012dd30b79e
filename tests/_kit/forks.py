"""Commands and scripts of a rendered project, quickly: forks of a process that has the libraries.

Nothing of the project is imported before the fork; each command has an environment, a folder,
output files, signals and an exit code of its own, as in a process that was started for it.

Started as a script, also in a container, it is that process: one request a line.
"""

import gc
import importlib
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

LIBRARIES = (
    *("alembic.autogenerate", "alembic.command", "alembic.config", "asyncpg", "logging.config"),
    *("psycopg2", "pydantic_settings", "pytest", "sqlalchemy.dialects.postgresql.psycopg2"),
    "sqlalchemy.ext.asyncio",
    *("anyio._backends._asyncio", "difflib", "pdb", "psycopg2.extras", "unittest.mock"),
)


class Forks:
    """The parent of the forks; it ends when its standard input does."""

    def __init__(self, *words: str, **options: Any) -> None:
        """By default on this machine; `words` start it elsewhere."""
        self.process = subprocess.Popen(
            words or [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            **options,
        )

    def close(self) -> None:
        """End it."""
        self.process.communicate()

    def start(
        self,
        module: str,
        words: list[str],
        folder: Path | str,
        environment: Mapping[str, str],
        output: Path,
    ) -> int:
        """`python -m <module> <words>` in `folder`; it writes `output`.out and .err; its pid."""
        pid: int = self._ask([module, words, str(folder), dict(environment), str(output)])
        return pid

    def wait(self, pid: int, timeout: float) -> int | None:
        """Its exit code; None if it goes on for longer than that."""
        code: int | None = self._ask([pid, timeout])
        return code

    def run(
        self, module: str, words: list[str], folder: Path, environment: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        """The same, to its end."""
        with tempfile.TemporaryDirectory() as place:
            output = Path(place, "run")
            code = self.wait(self.start(module, words, folder, environment, output), 600)
            assert code is not None, f"{module} {words} still runs"
            texts = [output.with_suffix(suffix).read_text() for suffix in (".out", ".err")]
            return subprocess.CompletedProcess([module, *words], code, *texts)

    def _ask(self, request: list[Any]) -> Any:
        assert self.process.stdin
        assert self.process.stdout
        print(json.dumps(request), file=self.process.stdin, flush=True)
        return json.loads(self.process.stdout.readline())


@cache
def forks() -> Forks:
    """The one that tests share; it ends with this process, which closes its standard input."""
    return Forks()


def _fork(
    module: str, words: list[str], folder: str, environment: dict[str, str], output: str
) -> int:
    """Do in a fork what Python does for `python -m`; returns its process id."""
    files = [
        os.open(output + end, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) for end in (".out", ".err")
    ]
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            for number, file in enumerate([os.open(os.devnull, os.O_RDONLY), *files]):
                os.dup2(file, number)
            # Until the program has its handlers, Ctrl-C ends a process by this signal.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.chdir(folder)
            os.environ.clear()
            os.environ.update(environment)
            sys.argv, sys.path[0] = [module, *words], folder
            code = _become(module)
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)
    for file in files:
        os.close(file)
    return pid


def _become(module: str) -> int:
    """Run it; returns the exit code that it ends with."""
    try:
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


def _wait(pid: int, timeout: float) -> int | None:
    deadline = time.monotonic() + timeout
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            return None
        time.sleep(0.002)


def _import_plugins() -> None:
    """pytest's own and those that are installed, which are a third of what a small suite costs."""
    with suppress(ModuleNotFoundError):
        for name in importlib.import_module("_pytest.config").default_plugins:
            importlib.import_module(f"_pytest.{name}")
        for plugin in entry_points(group="pytest11"):
            plugin.load()
            package = sys.modules[plugin.module.partition(".")[0]]
            # Else pytest warns that it comes too late to rewrite their assertions.
            package.__doc__ = f"{package.__doc__} PYTEST_DONT_REWRITE"


if __name__ == "__main__":
    for library in LIBRARIES:
        with suppress(ModuleNotFoundError):  # an image has no pytest
            importlib.import_module(library)
    _import_plugins()
    gc.freeze()  # no fork looks for garbage in what is imported
    for line in sys.stdin:
        asked = json.loads(line)
        print(json.dumps((_wait if isinstance(asked[0], int) else _fork)(*asked)), flush=True)

"""A service with revisions of its own and a database, and its migrate command as processes."""

import os
import shutil
import signal
import subprocess
import textwrap
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from sqlalchemy import URL

from tests._kit.forks import Forks, forks
from tests._kit.revision import write_revision
from tests._kit.support import PROGRAMS, environment, execute, until

_numbers = count()


@dataclass
class Done:
    """How a run ended."""

    returncode: int
    stdout: str
    stderr: str

    def __str__(self) -> str:
        """For assertions."""
        return f"exit code {self.returncode}\n{self.stdout}{self.stderr}"


@dataclass
class Running:
    """A migrate command that was started."""

    forks: Forks
    pid: int
    output: Path

    def kill(self, number: int) -> None:
        """Send a signal."""
        os.kill(self.pid, number)

    def is_running(self) -> bool:
        """Whether it has not ended; ask no more after False."""
        return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"

    def stderr(self) -> str:
        """What it has said so far."""
        path = self.output.with_suffix(".err")
        return path.read_text() if path.exists() else ""

    def says(self, words: str, times: int = 1) -> None:
        """Wait until it has said that; a failure if it ends before."""
        until(lambda: self.stderr().count(words) >= times or not self.is_running())
        assert self.stderr().count(words) >= times, self.wait()

    def wait(self, timeout: float = 300) -> Done:
        """How it ended; a hang is a failure."""
        code = self.forks.wait(self.pid, timeout)
        if code is None:
            os.kill(self.pid, signal.SIGKILL)
            self.forks.wait(self.pid, 10)
            raise AssertionError(f"still running after {timeout} s:\n{self.stderr()}")
        return Done(code, self.output.with_suffix(".out").read_text(), self.stderr())


@dataclass
class Service:
    """A copy of a rendered project's backend; its history begins with `baseline`."""

    backend: Path
    url: URL
    head: str = "baseline"
    variables: dict[str, str] = field(default_factory=dict)
    forks: Forks = field(default_factory=forks)
    folder: Path | None = None  # that of the code, where the forks are; that of `backend`

    @property
    def versions(self) -> Path:
        """The folder of the revisions."""
        return self.backend / "alembic" / "versions"

    def add(self, name: str, upgrade: str, downgrade: str = "pass") -> Path:
        """Write the next revision; the arguments are the bodies of its functions."""
        path = write_revision(
            self.backend, name, self.head, upgrade, downgrade, number=next(_numbers)
        )
        self.head = name
        return path

    def environment(self, **variables: str) -> dict[str, str]:
        """What its processes get."""
        return environment(self.url, **(self.variables | variables))

    def start(self, *words: str, **variables: str) -> Running:
        """Start the migrate command in a forked process."""
        output = self.backend / f"run-{next(_numbers)}"
        given = self.environment(**variables)
        folder = self.folder or self.backend
        pid = self.forks.start("app.migrate", list(words), folder, given, output)
        return Running(self.forks, pid, output)

    def migrate(self, *words: str, **variables: str) -> Done:
        """Run the migrate command in a forked process."""
        return self.start(*words, **variables).wait()

    def process(
        self, *words: str, program: str = "app.migrate", **variables: str
    ) -> subprocess.Popen[str]:
        """Start it, or another program of PROGRAMS, as a process from scratch."""
        return subprocess.Popen(
            [*PROGRAMS[program], *words],
            cwd=self.backend,
            env=self.environment(**variables),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *words: str, program: str = "app.migrate", **variables: str) -> Done:
        """The same, to its end."""
        process = self.process(*words, program=program, **variables)
        out, err = process.communicate(timeout=300)
        return Done(process.returncode, out, err)

    def python(self, code: str, **variables: str) -> Done:
        """Run Python code in the backend folder."""
        return self.run("-c", textwrap.dedent(code), program="python", **variables)

    def sql(self, statement: str, *parameters: object) -> list[Any]:
        """One statement, committed."""
        return execute(self.url, statement, *parameters)

    def until(self, query: str) -> None:
        """Wait until it has a row."""
        until(lambda: self.sql(query))

    def version(self) -> list[str]:
        """The rows of alembic_version; none where there is no such table."""
        if not self.sql("SELECT to_regclass('alembic_version')")[0][0]:
            return []
        return [row[0] for row in self.sql("SELECT version_num FROM alembic_version ORDER BY 1")]


def copy(source: Path, folder: Path, url: URL) -> Service:
    """A service of its own from a rendered backend."""
    return Service(shutil.copytree(source, folder / "backend"), url)

"""What is measured: a rendered project, its revisions, its server, its containers."""

import compileall
import os
import secrets
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile

import copier
from copier import Settings
from sqlalchemy import URL

from tests._kit.revision import write_revision
from tests._kit.support import environment, execute, free_port, template_module
from tests.conftest import ROOT

MIGRATE = [sys.executable, "-m", "app.migrate"]
ALEMBIC = [sys.executable, "-m", "alembic", "upgrade", "head"]
CONFIGURE = "        context.configure(\n            connection=connection"
TABLE = """\
op.create_table(
    "t{n}",
    sa.Column("id", sa.Integer(), primary_key=True),
    sa.Column("name", sa.String(255), nullable=False),
    sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()")),
)
op.create_index("ix_t{n}_name", "t{n}", ["name"])
"""


def render(folder: Path, **answers: str) -> Path:
    """A project of the working tree as it is, with byte code."""
    copy, project = folder / "template", folder / f"demo{len(list(folder.iterdir()))}"
    if not copy.exists():
        ignored = shutil.ignore_patterns(".git", ".venv", ".*_cache", "__pycache__")
        shutil.copytree(ROOT, copy, ignore=ignored)
    copier.run_copy(
        str(copy),
        project,
        data={"project_name": "Demo", **answers},
        defaults=True,
        quiet=True,
        settings=Settings(),
    )
    compileall.compile_dir(project / "backend", quiet=2)
    return project


def add_revisions(backend: Path, first: int, last: int) -> None:
    """A table and an index each; the first of all follows the baseline."""
    for n in range(first, last + 1):
        before = f"{n - 1:012d}" if n > 1 else "baseline"
        up, down = TABLE.format(n=n), f'op.drop_table("t{n}")'
        write_revision(backend, f"{n:012d}", before, up, down, number=n)
    compileall.compile_dir(backend, quiet=2)


def generic(ours: Path, backend: Path, limits: str = "") -> Path:
    """A project of the same revisions as `alembic init` makes it, but with our URL."""
    backend.mkdir()
    process([sys.executable, "-m", "alembic", "init", "alembic"], backend, None)
    shutil.copytree(ours / "alembic" / "versions", backend / "alembic/versions", dirs_exist_ok=True)
    file = backend / "alembic" / "env.py"
    text = file.read_text().replace(
        "config = context.config",
        "import os\nconfig = context.config\n"
        'url = os.environ["DATABASE_URL"].replace(":", "+psycopg2:", 1)\n'
        'config.set_main_option("sqlalchemy.url", url)',
        1,
    )
    before = f"        connection.exec_driver_sql({limits!r})\n        connection.commit()\n"
    file.write_text(text.replace(CONFIGURE, before + CONFIGURE) if limits else text)
    return backend


def new_database(server: URL) -> URL:
    """An empty one."""
    name = f"bench_{secrets.token_hex(4)}"
    execute(server, f'CREATE DATABASE "{name}" TEMPLATE template0')
    return server.set(database=name)


def process(command: list[str], backend: Path, url: URL | None, **variables: str) -> float:
    """The seconds of a command, from its start to its end; it has to succeed."""
    given = environment(url, **variables)
    given.pop("PYTHONDONTWRITEBYTECODE")
    start = time.perf_counter()
    done = subprocess.run(
        command, cwd=backend, env=given, capture_output=True, text=True, check=False
    )
    taken = time.perf_counter() - start
    if done.returncode:
        sys.exit(f"{command} failed:\n{done.stdout}{done.stderr}")
    return taken


@dataclass(frozen=True)
class Ended:
    """What a process took: seconds by the clock and of the processors, and the most memory."""

    code: int
    output: str
    seconds: float
    cpu: float
    megabytes: float


def ended(command: list[str], folder: Path, variables: dict[str, str]) -> Ended:
    """Run it to its end; its children count."""
    with TemporaryFile("w+") as output:
        start = time.perf_counter()
        running = subprocess.Popen(
            command, cwd=folder, env=variables, stdout=output, stderr=subprocess.STDOUT
        )
        _, status, used = os.wait4(running.pid, 0)
        seconds = time.perf_counter() - start
        running.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        most = used.ru_maxrss / (1e6 if sys.platform == "darwin" else 1e6 / 1024)
        cpu = used.ru_utime + used.ru_stime
        return Ended(running.returncode, output.read(), seconds, cpu, most)


def on_cores(number: int, command: list[str]) -> list[str]:
    """The command on one core, where the system has a way to say so; else as it is."""
    return ["taskset", "-c", "0", *command] if number == 1 and shutil.which("taskset") else command


def python_with(folder: Path, *words: str) -> str:
    """The interpreter of a new environment, into which `uv pip install <words>` installed.

    Raises:
        NotInstalledError: there is no network, or they do not go together.
    """
    uv, python = [sys.executable, "-m", "uv"], str(folder / "bin" / "python")
    for command in (
        ["venv", "--quiet", f"--python={sys.executable}", str(folder)],
        ["pip", "install", "--quiet", "--compile-bytecode", f"--python={python}", *words],
    ):
        done = subprocess.run([*uv, *command], capture_output=True, text=True, check=False)
        if done.returncode:
            raise NotInstalledError(done.stderr.strip().splitlines()[-1])
    return python


class NotInstalledError(Exception):
    """Why not."""


def at_once(number: int, command: list[str], folder: Path, variables: dict[str, str]) -> float:
    """The seconds of as many processes together; each has to succeed."""
    start = time.perf_counter()
    quiet = subprocess.DEVNULL
    running = [
        subprocess.Popen(command, cwd=folder, env=variables, stdout=quiet, stderr=quiet)
        for _ in range(number)
    ]
    if failed := [one.returncode for one in running if one.wait()]:
        sys.exit(f"of {number} processes {len(failed)} failed: {failed}")
    return time.perf_counter() - start


def psql() -> str | None:
    """The client of the server that is used, else an installed one."""
    binaries = template_module("testing.server").find_binaries()
    return shutil.which("psql", path=f"{binaries}{os.pathsep}{os.environ['PATH']}")


def why_no_docker() -> str:
    """A reason not to measure in containers, or nothing."""
    words = ["docker", "version"]
    if shutil.which("docker") is None or subprocess.run(words, capture_output=True).returncode:  # noqa: PLW1510
        return "no Docker engine answers: scripts/lab up"
    return ""


@dataclass
class Compose:
    """A project in Docker, under a name and on a port of its own."""

    folder: Path
    variables: dict[str, str] = field(default_factory=dict)
    name: str = field(default_factory=lambda: f"bench-{secrets.token_hex(4)}")
    port: int = field(default_factory=free_port)

    def __call__(self, *words: str, script: str = "") -> str:
        """Run `docker <words>` there; it has to succeed. Returns what it printed."""
        done = subprocess.run(
            ["docker", *words],
            cwd=self.folder,
            env=self.environment(),
            input=script,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            sys.exit(f"docker {' '.join(words)} failed:\n{done.stdout}{done.stderr}")
        return done.stdout

    def environment(self) -> dict[str, str]:
        """That of the docker CLI."""
        ours = {"COMPOSE_PROJECT_NAME": self.name, "POSTGRES_PORT": str(self.port)}
        return environment() | ours | self.variables

    def seconds(self, *words: str) -> float:
        """How long `docker <words>` takes."""
        start = time.perf_counter()
        self(*words)
        return time.perf_counter() - start

    def down(self) -> None:
        """Containers, network and volumes go."""
        self("compose", "down", "--volumes", "--timeout=1", "--remove-orphans")

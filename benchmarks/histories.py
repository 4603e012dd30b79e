"""Public histories move in, as the guide says, are checked, and become one revision.

`--history PATH`, as often as wanted, is a checkout or an unpacked wheel of a project that
histories.toml knows. Beside ours plain Alembic: from empty to head, and a stairway test: each
revision up, down and up again by Alembic's commands, in one process. The modules that revisions
import come with them, or a stub; packages from the registry.
"""

import re
import secrets
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg2
from sqlalchemy import URL

from benchmarks.figures import Figure
from benchmarks.project import (
    Ended,
    NotInstalledError,
    ended,
    new_database,
    python_with,
    render,
    why_no_docker,
)
from tests._kit.support import environment, execute, free_port, template_module

TITLE = "Public histories"
KNOWN = tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))
MOVES = "Moving in, and one revision in place of many"
HEAD = "The suite, `released` at head"
NOTHING = "All checks side by side, nothing released"
ENV = """
import asyncio, os
from alembic import context
from sqlalchemy import MetaData, NullPool, create_engine
from sqlalchemy.ext.asyncio import create_async_engine

metadata = MetaData(naming_convention={convention!r})
url = os.environ["DATABASE_URL"].replace(":", "+{driver}:", 1)

def run(connection):
    context.configure(
        connection=connection, target_metadata=metadata, transaction_per_migration=True
    )
    with context.begin_transaction():
        context.run_migrations()

async def run_in_a_loop():
    async with create_async_engine(url, poolclass=NullPool).connect() as connection:
        await connection.run_sync(run)

if "{driver}" == "asyncpg":
    asyncio.run(run_in_a_loop())
else:
    with create_engine(url, poolclass=NullPool).connect() as connection:
        run(connection)
"""
STAIRWAY = """
import os, time
import psycopg2
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

config, url, fails, lost = Config("alembic.ini"), os.environ["DATABASE_URL"], 0, 0

def works(step, revision):
    global fails
    try:
        step(config, revision)
    except Exception:
        fails += 1
        return False
    return True

def start_again(revision):
    global lost
    since = time.monotonic()
    server = psycopg2.connect(url)
    server.autocommit = True
    name = f"stairway_{os.getpid()}_{fails}"
    server.cursor().execute(f"CREATE DATABASE {name}")
    os.environ["DATABASE_URL"] = f"{url.rpartition('/')[0]}/{name}"
    command.upgrade(config, revision)
    lost += time.monotonic() - since

for script in reversed([*ScriptDirectory.from_config(config).walk_revisions()]):
    if not works(command.upgrade, script.revision):
        start_again(script.revision)
    elif not script.is_merge_point and works(command.downgrade, script.down_revision or "base"):
        if not works(command.upgrade, script.revision):
            start_again(script.revision)
print(f"{lost:.2f} s to start again, as {fails} steps fail")
"""
REVERSIBLE, OFFLINE, SAFETY = (
    f"testing/{file}.py::" for file in ("reversible", "offline", "safety")
)
UNDECIDED = "checked without generated rows"
SIDE_BY_SIDE = ("-n", "3", "--maxschedchunk", "1")  # as testing/README.md says for many revisions
CACHES = {"PYTHONDONTWRITEBYTECODE": ""}  # of modules, which everyone has at the second run


def measure(
    folder: Path, server: URL, runs: int, history: list[Path] | None = None
) -> Iterator[Figure]:
    """Of each history that is given three lines; of another the reason why not."""
    del runs  # one of each: they take minutes
    missing = dict(KNOWN)
    for path in history or []:
        name, versions = _find(path)
        del missing[name]
        with _server(server, KNOWN[name].get("image")) as own:
            if own is None:
                why = {"why not": f"{KNOWN[name]['image']} does not start: scripts/lab up"}
                yield Figure(name, None, part=MOVES, others=why)
            else:
                yield from History(name, versions, folder / name, own).measure()
    for name, known in missing.items():
        why = {"repository": known["repository"], "why not": "not given: --history PATH"}
        yield Figure(name, None, part=MOVES, others=why)


@contextmanager
def _server(given: URL, image: str | None) -> Generator[URL | None]:
    """The given one; or one of an image, in memory; None where it does not start."""
    if image is None:
        yield given
        return
    port, name = free_port(), f"bench-{secrets.token_hex(4)}"
    words = ["docker", "run", "--detach", "--rm", f"--name={name}", "--tmpfs=/var/lib/postgresql"]
    words += [f"--publish=127.0.0.1:{port}:5432", "--env=POSTGRES_PASSWORD=bench", image]
    try:
        started = not why_no_docker() and not subprocess.run(words, capture_output=True).returncode  # noqa: PLW1510
        url = URL.create("postgresql", "postgres", "bench", "127.0.0.1", port, "postgres")
        yield url if started and _answers(url) else None
    finally:
        subprocess.run(["docker", "rm", "--force", name], capture_output=True, check=False)


def _answers(url: URL) -> bool:
    for _ in range(300):
        with suppress(psycopg2.OperationalError):
            execute(url, "SELECT 1")
            return True
        time.sleep(0.1)
    return False


def _find(path: Path) -> tuple[str, Path]:
    """Which one it is, and the folder of its revisions."""

    def says(name: str) -> tuple[int, int]:
        return len(KNOWN[name]["versions"]), len(KNOWN[name].get("take", []))

    for name in sorted(KNOWN, key=says, reverse=True):  # closest first
        taken = KNOWN[name].get("take", [])
        for versions in path.rglob(KNOWN[name]["versions"]):
            if all((_root(name, versions) / path).exists() for path in taken):
                return name, versions
    sys.exit(f"{path} has none of the folders that benchmarks/histories.toml names")


def _root(name: str, versions: Path) -> Path:
    """What the paths in histories.toml start from."""
    known: str = KNOWN[name]["versions"]
    return versions.parents[known.count("/")]


@dataclass
class History:
    """A public project in a rendered one."""

    name: str
    versions: Path
    folder: Path
    server: URL
    backend: Path = field(init=False)
    python: str = sys.executable

    def __post_init__(self) -> None:
        self.folder.mkdir()
        self.known: dict[str, Any] = KNOWN[self.name]
        self.backend = render(self.folder.parent, extras="[history]") / "backend"
        self._copy()

    def measure(self) -> Iterator[Figure]:
        """Move in; check; squash. What fails is said in place of the rest."""
        if packages := self.known.get("packages"):
            lock = str(self.backend / "requirements-dev.txt")
            try:
                words = ["--requirement", lock, "--override", lock, *packages]
                self.python = python_with(self.folder / "environment", *words)
            except NotInstalledError as error:
                yield Figure(self.name, None, part=MOVES, others={"why not": str(error)})
                return
        url, plain_url = new_database(self.server), new_database(self.server)
        adopted = self._run(url, "testing.adopt")
        if adopted.code:
            [why] = re.findall("(?m)^Error: .*", adopted.output)[-1:] or [adopted.output[-120:]]
            yield Figure(self.name, None, part=MOVES, others={"why not": why})
            return
        plain = self._plain()
        up = self._python(plain, plain_url, "-m", "alembic", "upgrade", "heads")
        ours = self._run(url, "app.migrate")
        for done in up, ours:
            if done.code:
                sys.exit(f"{self.name}: {done.output[-3000:]}")
        said: dict[str, float | str] = {
            "revisions": f"{len(list(self.backend.glob('alembic/versions/*.py')))}",
            "adopt": adopted.seconds,
            "differences": f"{self._differences(url, plain_url)}",
        }
        stairway = self._stairway(plain)
        suite = self._suite()
        yield Figure(
            self.name,
            suite.seconds,
            part=HEAD,
            others={"tests": suite.output.strip().splitlines()[-1].strip("= ")},
        )
        yield self._nothing_released(stairway)
        squashed = self._run(url, "testing.squash")
        if squashed.code:
            said["squash"] = squashed.output.strip().splitlines()[-1]
        else:
            after = new_database(self.server)
            again = self._run(after, "app.migrate")
            [file] = self.backend.glob("alembic/versions/*_squashed.py")
            said |= {
                "squash": squashed.seconds,
                "from empty after it": again.seconds,
                "differences after it": f"{self._differences(url, after)}",
                "file": f"{file.stat().st_size / 1000:.0f} kB",
            }
        yield Figure(
            self.name,
            ours.seconds,
            floor=up.seconds,
            floor_is="plain Alembic",
            ratio=ours.seconds / up.seconds,
            part=MOVES,
            others=said,
        )

    def _copy(self) -> None:
        """Its revisions, what they import of it, and stubs."""
        for file in self.versions.rglob("*.py"):
            if file.name != "__init__.py":
                shutil.copy(file, self.backend / "alembic" / "versions")
        root = _root(self.name, self.versions)
        texts = {path: (root / path).read_text("utf-8") for path in self.known.get("take", [])}
        for path, text in {**texts, **self.known.get("modules", {})}.items():
            file = self.backend / path
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("a", encoding="utf-8") as module:
                module.write(text)

    def _run(self, url: URL | None, *words: str) -> Ended:
        """`python -m <words>` in the project."""
        given = {"ENVIRONMENT": "development", "TEST_DATABASE_URL": _address(self.server)}
        given |= CACHES | {"PREFECT_HOME": str(self.folder), **self.known.get("variables", {})}
        variables = environment(url, **given)
        return ended([self.python, "-m", *words], self.backend, variables)

    def _plain(self) -> Path:
        """A project of Alembic's own with the same revisions."""
        plain = self.folder / "plain"
        shutil.copytree(self.backend / "alembic" / "versions", plain / "alembic" / "versions")
        for path in self.known.get("take", []):
            if not path.endswith(".py"):  # those are imported
                (plain / path).parent.mkdir(parents=True)
                shutil.copy(self.backend / path, plain / path)
        driver = self.known.get("driver", "psycopg2")
        env = ENV.format(convention=self.known.get("convention"), driver=driver)
        (plain / "alembic" / "env.py").write_text(env)
        ini = "[alembic]\nscript_location = %(here)s/alembic\npath_separator = os\n"
        (plain / "alembic.ini").write_text(ini)
        return plain

    def _python(self, plain: Path, url: URL, *words: str) -> Ended:
        """Plain Alembic, with the modules of the project."""
        variables = environment(
            url, PYTHONPATH=str(self.backend), **CACHES, **self.known.get("variables", {})
        )
        return ended([self.python, *words], plain, variables)

    def _stairway(self, plain: Path) -> Ended:
        """Each revision up, down and up again, by Alembic's commands in one process."""
        (plain / "stairway.py").write_text(STAIRWAY)
        return self._python(plain, new_database(self.server), "stairway.py")

    def _differences(self, *urls: URL) -> int:
        schema = template_module("testing.schema")
        return len(schema.difference(*map(schema.catalog, urls)))

    def _suite(self, *words: str) -> Ended:
        """The models of these revisions are nobody's."""
        without = "not models_and_revisions and not merged"
        return self._run(None, "pytest", "-q", "-p", "no:cacheprovider", "-k", without, *words)

    def _nothing_released(self, stairway: Ended) -> Figure:
        """The checks that run revisions, for all, side by side: seconds, and alarms by kind."""
        pyproject = self.backend / "pyproject.toml"
        text = pyproject.read_text()
        pyproject.write_text(re.sub("(?m)^released = .*", 'released = ""', text))
        files = [test.partition("::")[0] for test in (REVERSIBLE, OFFLINE, SAFETY)]
        alone, done = self._suite(*files), self._suite(*files, *SIDE_BY_SIDE)
        pyproject.write_text(text)
        alarms = {
            what: str(len(re.findall(rf"(?m)^SUBFAILED\S* {re.escape(test)}", done.output)))
            for what, test in {"reverting": REVERSIBLE, "--sql": OFFLINE, "hazards": SAFETY}.items()
        }
        alarms["cannot be applied"] = str(len(re.findall("(?m)^FAILED|^ERROR", done.output)))
        alarms["generated rows gave way"] = str(done.output.count(UNDECIDED))
        said = stairway.output.strip().splitlines()[-1]
        floor = None if stairway.code else stairway.seconds - float(said.partition(" ")[0])
        return Figure(
            self.name,
            done.seconds,
            floor=floor,
            floor_is="Alembic's stairway",
            ratio=floor and done.seconds / floor,
            target=floor and 2,
            part=NOTHING,
            others={
                "in one process": alone.seconds,
                "CPU": alone.cpu,
                "memory": f"{alone.megabytes:.0f} MB",
                **alarms,
                "the stairway": f"stops: {said[:120]}" if stairway.code else said,
            },
        )


def _address(url: URL) -> str:
    return url.render_as_string(hide_password=False)

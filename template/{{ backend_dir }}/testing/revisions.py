"""The revisions, oldest first, and how to run them one at a time through env.py."""

import os
import re
import tomllib
import traceback
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Self
from unittest.mock import patch

from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext, MigrationStep, RevisionStep
from alembic.script import Script, ScriptDirectory
from greenlet import greenlet  # type: ignore[import-untyped]
from sqlalchemy import URL
from sqlalchemy.exc import DBAPIError

from app.migrate.errors import MigrationError
from app.migrate.explain import explain
from testing.databases import BACKEND, Alembic

# What a server says that has not all that PostgreSQL can have.
LACKING = re.compile(
    r'(?s)extension "\S+" is not available|could not open extension control file|\bICU is not '
    r'supported|could not (access|load) (file|library)|type "\S+" does not exist.*CREATE EXTENSION'
)


class OneProblem(Exception):  # noqa: N818 (it is told of)
    """What many tests meet: the first fails, and the others are skipped, in a line each."""


@cache
def scripts() -> ScriptDirectory:
    """What Alembic knows about `alembic/versions`; its files are read once."""
    return ScriptDirectory.from_config(Alembic().config)


@cache
def revisions() -> list[Script]:
    """Every revision, each after all that it needs: branches, merges and several bases too."""
    try:
        return list(scripts().walk_revisions())[::-1]
    except Exception as error:
        raise OneProblem(str(explain(error) or error)) from error


@cache
def released() -> tuple[str, ...]:
    """`released` of [tool.migrations] in pyproject.toml: the newest revisions in production."""
    settings = tomllib.loads((BACKEND / "pyproject.toml").read_text("utf-8"))
    said = settings.get("tool", {}).get("migrations", {}).get("released", ())
    names = tuple(filter(None, [said] if isinstance(said, str) else said))
    if unknown := ", ".join(set(names) - {script.revision for script in revisions()}):
        raise OneProblem(f"pyproject.toml: [tool.migrations] released: no revision {unknown}")
    return names


@cache
def unreleased() -> list[Script]:
    """The revisions to check: all except those of production, which are not edited any more."""
    walk = scripts().iterate_revisions(released(), "base", inclusive=True) if released() else ()
    old = {script.revision for script in walk}
    return [script for script in revisions() if script.revision not in old]


class Steps:
    """Runs one revision at a time on a database, all in one run of env.py.

    Alembic asks a function for the steps to run. Ours is asked for the next one when the test calls
    `run`: env.py and the test are two greenlets, as under SQLAlchemy's asyncio. A command for each
    step would cost ten times as much. Only one of these can be active at a time.
    """

    def __init__(self, url: URL | None, **options: Any) -> None:
        """`options` are more of Alembic's for its EnvironmentContext."""
        self.config = Alembic(url).config
        self._options = {"fn": self._steps, "destination_rev": "heads", **options}
        self._pending: MigrationStep | None = None
        self._environment: greenlet | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._environment:
            self._environment.throw()  # GreenletExit: env.py's own clean-up runs

    def run(self, name: str, script: Script) -> None:
        """`upgrade` to a revision that follows the database's, or `downgrade` of its newest."""
        self._pending = RevisionStep(scripts().revision_map, script, name == "upgrade")
        if not self._environment:
            self._environment = greenlet(self._run_environment)
        self._environment.switch()

    def upgrade(self, script: Script) -> None:
        """Apply a revision that follows those of the database."""
        self.run("upgrade", script)

    def _run_environment(self) -> None:
        try:
            with EnvironmentContext(self.config, scripts(), **self._options):
                scripts().run_env()
        finally:
            self._environment = None  # after an error, the next step starts another run

    def _steps(self, _heads: Any, context: MigrationContext) -> Iterator[MigrationStep]:
        test = greenlet.getcurrent().parent
        assert test
        while True:
            if not self._pending:  # else env.py tries again: somebody held a lock
                test.switch()
            assert self._pending
            if not context.as_sql:
                context.impl.memo.clear()  # of enums: the next step may have dropped them
            yield self._pending
            self._pending = None


class Interruption(Exception):  # noqa: N818 (not an error of ours)
    """The process ended; what was committed before stays."""


@contextmanager
def autocommit_blocks(interrupt: int | None = None) -> Generator[list[None]]:
    """Counts the autocommit blocks that revisions leave, and interrupts after one of them."""
    original = MigrationContext.autocommit_block
    left: list[None] = []

    @contextmanager
    def block(context: MigrationContext) -> Generator[None]:
        with original(context):
            yield
        left.append(None)
        if len(left) == interrupt:
            raise Interruption

    with patch.object(MigrationContext, "autocommit_block", block):
        yield left


def apply(url: URL, some: list[Script]) -> None:
    """Apply revisions that follow those of a database.

    Raises:
        OneProblem: one of them cannot be applied.
    """
    with Steps(url) as steps:
        for script in some:
            try:
                steps.upgrade(script)
            except Exception as error:
                raise OneProblem(failure(script, "upgrade", error)) from error


def shared_problem(error: BaseException) -> str:
    """What other tests meet too: a revision that fails, or that cannot be read. Else empty."""
    if isinstance(error, OneProblem | MigrationError):
        return str(error)
    if isinstance(error, Exception) and not isinstance(error, AssertionError):
        try:
            known = {script.path: script for script in revisions()}
        except OneProblem as problem:
            return str(problem)
        for frame in traceback.extract_tb(error.__traceback__):
            if script := known.get(frame.filename):
                return failure(script, frame.name, error)
    return ""


def where(script: Script, name: str) -> str:
    """`file:line` of a revision's function or variable."""
    lines = Path(script.path).read_text("utf-8").splitlines()
    numbers = (n for n, it in enumerate(lines, 1) if re.match(rf"def {name}\(|{name}\s*[:=]", it))
    return f"{shorten(script.path)}:{next(numbers, 1)}"


def shorten(path: str | Path) -> str:
    """Without the backend folder in front."""
    path = Path(path)
    return path.relative_to(BACKEND).as_posix() if path.is_relative_to(BACKEND) else str(path)


def failure(script: Script, name: str, error: Exception) -> str:
    """Where in a revision what was raised, and what was said."""
    if isinstance(error, MigrationError):
        return str(error)  # of the whole run, which names the file
    place = where(script, name)
    for frame in traceback.extract_tb(error.__traceback__):
        if Path(frame.filename) == Path(script.path):
            place = f"{shorten(frame.filename)}:{frame.lineno}"
    said = str(getattr(error, "orig", error))
    lines = [line for line in said.splitlines() if line.strip()]
    kind = "" if isinstance(error, DBAPIError) else f"{type(error).__name__}: "
    statement = " ".join((getattr(error, "statement", None) or "").split())[:300]
    said = f"{place}: {name}() fails: {kind}{' '.join(lines[:2])}"
    return "\n".join([said, *[f"  the statement: {statement}"] * bool(statement), *ways_out(error)])


def ways_out(error: Exception) -> list[str]:
    """Of a server of the tests' that lacks what the project's own may have."""
    if re.search(r'role "\S+" does not exist', str(error)):
        return ["  On the server of TEST_DATABASE_URL the tests create no role: create it there."]
    if not LACKING.search(str(error)):
        return []
    return [
        f"  This server cannot do that: {os.environ.get('TESTING_SERVER', 'TEST_DATABASE_URL')}",
        "  Run the tests on the project's own image: docker compose run --rm test",
        "  or set TEST_DATABASE_URL to a server that has it.",
    ]


def driver_error(error: Exception) -> tuple[str, Any]:
    """The SQLSTATE and the diagnosis that the server gave; empty if it was not the server."""
    if isinstance(error.__cause__, DBAPIError):
        error = error.__cause__  # alembic-postgresql-enum raises a ValueError from it
    original = getattr(error, "orig", error)
    return getattr(original, "pgcode", None) or "", getattr(original, "diag", None)

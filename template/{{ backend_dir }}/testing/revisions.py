"""The revisions, oldest first, and how to run them one at a time through env.py."""

import os
import re
import tomllib
import traceback
import warnings
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext, MigrationStep, RevisionStep
from alembic.script import Script, ScriptDirectory
from greenlet import greenlet  # type: ignore[import-untyped]
from sqlalchemy import URL
from sqlalchemy.exc import DBAPIError, NoSuchTableError

from app.migrate.errors import MigrationError, shorten
from app.migrate.explain import explain
from testing.databases import BACKEND, Alembic, copy_of
from testing.whole_server import LONGEST, time_limit

# What a server says that has not all that PostgreSQL can have.
LACKING = re.compile(
    r'(?s)extension "\S+" is not available|could not open extension control file|\bICU is not '
    r'supported|could not (access|load) (file|library)|type "\S+" does not exist.*CREATE EXTENSION'
)

_MISSING = ("2BP", "3F", "42")  # classes of SQLSTATE: something is not there, or is so already


class OneProblem(Exception):  # noqa: N818 (it is told of)
    """What many tests meet: the first fails, and the others are skipped, in a line each."""


@contextmanager
def warnings_shown() -> Generator[None]:
    """What Python or a library warns of is in pytest's summary, and no error."""
    with warnings.catch_warnings(action="default"):
        yield


@cache
def scripts() -> ScriptDirectory:
    """What Alembic knows about `alembic/versions`; its files are read once, and walked once."""
    directory = ScriptDirectory.from_config(Alembic().config)
    walk = cache(lambda: [*ScriptDirectory.walk_revisions(directory)])
    directory.walk_revisions = walk  # type: ignore[assignment,method-assign] # env.py asks
    return directory


@cache
def revisions() -> list[Script]:
    """Every revision, each after all that it needs: branches, merges and several bases too."""
    try:
        return [*scripts().walk_revisions()][::-1]
    except Exception as error:
        raise OneProblem(str(explain(error) or error)) from error


@cache
def settings() -> dict[str, Any]:
    """[tool.migrations] of pyproject.toml; `released` is a tuple."""
    text = (BACKEND / "pyproject.toml").read_text("utf-8")
    said = {"revisions": {}, **tomllib.loads(text).get("tool", {}).get("migrations", {})}
    newest = said.get("released", ())
    said["released"] = tuple(filter(None, [newest] if isinstance(newest, str) else newest))
    for name in ("released", "revisions"):
        if unknown := ", ".join(set(said[name]) - {script.revision for script in revisions()}):
            raise OneProblem(f"pyproject.toml: [tool.migrations] {name}: no revision {unknown}")
    return said


def released() -> tuple[str, ...]:
    """The newest revisions in production."""
    return tuple(settings()["released"])


def declared(script: Script, name: str) -> Any:
    """What accepts something: in the revision, or in pyproject.toml for it, or there for all."""
    of_it = settings().get("revisions", {}).get(script.revision, {})
    return getattr(script.module, name, of_it.get(name, settings().get(name)))


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
        if url:
            limit = f"{url.query.get('options', '')} -c statement_timeout={LONGEST}s"
            url = url.update_query_dict({"options": limit.strip()})
        self.config = Alembic(url).config
        self._options = {"fn": self._steps, "destination_rev": "heads", **options}
        self._pending: MigrationStep | None = None
        self._environment: greenlet | None = None

    def close(self) -> None:
        """End this run of env.py; the next step begins another one."""
        if self._environment:
            self._environment.throw()  # GreenletExit: env.py's own clean-up runs

    def run(self, name: str, script: Script, *, only_stamp: bool = False) -> None:
        """`upgrade` to a revision that follows the database's, or `downgrade` of its newest."""
        self._pending = RevisionStep(scripts().revision_map, script, name == "upgrade")
        if only_stamp:
            self._pending.migration_fn = lambda **_: None
        if not self._environment:
            self._environment = greenlet(self._run_environment)
        try:
            with time_limit():
                self._environment.switch()
        except SystemExit as error:
            ended = RuntimeError(f"it ends the process: sys.exit({error.code})")
            raise ended.with_traceback(error.__traceback__) from None

    def _run_environment(self) -> None:
        try:
            with EnvironmentContext(self.config, scripts(), **self._options):
                scripts().run_env()
        finally:
            self._environment = None  # after an error, the next step starts another run

    def _steps(self, _heads: Any, context: MigrationContext) -> Iterator[MigrationStep]:
        test = greenlet.getcurrent().parent
        assert test
        was_upgrade = True
        while True:
            if not self._pending:  # else env.py tries again: somebody held a lock
                test.switch()
            assert self._pending
            # Of enums, some of which a downgrade may have dropped; one run of upgrades keeps it.
            if not (context.as_sql or (was_upgrade and self._pending.is_upgrade)):
                context.impl.memo.clear()
            was_upgrade = self._pending.is_upgrade
            yield self._pending
            self._pending = None


class Walk:
    """A database on its way through the history; where a revision spoiled it, there is another one.

    That is a copy of a second database, which follows only then, and in which only revisions have
    put rows. A revision that cannot be applied has passed too: as if it had done nothing.
    """

    def __init__(self, origin: URL, name: str) -> None:
        """From `origin`, of which copies are made; `name` is in theirs."""
        self.passed: list[Script] = []
        self.failed: dict[str, str] = {}  # of these, what could not be applied -> why
        self.source, self._name, self._follows = origin, name, 0
        self._second, self.resources = ExitStack(), ExitStack()
        self.start_again()

    def close(self) -> None:
        """Drop its databases."""
        self.resources.close()
        self._second.close()

    def start_again(self) -> None:
        """A new database after the revisions that have passed, with their rows alone."""
        self.resources.close()
        if behind := self.passed[self._follows :]:
            if not self._follows:
                self.source = self._second.enter_context(copy_of(self.source, f"{self._name}0"))
            with closing(Steps(self.source)) as steps:
                for script in behind:
                    steps.run("upgrade", script, only_stamp=script.revision in self.failed)
            self._follows = len(self.passed)
        self.url = self.resources.enter_context(copy_of(self.source, self._name))
        self.steps = self.resources.enter_context(closing(Steps(self.url)))

    def fail(self, script: Script, error: Exception) -> None:
        """It cannot be applied: those after it are judged without it."""
        code, is_missing = driver_error(error)[0], isinstance(error, NoSuchTableError)
        # That an earlier one failed is reason enough.
        follows = self.failed and (is_missing or code.startswith(_MISSING))
        self.failed[script.revision] = "" if follows else failure(script, "upgrade", error)
        self.passed.append(script)
        self.start_again()

    def raise_failure(self) -> None:
        """As what many tests meet: all that cannot be applied."""
        if said := [it for it in self.failed.values() if it]:
            others = [revision for revision, why in self.failed.items() if not why]
            follow = [f"  Not checked, as they cannot be applied without it: {', '.join(others)}"]
            raise OneProblem("\n".join([*said, *follow * bool(others)]))


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


def shared_problem(error: BaseException) -> str:
    """What other tests meet too: a model or a revision that fails or cannot be read; else empty."""
    if isinstance(error, OneProblem):
        return str(error)
    if isinstance(error, Exception) and not isinstance(error, AssertionError):
        try:
            known = {script.path: script for script in revisions()}
        except OneProblem as problem:
            return str(problem)
        for frame in traceback.extract_tb(error.__traceback__):
            if Path(frame.filename) == BACKEND / "app" / "models" / "__init__.py":
                return str(explain(error) or error)
            if script := known.get(frame.filename):
                return failure(script, frame.name, error)
    return str(error) if isinstance(error, MigrationError) else ""


def where(script: Script, name: str) -> str:
    """`file:line` of a revision's function or variable."""
    lines = Path(script.path).read_text("utf-8").splitlines()
    numbers = (n for n, it in enumerate(lines, 1) if re.match(rf"def {name}\(|{name}\s*[:=]", it))
    return f"{shorten(script.path)}:{next(numbers, 1)}"


def failure(script: Script, name: str, error: Exception) -> str:
    """What was raised in a step of a revision, the line, and the statement."""
    before = getattr(error, "orig", error).__context__
    if driver_error(error)[0] == "25P02" and isinstance(before, Exception):
        return failure(script, name, before)  # which a `finally` or an `except` went on after
    place, path = "", Path(script.path)
    for frame in traceback.extract_tb(error.__traceback__):
        if Path(frame.filename) == path:
            place = f"{shorten(path)}:{frame.lineno}"
            name = frame.name if frame.name in ("upgrade", "downgrade") else name
    if isinstance(error, MigrationError) and not place:
        return str(error)  # of the whole run, which names the file
    place = place or where(script, name)
    lines = str(getattr(error, "orig", error)).splitlines()
    lines = [line for line in lines if not re.match(r"LINE \d|\s*\^?$", line)]  # said below
    kind = "" if isinstance(error, DBAPIError | MigrationError) else f"{type(error).__name__}: "
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
    original = getattr(error, "orig", error)
    return getattr(original, "pgcode", None) or "", getattr(original, "diag", None)

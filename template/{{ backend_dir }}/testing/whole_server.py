"""Statements about the whole server: on one that the tests did not start they are named, not run.

Roles, memberships, tablespaces, subscriptions, ALTER SYSTEM and ALTER ROLE ... SET belong to no
database. A downgrade under test would drop the role of a developer.
"""

import os
import re
import sys
import time
import tomllib
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import psycopg2
from sqlalchemy import Engine, event

BACKEND = Path(__file__).resolve().parents[1]
_VERSIONS = str(BACKEND / "alembic" / "versions") + os.sep
_DATA = tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))
_PATTERN = re.compile(_DATA["pattern"], re.IGNORECASE | re.VERBOSE | re.DOTALL)
_EXISTS = "42710"  # a SQLSTATE
_BODY = re.compile(r"\s*create\b[^;]*?\b(function|procedure)\b", re.IGNORECASE)
notes: list[str] = []  # what was not run, and where
LONGEST = 120  # seconds for a step of a revision, over a few rows in each table
_ends_at = [float("inf")]  # when the step that runs is to end


def is_about_the_server(statement: str) -> bool:
    """Whether it changes what the other databases of the server share."""
    text = re.sub(r"--[^\n]*|/\*.*?\*/", " ", statement, flags=re.DOTALL)
    return bool(_PATTERN.search(text) and not _BODY.match(text))


def line_of_a_revision(unless: str = "/") -> str | None:
    """`file:line` of the revision that runs now; None outside of one, as in env.py.

    And where a file that ends with `unless` was called by it.
    """
    frame: FrameType | None = sys._getframe()
    while frame and not (path := frame.f_code.co_filename).endswith(unless):
        if os.path.normpath(path).startswith(_VERSIONS):
            return f"{Path(path).relative_to(BACKEND).as_posix()}:{frame.f_lineno}"
        frame = frame.f_back
    return None


def _before_execute(cursor: Any, statement: str, parameters: object, *_: object) -> bool:
    """In place of the driver's `execute`: True for what a revision says about the server."""
    if time.monotonic() > _ends_at[0] and line_of_a_revision():
        raise TimeoutError(f"it does not end, though tables have a few rows: {LONGEST} s")
    if not is_about_the_server(statement) or not (place := line_of_a_revision()):
        return False
    if not os.environ.get("TEST_DATABASE_URL", "").strip():
        # Of do_execute_no_params, it is another argument.
        return _is_done(cursor, statement, parameters if isinstance(parameters, dict) else None)
    said = " ".join(re.sub(r"(?i)(password\s+)\S+", r"\1***", statement).split())[:200]
    notes.append(f"{place}: not run on the server of TEST_DATABASE_URL, which others use: {said}")
    cursor.execute("SELECT")
    return True


def _is_done(cursor: Any, statement: str, parameters: dict[str, Any] | None) -> bool:
    """On a server of ours: True where it was for another database of this run, or is not yet."""
    if cursor.connection.autocommit or ";" in statement.strip().rstrip(";"):
        return False
    cursor.execute("SAVEPOINT done")
    try:
        cursor.execute(statement, parameters)
    except psycopg2.Error as error:
        needed_by = (error.diag.message_detail or "").splitlines()
        elsewhere = needed_by and all(" database " in line for line in needed_by)
        if error.pgcode != _EXISTS and not elsewhere:
            raise
        cursor.execute("ROLLBACK TO done")
    return True


def watched() -> AbstractContextManager[None]:
    """Within the block, no revision changes a server that is not ours, or runs without end."""
    names = ("do_execute", "do_execute_no_params", "do_executemany")
    return listening(Engine, **dict.fromkeys(names, _before_execute))


@contextmanager
def time_limit() -> Generator[None]:
    """Within the block, what a revision does has to end."""
    _ends_at[0] = time.monotonic() + LONGEST
    try:
        yield
    finally:
        _ends_at[0] = float("inf")


@contextmanager
def listening(target: Any, **listeners: Callable[..., Any]) -> Generator[None]:
    """Within the block, these are called for events of `target`; of a class, for each instance."""
    with ExitStack() as stack:
        for name, listener in listeners.items():
            event.listen(target, name, listener)
            stack.callback(event.remove, target, name, listener)
        yield

"""Statements about the whole server: on one that the tests did not start they are named, not run.

Roles, memberships, tablespaces, subscriptions, ALTER SYSTEM and ALTER ROLE ... SET belong to no
database. A downgrade under test would drop the role of a developer.
"""

import os
import re
import traceback
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event

BACKEND = Path(__file__).resolve().parents[1]
# At the beginning of a statement, or anywhere in a DO block.
_PATTERN = re.compile(
    r"""(^|;|^\s*do\b.*\b) \s* (
        (create|drop) \s+ (role|group|user (?! \s+ mapping)|database|tablespace|subscription)
        | alter \s+ (system|tablespace|subscription|group)
        | alter \s+ (role|user (?! \s+ mapping)) \s+ (?! \S+ \s+ in \s+ database)
        | (drop|reassign) \s+ owned \s+ by
        | (grant|revoke) \s+ ((?! \b(on|option)\b ) [\w",\s])+ \s (to|from)  # of roles
    )\b""",
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)
_BODY = re.compile(r"\s*create\b[^;]*?\b(function|procedure)\b", re.IGNORECASE)
notes: list[str] = []  # what was not run, and where


def is_about_the_server(statement: str) -> bool:
    """Whether it would change what other databases of a server that is not ours share."""
    given = os.environ.get("TEST_DATABASE_URL", "").strip()
    text = re.sub(r"--[^\n]*|/\*.*?\*/", " ", statement, flags=re.DOTALL) if given else ""
    return bool(_PATTERN.search(text) and not _BODY.match(text))


def leave_server_alone(cursor: Any, statement: str, *_: object) -> bool:
    """In place of the driver's `execute`: True for what a revision says about the server."""
    if is_about_the_server(statement):
        for frame in reversed(traceback.extract_stack()):
            path = Path(frame.filename)
            if path.is_relative_to(BACKEND / "alembic" / "versions"):
                place = f"{path.relative_to(BACKEND).as_posix()}:{frame.lineno}"
                said = " ".join(re.sub(r"(?i)(password\s+)\S+", r"\1***", statement).split())
                note = f"{place}: not run on the server of TEST_DATABASE_URL, which others use"
                notes.append(f"{note}: {said[:200]}")
                cursor.execute("SELECT")
                return True
    return False


@contextmanager
def left_alone() -> Generator[None]:
    """For every engine of this process, whoever makes it."""
    names = ("do_execute", "do_execute_no_params", "do_executemany")
    for name in names:
        event.listen(Engine, name, leave_server_alone)
    yield
    for name in names:
        event.remove(Engine, name, leave_server_alone)

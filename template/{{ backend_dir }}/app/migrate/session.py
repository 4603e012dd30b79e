"""A revision's session: lock_timeout, a clean start for the next one, nothing invalid left.

`SET lock_timeout = 0`, which every pg_dump begins with, would let the next ALTER TABLE wait without
limit; `SET search_path` would put its tables elsewhere, and only if one run applies both.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from functools import wraps
from typing import Any

from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext, MigrationStep
from sqlalchemy import Connection, event

from app.migrate.connect import SETTINGS
from app.migrate.errors import MigrationError, problem
from app.migrate.queries import SQL

Steps = Callable[[Any, MigrationContext], Iterable[MigrationStep]]

# These let readers and writers pass while they wait, and a timeout would leave an invalid index.
_CONCURRENT = re.compile(
    r"\b(INDEX|TABLE|SCHEMA|DATABASE|SYSTEM|VIEW|PARTITION\s+\S+)\s+CONCURRENTLY\b", re.IGNORECASE
)


def set_lock_timeout(connection: Connection, seconds: float) -> None:
    """Let no statement wait longer, except those that are CONCURRENTLY; opens no transaction."""
    limit = f"SET lock_timeout = {round(seconds * 1000)}"
    connection.info[SETTINGS] += f"; {limit}"
    connection.exec_driver_sql(limit)
    connection.commit()
    is_lifted = False

    @event.listens_for(connection, "before_cursor_execute")
    def choose(_c: Any, cursor: Any, statement: str, _p: Any, _x: Any, _m: Any) -> None:
        nonlocal is_lifted
        if _CONCURRENT.search(statement):
            cursor.execute("SET lock_timeout = 0")
            is_lifted = True
        elif is_lifted:
            cursor.execute(limit)
            is_lifted = False


def in_clean_sessions(context: EnvironmentContext, connection: Connection) -> Steps:
    """The steps of this command (`fn`), each in a clean session that holds the migration lock."""
    steps: Steps = context.context_opts["fn"]

    def then_clean(function: Callable[..., Any]) -> Callable[..., None]:
        @wraps(function)  # Alembic logs its name
        def run(**arguments: Any) -> None:
            function(**arguments)
            _clean(connection)  # before Alembic updates its table: in another role it might not

        return run

    def clean_steps(heads: Any, migration: MigrationContext) -> Iterator[MigrationStep]:
        _clean(connection)  # a failed attempt may have left something
        for step in steps(heads, migration):
            step.migration_fn = then_clean(step.migration_fn)
            yield step

    return clean_steps


def _clean(connection: Connection) -> None:
    """Reset all that the session has set, or raise MigrationError where it has lost its lock."""
    reset = "RESET SESSION AUTHORIZATION; RESET ROLE; RESET ALL; DISCARD TEMP"
    has_lock = f"SELECT pg_backend_pid() IN ({SQL['lock_holder']})"
    statements = f"{reset}; {connection.info[SETTINGS]}; {has_lock}"
    if not connection.exec_driver_sql(statements).scalar():
        raise MigrationError(problem("migrate", "lock-released"))


def refuse_leftovers(connection: Connection) -> None:
    """Raise a MigrationError that names each invalid index and unvalidated constraint."""
    if leftovers := connection.exec_driver_sql(SQL["leftovers"]).scalars().all():
        raise MigrationError(problem("migrate", "leftovers", leftovers="; ".join(leftovers)))

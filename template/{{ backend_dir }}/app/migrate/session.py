"""A revision's session: lock_timeout, a clean start for the next one, nothing invalid left.

`SET lock_timeout = 0`, which every pg_dump begins with, would let the next ALTER TABLE wait without
limit; `SET search_path` would put its tables elsewhere, and only if one run applies both.
"""

import re
from collections.abc import Callable, Coroutine, Generator, Iterable, Iterator
from functools import wraps
from pathlib import Path
from typing import Any

from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext, MigrationStep, RevisionStep
from psycopg2.extensions import TRANSACTION_STATUS_IDLE, TRANSACTION_STATUS_INERROR
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

    def then_clean(step: RevisionStep, migration: MigrationContext) -> Callable[..., None]:
        function = step.migration_fn

        @wraps(function)  # Alembic logs its name
        def run(**arguments: Any) -> None:
            driver: Any = connection.connection.driver_connection
            driver.begin(file := Path(step.revision.path).name)
            options = connection.get_execution_options()
            try:
                result = function(**arguments)
                if isinstance(result, Coroutine | Generator):
                    raise TypeError("a function that is async or has a yield does not run")
            except TypeError as error:
                if error.__traceback__ and error.__traceback__.tb_next:
                    raise  # of what the function does
                wrong = problem("revisions", "unreadable", file=file, error=error)
                raise MigrationError(wrong) from error
            finally:
                driver.revision = ""
                connection._execution_options = options  # a map of schemas would be Alembic's too
            is_lost = driver.is_lost or driver.closed or connection.closed or connection.invalidated
            if is_lost or connection.connection.driver_connection is not driver:
                raise MigrationError(problem("migrate", "ended-transaction", file=file))
            _begin_again(connection, migration, file)
            _clean(connection)  # before Alembic updates its table: in another role it might not

        return run

    def clean_steps(heads: Any, migration: MigrationContext) -> Iterator[MigrationStep]:
        if None in heads:  # Alembic would begin again
            raise MigrationError(problem("revisions", "wrong-row", which="an empty one"))
        _clean(connection)  # a failed attempt may have left something
        for step in steps(heads, migration):
            if isinstance(step, RevisionStep):
                step.migration_fn = then_clean(step, migration)
            yield step

    return clean_steps


def _begin_again(connection: Connection, migration: MigrationContext, file: str) -> None:
    """Where a revision has committed, what Alembic updates is in a transaction of its own.

    Raises:
        MigrationError: a statement of the revision failed, and it went on.
    """
    driver: Any = connection.connection.driver_connection
    status = driver.info.transaction_status
    if status == TRANSACTION_STATUS_INERROR:
        raise MigrationError(problem("migrate", "swallowed", file=file))
    # commit() is known to SQLAlchemy, and COMMIT to the server alone.
    is_same = connection.get_transaction() is migration._transaction
    if not is_same or status == TRANSACTION_STATUS_IDLE:
        connection.commit()
        migration._transaction = connection.begin()


def _clean(connection: Connection) -> None:
    """Reset all that the session has set, or raise MigrationError where it has lost its lock."""
    reset = "RESET SESSION AUTHORIZATION; RESET ROLE; RESET ALL; DISCARD TEMP; CLOSE ALL"
    reset += "; DEALLOCATE ALL; UNLISTEN *"
    has_lock = f"SELECT pg_backend_pid() IN ({SQL['lock_holder']})"
    statements = f"{reset}; {connection.info[SETTINGS]}; {has_lock}"
    if not connection.exec_driver_sql(statements).scalar():
        raise MigrationError(problem("migrate", "lock-released"))


def refuse_leftovers(connection: Connection) -> None:
    """Raise a MigrationError that names each invalid index and unvalidated constraint."""
    if leftovers := connection.exec_driver_sql(SQL["leftovers"]).scalars().all():
        raise MigrationError(problem("migrate", "leftovers", leftovers="; ".join(leftovers)))

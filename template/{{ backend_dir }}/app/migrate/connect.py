"""A migration's connection: waits for a server on its way, fails at once where waiting is vain."""

import os
import random
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from logging import getLogger

from sqlalchemy import URL, Connection, create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from app.core.problems import ExitCode, MigrationError, Problem, explain
from app.migrate.lock import REPORT_EVERY

log = getLogger(__name__)

# Seconds for one attempt: a silent network cannot hold us, and `docker stop` waits for ten.
ATTEMPT = 5
# The server itself ends the statement of a client that has gone, and frees its locks.
CHECK_CLIENT = "-c client_connection_check_interval=500ms"


@contextmanager
def connect(url: URL, wait: float) -> Generator[Connection]:
    """A connection of its own, closed at the end.

    Args:
        url: with a synchronous driver, `postgresql+psycopg2`.
        wait: seconds to wait for a server that does not answer yet.

    Raises:
        MigrationError: the server was not there in time, or refused us.
    """
    options = url.query.get("options") or os.environ.get("PGOPTIONS", "")
    arguments = {
        "connect_timeout": ATTEMPT,
        "application_name": "migrate",
        **url.query,
        "options": f"{options} {CHECK_CLIENT}".strip(),
    }
    engine = create_engine(url, poolclass=NullPool, connect_args=arguments)
    with _first_answer(engine.connect, wait) as connection:
        _refuse_pooler(connection)
        yield connection


def _first_answer(open_connection: Callable[[], Connection], wait: float) -> Connection:
    deadline = time.monotonic() + wait
    pause, report_at, cause = 0.1, 0.0, ""
    while True:
        try:
            return open_connection()
        except DBAPIError as error:
            problem = explain(error)
            if problem is None:
                raise
            now = time.monotonic()
            left = deadline - now
            if not problem.transient or left <= 0:
                raise MigrationError(problem) from error
            if now >= report_at or problem.cause != cause:
                log.info("%s; trying again for %.0f s", problem.cause, left)
                report_at, cause = now + REPORT_EVERY, problem.cause
            time.sleep(min(left, pause * random.uniform(0.5, 1.5)))  # noqa: S311 (no secret)
            pause = min(pause * 2, 2.0)


def _refuse_pooler(connection: Connection) -> None:
    """A pooler may give every transaction another session: our lock and settings would be lost.

    It tells its clients a process id of its own making, so the two differ.
    """
    driver = connection.connection.driver_connection
    assert driver is not None
    told = driver.info.backend_pid
    true = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
    connection.rollback()  # no transaction may be open when Alembic is configured
    if told != true:
        raise MigrationError(
            Problem(
                "a connection pooler stands before the server, and would lose a migration's lock",
                "set MIGRATION_DATABASE_URL to the address of the server itself",
                ExitCode.REFUSED,
            )
        )

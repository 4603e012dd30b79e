"""A migration's connection: retries while the server starts, fails fast where that cannot help."""

import os
import re
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from logging import getLogger
from typing import Any

import psycopg2.extensions
from psycopg2 import errors
from psycopg2.extensions import TRANSACTION_STATUS_IDLE
from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from app.migrate.errors import MigrationError, problem
from app.migrate.explain import explain
from app.migrate.retry import Attempts

# Seconds for one attempt: a silent network cannot hold us, and `docker stop` waits for ten.
ATTEMPT = 5
# Where packets vanish, both ends give up after 30 s: by default we would wait for two hours, and
# the server would keep our locks for a quarter of an hour. No statement is too long for this: it is
# the other machine that has to answer, not its PostgreSQL.
KEEPALIVE = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 4}
USER_TIMEOUT = {"tcp_user_timeout": 30_000}  # the same for what was sent and not confirmed
SERVER = USER_TIMEOUT | {f"tcp_{name}": value for name, value in KEEPALIVE.items()}
# The limits of the role are meant for the application.
SERVER |= dict.fromkeys(
    ["statement_timeout", "idle_in_transaction_session_timeout", "idle_session_timeout"], 0
)
log = getLogger(__name__)
_ROLLBACK = re.compile(r"\s*(ROLLBACK|ABORT)\b(?!.*\b(TO|PREPARED)\b)", re.IGNORECASE)
SETTINGS = "settings"  # in `connection.info`: the statements that give a session what we need


class Driver(psycopg2.extensions.connection):
    """A connection whose revision may not roll back, in whatever way: what it did would be lost."""

    revision, is_lost = "", False  # the file of the one that runs, and whether it rolled back

    def begin(self, revision: str) -> None:
        """Also forget what the one before it has set, and the server does not know."""
        self.revision, self.is_lost, self.cursor_factory = revision, False, _Cursor
        if self.info.transaction_status == TRANSACTION_STATUS_IDLE:
            self.autocommit = False
            self.isolation_level = self.readonly = self.deferrable = None

    def rollback(self) -> None:
        """Refuse it."""
        if self.info.transaction_status != TRANSACTION_STATUS_IDLE:
            self.refuse()
        super().rollback()

    def refuse(self) -> None:
        """Raise MigrationError, unless an error is on its way, such as one of a session's flush."""
        self.is_lost = True
        if self.revision and not sys.exception():
            raise MigrationError(problem("migrate", "ended-transaction", file=self.revision))


class _Cursor(psycopg2.extensions.cursor):
    def execute(self, query: Any, parameters: Any = None) -> None:
        assert isinstance(self.connection, Driver)
        if self.connection.is_lost or _ROLLBACK.match(str(query)):
            self.connection.refuse()
        try:
            super().execute(query, parameters)
        except (TypeError, ValueError, LookupError):  # psycopg2's own: nothing was sent yet
            if parameters:
                raise
            super().execute(query)
            said = "a %% in the text of a statement without parameters is sent as it is (%s)"
            log.info(said, self.connection.revision)
        is_over = self.connection.info.transaction_status == TRANSACTION_STATUS_IDLE
        if is_over and self.statusmessage == "ROLLBACK":  # at its end
            self.connection.refuse()


@contextmanager
def connect(url: URL, wait: float) -> Generator[Connection]:
    """Its own connection by psycopg2, closed at the end.

    Raises:
        MigrationError: the server was not ready within `wait` seconds, or refused us.
    """
    ours = " ".join(f"-c {name}={value}" for name, value in SERVER.items())
    given = url.query.get("options") or os.environ.get("PGOPTIONS", "")
    arguments: dict[str, Any] = {"connect_timeout": ATTEMPT, "application_name": "migrate"}
    arguments |= KEEPALIVE | USER_TIMEOUT
    arguments |= {name: value for name, value in url.query.items() if name in arguments}
    arguments["options"] = f"{ours} {given}".strip()  # the last one counts
    arguments["connection_factory"] = Driver
    engine = create_engine(url, poolclass=NullPool, connect_args=arguments, hide_parameters=True)
    event.listen(engine, "connect", _settle, insert=True)  # before SQLAlchemy's own queries
    with _first_answer(engine, wait) as connection:
        driver: Any = connection.connection.driver_connection
        try:
            yield connection
        finally:
            # It broke off where SQLAlchemy did not see it: it would use it once more, and fail.
            if driver.closed and not connection.invalidated:
                connection.invalidate()


def _first_answer(engine: Engine, wait: float) -> Connection:
    attempts = Attempts(wait, first=0.1, longest=2)
    while True:
        try:
            return engine.connect()
        except DBAPIError as error:
            found = explain(error)
            if found is None:
                raise
            if not found.transient or not attempts.again(found.cause):
                raise MigrationError(found) from error


def _settle(driver: Any, record: Any) -> None:
    driver.autocommit = True  # some poolers allow no transaction, and Alembic must find none
    record.info[SETTINGS] = "SET datestyle = ISO"  # which psycopg2 needs
    with driver.cursor() as cursor:
        # A pooler may give every transaction another session: our lock and settings would be lost.
        # It tells its clients a process id of its own making.
        cursor.execute("SELECT pg_backend_pid()")
        if cursor.fetchone() != (driver.info.backend_pid,):
            raise MigrationError(problem("connection", "pooler"))
        if driver.server_version >= 170_000:
            record.info[SETTINGS] += "; SET transaction_timeout = 0"
        # The server itself ends the statement of a client that has gone, and frees its locks. It
        # refuses to on Windows, where it cannot see that.
        with suppress(errors.InvalidParameterValue):
            cursor.execute(check := "SET client_connection_check_interval = '500ms'")
            record.info[SETTINGS] += f"; {check}"
        cursor.execute(record.info[SETTINGS])
    driver.autocommit = False

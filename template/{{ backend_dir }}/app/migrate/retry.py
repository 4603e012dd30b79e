"""Short waits for a table's locks, and another try where they could not be had.

While ALTER TABLE waits for its lock, everyone who wants to read the table waits behind it. So it
waits for two seconds, gives up, lets the others pass, and comes again.
"""

import random
import re
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from logging import getLogger
from typing import Any

from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.exc import DBAPIError

from app.migrate.errors import ExitCode, MigrationError
from app.migrate.explain import explain

log = getLogger(__name__)

_BLOCKERS = text(
    """
    SELECT string_agg(format('pid %s (%s), in a transaction since %s: %s', pid,
                             coalesce(nullif(application_name, ''), usename, 'no name'),
                             to_char(xact_start AT TIME ZONE 'UTC', 'HH24:MI:SS "UTC"'),
                             left(regexp_replace(query, '[[:space:]]+', ' ', 'g'), 60)), '; ')
    FROM pg_stat_activity WHERE pid = ANY (pg_blocking_pids(:pid))
    """
)


def set_lock_timeout(connection: Connection, seconds: float) -> None:
    """Let no statement wait longer for its locks; leaves no transaction open.

    But for CREATE and DROP INDEX CONCURRENTLY and their like: they let readers and writers pass
    while they wait, and a timeout would leave an invalid index behind.
    """
    limit = f"SET lock_timeout = {round(seconds * 1000)}"
    connection.exec_driver_sql(limit)
    connection.commit()

    concurrent = re.compile(
        r"\b(INDEX|TABLE|SCHEMA|DATABASE|SYSTEM|VIEW|PARTITION\s+\S+)\s+CONCURRENTLY\b",
        re.IGNORECASE,
    )

    lifted = False

    @event.listens_for(connection, "rollback")
    def forget(_c: Any) -> None:
        nonlocal lifted
        lifted = True  # to be sure: what was set in the transaction is no longer

    @event.listens_for(connection, "before_cursor_execute")
    def choose(_c: Any, cursor: Any, statement: str, _p: Any, _x: Any, _m: Any) -> None:
        nonlocal lifted
        if concurrent.search(statement):
            cursor.execute("SET lock_timeout = 0")
            lifted = True
        elif lifted:
            cursor.execute(limit)
            lifted = False


def is_relative(destination: object) -> bool:
    """Whether it is something like +1 or abc-2, which means another revision after each one."""
    return isinstance(destination, str) and re.search(r"[+-]\d+$", destination) is not None


def run_with_retries(
    run: Callable[[], None], connection: Connection, wait: float, may_go_on: Callable[[], bool]
) -> None:
    """Call `run` until it gets its locks; each call goes on from the last committed revision.

    Args:
        run: runs the revisions that remain.
        connection: the one that `run` uses; a failed transaction is rolled back.
        wait: seconds to go on for, from the first failure on.
        may_go_on: whether a second call does what the first left undone. False for `upgrade +2`
            of which one is done.

    Raises:
        MigrationError: other sessions held the locks all the time; it says which.
        sqlalchemy.exc.DBAPIError: any other failure.
    """
    deadline: float | None = None
    pause = 0.1
    blockers: list[str] = []
    while True:
        try:
            if deadline is None:
                run()
            else:
                with _watch_for_blockers(connection, blockers):
                    run()
        except DBAPIError as error:
            problem = explain(error)
            if problem is None or problem.exit_code is not ExitCode.BLOCKED:
                raise
            connection.rollback()
            now = time.monotonic()
            if deadline is None:
                deadline = now + wait
            if now >= deadline or not may_go_on():
                held = f"; they were held by {blockers[-1]}" if blockers else ""
                raise MigrationError(replace(problem, cause=problem.cause + held)) from error
            log.info("%s; trying again for %.0f s", problem.cause, deadline - now)
            time.sleep(min(deadline - now, pause * random.uniform(0.5, 1.5)))  # noqa: S311
            pause = min(pause * 2, 5.0)
        else:
            return


@contextmanager
def _watch_for_blockers(connection: Connection, blockers: list[str]) -> Generator[None]:
    """Note in `blockers` who holds the locks that `connection` waits for; asked by another one."""
    pid = connection.connection.driver_connection.info.backend_pid  # type: ignore[union-attr]
    stop = threading.Event()

    def watch(engine: Engine) -> None:
        try:
            with engine.connect() as other:
                while not stop.wait(0.1):
                    if found := other.scalar(_BLOCKERS, {"pid": pid}):
                        blockers[:] = [found]
                    other.rollback()
        except DBAPIError:
            log.debug("cannot look for blockers", exc_info=True)  # it is but a courtesy

    thread = threading.Thread(target=watch, args=[connection.engine], daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()

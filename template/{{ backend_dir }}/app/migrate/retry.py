"""Short waits for a table's locks, and another attempt where they were not granted.

While ALTER TABLE waits for its lock, everyone who wants to read the table waits behind it. So it
waits for two seconds, gives up, lets the others pass, and comes again.
"""

import re
import threading
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from logging import getLogger

from alembic.runtime.environment import EnvironmentContext
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from app.migrate.attempts import Attempts
from app.migrate.errors import ExitCode, MigrationError
from app.migrate.explain import explain
from app.migrate.queries import SQL
from app.migrate.signals import let_it_end

log = getLogger(__name__)


def is_relative(context: EnvironmentContext) -> bool:
    """Whether the destination is like +2: after one revision, two more would be too many."""
    destination = context.context_opts["destination_rev"]
    return isinstance(destination, str) and re.search(r"[+-]\d+$", destination) is not None


def run_with_retries(
    run: Callable[[], None], connection: Connection, wait: float, may_go_on: Callable[[], bool]
) -> None:
    """Call `run` until it gets its locks; each call continues after the last committed revision.

    Args:
        run: runs the revisions that remain.
        connection: the one that `run` uses; a failed transaction is rolled back.
        wait: seconds to retry for, from the first failure on.
        may_go_on: whether a second call does what the first left undone. False for `upgrade +2`
            of which one is done.

    Raises:
        MigrationError: no lock within that time; it names the sessions that blocked it.
        sqlalchemy.exc.DBAPIError: any other failure.
    """
    attempts = Attempts(wait, first=0.1, longest=5, every=0)
    watched: AbstractContextManager[None] = nullcontext()
    blockers: list[str] = []
    while True:
        try:
            with watched:
                run()
        except DBAPIError as error:
            problem = explain(error)
            if problem is None or problem.exit_code is not ExitCode.BLOCKED:
                raise
            connection.rollback()
            if not may_go_on() or not attempts.again(problem.cause):
                by = f"; blocked by {blockers[-1]}" if blockers else ""
                raise MigrationError(replace(problem, cause=problem.cause + by)) from error
            watched = _watch_for_blockers(connection, blockers)
        else:
            let_it_end()
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
                    if found := other.exec_driver_sql(
                        SQL["describe_blockers"], {"pid": pid}
                    ).scalar():
                        blockers[:] = [found]
                    other.rollback()
        except DBAPIError:
            log.debug("cannot look for blockers", exc_info=True)  # only a courtesy

    thread = threading.Thread(target=watch, args=[connection.engine], daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()

"""Another attempt: for the server to answer, for the migration lock, for the locks of tables.

While ALTER TABLE waits for its lock, everyone who wants to read the table waits behind it. So it
waits for less than a second, gives up, lets the others pass, and comes again.
"""

import random
import threading
import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import replace
from logging import getLogger

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from app.migrate.errors import ExitCode, MigrationError, printable
from app.migrate.explain import explain
from app.migrate.queries import SQL
from app.migrate.signals import let_it_end

log = getLogger(__name__)
REPORT = 5.0  # seconds from one line to the next about a statement that takes long


class Attempts:
    """One more attempt, and one more, for `wait` seconds from the first failure on."""

    def __init__(self, wait: float, *, first: float, longest: float, every: float = 10) -> None:
        """Between attempts from `first` to `longest` seconds; reports one in `every` seconds."""
        self._wait, self._pause, self._longest, self._every = wait, first, longest, every
        self._deadline = self._report_at = 0.0

    def again(self, why: str) -> bool:
        """Log why, wait, and return True; False once the time is over."""
        now = time.monotonic()
        self._deadline = self._deadline or now + self._wait
        left = self._deadline - now
        if left <= 0:
            return False
        if now >= self._report_at:
            log.info("%s; trying again for %.0f s", why, left)
            self._report_at = now + self._every
        # Jitter: those that failed together do not come again together.
        time.sleep(min(left, self._pause * random.uniform(0.5, 1.5)))  # noqa: S311 (no secret)
        self._pause = min(self._pause * 2, self._longest)
        return True


def run_with_retries(
    run: Callable[[], None], connection: Connection, wait: float, may_go_on: Callable[[], bool]
) -> None:
    """Call `run` until it gets its locks; each call continues after the last committed revision.

    Args:
        run: runs the revisions that remain, on `connection`.
        wait: seconds to retry for, from the first failure on; of a backfill, without progress.
        may_go_on: whether a second call does what the first left undone.

    Raises:
        MigrationError: no lock within that time; it names the sessions that blocked it.
    """
    attempts = Attempts(wait, first=0.1, longest=5, every=0)
    watched: AbstractContextManager[None] = nullcontext()
    blockers = list[str]()
    while True:
        try:
            with watched, _watch(connection, "progress", REPORT, lambda it: log.info("%s", it)):
                run()
        except DBAPIError as error:
            problem = explain(error)
            if problem is None or problem.exit_code is not ExitCode.BLOCKED:
                raise
            connection.rollback()
            if connection.info.pop("backfilled", 0):  # it has come further, in batches
                attempts = Attempts(wait, first=0.1, longest=5, every=0)
            if not may_go_on() or not attempts.again(problem.cause):
                blocked = "; blocked by ".join([problem.cause, *blockers[-1:]])
                raise MigrationError(replace(problem, cause=blocked)) from error
            watched = _watch(connection, "describe_blockers", 0.1, blockers.append)
        else:
            let_it_end()
            return


@contextmanager
def _watch(
    connection: Connection, query: str, every: float, tell: Callable[[str], None]
) -> Generator[None]:
    """Have another session ask about that of `connection`, every so many seconds."""
    pid = connection.connection.driver_connection.info.backend_pid  # type: ignore[union-attr]
    stop = threading.Event()

    def watch() -> None:
        if stop.wait(every):
            return  # without a connection, in most runs
        with suppress(DBAPIError), connection.engine.connect() as other:  # it is only a courtesy
            while True:
                if found := other.exec_driver_sql(SQL[query], {"pid": pid}).scalar():
                    tell(printable(found))
                other.rollback()
                if stop.wait(every):
                    return

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()

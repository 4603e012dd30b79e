"""An application that goes on while something is measured: a statement at a steady rate."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

import psycopg2
from sqlalchemy import URL

CONNECTIONS = 60  # as many as an application has; who finds none waits for one


class Application:
    """Runs `statement()` `rate` times a second from its entry to its exit.

    A statement's time counts from when it was due, so that none is left out while others wait.

    Attributes:
        taken: the seconds of each, sorted at the exit.
    """

    def __init__(self, url: URL, rate: int, statement: Callable[[], str]) -> None:
        self.rate, self.statement = rate, statement
        self.taken: list[float] = []
        address = url.render_as_string(hide_password=False)
        self.pool = [psycopg2.connect(address) for _ in range(CONNECTIONS)]
        for connection in self.pool:
            connection.autocommit = True
        self.over, self.pacing = threading.Event(), threading.Thread(target=self._pace)

    def __enter__(self) -> Self:
        self.pacing.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.over.set()
        self.pacing.join()
        for connection in self.pool:
            connection.close()
        self.taken.sort()

    @property
    def worst(self) -> float:
        """The seconds of the slowest."""
        return self.taken[-1]

    @property
    def percentile(self) -> float:
        """Of a hundred, 99 were quicker."""
        return self.taken[len(self.taken) * 99 // 100]

    def _pace(self) -> None:
        with ThreadPoolExecutor(len(self.pool)) as threads:
            due = time.perf_counter()
            # An Event's wait, not time.sleep: a measurement may replace that.
            while not self.over.wait(max(due - time.perf_counter(), 0)):
                threads.submit(self._run, due)
                due += 1 / self.rate

    def _run(self, due: float) -> None:
        connection = self.pool.pop()
        with connection.cursor() as cursor:
            cursor.execute(self.statement())
        self.taken.append(time.perf_counter() - due)
        self.pool.append(connection)

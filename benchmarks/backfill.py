"""A backfill of a million rows, while an application writes 100 of them a second.

BENCH_ROWS=10000000 takes ten million. Beside ours one UPDATE of all rows, which locks each of them
to its end, and the loop that this guide once had: a thousand rows that lack a value, until none
does. The loop is given a minute, since each turn reads past all that is done. The server is as
durable as any: the tests' own writes less.
"""

import os
import random
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from sqlalchemy import URL, Connection, create_engine

from benchmarks.application import Application
from benchmarks.figures import Figure
from benchmarks.project import new_database
from tests._kit.support import execute, template_module

TITLE = "A backfill"
ROWS = int(os.environ.get("BENCH_ROWS", "1000000"))
WRITES = 100  # a second
PATIENCE = 60  # seconds for the loop
LOOP = (
    "UPDATE items SET name = 'x' "
    "WHERE id IN (SELECT id FROM items WHERE name IS NULL LIMIT 1000)"
)  # fmt: skip
WAL = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')"


@dataclass(frozen=True)
class Way:
    """What one of them took.

    Attributes:
        batches: seconds of each, without pauses.
        worst: seconds of the application's slowest write.
        wal: megabytes, with those of the application.
        left: rows that it did not come to.
    """

    batches: list[float]
    worst: float
    wal: float
    left: int

    @property
    def work(self) -> float:
        """Seconds, without pauses."""
        return sum(self.batches)

    @property
    def tenths(self) -> tuple[float, float]:
        """Milliseconds of a batch of the first tenth, and of the last."""
        tenth = max(len(self.batches) // 10, 1)
        first, last = self.batches[:tenth], self.batches[-tenth:]
        return statistics.median(first) * 1000, statistics.median(last) * 1000


def measure(folder: Path, server: URL, runs: int) -> Iterator[Figure]:
    """Time, the application's worst write, WAL; a batch of the last tenth by one of the first."""
    del folder, server, runs  # one of each: it has hundreds of batches
    launcher = template_module("testing.server")
    with patch.object(launcher, "FAST", ()), launcher.postgres_server() as (durable, _):
        ours, at_once, loop = (_run(durable, way) for way in (_ours, _at_once, _loop))
    what = f"{ROWS:,} rows, {len(ours.batches)} batches"
    yield Figure(
        what,
        ours.work,
        others={
            "one UPDATE": at_once.work,
            "the old loop": f"{ROWS - loop.left:,} rows in {loop.work:.0f} s",
            "rows a second": f"{ROWS / ours.work:,.0f}",
        },
    )
    others = {"one UPDATE": at_once.worst * 1000, "the old loop": loop.worst * 1000}
    yield Figure("the application's worst write", ours.worst * 1000, "ms", others=others)
    # The loop's, had it come to its end.
    whole = loop.wal * ROWS / (ROWS - loop.left)
    yield Figure("WAL", ours.wal, "MB", others={"one UPDATE": at_once.wal, "the old loop": whole})
    first, last = ours.tenths
    yield Figure(
        "a batch of the last tenth",
        last,
        "ms",
        None,
        len(ours.batches) // 10,
        first,
        "the first tenth",
        last / first,
        1.2,
        {"the old loop": "{:.1f} ms, of its first {:.1f}".format(*reversed(loop.tenths))},
    )


def _run(server: URL, way: Callable[[Connection], list[float]]) -> Way:
    """On a table of its own."""
    url = new_database(server)
    execute(url, "CREATE TABLE items (id bigint PRIMARY KEY, name text, line text)")
    rows = f"SELECT n, NULL, repeat('x', 100) FROM generate_series(1, {ROWS}) n"  # noqa: S608
    execute(url, f"INSERT INTO items {rows}")
    execute(url, "VACUUM ANALYZE items")
    execute(url, "CHECKPOINT")

    def write() -> str:
        row = random.randint(1, ROWS)  # noqa: S311
        return f"UPDATE items SET line = 'written' WHERE id = {row}"  # noqa: S608

    engine = create_engine(url.set(drivername="postgresql+psycopg2"))
    with engine.connect() as connection, Application(url, WRITES, write) as application:
        session = connection.execution_options(isolation_level="AUTOCOMMIT")
        [[before]] = session.exec_driver_sql(WAL)
        batches = way(session)
        [[after]] = session.exec_driver_sql(WAL)
    engine.dispose()
    [[left]] = execute(url, "SELECT count(*) FROM items WHERE name IS NULL")
    execute(server, f'DROP DATABASE "{url.database}" WITH (FORCE)')
    return Way(batches, application.worst, float(after - before) / 1e6, left)


def _ours(session: Connection) -> list[float]:
    module, taken, never = template_module("app.migrate.backfill"), list[float](), threading.Event()

    def pause(seconds: float) -> None:  # as long as the batch took
        taken.append(seconds)
        never.wait(seconds)

    with patch.object(module.time, "sleep", pause):
        module.backfill(session, "items", "name = 'x'", "name IS NULL")
    return taken


def _at_once(session: Connection) -> list[float]:
    start = time.perf_counter()
    session.exec_driver_sql("UPDATE items SET name = 'x' WHERE name IS NULL")
    return [time.perf_counter() - start]


def _loop(session: Connection) -> list[float]:
    taken = list[float]()
    while sum(taken) < PATIENCE:
        start = time.perf_counter()
        if not session.exec_driver_sql(LOOP).rowcount:
            break
        taken.append(time.perf_counter() - start)
    return taken

"""A backfill of a million rows: is its end as quick as its beginning?

BENCH_ROWS=10000000 takes ten million. Beside it one UPDATE of all rows, which locks each of them to
its end.
"""

import os
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

from sqlalchemy import URL, create_engine

from benchmarks.figures import Figure
from benchmarks.project import new_database
from tests._kit.support import execute, template_module

TITLE = "A backfill"
ROWS = int(os.environ.get("BENCH_ROWS", "1000000"))


def measure(folder: Path, server: URL, runs: int) -> Iterator[Figure]:
    """The time of all batches without their pauses, and of the last tenth by that of the first."""
    del folder, runs  # one of each: it has hundreds of batches
    url = _filled(server)
    module, taken = template_module("app.migrate.backfill"), list[float]()
    engine = create_engine(url.set(drivername="postgresql+psycopg2"))
    with engine.connect() as connection, patch.object(module.time, "sleep", taken.append):
        session = connection.execution_options(isolation_level="AUTOCOMMIT")
        module.backfill(session, "items", "name = 'x'", "name IS NULL")
    engine.dispose()
    other, start = _filled(server), time.perf_counter()
    execute(other, "UPDATE items SET name = 'x' WHERE name IS NULL")
    at_once = {"one UPDATE": time.perf_counter() - start}
    yield Figure(f"{ROWS:,} rows, {len(taken)} batches", sum(taken), others=at_once)
    tenth = len(taken) // 10
    first, last = (statistics.median(part) * 1000 for part in (taken[:tenth], taken[-tenth:]))
    what, ratio = "a batch of the last tenth", last / first
    yield Figure(what, last, "ms", None, tenth, first, "the first tenth", ratio, 1.2)


def _filled(server: URL) -> URL:
    url = new_database(server)
    execute(url, "CREATE TABLE items (id bigint PRIMARY KEY, name text, line text)")
    rows = f"SELECT n, NULL, repeat('x', 100) FROM generate_series(1, {ROWS}) n"  # noqa: S608
    execute(url, f"INSERT INTO items {rows}")
    return url

"""A back-fill of a million rows: is its end as quick as its beginning?

The claim: the last tenth of its batches takes at most 1.2 times as long as the first.

  .venv/bin/python -m benchmarks.backfill        BENCH_ROWS=1000000
"""

import os
import statistics
from unittest.mock import patch

from sqlalchemy import create_engine

from tests._kit.support import execute, template_module

ROWS = int(os.environ.get("BENCH_ROWS", "1000000"))


def main() -> None:
    """Print the time of a batch, at the beginning and at the end."""
    module, taken = template_module("app.migrate.backfill"), list[float]()
    with template_module("testing.server").postgres_server() as (url, source):
        execute(url, "CREATE TABLE items (id bigint PRIMARY KEY, name text, line text)")
        line = "repeat('x', 100)"
        rows = f"SELECT n, NULL, {line} FROM generate_series(1, {ROWS}) n"  # noqa: S608
        execute(url, f"INSERT INTO items {rows}")
        engine = create_engine(url.set(drivername="postgresql+psycopg2"))
        with engine.connect() as connection, patch.object(module.time, "sleep", taken.append):
            session = connection.execution_options(isolation_level="AUTOCOMMIT")
            module.backfill(session, "items", "name = 'x'", "name IS NULL")
        engine.dispose()
    tenth = len(taken) // 10
    first, last = (statistics.median(part) * 1000 for part in (taken[:tenth], taken[-tenth:]))
    print(f"{source}: {ROWS:,} rows in {len(taken)} batches, {sum(taken):.0f} s without pauses")
    ends = f"{first:.1f} ms in the first tenth, {last:.1f} ms in the last"
    print(f"a batch: {ends}, x {last / first:.2f}")


if __name__ == "__main__":
    main()

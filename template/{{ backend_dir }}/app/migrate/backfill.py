"""A data migration in batches, for a table in use. Revisions import this: its arguments stay."""
# ruff: noqa: S608 (the SQL of a revision)

import sys
import time
from functools import partial
from typing import Any

from sqlalchemy import Connection

from app.migrate.errors import MigrationError, problem

BATCH = 1000  # rows, whose locks are held for some ten milliseconds
REPORT = 10  # seconds from one line to the next, where no terminal shows the progress
BEHIND = "SELECT max(replay_lag) > '10 s' FROM pg_stat_replication WHERE replay_lsn IS NOT NULL"


def backfill(connection: Connection, table: str, values: str, where: str, key: str = "id") -> None:
    """`UPDATE table SET values WHERE where`, BATCH rows at a time, each committed.

    In the order of `key`: an indexed column, such as the first of the primary key. Called again,
    it continues: what is done does not match `where` any more. After a batch it waits as long as
    that took, and while a standby is ten seconds behind, if the role sees that (pg_monitor). Raises
    ValueError without autocommit, and MigrationError where rows are left that match `where`.
    """
    if connection.get_execution_options().get("isolation_level") != "AUTOCOMMIT":
        raise ValueError("backfill() belongs into `with op.get_context().autocommit_block():`")
    at: dict[str, Any] = {}  # the keys that bound a batch
    run: Any = partial(connection.exec_driver_sql, parameters=at)
    values, where = values.replace("%", "%%"), where.replace("%", "%%")
    keys = f'SELECT CAST({key} AS text) AS "?" FROM {table}'  # as Python has no infinite date
    at["last"] = run(f"{keys} ORDER BY {key} DESC LIMIT 1").scalar()
    pending = f"WHERE ({key} <= %(last)s) IS NOT FALSE AND ({where}\n)"  # no newer rows
    run(f"EXPLAIN UPDATE {table} SET {values}\nWHERE CASE WHEN {where}\nTHEN true END")  # a check
    total = left = run(f"SELECT count(*) FROM {table} {pending}").scalar()
    done, end = 0, "  \r" if sys.stderr.isatty() else "\n"
    began = said = time.monotonic()
    while left:  # twice, where a slow transaction has added rows behind us
        at["first"], before = run(f"{keys} {pending} ORDER BY {key} LIMIT 1").scalar(), left
        while at["first"] is not None:
            started = time.monotonic()
            # Without `where`, whose rows nobody can estimate: this is always read from the index.
            after = f"{key} > %(first)s AND {key} <= %(last)s ORDER BY {key} OFFSET {BATCH - 1}"
            at["next"] = run(f"{keys} WHERE {after} LIMIT 1").scalar()
            to = f"{key} <= %(last)s" if at["next"] is None else f"{key} < %(next)s"
            batch = f"{key} >= %(first)s AND {to} AND ({where}\n)"
            done += run(f"UPDATE {table} SET {values}\nWHERE {batch}").rowcount
            connection.info["backfilled"] = done  # retry.py asks
            at["first"], now = at["next"], time.monotonic()
            if end != "\n" or now - said > REPORT:
                rest, said = (now - began) / max(done, 1) * max(total - done, 0), now
                sys.stderr.write(f"{table}: {done:,} of {total:,} rows, {rest:.0f} s left{end}")
            time.sleep(now - started)
            while run(BEHIND).scalar():
                sys.stderr.write(f"{table}: waits for a standby, 10 s behind{end}")
                time.sleep(REPORT)
        if (left := run(f"SELECT count(*) FROM {table} {pending}").scalar()) >= before:
            given = {"table": table, "where": where.replace("%%", "%"), "key": key}
            raise MigrationError(problem("migrate", "backfill", left=left, **given))
    sys.stderr.write(f"{table}: {done:,} rows in {time.monotonic() - began:.0f} s\n")

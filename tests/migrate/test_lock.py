"""One migrator at a time: replicas that start together, and what the others are told."""

from collections.abc import Callable

import psycopg2
import pytest
from sqlalchemy import URL

from tests._kit.support import until
from tests.migrate.service import Running, Service
from tests.migrate.table import Guide

REPLICAS = 10

# The kinds of steps that replicas have been seen to repeat or to break.
STEPS = {
    "plain": """
        op.execute("CREATE TABLE ran (step text)")
        op.execute("CREATE TABLE items (id int PRIMARY KEY, name text, label text)")
        op.execute("INSERT INTO items SELECT n, 'item ' || n FROM generate_series(1, 5000) n")
        op.execute("INSERT INTO ran VALUES ('plain')")
        """,
    "column": """
        op.execute("ALTER TABLE items ADD COLUMN size int")
        op.execute("INSERT INTO ran VALUES ('column')")
        """,
    "backfill": """
        with op.get_context().autocommit_block():
            op.execute("INSERT INTO ran VALUES ('backfill')")
            for start in range(0, 5000, 500):
                op.execute(
                    f"UPDATE items SET size = coalesce(size, 0) + 1 WHERE id > {start}"
                    f" AND id <= {start + 500}"
                )
        """,
    "index": """
        with op.get_context().autocommit_block():
            op.execute("INSERT INTO ran VALUES ('index')")
            op.execute("CREATE INDEX CONCURRENTLY ix_items_name ON items (name)")
        """,
    "last": """
        op.execute("ALTER TABLE items ALTER COLUMN size SET NOT NULL")
        op.execute("INSERT INTO ran VALUES ('last')")
        """,
}


@pytest.mark.parametrize("older", [None, "plain"], ids=["empty", "older"])
def test_ten_replicas_take_each_step_once(
    service: Service, record_property: Callable[[str, object], None], older: str | None
) -> None:
    for name, body in STEPS.items():
        service.add(name, body)
    if older:
        done = service.migrate("upgrade", older)
        assert done.returncode == 0, done
    holder = psycopg2.connect(service.url.render_as_string(hide_password=False))
    with holder.cursor() as cursor:  # until half of them are there, however slowly they start
        cursor.execute("SELECT pg_advisory_lock(%s)", [int.from_bytes(b"alembic", "big")])
    replicas = [service.start() for _ in range(REPLICAS)]
    until(lambda: sum(map(_waits, replicas)) >= REPLICAS / 2)
    holder.close()
    ended = [replica.wait() for replica in replicas]
    assert [done.returncode for done in ended] == [0] * REPLICAS, "\n".join(map(str, ended))
    assert service.version() == ["last"]
    ran = service.sql("SELECT step, count(*) FROM ran GROUP BY step ORDER BY step")
    assert ran == [(name, 1) for name in sorted(STEPS)]
    assert service.sql("SELECT size, count(*) FROM items GROUP BY size") == [(1, 5000)]
    assert service.sql("SELECT indisvalid FROM pg_index JOIN pg_class c ON c.oid = indexrelid"
                       " WHERE relname = 'ix_items_name'") == [(True,)]  # fmt: skip
    recorded = service.sql("SELECT revision FROM alembic_history ORDER BY id")
    assert [row[0] for row in recorded] == ["baseline", *STEPS]
    waited = sum(map(_waits, replicas))
    line = f"{REPLICAS} replicas from {older or 'empty'}: {waited} waited, each step once"
    record_property("line", line)


def _waits(replica: Running) -> bool:
    return "Waiting for another migration" in replica.stderr()


def test_the_wait_for_the_lock_ends_and_names_the_holder(service: Service, guide: Guide) -> None:
    row = guide["another migration runs"]
    service.add("slow", 'op.execute("SELECT pg_sleep(600)")')
    holder = service.start()
    service.until("SELECT 1 FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'")
    (pid,) = service.sql("SELECT pid FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'")[0]
    locked_out = service.migrate(MIGRATION_LOCK_WAIT="1")
    row.check(locked_out)
    for stderr in (
        locked_out.stderr.partition("Error:")[0],
        locked_out.stderr.partition("Error:")[2],
    ):
        assert f"pid {pid} (migrate), since " in stderr, locked_out
        assert "SELECT pg_sleep(600)" in stderr
    assert "Next:  wait for it, then run the same command again" in locked_out.stderr
    for words in (["current"], ["history"], ["check"], ["heads"], ["log"]):
        # A wait of five minutes for the lock would end this test by its own limit.
        done = service.migrate(*words, MIGRATION_LOCK_WAIT="300")
        assert "Waiting for another" not in done.stderr, done
        assert done.returncode == (6 if words == ["check"] else 0), done
    for words in (["stamp", "slow"], ["downgrade", "base"]):
        assert service.migrate(*words, MIGRATION_LOCK_WAIT="0").returncode == 3
    assert holder.is_running()
    holder.kill(15)
    holder.wait()
    assert service.version() == ["baseline"]


def test_migrations_of_two_databases_do_not_wait_for_each_other(
    service: Service, own_server: URL
) -> None:
    service.add("slow", 'op.execute("SELECT pg_sleep(600)")')
    holder = service.start()
    service.until("SELECT 1 FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'")
    service.sql('CREATE DATABASE "another" TEMPLATE template0')
    try:
        other = own_server.set(database="another").render_as_string(hide_password=False)
        done = service.migrate(
            "upgrade", "baseline", MIGRATION_LOCK_WAIT="0", MIGRATION_DATABASE_URL=other
        )
        assert done.returncode == 0, done
    finally:
        holder.kill(15)
        holder.wait()
        service.sql('DROP DATABASE "another" WITH (FORCE)')

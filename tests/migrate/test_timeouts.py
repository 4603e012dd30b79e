"""A migration never makes others wait for long: short waits for locks, and another try."""

import re
import statistics
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import psycopg2
import pytest
from sqlalchemy import URL

from tests._kit.support import until
from tests.migrate.service import Service
from tests.migrate.table import Guide

ITEMS = """
    op.execute("CREATE TABLE items (id int PRIMARY KEY, name text)")
    op.execute("INSERT INTO items SELECT n, 'item ' || n FROM generate_series(1, 100) n")
    """
ADD = 'op.execute("ALTER TABLE items ADD COLUMN size int")'


@contextmanager
def transaction(url: URL, statement: str) -> Generator[Any]:
    """A session of the application's that keeps its transaction open."""
    connection = psycopg2.connect(
        url.render_as_string(hide_password=False), application_name="a long report"
    )
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement)
        yield connection
    finally:
        connection.close()


class Reader(threading.Thread):
    """An application that reads about 200 times a second."""

    def __init__(self, url: URL) -> None:
        super().__init__()
        self._connection = psycopg2.connect(url.render_as_string(hide_password=False))
        self._connection.autocommit = True
        self._stop_it = threading.Event()
        self.reads: list[tuple[float, float]] = []

    def run(self) -> None:
        """Read until told to stop."""
        with self._connection.cursor() as cursor:
            while not self._stop_it.wait(0.005):
                start = time.monotonic()
                cursor.execute("SELECT count(*) FROM items")
                self.reads.append((start, time.monotonic() - start))

    def stop(self) -> None:
        """End it."""
        self._stop_it.set()
        self.join()
        self._connection.close()


def test_readers_go_on_while_an_alter_waits_behind_a_long_transaction(
    service: Service, record_property: Callable[[str, object], None]
) -> None:
    service.add("items", ITEMS)
    assert service.migrate().returncode == 0
    service.add("size", ADD)
    with transaction(service.url, "SELECT count(*) FROM items") as blocker:
        reader = Reader(service.url)
        reader.start()
        try:
            running = service.start(MIGRATION_LOCK_TIMEOUT="0.2", MIGRATION_RETRY_WAIT="600")
            for tries in (1, 3):
                running.says("trying again for", tries)
                # Without the timeout no read would end before the blocker does.
                enough = len(reader.reads) + 50
                until(lambda enough=enough: len(reader.reads) > enough)  # type: ignore[misc]
            assert running.is_running(), running.wait()
            blocker.commit()
            done = running.wait()
        finally:
            reader.stop()
    assert done.returncode == 0, done
    assert service.version() == ["size"]
    worst = max(seconds for _, seconds in reader.reads)
    median = statistics.median(seconds for _, seconds in reader.reads)
    tries = done.stderr.count("trying again for")
    record_property(
        "line",
        f"a reader while an ALTER TABLE waits: {tries} tries; "
        f"{len(reader.reads)} reads, median {median * 1000:.1f} ms, worst {worst * 1000:.0f} ms",
    )


def test_when_the_retries_run_out_the_blocker_is_named(service: Service, guide: Guide) -> None:
    row = guide["another session holds a table's lock"]
    service.add("items", ITEMS)
    service.add("kept", 'op.execute("CREATE TABLE kept ()")')
    assert service.migrate("upgrade", "items").returncode == 0
    path = service.add("size", ADD)
    waits = {"MIGRATION_LOCK_TIMEOUT": "1", "MIGRATION_RETRY_WAIT": "1.5"}  # another session looks
    with transaction(service.url, "SELECT count(*) FROM items /* monthly */") as blocker:
        done = service.migrate(**waits)
        pid = blocker.info.backend_pid
    row.check(done)
    sentence = done.stderr.partition("Error:")[2]
    assert f"pid {pid} (a long report), in a transaction since" in sentence, done
    assert "SELECT count(*) FROM items /* monthly */" in sentence
    assert path.name in sentence
    assert "ALTER TABLE items ADD COLUMN size int" in sentence
    assert service.version() == ["kept"], "what was done stays done"
    row.follow(service)


def test_a_deadlock_is_tried_again(service: Service) -> None:
    service.add("items", ITEMS + """
    op.execute("CREATE TABLE other ()")""")  # fmt: skip
    assert service.migrate().returncode == 0
    service.add(
        "two",
        """
        op.execute("LOCK TABLE items IN ACCESS EXCLUSIVE MODE")
        blocker_has, nobody_waits = (
            f"SELECT 1 FROM pg_locks WHERE {which}"
            for which in ("relation = 'other'::regclass", "NOT granted HAVING count(*) = 0")
        )
        while all(op.get_bind().exec_driver_sql(it).all() for it in (blocker_has, nobody_waits)):
            time.sleep(0.02)
        op.execute("LOCK TABLE other IN ACCESS EXCLUSIVE MODE")
        """,
    )
    with transaction(service.url, "SET deadlock_timeout = '10min'; LOCK TABLE other") as blocker:
        running = service.start(MIGRATION_LOCK_TIMEOUT="0")
        with blocker.cursor() as cursor:
            service.until(
                "SELECT 1 FROM pg_locks WHERE relation = 'items'::regclass"
                " AND mode = 'AccessExclusiveLock' AND granted"
            )
            cursor.execute("LOCK TABLE items")  # the migration is the one that finds the deadlock
        blocker.commit()
        done = running.wait()
    assert done.returncode == 0, done
    assert "deadlock detected" in done.stderr
    assert service.version() == ["two"]


@pytest.mark.parametrize(
    ("words", "version"), [("+2", ["one"]), ("head", ["size"]), ("size", ["size"])]
)
def test_only_a_fixed_destination_is_tried_again_after_progress(
    service: Service, words: str, version: list[str]
) -> None:
    service.add("items", ITEMS)
    assert service.migrate().returncode == 0
    service.add("one", 'op.execute("CREATE TABLE one ()")')
    service.add("size", ADD)
    with transaction(service.url, "SELECT count(*) FROM items") as blocker:
        running = service.start("upgrade", words, MIGRATION_LOCK_TIMEOUT="0.2")
        if words != "+2":
            running.says("trying again")
            blocker.commit()
        done = running.wait()
    assert done.returncode == (9 if words == "+2" else 0), done
    assert service.version() == version


def test_an_index_is_built_concurrently_behind_a_writer_without_a_timeout(
    service: Service,
) -> None:
    service.add("items", ITEMS)
    service.add(
        "index",
        """
        with op.get_context().autocommit_block():
            op.create_index("ix_name", "items", ["name"], postgresql_concurrently=True)
        assert op.get_bind().exec_driver_sql("SHOW lock_timeout").scalar() == "200ms"
        """,
    )
    assert service.migrate("upgrade", "items").returncode == 0
    with transaction(service.url, "UPDATE items SET name = name WHERE id = 1") as blocker:
        running = service.start(MIGRATION_LOCK_TIMEOUT="0.2", MIGRATION_RETRY_WAIT="0")
        time.sleep(1.5)
        assert running.is_running(), running.wait()
        blocker.commit()
        done = running.wait()
    assert done.returncode == 0, done
    valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'ix_name'::regclass"
    assert service.sql(valid) == [(True,)]


def test_without_a_setting_the_timeout_is_less_than_a_second(service: Service) -> None:
    shows = "op.execute(\"CREATE TABLE shown AS SELECT current_setting('lock_timeout') AS value\")"
    service.add("shown", shows)
    assert service.migrate().returncode == 0
    assert service.sql("SELECT value::interval < '1 s' FROM shown") == [(True,)]


def test_each_try_has_the_timeout_again(service: Service) -> None:
    """What was set in a transaction that is rolled back is no longer so."""
    service.add("items", f'{ITEMS}\n    op.execute("CREATE TABLE other ()")')
    assert service.migrate().returncode == 0
    service.add(
        "mixed",
        """
        print("limit:", op.get_bind().exec_driver_sql("SHOW lock_timeout").scalar())
        with op.get_context().autocommit_block():
            op.execute("CREATE INDEX CONCURRENTLY IF NOT EXISTS ix_name ON items (name)")
        op.execute("ALTER TABLE other ADD COLUMN size int")
        """,
    )
    with transaction(service.url, "SELECT count(*) FROM other"):
        done = service.migrate(MIGRATION_LOCK_TIMEOUT="0.2", MIGRATION_RETRY_WAIT="3")
    assert done.returncode == 9, done
    limits = done.stdout.splitlines()
    assert len(limits) >= 2, done
    assert set(limits) == {"limit: 200ms"}


def test_an_invalid_index_is_named_until_it_is_mended(service: Service, guide: Guide) -> None:
    row = guide["an invalid index or an unvalidated constraint"]
    service.add("items", ITEMS)
    assert service.migrate().returncode == 0
    service.sql("UPDATE items SET name = 'the same'")
    with pytest.raises(psycopg2.errors.UniqueViolation):
        service.sql("CREATE UNIQUE INDEX CONCURRENTLY ix_items_name ON items (name)")
    for words in ([], ["upgrade", "head"], ["upgrade", "items"]):
        done = service.migrate(*words)
        row.check(done)
        assert (
            "the migration left invalid objects behind: index ix_items_name is invalid"
            in done.stderr
        ), done
        assert "DROP INDEX CONCURRENTLY" in done.stderr
    service.add("name", 'op.execute("DROP INDEX ix_items_name")')
    row.follow(service)


def test_a_revision_whose_index_failed_can_be_run_again(service: Service) -> None:
    service.add("items", ITEMS)
    assert service.migrate().returncode == 0
    service.sql("UPDATE items SET name = 'the same'")
    service.add(
        "index",
        """
        with op.get_context().autocommit_block():
            op.execute("DROP INDEX CONCURRENTLY IF EXISTS ix_name")
            op.execute("CREATE UNIQUE INDEX CONCURRENTLY ix_name ON items (name)")
        """,
    )
    failed = service.migrate()
    assert failed.returncode == 10, failed
    assert "could not create unique index" in failed.stderr, failed
    service.sql("UPDATE items SET name = id::text")
    done = service.migrate()
    assert done.returncode == 0, done
    assert service.sql(
        "SELECT indisvalid FROM pg_index WHERE indexrelid = 'ix_name'::regclass"
    ) == [(True,)]


def test_an_unvalidated_constraint_is_named_unless_it_says_why(
    service: Service, guide: Guide
) -> None:
    row = guide["an invalid index or an unvalidated constraint"]
    service.add("items", ITEMS)
    service.add(
        "positive",
        'op.execute("ALTER TABLE items ADD CONSTRAINT ck CHECK (id > 0) NOT VALID")',
        'op.execute("ALTER TABLE items DROP CONSTRAINT ck")',
    )
    for _ in range(2):
        done = service.migrate()
        row.check(done)
        assert "constraint ck of items is not validated" in done.stderr, done
        assert service.version() == ["positive"]
    service.sql("COMMENT ON CONSTRAINT ck ON items IS 'not valid: the next release validates it'")
    assert service.migrate().returncode == 0
    service.sql("COMMENT ON CONSTRAINT ck ON items IS NULL")
    assert service.migrate().returncode == 10
    assert service.migrate("downgrade", "items").returncode == 0, "the way out is free"
    assert service.migrate().returncode == 10
    service.sql("ALTER TABLE items VALIDATE CONSTRAINT ck")
    if int(service.sql("SHOW server_version_num")[0][0]) >= 180000:
        service.sql("ALTER TABLE items ADD CONSTRAINT doc CHECK (id > 1) NOT ENFORCED")
    assert service.migrate().returncode == 0


@pytest.mark.parametrize(
    ("words", "table"),
    [
        (["upgrade", "head"], "alembic_history"),
        (["downgrade", "-1"], "items"),  # whose rows are counted before it
    ],
)
def test_a_lock_on_what_we_read_ourselves_is_waited_for_too(
    service: Service, words: list[str], table: str
) -> None:
    service.add("items", ITEMS)
    service.add("nothing", "pass")
    assert service.migrate("upgrade", "items" if words[0] == "upgrade" else "head").returncode == 0
    with transaction(service.url, f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE") as blocker:
        running = service.start(*words, MIGRATION_LOCK_TIMEOUT="0.2")
        running.says("trying again for")
        blocker.commit()
    done = running.wait()
    assert done.returncode == 0, done


def test_what_takes_long_says_every_few_seconds_how_far_it_is(service: Service) -> None:
    slow = "CREATE FUNCTION slow(n int) RETURNS int LANGUAGE sql IMMUTABLE AS"
    service.sql(f"{slow} 'SELECT n FROM pg_sleep(0.1)'; CREATE TABLE items AS SELECT 1 AS n")  # noqa: S608
    service.sql("INSERT INTO items SELECT n FROM generate_series(1, 6000) n")
    service.add("index", 'op.execute("CREATE INDEX ON items (slow(n))")')
    command = "import app.migrate.retry, app.migrate.cli; app.migrate.retry.REPORT = 0.2;"
    command += "app.migrate.cli.run(['upgrade', 'head'])"
    with service.process("-c", command, program="python") as process:
        assert process.stderr
        line = r"Running for \d+ s, building index: scanning table, \d+ per cent: CREATE INDEX ON"
        assert any(re.search(line, said) for said in process.stderr)
        process.terminate()

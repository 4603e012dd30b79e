"""A data migration in batches: complete, each row once, whatever happens meanwhile.

BACKFILL_ROWS=1000000 scripts/test tests/migrate/test_backfill.py -n 0 takes a million rows.
"""
# ruff: noqa: S608 (the tests' own table)

import os
import signal
import threading
import time
from collections.abc import Generator
from contextlib import closing

import psycopg2
import pytest
from sqlalchemy import Connection, create_engine
from sqlalchemy.pool import NullPool

from tests._kit.support import template_module
from tests.migrate.service import Service
from tests.migrate.table import sentence

ROWS = int(os.environ.get("BACKFILL_ROWS", "50000"))
REVISION = """
from app.migrate.backfill import backfill
with op.get_context().autocommit_block():
    values = "name = 'it''s 5 %: done', touched = touched + 1"
    backfill(op.get_bind(), "items", values, "name IS NULL")
"""
HOW = ("items", "name = 'x', touched = touched + 1", "name IS NULL")


@pytest.fixture
def session(service: Service) -> Generator[Connection]:
    """In autocommit."""
    engine = create_engine(service.url.set(drivername="postgresql+psycopg2"), poolclass=NullPool)
    with engine.connect() as connection:
        yield connection.execution_options(isolation_level="AUTOCOMMIT")


def fill(service: Service, rows: int, key: str = "n", type_: str = "bigint") -> None:
    """Rows without a name; `key` is an expression of n."""
    service.sql(f"CREATE TABLE items (id {type_}, name text, touched int NOT NULL DEFAULT 0)")
    service.sql(f"INSERT INTO items (id) SELECT {key} FROM generate_series(1, {rows}) n")
    service.sql("CREATE INDEX ON items (id)")


def counts(service: Service) -> tuple[int, int, int]:
    """Rows without a name, rows touched twice, rows touched."""
    what = "name IS NULL", "touched > 1", "touched = 1"
    counted = ", ".join(f"count(*) FILTER (WHERE {condition})" for condition in what)
    (row,) = service.sql(f"SELECT {counted} FROM items")
    return row[0], row[1], row[2]


def test_killed_three_times_while_the_application_writes_it_sets_each_row_once(
    service: Service,
) -> None:
    fill(service, ROWS, key="n * 10")  # keys are never without gaps
    service.add("names", REVISION)
    over, written = threading.Event(), list[int]()

    def write() -> None:
        """As the release does that already sets the column: new rows, and rows here and there."""
        url = service.url.render_as_string(hide_password=False)
        with closing(psycopg2.connect(url)) as connection:
            connection.autocommit = True
            cursor = connection.cursor()
            while not over.wait(0.005):
                new, old = ROWS + 1 + len(written), len(written) * 7919 % ROWS + 1
                cursor.execute(f"INSERT INTO items VALUES ({new}0, 't'), ({old}5, 't')")
                cursor.execute(f"UPDATE items SET name = 't' WHERE id = {old}0")
                written.append(new)

    writer = threading.Thread(target=write)
    writer.start()
    last = psycopg2.connect(service.url.render_as_string(hide_password=False))
    last.cursor().execute(f"SELECT FROM items WHERE id = {ROWS}0 FOR UPDATE")  # none gets past it
    try:
        for part in (1, 2, 3):
            running = service.start()
            while counts(service)[2] < ROWS * part // 4:
                assert running.is_running(), running.wait()
                time.sleep(0.02)
            running.kill(signal.SIGKILL)
            assert running.wait().returncode == -signal.SIGKILL
            assert service.version() == ["baseline"]
        last.close()
        done = service.migrate()
    finally:
        last.close()
        over.set()
        writer.join()
    assert done.returncode == 0, done
    assert service.version() == ["names"]
    pending, twice, once = counts(service)
    assert (pending, twice) == (0, 0)
    assert ROWS > once > ROWS * 3 // 4
    assert len(written) > 20


@pytest.mark.parametrize(
    ("type_", "key"),
    [
        *(("uuid", "md5(n::text)::uuid"), ("text", "'k' || n"), ("int", "-n"), ("int", "n / 300")),
        *(
            ("real", "n / 7.0"),
            (
                "timestamptz",
                "now() + interval '1 s' * n * CASE n WHEN 9 THEN 'Infinity' ELSE 1.0 END",
            ),
            ("text[]", "ARRAY[n::text]"),
        ),
    ],
)
def test_keys_of_any_type_will_do(
    service: Service, session: Connection, type_: str, key: str
) -> None:
    """Also those that several rows have."""
    fill(service, 3500, key, type_)
    template_module("app.migrate.backfill").backfill(session, *HOW)
    assert counts(service) == (0, 0, 3500)


def test_a_row_that_a_slow_transaction_adds_behind_it_is_set_too(
    service: Service, session: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(service, 5000, key="n * 10")
    module, naps = template_module("app.migrate.backfill"), list[float]()
    with closing(psycopg2.connect(service.url.render_as_string(hide_password=False))) as slow:
        slow.cursor().execute("INSERT INTO items VALUES (15)")

        def nap(seconds: float) -> None:
            naps.append(seconds)
            if len(naps) == 4:
                slow.commit()

        monkeypatch.setattr(module.time, "sleep", nap)
        module.backfill(session, *HOW)
    assert len(naps) == 2 * 5
    assert counts(service) == (0, 0, 5001)


@pytest.mark.parametrize(
    ("key", "values"), [("n", "touched = 1"), ("nullif(n, 7)", HOW[1]), ("NULL::int", HOW[1])]
)
def test_rows_that_are_left_are_an_error(service: Service, key: str, values: str) -> None:
    """The values leave them as they were, or their key is NULL."""
    fill(service, 10, key)
    done = service.migrate("backfill", HOW[0], values, HOW[2], "id")
    assert done.returncode == 10, done
    (error, remedy) = sentence(done)
    assert error.startswith("10 rows of items still match name IS NULL: ")
    assert "a key that is NOT NULL" in remedy


def test_a_comment_ends_with_its_argument(service: Service, session: Connection) -> None:
    """SQL's goes to the end of the line: with the condition in it, each row would be set."""
    fill(service, 5)
    service.sql("UPDATE items SET name = 'kept' WHERE id > 2")
    table, values, where = HOW
    template_module("app.migrate.backfill").backfill(
        session, table, f"{values} -- for now", f"{where} -- those alone"
    )
    assert counts(service) == (0, 0, 2)


@pytest.mark.parametrize(
    ("values", "where"),
    [
        ("nmae = 'x'", "touched < 0"),  # which matches no row, and the values are never read
        ("name = nmae", "touched < 0"),
        ("touched = 'x'", "touched < 0"),
        (HOW[1], "name IS NULL) OR (name IS NULL"),  # of the whole table, in each batch
        (HOW[1], "name IS NULL) OR (true"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_any_row(
    service: Service, values: str, where: str
) -> None:
    fill(service, 2500)
    done = service.migrate("backfill", "items", values, where, "id")
    assert done.returncode == 10, done
    assert "Next:  fix that statement" in done.stderr
    assert counts(service) == (2500, 0, 0)


def test_it_is_never_one_long_transaction(service: Service) -> None:
    fill(service, 10)
    service.add("names", REVISION.replace("with op.get_context().autocommit_block()", "if True"))
    done = service.migrate()
    assert done.returncode == 10, done
    assert "autocommit_block" in sentence(done)[0]
    assert counts(service) == (10, 0, 0)


def test_a_locked_row_holds_it_up_and_nobody_else(service: Service) -> None:
    """The command gives the other rows of the batch free after each attempt."""
    fill(service, 3000)
    with closing(psycopg2.connect(service.url.render_as_string(hide_password=False))) as holder:
        holder.cursor().execute("SELECT FROM items WHERE id = 1500 FOR UPDATE")
        running = service.start("backfill", *HOW, "id", MIGRATION_LOCK_TIMEOUT="0.1")
        running.says("trying again")
        service.sql("UPDATE items SET name = 't' WHERE id = 1499")
        holder.rollback()
    done = running.wait()
    assert done.returncode == 0, done
    assert counts(service) == (0, 0, 2999)
    assert "items: 1,999 rows in " in done.stderr


def test_one_locked_row_after_the_other_does_not_end_it(service: Service) -> None:
    """Each time it has come further, it has all of MIGRATION_RETRY_WAIT again."""
    fill(service, 30_000)
    with closing(psycopg2.connect(service.url.render_as_string(hide_password=False))) as holder:
        waits = {"MIGRATION_LOCK_TIMEOUT": "0.1", "MIGRATION_RETRY_WAIT": "2"}
        hold = "SELECT FROM items WHERE id = {} FOR UPDATE"
        holder.cursor().execute(hold.format(5000))
        running = service.start("backfill", *HOW, "id", **waits)
        for number in range(1, 6):
            running.says("trying again for 2 s", number)
            holder.rollback()
            holder.cursor().execute(hold.format(5000 * (number + 1)))
        done = running.wait()
    assert done.returncode == 9, done
    assert "pid" in sentence(done)[0]
    assert counts(service)[2] == 29_000


def test_it_goes_on_where_others_write_the_same_rows_and_sessions_are_serializable(
    service: Service,
) -> None:
    fill(service, 5000)
    database = f'"{service.url.database}"'
    service.sql(f"ALTER DATABASE {database} SET default_transaction_isolation = 'serializable'")
    with closing(psycopg2.connect(service.url.render_as_string(hide_password=False))) as writer:
        writer.cursor().execute("UPDATE items SET name = 't' WHERE id = 2500")
        running = service.start("backfill", *HOW, "id", MIGRATION_LOCK_TIMEOUT="30")
        service.until("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'transactionid'")
        writer.commit()
        done = running.wait()
    assert done.returncode == 0, done
    assert counts(service) == (0, 0, 4999)


def test_it_waits_while_a_standby_is_behind(
    service: Service,
    session: Connection,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fill(service, 1500)
    module, naps = template_module("app.migrate.backfill"), list[tuple[float, int]]()
    archiver = "('99 s'::interval, NULL::pg_lsn)"  # such as pg_receivewal, which replays nothing
    columns = "pg_stat_replication (replay_lag, replay_lsn)"
    lag = f"CREATE OR REPLACE VIEW lag.{columns} AS VALUES {archiver}, ('{{}} s', '0/1')"
    service.sql(f"CREATE SCHEMA lag; {lag.format(11)}")
    session.exec_driver_sql("SET search_path = lag, public, pg_catalog")

    def nap(seconds: float) -> None:
        naps.append((seconds, counts(service)[2]))
        if len(naps) == 3:
            service.sql(lag.format(9))

    monkeypatch.setattr(module.time, "sleep", nap)
    module.backfill(session, *HOW)
    assert naps[1:3] == [(10, 1000), (10, 1000)]
    assert capsys.readouterr().err.count("items: waits for a standby, 10 s behind\n") == 2
    assert counts(service) == (0, 0, 1500)


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_terminal_shows_the_progress_and_a_log_a_line_now_and_then(
    service: Service,
    session: Connection,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    is_terminal: bool,
) -> None:
    fill(service, 3000)
    module = template_module("app.migrate.backfill")
    monkeypatch.setattr(module.sys.stderr, "isatty", lambda: is_terminal)
    monkeypatch.setattr(module, "REPORT", 99 if is_terminal else 0)
    module.backfill(session, *HOW)
    said = capsys.readouterr().err
    assert said.count("\r") == (3 if is_terminal else 0)
    lines = said.replace("\r", "\n").splitlines()
    shown = [f"items: {number},000 of 3,000" for number in (1, 2, 3)]
    assert [line.partition(" rows,")[0] for line in lines[:3]] == shown
    assert lines[2].strip().endswith(", 0 s left")
    assert lines[3].startswith("items: 3,000 rows in ")

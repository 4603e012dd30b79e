"""`docker compose run --rm backup` and `restore`: complete or not there; nothing is overwritten.

BACKUP_ROWS=10000000 scripts/test tests/docker/test_backup.py -n 0 -s takes ten million rows.
"""

import os
import re
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import psycopg2
import pytest

from tests.docker.conftest import NewService, Service
from tests.docker.test_acceptance import SOMEBODY, the_caller_owns_everything

ROWS = int(os.environ.get("BACKUP_ROWS", "10000"))
DATA = f"""
CREATE ROLE reader NOLOGIN;
CREATE EXTENSION pg_trgm;
CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE TABLE items (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text, feels mood);
INSERT INTO items (name, feels) SELECT md5(n::text), 'ok' FROM generate_series(1, {ROWS}) n;
CREATE INDEX ON items USING gin (name gin_trgm_ops);
GRANT SELECT ON items TO reader;
CREATE VIEW totals AS SELECT feels, count(*) FROM items GROUP BY feels;
ALTER VIEW totals OWNER TO reader;
SELECT lo_from_bytea(4711, decode(repeat('00ff', 100000), 'hex'));
"""  # noqa: S608
FACTS = (
    "SELECT count(*), sum(hashtext(items::text)::bigint) FROM items",
    "SELECT last_value FROM items_id_seq",
    "SELECT md5(lo_get(4711))",
    "SELECT extname, extversion FROM pg_extension ORDER BY 1",
    "SELECT relname, relowner::regrole::text, relacl::text FROM pg_class"
    " WHERE relnamespace = 'public'::regnamespace ORDER BY 1",
    "SELECT version_num FROM alembic_version",
    "SELECT revision, role FROM alembic_history",
)


@pytest.fixture(scope="module")
def shop(new_service: NewService) -> Generator[Service]:
    """Somebody's service, with data."""
    with new_service(**SOMEBODY) as service:
        service.migrate()
        service.rows(DATA)
        yield service


def facts(shop: Service, database: str) -> list[object]:
    """What a copy must have too."""
    was, shop.database = shop.database, database
    try:
        return [shop.rows(statement) for statement in FACTS]
    finally:
        shop.database = was


def test_a_round_trip_keeps_data_owners_privileges_extensions_and_large_objects(
    shop: Service, record_property: Callable[[str, object], None]
) -> None:
    backup = shop.compose("run", "--rm", "backup", "first").stdout
    assert re.fullmatch(r"backups/first\.dump: \S+, \d+ s\n", backup)
    restore = shop.compose("run", "--rm", "restore", "backups/first.dump").stdout
    told = re.fullmatch(r"database (\w+): (\d+ [kMG]B), \d+ s\n", restore)
    assert told
    assert told[1].startswith(f"{shop.database}_2")
    assert facts(shop, told[1]) == facts(shop, shop.database)
    record_property("line", f"backup of {ROWS:,} rows: {' '.join((backup + restore).split())}")
    the_caller_owns_everything(shop, ["!! backups/first.dump"])


def test_nothing_is_overwritten(shop: Service) -> None:
    folder = shop.path / "backups"
    folder.mkdir(exist_ok=True)
    os.chown(folder, shop.uid, shop.gid)
    shop.write("backups/mine.dump", "mine")
    done = shop.compose("run", "--rm", "backup", "mine", status=2)
    assert "Error: backups/mine.dump exists" in done.stderr
    assert (folder / "mine.dump").read_text() == "mine"
    done = shop.compose("run", "--rm", "restore", "backups/mine.dump", shop.database, status=1)
    assert f'database "{shop.database}" already exists' in done.stderr
    assert shop.rows("SELECT count(*) FROM items") == [(ROWS,)]
    done = shop.compose("run", "--rm", "restore", "backups/other.dump", status=2)
    assert "Error: no file backups/other.dump" in done.stderr


def test_a_restore_that_fails_leaves_no_database(shop: Service) -> None:
    shop.write("backups/broken.dump", "PGDMP nonsense")
    done = shop.compose("run", "--rm", "restore", "backups/broken.dump", "broken", status=1)
    assert "pg_restore: error" in done.stderr
    assert shop.rows("SELECT 1 FROM pg_database WHERE datname = 'broken'") == []


def test_a_backup_that_is_cut_off_has_no_name(shop: Service) -> None:
    """By the server's end, while it waits for a table."""
    url = f"postgresql://{shop.user}:{shop.password}@127.0.0.1:{shop.port}/{shop.database}"
    waits = "application_name = 'pg_dump' AND wait_event_type = 'Lock'"
    with closing(psycopg2.connect(url)) as holder, ThreadPoolExecutor() as pool:
        holder.cursor().execute("LOCK items")
        run = pool.submit(shop.compose, "run", "--rm", "backup", "cut", status=1)
        while not run.done():
            shop.rows(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {waits}")  # noqa: S608
            time.sleep(0.1)
    assert "pg_dump: error" in run.result().stderr
    assert not (shop.path / "backups" / "cut.dump").exists()
    shop.compose("run", "--rm", "backup", "cut")

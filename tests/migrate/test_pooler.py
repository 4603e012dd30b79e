"""A connection pooler before the server: migrations refuse it, and the application may use it."""

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import psycopg2
import pytest
from sqlalchemy import URL

from tests._kit.report import cannot_run
from tests._kit.support import free_port
from tests.migrate.service import Service
from tests.migrate.table import Guide

PGBOUNCER = shutil.which("pgbouncer", path="/usr/sbin:/usr/local/bin:/usr/bin:/opt/homebrew/bin")


@contextmanager
def pgbouncer(url: URL, port: int, **settings: str | int) -> Generator[URL]:
    """PgBouncer before the server of `url`."""
    if PGBOUNCER is None:
        cannot_run("no PgBouncer here", "apt-get install pgbouncer")
    assert PGBOUNCER
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)  # as root, it becomes another user
        (folder / "users").write_text(f'"{url.username}" "{url.password}"\n')
        lines = {
            "listen_addr": "127.0.0.1",
            "listen_port": port,
            "unix_socket_dir": "",
            "auth_type": "scram-sha-256",
            "auth_file": folder / "users",
            "logfile": folder / "log",
            **settings,
        }
        (folder / "ini").write_text(
            f"[databases]\n* = host={url.host} port={url.port}\n[pgbouncer]\n"
            + "".join(f"{key} = {value}\n" for key, value in lines.items())
        )
        (folder / "log").touch()
        for path in folder.iterdir():
            path.chmod(0o666)
        user = ["-u", "nobody"] if os.geteuid() == 0 else []
        process = subprocess.Popen([PGBOUNCER, "-q", *user, folder / "ini"])
        pooled = url.set(port=port)
        try:
            deadline = time.monotonic() + 120
            while True:
                try:
                    psycopg2.connect(pooled.render_as_string(hide_password=False)).close()
                    break
                except psycopg2.OperationalError:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.05)
            yield pooled
        finally:
            process.terminate()
            process.wait(120)


@pytest.mark.parametrize(
    ("mode", "ignored"),
    [("transaction", ""), *((m, "options") for m in ("transaction", "session", "statement"))],
)
def test_a_pooler_is_refused(service: Service, mode: str, ignored: str, guide: Guide) -> None:
    row = guide["a pooler in front of the server"]
    port = free_port()
    settings = {"pool_mode": mode, "ignore_startup_parameters": f"extra_float_digits,{ignored}"}
    with pgbouncer(service.url, port, **settings) as pooled:
        address = pooled.render_as_string(hide_password=False)
        for _ in range(2):  # on an empty database, and at head
            done = service.migrate(MIGRATION_CONNECT_WAIT="3600", DATABASE_URL=address)
            row.check(done)
            assert "set MIGRATION_DATABASE_URL to the address of the server" in done.stderr
            direct = service.url.render_as_string(hide_password=False)
            done = service.migrate(DATABASE_URL=address, MIGRATION_DATABASE_URL=direct)
            assert done.returncode == 0, done


# Two sessions, of which each meets both of the pooler's sessions of the server: one is in use.
APPLICATION = """
import asyncio, sys
from sqlalchemy import text
from app.core.database import get_engine
from app.migrate.explain import explain

async def ask(connection):
    assert await connection.scalar(text("SELECT CAST(:n AS int)"), {"n": 42}) == 42

async def main():
    async with get_engine().connect() as one, get_engine().connect() as other:
        for first, second in [(one, other), (other, one)] * 3:
            await ask(first)
            await first.commit()
            await ask(second)
            await ask(first)
            await first.commit()
            await second.commit()
    print("done")

try:
    asyncio.run(main())
except Exception as error:
    sys.exit(str(explain(error)))
"""


@pytest.mark.parametrize("query", ["", "?prepared_statement_cache_size=100"])
def test_an_application_behind_a_pooler_keeps_nothing_prepared_by_default(
    service: Service, query: str
) -> None:
    port = free_port()
    with pgbouncer(service.url, port, pool_mode="transaction", default_pool_size=2) as pooled:
        address = pooled.render_as_string(hide_password=False)
        done = service.python(APPLICATION, DATABASE_URL=address + query)
    if not query:
        assert done.returncode == 0, done
        assert done.stdout == "done\n"
    else:
        assert re.match("Error: prepared statement .*exist", done.stderr), done
        assert "end DATABASE_URL with ?prepared_statement_cache_size=0" in done.stderr

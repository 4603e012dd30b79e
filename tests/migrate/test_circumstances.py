"""Settings that are hostile, and a server without room."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest

from tests._kit.report import cannot_run
from tests._kit.support import execute
from tests.migrate.faults import KeptServer
from tests.migrate.service import Service
from tests.migrate.table import Guide

HOSTILE = r"""p'a"s$s w#o\r%d $HOME $ ä€"""


@pytest.mark.parametrize("line_end", ["\n", "\r\n"], ids=["lf", "crlf"])
@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["plain", "bom"])
def test_a_hostile_env_file(service: Service, line_end: str, mark: str) -> None:
    url = service.url
    root = service.backend.parent
    (root / "docker-compose.yml").write_text("")
    execute(url, "DROP ROLE IF EXISTS hostile")
    literal = HOSTILE.replace("'", "''")
    execute(url, f"CREATE ROLE hostile LOGIN SUPERUSER PASSWORD '{literal}'")
    quoted = HOSTILE.replace("\\", "\\\\").replace("'", "\\'")
    lines = [
        f"POSTGRES_HOST={url.host}",
        "# " + "a comment " * 20_000,
        *(f"OTHER_{n}={'x' * 100}" for n in range(300)),
        f'export POSTGRES_PORT="{url.port}"',
        "POSTGRES_USER=hostile",
        f"POSTGRES_DB = {url.database}   # with a comment",
        f"POSTGRES_PASSWORD='{quoted}'",
        "MIGRATION_LOCK_WAIT=7",
    ]
    (root / ".env").write_bytes((mark + line_end.join(lines)).encode())
    try:
        for _ in range(2):
            done = service.run(DATABASE_URL="")
            assert done.returncode == 0, done
        assert service.sql("SELECT DISTINCT role FROM alembic_history") == [("hostile",)]
    finally:
        execute(url, "DROP OWNED BY hostile CASCADE")
        execute(url, "DROP ROLE hostile")


def test_settings_that_cannot_be_are_named(service: Service, guide: Guide) -> None:
    row = guide["a setting is missing or wrong"]
    assert service.migrate().returncode == 0
    for name, value in [
        ("MIGRATION_LOCK_WAIT", "soon"),
        ("MIGRATION_LOCK_TIMEOUT", "-1"),
        ("MIGRATION_LOCK_TIMEOUT", "inf"),
        ("MIGRATION_LOCK_TIMEOUT", "nan"),
        ("MIGRATION_LOCK_TIMEOUT", "0.0004"),  # no limit at all, once it is in milliseconds
        ("MIGRATION_LOCK_TIMEOUT", "1e9"),  # more than PostgreSQL takes
        ("MIGRATION_LOCK_WAIT", "inf"),
        ("ENVIRONMENT", "staging"),
        ("POSTGRES_PORT", "5432x"),
        ("MIGRATION_DATABASE_URL", "mysql://u:p@localhost/d"),
        ("DATABASE_URL", ""),
    ]:
        done = service.migrate(**{name: value})
        row.check(done)
        assert name in done.stderr.partition("Error:")[2] or not value, done
    assert "POSTGRES_USER, POSTGRES_PASSWORD, POSTGRES_DB not set" in done.stderr


def test_a_server_without_room_says_so_and_the_next_run_goes_on(
    new_service: Callable[..., Service], postgres: ModuleType, guide: Guide
) -> None:
    full, down = guide["the server's disk is full"], guide["the connection breaks"]
    with small_disk(200) as disk, KeptServer(postgres, disk) as server:
        service = new_service(server.url)
        service.add("kept", 'op.execute("CREATE TABLE kept ()")')
        service.add(
            "large",
            """
            op.execute("CREATE TABLE large (text text)")
            op.execute("ALTER TABLE large ALTER text SET STORAGE PLAIN")
            op.execute("INSERT INTO large SELECT repeat('x', 5000) FROM generate_series(1, 20000)")
            """,
        )
        ballast = disk / "ballast"
        subprocess.run(["fallocate", "-l", f"{free(disk) - 50 * 1024**2}", ballast], check=True)
        done = service.migrate(MIGRATION_CONNECT_WAIT="30")
        print(done.stderr.partition("Error:")[2])
        # 4: the log was full, and the server went down.
        (down if done.returncode == down.exit_code else full).check(done)
        ballast.unlink()
        server.restart()
        subprocess.run(["mount", "-o", "remount,size=900m", disk], check=True)
        done = service.migrate(MIGRATION_CONNECT_WAIT="30")
        assert done.returncode == 0, done
        assert service.sql("SELECT count(*) FROM large") == [(20000,)]


def free(folder: Path) -> int:
    """Bytes."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


@contextmanager
def small_disk(megabytes: int) -> Generator[Path]:
    """A file system of that size."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=755", "tmpfs", name]
        no_mount = shutil.which("mount") is None
        if no_mount or subprocess.run(mount, check=False, capture_output=True).returncode:
            cannot_run("no right to mount a small disk", "sudo scripts/test -k without_room")
        try:
            yield Path(name)
        finally:
            subprocess.run(["umount", name], check=True)

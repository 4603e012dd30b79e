"""What an application feels: reads while a migration waits for a lock, locks after its end.

A transaction reads a table for eight seconds; a revision wants to alter that table, and every read
that comes later queues behind the revision. The application reads 200 times a second, and a
reading's time counts from when it was due. Beside us: Alembic's generic env.py, and sketches of how
pypi/warehouse (lock_timeout 4 s, no retry) and alphagov/notifications-api (1 s, ten retries, one
each 10 s) configure theirs.
"""

import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg2
from sqlalchemy import URL

from benchmarks.figures import Figure
from benchmarks.project import ALEMBIC, MIGRATE, generic, new_database, render
from tests._kit.revision import write_revision
from tests._kit.support import environment, execute

TITLE = "What an application feels"
RATE = 200  # readings a second
HELD = 8.0  # seconds
AFTER = 2.0  # seconds of reading more
SKETCHES = {
    "generic": "",
    "warehouse": "SET statement_timeout = 5000; SET lock_timeout = 4000",
    "notifications": "SET lock_timeout = 1000",
}
NOTIFICATIONS = """
import subprocess, sys, time
for attempt in range(10):
    if not subprocess.run([sys.executable, "-m", "alembic", "upgrade", "head"]).returncode:
        sys.exit()
    time.sleep(10)
sys.exit(1)
"""


def measure(folder: Path, server: URL, runs: int) -> Iterator[Figure]:
    """The worst reading and the 99th percentile; then the time until the locks are free."""
    del runs  # each of these takes ten seconds, and its own readings are many
    backend = render(folder) / "backend"
    write_revision(
        backend, "more", "baseline", 'op.add_column("items", sa.Column("more", sa.Integer()))'
    )
    for limit in ("0.25", "1", "2", ""):
        given = {"MIGRATION_LOCK_TIMEOUT": limit} if limit else {}
        seconds = float(limit) if limit else 0
        waited, worst, percentile = _readings(backend, server, MIGRATE, **given)
        yield Figure(
            f"lock_timeout {limit} s" if limit else "the default",
            worst,
            floor=seconds or None,
            floor_is="lock_timeout",
            ratio=worst / seconds if seconds else None,
            target=1.3 if seconds else 1,
            others={"99th percentile": percentile, "migrated after": waited},
        )
    for name, limits in SKETCHES.items():
        plain = generic(backend, folder / name, limits)
        command = ALEMBIC
        if name == "notifications":
            command = [sys.executable, "-c", NOTIFICATIONS]
        waited, worst, percentile = _readings(plain, server, command)
        yield Figure(
            "Alembic's generic env.py" if name == "generic" else f"as {name} does",
            worst,
            others={"99th percentile": percentile, "migrated after": waited},
        )
    if sys.platform != "win32":
        for name in ("SIGTERM", "SIGKILL"):
            taken = [_freed(backend, server, signal.Signals[name]) for _ in range(5)]
            middle = statistics.median(taken)
            yield Figure(f"locks are free after {name}", middle, best=min(taken), runs=5)


def _readings(
    backend: Path, server: URL, command: list[str], **variables: str
) -> tuple[float | str, float, float]:
    """When the migration was done (or its exit code), the worst reading, the 99th percentile."""
    url = new_database(server)
    execute(url, "CREATE TABLE items (id int PRIMARY KEY); INSERT INTO items VALUES (1)")
    address, over = url.render_as_string(hide_password=False), threading.Event()
    taken: list[float] = []

    def read(due: float) -> None:
        connection = pool.pop()
        with connection.cursor() as cursor:
            cursor.execute("SELECT * FROM items WHERE id = 1")
        taken.append(time.perf_counter() - due)
        pool.append(connection)

    pool = [psycopg2.connect(address) for _ in range(60)]
    for connection in pool:
        connection.autocommit = True

    def application() -> None:
        # As many readers as an application has connections; who finds none waits for one.
        with ThreadPoolExecutor(len(pool)) as readers:
            due = time.perf_counter()
            while not over.is_set():
                readers.submit(read, due)
                due += 1 / RATE
                time.sleep(max(due - time.perf_counter(), 0))

    holder = psycopg2.connect(address)
    holder.cursor().execute("SELECT * FROM items")
    reading = threading.Thread(target=application)
    reading.start()
    start = time.perf_counter()
    migration = subprocess.Popen(
        command,
        cwd=backend,
        env=environment(url, **variables),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    time.sleep(HELD)
    holder.close()
    status = migration.wait()
    done: float | str = time.perf_counter() - start
    time.sleep(AFTER)
    over.set()
    reading.join()
    for connection in pool:
        connection.close()
    taken.sort()
    return (
        f"never: exit code {status}" if status else done,
        taken[-1],
        taken[len(taken) * 99 // 100],
    )


def _freed(ours: Path, server: URL, by: signal.Signals) -> float:
    """Seconds from the signal until another session has the lock of a table."""
    url = new_database(server)
    backend = ours.with_name("sleeping")
    if not backend.exists():
        shutil.copytree(ours, backend)
        up = 'op.execute("LOCK TABLE items"); op.execute("SELECT pg_sleep(60)")'
        write_revision(backend, "sleep", "more", up, number=1)
    execute(url, "CREATE TABLE items (id int PRIMARY KEY)")
    migration = subprocess.Popen(
        MIGRATE,
        cwd=backend,
        env=environment(url),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    sleeping = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
    while not execute(url, sleeping):
        if migration.poll() is not None:
            sys.exit(f"the migration ended with {migration.returncode} before it slept")
        time.sleep(0.02)
    start = time.perf_counter()
    migration.send_signal(by)
    execute(url, "BEGIN; LOCK TABLE items; COMMIT")
    taken = time.perf_counter() - start
    migration.wait()
    return taken

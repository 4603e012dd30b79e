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
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import psycopg2
from psycopg2 import errors
from sqlalchemy import URL

from benchmarks.application import Application
from benchmarks.figures import Figure
from benchmarks.project import (
    ALEMBIC,
    MIGRATE,
    Compose,
    generic,
    new_database,
    render,
    why_no_docker,
)
from tests._kit.revision import write_revision
from tests._kit.support import environment, execute

TITLE = "What an application feels"
RATE = 200  # readings a second
HELD = 8.0  # seconds
AFTER = 2.0  # seconds of reading more
PATIENCE = 60  # seconds for locks to become free
FREE = "Until the locks of a long statement are free"
CUT = "after its network is cut"
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
            _name(name),
            worst,
            others={"99th percentile": percentile, "migrated after": waited},
        )
    yield from _freed(folder, backend, server)


def _name(sketch: str) -> str:
    return "Alembic's generic env.py" if sketch == "generic" else f"as {sketch} does"


def _readings(
    backend: Path, server: URL, command: list[str], **variables: str
) -> tuple[float | str, float, float]:
    """When the migration was done (or its exit code), the worst reading, the 99th percentile."""
    url = new_database(server)
    execute(url, "CREATE TABLE items (id int PRIMARY KEY); INSERT INTO items VALUES (1)")
    holder = psycopg2.connect(url.render_as_string(hide_password=False))
    holder.cursor().execute("SELECT * FROM items")
    with Application(url, RATE, lambda: "SELECT * FROM items WHERE id = 1") as application:
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
    done = f"never: exit code {status}" if status else done
    return done, application.worst, application.percentile


def _freed(folder: Path, ours: Path, server: URL) -> Iterator[Figure]:
    """Until the locks are free, when a revision with a long statement loses its process."""
    backend = folder / "sleeping"
    shutil.copytree(ours, backend)
    up = 'op.execute("LOCK TABLE items"); op.execute("SELECT pg_sleep(600)")'
    write_revision(backend, "sleep", "more", up, number=1)
    others = {
        _name(name): generic(backend, folder / f"sleeping-{name}", limits)
        for name, limits in SKETCHES.items()
    }

    def ended(by: signal.Signals, command: list[str], project: Path) -> float | str:
        url = _with_items(server)
        variables, null = environment(url), subprocess.DEVNULL
        migration = subprocess.Popen(command, cwd=project, env=variables, stdout=null, stderr=null)
        seconds = _until_free(url, lambda: migration.send_signal(by))
        migration.kill()
        migration.wait()
        return seconds

    for name in ("SIGTERM", "SIGKILL") if sys.platform != "win32" else ():
        by = signal.Signals[name]
        taken = [float(ended(by, MIGRATE, backend)) for _ in range(5)]
        with ThreadPoolExecutor() as pool:
            more = pool.map(partial(ended, by, ALEMBIC), others.values())
            said = dict(zip(others, more, strict=True))
        middle, least = statistics.median(taken), min(taken)
        yield Figure(f"after {name}", middle, best=least, runs=5, others=said, part=FREE)
    if why := why_no_docker():
        yield Figure(CUT, None, others={"why not": why}, part=FREE)
    else:
        yield _cut(Compose(render(folder)), backend, others)


def _cut(compose: Compose, backend: Path, others: dict[str, Path]) -> Figure:
    """The same where its container loses the network, and nobody tells the server."""
    for file in ("more", "sleep"):
        [path] = backend.glob(f"alembic/versions/*_{file}_*.py")
        shutil.copy(path, compose.folder / "backend" / "alembic" / "versions")
    url = URL.create(
        "postgresql", "demo_user", "development-only", "127.0.0.1", compose.port, "demo_db"
    )

    def cut(name: str, project: Path | None) -> float | str:
        mine, container = _with_items(url), f"{compose.name}-{name}"
        inside = mine.set(host="postgres", port=5432).render_as_string(hide_password=False)
        words = ["run", "--detach", f"--name={container}", f"--network={compose.name}_default"]
        words += [f"--env=DATABASE_URL={inside}", "--env=ENVIRONMENT=development"]
        command = [compose.name]
        if project:
            words += [f"--volume={project}:/generic:ro", "--workdir=/generic"]
            command += ["python", "-m", "alembic", "upgrade", "head"]
        compose(*words, *command)
        try:
            leave = ["network", "disconnect", f"{compose.name}_default", container]
            return _until_free(mine, lambda: compose(*leave))
        finally:
            compose("rm", "--force", container)

    try:
        compose("build", "--quiet", f"--tag={compose.name}", "backend")
        compose("compose", "up", "--detach", "--wait", "postgres")
        with ThreadPoolExecutor() as pool:
            names = [f"side{number}" for number in range(1 + len(others))]
            ours, *more = pool.map(cut, names, [None, *others.values()])
    finally:
        compose.down()
        compose("rmi", "--force", compose.name)
    said = dict(zip(others, more, strict=True))
    return Figure(CUT, float(ours), others=said, part=FREE)


def _with_items(server: URL) -> URL:
    url = new_database(server)
    execute(url, "CREATE TABLE items (id int PRIMARY KEY)")
    return url


def _until_free(url: URL, end: Callable[[], object]) -> float | str:
    """Seconds from the end of a migration until another session has the lock of its table."""
    sleeping = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = %s"
    for _ in range(1500):
        if execute(url, sleeping, url.database):
            break
        time.sleep(0.02)
    else:
        sys.exit("no migration slept within 30 s")
    start = time.perf_counter()
    end()
    try:
        execute(url, f"SET lock_timeout = '{PATIENCE} s'; LOCK TABLE items")
    except errors.LockNotAvailable:
        return f"not within {PATIENCE} s"
    return time.perf_counter() - start

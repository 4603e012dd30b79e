"""A database at head: what `migrate` costs when there is nothing to do.

The floor of a process is a Python that connects by psycopg2 and selects one row; that of a
container the same service with `true`.
"""

import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg2
from sqlalchemy import URL

from benchmarks.figures import Figure, alternate, figure
from benchmarks.project import (
    MIGRATE,
    Compose,
    add_revisions,
    at_once,
    new_database,
    process,
    render,
    why_no_docker,
)
from tests._kit.support import environment

TITLE = "Nothing to do"
FLOOR = """
import os, psycopg2
connection = psycopg2.connect(os.environ["DATABASE_URL"])
cursor = connection.cursor()
cursor.execute("SELECT version_num FROM alembic_version")
print(cursor.fetchone())
"""
DEVELOPMENT = "--env=ENVIRONMENT=development"  # which accepts the password of Compose
PODS = 50


def measure(folder: Path, server: URL, runs: int) -> Iterator[Figure]:
    """As a process, in each way of giving the database and for many revisions; as a container."""
    backend = render(folder) / "backend"
    url = new_database(server)
    process(MIGRATE, backend, url)
    yield from _ways(backend, url, runs)
    many, url, last = render(folder) / "backend", new_database(server), 0
    for number in (100, 1000, 3000):
        add_revisions(many, last + 1, number)
        last = number
        process(MIGRATE, many, url)
        yield _process(f"{number} revisions", many, url, runs, 1.4 if number <= 1000 else None)
    if why := why_no_docker():
        yield Figure("in containers", 0, others={"why_not": why})
        return
    yield from _containers(folder, runs)


def _process(
    what: str, backend: Path, url: URL, runs: int, target: float | None, **variables: str
) -> Figure:
    """The other side always has DATABASE_URL."""
    process(MIGRATE, backend, url, **variables)  # stores the proof
    taken = alternate(
        runs,
        ours=lambda: process(MIGRATE, backend, url, **variables),
        floor=lambda: process([sys.executable, "-c", FLOOR], backend, url),
    )
    return figure(what, taken, unit="ms", floor_is="psycopg2", target=target)


def _ways(backend: Path, url: URL, runs: int) -> Iterator[Figure]:
    plain = environment(url)["DATABASE_URL"]
    five = {
        "POSTGRES_HOST": url.host or "",
        "POSTGRES_PORT": str(url.port),
        "POSTGRES_USER": url.username or "",
        "POSTGRES_PASSWORD": url.password or "",
        "POSTGRES_DB": url.database or "",
    }
    escaped = plain.replace("//p", "//%70", 1)  # of the user postgres
    secret = backend.parent / "password"
    secret.write_text(five["POSTGRES_PASSWORD"])
    in_file = five | {"POSTGRES_PASSWORD": "", "POSTGRES_PASSWORD_FILE": str(secret)}
    yield _process("DATABASE_URL", backend, url, runs, 1.4)
    yield _process("percent-escapes", backend, url, runs, 1.4, DATABASE_URL=escaped)
    yield _process("five variables", backend, url, runs, 1.4, DATABASE_URL="", **five)
    yield _process("a password file", backend, url, runs, 1.4, DATABASE_URL="", **in_file)
    env_file = backend.parent / ".env"
    env_file.write_text("".join(f"{name}={value}\n" for name, value in five.items()))
    yield _process(".env", backend, url, runs, 2.5, DATABASE_URL="")
    env_file.unlink()
    for file in ("app/core/config.py", "alembic/env.py"):
        path = backend / file
        text = path.read_text()
        path.write_text(text + "\n# edited\n")
        yield _process(f"{path.name} edited", backend, url, runs, None)
        path.write_text(text)


def _containers(folder: Path, runs: int) -> Iterator[Figure]:
    compose = Compose(render(folder))
    image = compose.name
    address = "postgresql://demo_user:development-only@postgres/demo_db"
    given = [f"--network={image}_default", f"--env=DATABASE_URL={address}", DEVELOPMENT, image]
    run = ["run", "--rm", *given]
    try:
        compose("compose", "build", "--quiet", "migrate")
        compose("build", "--quiet", f"--tag={image}", "backend")
        compose("compose", "run", "--rm", "migrate")
        service = ["compose", "run", "--rm"]
        taken = alternate(
            runs,
            ours=lambda: compose.seconds(*service, "migrate"),
            floor=lambda: compose.seconds(*service, "--entrypoint=true", "migrate"),
        )
        yield figure("Compose", taken, unit="ms", floor_is="with true", target=1.1)
        taken = alternate(
            runs,
            ours=lambda: compose.seconds(*run),
            floor=lambda: compose.seconds(*run, "python", "-c", FLOOR),
        )
        yield figure("built image", taken, unit="ms", floor_is="psycopg2", target=1.4)
        taken = alternate(
            1,
            ours=lambda: _at_once(compose, run),
            floor=lambda: _at_once(compose, [*run, "true"]),
        )
        connections = _connections(compose, run)
        more = {"connections": f"{connections} at most"}
        yield figure(f"{PODS} containers at once", taken, floor_is="with true", others=more)
    finally:
        compose.down()
        compose("rmi", "--force", image)


def _at_once(compose: Compose, run: list[str]) -> float:
    return at_once(PODS, ["docker", *run], compose.folder, compose.environment())


def _connections(compose: Compose, run: list[str]) -> int:
    """The most sessions of theirs that the server has at once."""
    most, over = 0, threading.Event()

    def watch() -> None:
        nonlocal most
        connection = psycopg2.connect(
            host="127.0.0.1",
            port=compose.port,
            user="demo_user",
            password="development-only",  # noqa: S106 (Compose's default)
            dbname="demo_db",
        )
        connection.autocommit = True
        with connection.cursor() as cursor:
            while not over.wait(0.01):
                cursor.execute(
                    "SELECT count(*) FROM pg_stat_activity WHERE datname = 'demo_db' "
                    "AND pid <> pg_backend_pid()"
                )
                most = max(most, cursor.fetchone()[0])  # type: ignore[index]
        connection.close()

    watcher = threading.Thread(target=watch)
    watcher.start()
    _at_once(compose, run)
    over.set()
    watcher.join()
    return most

"""From images that are present to a migrated database, and to a healthy application.

The floor is the server's first answer on an empty volume, and one container that does nothing.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psycopg2
from sqlalchemy import URL

from benchmarks.figures import Figure, alternate, figure
from benchmarks.project import Compose, render, why_no_docker

TITLE = "From images to a migrated database"
PRESTART = ["compose", "run", "--rm", "backend", "bash", "scripts/prestart.sh"]


def measure(folder: Path, server: URL, runs: int, peer: Path | None = None) -> Iterator[Figure]:
    """Cold (no volume), warm (a migrated volume, no server), and the application's health."""
    del server  # Compose has its own
    if why := why_no_docker():
        yield Figure("in containers", 0, others={"why_not": why})
        return
    ours = Compose(render(folder))
    full_stack = Compose(peer) if peer else None
    why_no_peer = {} if peer else {"full-stack": "not given: --peer PATH"}
    migrate = ["compose", "run", "--rm", "migrate"]
    try:
        ours("compose", "build", "--quiet", "migrate")
        sides = {"ours": lambda: _cold(ours, migrate), "floor": lambda: _floor(ours)}
        if full_stack:
            sides["full-stack"] = lambda: _cold(full_stack, PRESTART)
        taken = alternate(runs, **sides)
        floor_is = "first answer and a container"
        yield figure("cold", taken, floor_is=floor_is, target=1.75, others=why_no_peer)
        sides = {"ours": lambda: _warm(ours, migrate)}
        if full_stack:
            sides["full-stack"] = lambda: _warm(full_stack, PRESTART)
        ours(*migrate)
        yield figure("warm volume", alternate(runs, **sides), others=why_no_peer)
    finally:
        ours.down()
        if full_stack:
            full_stack.down()
    api = Compose(render(folder, api="fastapi", project_name="Demo API"))
    try:
        api("compose", "build", "--quiet", "api")
        up = ["compose", "up", "--detach", "--wait", "api"]
        yield figure("cold, to a healthy application", alternate(runs, ours=lambda: _cold(api, up)))
    finally:
        api.down()


def _cold(compose: Compose, words: list[str]) -> float:
    compose.down()
    return compose.seconds(*words)


def _warm(compose: Compose, words: list[str]) -> float:
    compose("compose", "down", "--timeout=1")
    return compose.seconds(*words)


def _floor(compose: Compose) -> float:
    compose.down()
    start = time.perf_counter()
    compose("compose", "up", "--detach", "postgres")
    while time.perf_counter() - start < 60:
        with suppress(psycopg2.OperationalError):
            psycopg2.connect(
                host="127.0.0.1",
                port=compose.port,
                user="demo_user",
                password="development-only",  # noqa: S106 (Compose's default)
                dbname="demo_db",
            ).close()
            break
        time.sleep(0.01)
    else:
        sys.exit("PostgreSQL did not answer within 60 s")
    compose("run", "--rm", "--entrypoint=true", "postgres:18")
    return time.perf_counter() - start

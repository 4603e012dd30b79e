"""From empty to head: 10, 100 and 1,000 revisions, beside psql with the same SQL; many at once.

Beside it Alembic's generic env.py, which has no lock, no record, no clean session for each step.
"""

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from sqlalchemy import URL

from benchmarks.figures import Figure, alternate, figure
from benchmarks.project import (
    ALEMBIC,
    MIGRATE,
    add_revisions,
    at_once,
    generic,
    new_database,
    process,
    psql,
    render,
)
from tests._kit.support import environment

TITLE = "From empty to head"


def measure(folder: Path, server: URL, runs: int) -> Iterator[Figure]:
    """The time of each number of revisions, the memory of the most, and callers at once."""
    backend, last = render(folder) / "backend", 0
    client = psql()
    for number in (10, 100, 1000):
        add_revisions(backend, last + 1, number)
        last = number
        sides = {"ours": lambda: process(MIGRATE, backend, new_database(server))}
        plain = generic(backend, folder / f"generic{number}")
        sides["generic_env.py"] = partial(_generic, plain, server)
        if client:
            script = backend / "all.sql"
            script.write_text(_offline(backend, server))
            by_psql = [client, "-qX", "-v", "ON_ERROR_STOP=1", "-f", str(script)]
            sides["floor"] = partial(_psql, by_psql, backend, server)
        taken = alternate(max(runs // (5 if number > 100 else 2), 2), **sides)
        target = 1.6 if number == 1000 else None
        yield figure(f"{number} revisions", taken, floor_is="psql", target=target)
    if sys.platform != "win32":
        most = _memory(backend, new_database(server))
        yield Figure("memory, 1,000 revisions", most, "MiB", target=150)
    few = render(folder) / "backend"
    add_revisions(few, 1, 10)
    for callers in (1, 8, 32, 100):
        taken = alternate(max(runs // 5, 2), ours=partial(_at_once, few, server, callers))
        yield figure(f"10 revisions, {callers} at once", taken)


def _offline(backend: Path, server: URL) -> str:
    return subprocess.run(
        [*MIGRATE, "upgrade", "head", "--sql"],
        cwd=backend,
        env=environment(server),
        check=True,
        capture_output=True,
        text=True,
    ).stdout


def _generic(backend: Path, server: URL) -> float:
    return process(ALEMBIC, backend, new_database(server))


def _psql(command: list[str], backend: Path, server: URL) -> float:
    address = new_database(server).render_as_string(hide_password=False)
    return process([*command, address], backend, None)


def _memory(backend: Path, url: URL) -> float:
    """The peak of the process, in MiB."""
    done = subprocess.Popen(MIGRATE, cwd=backend, env=environment(url), stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(done.pid, 0)
    if status:
        sys.exit(f"{MIGRATE} ended with {status}")
    assert isinstance(used, resource.struct_rusage)
    return used.ru_maxrss / (1024**2 if sys.platform == "darwin" else 1024)


def _at_once(backend: Path, server: URL, callers: int) -> float:
    return at_once(callers, MIGRATE, backend, environment(new_database(server)))

"""The checks of revisions: of all, of five after many that are released, by one worker and by two.

Half of the revisions make a table, half add a column. Beside ours the default tests of
pytest-alembic (one head, up, down), which look at no schema and at no row, on Alembic's own env.py.
BENCH_REVISIONS=10,100 takes fewer than 10, 100, 300 and 1,000.
"""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import URL

from benchmarks.figures import Figure
from benchmarks.project import NotInstalledError, ended, on_cores, python_with, render
from benchmarks.suite import suite, write_step
from tests._kit.support import environment

TITLE = "The checks of revisions"
NUMBERS = [
    int(number) for number in os.environ.get("BENCH_REVISIONS", "10,100,300,1000").split(",")
]
NEW = 5  # after those that are released
PEER = ["pytest-alembic==0.13.1", "pytest<9", "psycopg2-binary", "alembic==1.20.1"]
PEERS_ENV = """
from alembic import context

with context.config.attributes["connection"].connect() as connection:
    context.configure(connection=connection, target_metadata=None)
    with context.begin_transaction():
        context.run_migrations()
"""
PEERS_TESTS = """
import os, uuid
import pytest
from pytest_alembic.tests import test_single_head_revision, test_up_down_consistency, test_upgrade
from sqlalchemy import create_engine, make_url

@pytest.fixture
def alembic_engine():
    server = make_url(os.environ["DATABASE_URL"]).set(drivername="postgresql+psycopg2")
    name = f"peer_{uuid.uuid4().hex}"
    with create_engine(server, isolation_level="AUTOCOMMIT").connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name} TEMPLATE template0")
    return create_engine(server.set(database=name))
"""


def measure(folder: Path, server: URL, runs: int) -> Iterator[Figure]:
    """Seconds of the whole suite, on one core but where it says two."""
    often = max(runs // 5, 2)
    backend, last, peer = render(folder) / "backend", 0, Peer(folder, server)
    add_steps(backend, 0, NEW)
    five, last = min(suite(backend, cores=1).seconds for _ in range(often)), NEW
    yield Figure(f"{NEW} revisions", five, runs=often)
    for number in NUMBERS:
        add_steps(backend, last, number)
        last = number
        one = suite(backend, cores=1)
        others: dict[str, float | str] = {"pytest-alembic": peer.seconds(backend)}
        others["memory"] = f"{one.megabytes:.0f} MB"
        if number < 1000:
            others["two workers, two cores"] = suite(backend, "-n", "2").seconds
        target = 12 if number == 100 else None
        yield Figure(f"{number:,} revisions", one.seconds, target=target, others=others)
        release(backend, f"r{number - NEW - 1:03}")
        some = min(suite(backend, cores=1).seconds for _ in range(often))
        release(backend, "")
        yield Figure(
            f"{number - NEW:,} released and {NEW} new revisions",
            some,
            runs=often,
            floor=five,
            floor_is=f"{NEW} new",
            ratio=some / five,
            target=2,
        )


class Peer:
    """pytest-alembic, where it can be installed."""

    def __init__(self, folder: Path, server: URL) -> None:
        self.folder, self.variables, self.why = folder / "peer", environment(server), ""
        try:
            self.python = python_with(folder / "peers-environment", *PEER)
        except NotInstalledError as error:
            self.why = f"not installed: {error}"

    def seconds(self, backend: Path) -> float | str:
        """Of its default tests on these revisions, or why there are none."""
        if self.why:
            return self.why
        shutil.rmtree(self.folder, ignore_errors=True)
        versions = self.folder / "migrations" / "versions"
        shutil.copytree(backend / "alembic" / "versions", versions)
        (versions.parent / "env.py").write_text(PEERS_ENV)
        (self.folder / "test_peer.py").write_text(PEERS_TESTS)
        ini = "[alembic]\nscript_location = %(here)s/migrations\npath_separator = os\n"
        (self.folder / "alembic.ini").write_text(ini)
        command = on_cores(1, [self.python, "-m", "pytest", "-q", "test_peer.py"])
        done = ended(command, self.folder, self.variables)
        if done.code:
            return done.output.strip().splitlines()[-1].strip("= ")
        return done.seconds


def release(backend: Path, revision: str) -> None:
    """Set `released`."""
    pyproject = backend / "pyproject.toml"
    text, said = pyproject.read_text(), f'released = "{revision}"'
    pyproject.write_text(re.sub("(?m)^released = .*", said, text))


def add_steps(backend: Path, first: int, last: int) -> None:
    """Tables with an index and a foreign key, and columns, in turn."""
    for number in range(first, last):
        write_step(backend, number)

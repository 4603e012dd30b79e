"""What the rendered project's tests cost, on the host and in Compose.

CPU seconds count the children: on a busy machine they say more than the clock.
"""

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import URL

from benchmarks.figures import Figure, alternate, figure
from benchmarks.project import Compose, Ended, ended, on_cores, render, why_no_docker
from tests._kit.revision import write_revision

TITLE = "The rendered project's tests"
NUMBER = 400  # tests of each kind
TABLES = 10  # that a test of the alternatives has
HEAD = """\
import pytest
from sqlalchemy import URL, Column, Integer, MetaData, Table, create_engine, text
from sqlalchemy.ext.asyncio import AsyncSession
from testing.databases import Alembic, execute

models = MetaData()
for n in range({tables}):
    Table(f"t{{n}}", models, Column("id", Integer, primary_key=True))

@pytest.fixture(scope="session", autouse=True)
def table(database: URL) -> None:
    execute(database, "CREATE TABLE IF NOT EXISTS benchmark (n int)")

@pytest.fixture(scope="session")
def plain(database: URL):
    engine = create_engine(database.set(drivername="postgresql+psycopg2"))
    yield engine
    models.drop_all(engine)
    engine.dispose()

@pytest.mark.parametrize("n", range({number}))
"""
TESTS = {
    "empty": "async def test(n: int) -> None:\n    pass\n",
    "session": "async def test(session: object, n: int) -> None:\n    pass\n",
    "session, commit": (
        "async def test(session: AsyncSession, n: int) -> None:\n"
        '    await session.execute(text("INSERT INTO benchmark VALUES (1)"))\n'
        "    await session.commit()\n"
    ),
    "own_database": "async def test(own_database: object, n: int) -> None:\n    pass\n",
}
COSTLY = {"own_database", "upgrade head"}  # a tenth of the tests is enough
CPU = "Seconds of the processors for a test"
ALTERNATIVES = {
    "TRUNCATE of all": (
        "def test(plain, n: int) -> None:\n    n or models.create_all(plain)\n"
        "    names = ', '.join(models.tables)\n    with plain.begin() as connection:\n"
        "        connection.exec_driver_sql(f'TRUNCATE {names}')\n"
    ),
    "create_all, drop_all": (
        "def test(plain, n: int) -> None:\n    models.create_all(plain)\n"
        "    models.drop_all(plain)\n"
    ),
    "upgrade head": (
        "def test(empty_database, n: int) -> None:\n"
        "    Alembic(empty_database)('upgrade', 'head')\n"
    ),
}
CLONE = """
import time
from sqlalchemy import URL
from testing.databases import Alembic, create_database, drop_database

def test_clone(server: URL, template: str) -> None:
    for n in range(9):
        start = time.perf_counter()
        url = create_database(server, f"{template}_{n}", template)
        print(f"clone {time.perf_counter() - start:.6f}")
        drop_database(server, url.database)
    for n in range(3):
        url = create_database(server, f"{template}_{n}")
        start = time.perf_counter()
        Alembic(url)("upgrade", "head")
        print(f"upgrade {time.perf_counter() - start:.6f}")
        drop_database(server, url.database)
"""


def measure(folder: Path, server: URL, runs: int) -> Iterator[Figure]:
    """A fresh suite, a test of each kind, a worker's database; the same in Compose."""
    del server  # the suite starts its own
    backend, few = render(folder) / "backend", max(runs // 5, 2)
    taken = alternate(few, ours=lambda: suite(backend).seconds)
    yield figure("a fresh suite", taken, target=4)
    yield from _tests(backend, few)
    yield from _clone(render(folder) / "backend")
    if why := why_no_docker():
        yield Figure("in Compose", None, others={"why not": why})
        return
    compose = Compose(backend.parent)
    try:
        compose("compose", "build", "--quiet", "test")
        taken = alternate(
            few,
            ours=lambda: compose.seconds("compose", "run", "--rm", "test"),
            floor=lambda: suite(backend).seconds,
        )
        yield figure("in Compose", taken, floor_is="embedded server", target=1.3)
    finally:
        compose.down()


def _tests(backend: Path, runs: int) -> Iterator[Figure]:
    """One test of each kind, by the difference between many with and many without."""
    file, seconds = backend / "tests" / "test_benchmark.py", {"nothing": 0.0}
    for name, body in {**TESTS, **ALTERNATIVES}.items():
        number = NUMBER // 10 if name in COSTLY else NUMBER
        text = HEAD.format(number=number, tables=TABLES) + body
        file.write_text(text)
        if name == "empty":  # beside a run of a single one
            file.write_text(text.replace(f"range({number})", "range(1)"))
            seconds["nothing"] = min(suite(backend, str(file)).cpu for _ in range(runs))
            file.write_text(text)
        seconds[name] = min(suite(backend, str(file)).cpu for _ in range(runs))
        without = seconds["nothing"]
        if name != "empty":
            without += (seconds["empty"] - without) * number / NUMBER
        own = (seconds[name] - without) / number * 1000
        what = f"a test with {name}" if name != "empty" else "an empty test"
        yield Figure(what, own, "ms", target=3 if name == "session" else None, part=CPU)
    file.unlink()


def _clone(backend: Path) -> Iterator[Figure]:
    for n in range(100):
        write_step(backend, n)
    file = backend / "tests" / "test_clone.py"
    file.write_text(CLONE)
    output = suite(backend, "-s", str(file)).output
    clone, upgrade = (
        [float(value) for value in re.findall(rf"{name} ([\d.]+)", output)]
        for name in ("clone", "upgrade")
    )
    more = {"upgrade_head": min(upgrade) * 1000}
    yield Figure("a worker's clone, 50 tables", min(clone) * 1000, "ms", others=more)


def write_step(backend: Path, number: int) -> None:
    """A revision: a table with an index and a foreign key, or a column."""
    table = f"t{number - number % 2:03}"
    if number % 2:
        up = f'op.add_column("{table}", sa.Column("more", sa.Integer()))'
        down = f'op.drop_column("{table}", "more")'
    else:
        other = f'sa.Integer(), sa.ForeignKey("t{number - 2:03}.id")' if number else "sa.Integer()"
        up = (
            f'op.create_table("{table}", sa.Column("id", sa.Integer(), primary_key=True), '
            f'sa.Column("name", sa.String(50), nullable=False, unique=True), '
            f'sa.Column("other", {other}), sa.Column("at", sa.DateTime(timezone=True), '
            "server_default=sa.func.now()))\n"
            f'op.create_index("ix_{table}_at", "{table}", ["at"])'
        )
        down = f'op.drop_index("ix_{table}_at")\nop.drop_table("{table}")'
    before = f"r{number - 1:03}" if number else "baseline"
    write_revision(backend, f"r{number:03}", before, up, down, number=number, message="step")


def suite(backend: Path, *words: str, cores: int = 2) -> Ended:
    """A run of pytest, which has to be green."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("TEST_", "PG"))}
    # The models of these revisions are nobody's.
    drift = "--deselect=tests/test_migrations.py::test_models_and_revisions_make_the_same_schema"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", drift, *words]
    done = ended(on_cores(cores, command), backend, environment)
    if done.code:
        sys.exit(done.output[-3000:])
    return done

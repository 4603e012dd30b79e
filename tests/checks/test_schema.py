"""testing/schema.py sees all that `pg_dump --schema-only` sees, without false alarms.

Each change is made to a rich database and undone. Where the dumps differ the snapshots must, and a
line of the difference must name what was changed; once it is undone nothing may be left.
"""

import re
import subprocess
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from threading import Lock
from typing import Any

import psycopg2
import pytest
from sqlalchemy import URL

from tests._kit.support import template_module

WORKERS = 4  # databases, each with a thread

PLANTED = Path(__file__).resolve().parents[1] / "planted"
BASE = (PLANTED / "schema.sql").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Change:
    what: str
    line: str  # empty for what is no change
    do: str
    undo: str
    dumped: bool
    since: int


@dataclass(frozen=True)
class Result:
    """What a change made of the database, and what was left of it once it was undone."""

    lines: list[str]
    dumps_differ: bool
    left: list[str]


def planted() -> list[Change]:
    """The changes of schema_changes.sql, which says how they are written."""
    changes = []
    text = (PLANTED / "schema_changes.sql").read_text(encoding="utf-8")
    for block in text.strip().split("\n\n")[1:]:
        header, _, statements = block.partition("\n")
        if not statements:
            continue  # a heading
        do, _, undo = statements.partition("\n-- undo\n")
        what, _, rest = header.removeprefix("-- ").partition(" | ")
        line, *tags = re.split(r" \[(.*?)\]", rest)
        since = [int(tag.rstrip("+")) for tag in tags if tag.endswith("+")]
        dumped = bool(line) and "not in pg_dump" not in tags
        changes.append(Change(what, line, do, undo, dumped, since[0] if since else 0))
    return changes


ALL = planted()
CHANGES, NO_CHANGES = [it for it in ALL if it.line], [it for it in ALL if not it.line]
CATALOG = template_module("testing.schema")
POSTGRES = template_module("testing.server")
pytestmark = pytest.mark.server


class Databases:
    """A server with a rich database, and copies of it, each with connections that are kept."""

    def __init__(self, server: URL) -> None:
        self.pg_dump = [POSTGRES.find_binaries() / "pg_dump", "--schema-only"]
        if b"--restrict-key" in subprocess.check_output([self.pg_dump[0], "--help"]):
            self.pg_dump.append("--restrict-key=x")  # random, if it is not given
        self.connections: dict[str | None, psycopg2.extensions.connection] = {}
        self.readers: dict[str | None, tuple[Callable[[], Any], ExitStack]] = {}
        self.server = server
        (version,) = self.execute(self.server, "SHOW server_version_num")[0]
        self.version = int(version) // 10000
        for role in ("reader", "writer"):
            self.execute(self.server, f"CREATE ROLE {role}")
        self.execute(self.server, "SET allow_in_place_tablespaces = on")
        self.execute(self.server, "CREATE TABLESPACE fast LOCATION ''")
        self.execute(self.server, "CREATE DATABASE base TEMPLATE template0")
        base = self.server.set(database="base")
        self.execute(base, BASE)
        self.catalog: dict[tuple[str, str], str] = CATALOG.catalog(base)
        self.dump = self.dump_of(base)
        self.idle: SimpleQueue[URL] = SimpleQueue()
        self.making = Lock()
        self.close(base)  # so that it can be copied
        for number in range(WORKERS):
            self.idle.put(self.renewed(self.server.set(database=f"copy_{number}")))

    def execute(self, url: URL, statement: str) -> list[tuple[Any, ...]]:
        if url.database not in self.connections:
            connection = psycopg2.connect(url.render_as_string(hide_password=False))
            connection.autocommit = True
            self.connections[url.database] = connection
        with self.connections[url.database].cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def close(self, url: URL) -> None:
        if connection := self.connections.pop(url.database, None):
            connection.close()
        if reader := self.readers.pop(url.database, None):
            reader[1].close()

    def renewed(self, url: URL) -> URL:
        self.close(url)
        with self.making:  # several at once would wait for each other
            self.execute(self.server, f"DROP DATABASE IF EXISTS {url.database} WITH (FORCE)")
            self.execute(
                self.server, f"CREATE DATABASE {url.database} TEMPLATE base STRATEGY file_copy"
            )
        return url

    def dump_of(self, url: URL) -> bytes:
        return subprocess.check_output([*self.pg_dump, url.render_as_string(hide_password=False)])

    def difference(self, url: URL) -> list[str]:
        if url.database not in self.readers:
            stack = ExitStack()
            read = stack.enter_context(CATALOG.catalog_reader(url))
            self.readers[url.database] = read, stack
        lines: list[str] = CATALOG.difference(self.catalog, self.readers[url.database][0]())
        return lines

    def make(self, change: Change) -> Result:
        """Make a change, look, undo it, look again."""
        url = self.idle.get()
        fresh = False
        try:
            self.execute(url, change.do)
            lines, differ = self.difference(url), self.dump_of(url) != self.dump
            if not change.undo:
                return Result(lines, differ, [])
            self.execute(url, change.undo)
            left = self.difference(url)
            fresh = not left
            return Result(lines, differ, left)
        finally:
            self.idle.put(url if fresh else self.renewed(url))


@pytest.fixture(scope="session")
def databases() -> Generator[Databases]:
    with POSTGRES.postgres_server() as (server, _):
        databases = Databases(server)
        yield databases
        for name in [*databases.connections]:
            databases.close(databases.server.set(database=name))


@pytest.fixture(scope="session")
def results(
    databases: Databases, request: pytest.FixtureRequest
) -> Generator[dict[str, Future[Result]]]:
    """All changes that are asked for, made by several threads; none in a worker of xdist."""
    asked = [
        item.callspec.params.get("change")
        for item in request.session.items
        if isinstance(item, pytest.Function) and hasattr(item, "callspec")
    ]
    if hasattr(request.config, "workerinput"):  # it does not know which will be its own
        asked = []
    with ThreadPoolExecutor(WORKERS) as pool:
        futures = {
            change.what: pool.submit(databases.make, change)
            for change in asked
            if isinstance(change, Change) and change.line and change.since <= databases.version
        }
        yield futures
    if not futures:
        return
    made = [future.result() for future in futures.values() if not future.exception()]
    caught, seen = sum(bool(it.lines) for it in made), sum(it.dumps_differ for it in made)
    capture: Any = request.config.pluginmanager.get_plugin("capturemanager")
    with capture.global_and_fixture_disabled():
        print(
            f"\nPostgreSQL {databases.version}: of {len(futures)} changes "
            f"catalog.py shows {caught}, pg_dump {seen}"
        )


@pytest.mark.in_turn(2)
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.what)
def test_what_pg_dump_shows_the_catalog_shows(
    change: Change, databases: Databases, results: dict[str, Future[Result]]
) -> None:
    if change.since > databases.version:
        with pytest.raises(psycopg2.Error):  # it cannot be done
            databases.make(change)
        return
    made = results.get(change.what)
    result = made.result() if made else databases.make(change)
    assert result.dumps_differ is change.dumped
    assert any(change.line in line for line in result.lines), "\n".join(result.lines)
    assert not result.left


@pytest.mark.parametrize("change", NO_CHANGES, ids=lambda change: change.what)
def test_what_pg_dump_does_not_show_is_no_difference(change: Change, databases: Databases) -> None:
    url = databases.idle.get()
    try:
        for statement in change.do.rstrip(";").split(";"):
            databases.execute(url, statement)
        assert databases.dump_of(url) == databases.dump
        assert not databases.difference(url)
    finally:
        databases.idle.put(databases.renewed(url))


def test_pg_dump_too_sees_nothing_left(databases: Databases) -> None:
    copies = [databases.idle.get() for _ in range(WORKERS)]
    try:
        assert {databases.dump_of(url) for url in copies} == {databases.dump}
        assert not any(databases.difference(url) for url in copies)
    finally:
        for url in copies:
            databases.idle.put(url)


def test_the_tables_of_alembic_are_left_out(databases: Databases) -> None:
    assert not [key for key in databases.catalog if "alembic" in key[1]]


def test_the_same_schema_built_again_is_the_same(databases: Databases) -> None:
    again = databases.server.set(database="again")
    databases.execute(databases.server, "CREATE DATABASE again TEMPLATE template0")
    databases.execute(again, "CREATE TABLE other_oids (id serial PRIMARY KEY, t text)")
    databases.execute(again, "DROP TABLE other_oids")
    databases.execute(again, BASE)
    assert databases.dump_of(again) == databases.dump
    assert not databases.difference(again)


def test_an_owner_who_is_no_superuser_sees_the_same(databases: Databases) -> None:
    url = databases.server.set(username="owner", database="base")  # with the same password
    databases.execute(databases.server, f"CREATE ROLE owner LOGIN PASSWORD '{url.password}'")
    databases.execute(databases.server, "ALTER DATABASE base OWNER TO owner")
    (line,) = CATALOG.difference(databases.catalog, CATALOG.catalog(url))
    assert line.startswith("changed: user mapping for reader on server far: hash of its options ")
    assert line.endswith(" -> nothing")

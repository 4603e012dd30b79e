"""Databases of the tests' own, and Alembic's commands on them."""

import io
import tomllib
from collections.abc import Generator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any
from zlib import crc32

import psycopg2
from alembic import command
from alembic.config import Config
from psycopg2 import sql
from psycopg2.extensions import connection as Connection  # noqa: N812 (it is a class)
from sqlalchemy import URL, make_url

from app.core.urls import for_driver

BACKEND = Path(__file__).resolve().parents[1]
PSYCOPG2: Any = make_url("postgresql+psycopg2://").get_dialect()()
made: set[str] = set()  # the databases that this process made, and has not dropped
SQL = tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))


def mark(name: str) -> int:
    """The connection limit of a database that may be dropped: a name alone proves nothing.

    More than any server has connections, and of each name its own. CREATE DATABASE itself sets it,
    so that there is no moment without, and a copy does not inherit it.
    """
    return 2**30 + crc32(name.encode()) % 2**30


def connect(url: URL, **options: Any) -> Connection:
    """A session in which each statement is committed; `options` are more arguments of libpq.

    It waits for no lock without end: a revision that left one would hang this process.
    """
    arguments = PSYCOPG2.create_connect_args(for_driver(url, "postgresql+psycopg2"))[1]
    given = f"{arguments.get('options', '')} {options.get('options', '')}"
    options["options"] = f"-c lock_timeout=30s {given}"
    connection: Connection = psycopg2.connect(**arguments | options)
    connection.autocommit = True  # CREATE DATABASE cannot run in a transaction
    return connection


def execute(url: URL, statement: str | sql.Composable, *parameters: object) -> list[Any]:
    """Run one statement in a session of its own, committed; returns its rows."""
    with closing(connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute(statement, parameters or None)
        return cursor.fetchall() if cursor.description else []


def create_database(server: URL, name: str, template: str = "template0") -> URL:
    """Create a database that bears our mark, as a copy of `template`; returns its URL."""
    # A file copy is quicker than wal_log in memory.
    create = "CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy CONNECTION LIMIT {}"
    values = sql.Identifier(name), sql.Identifier(template), sql.Literal(mark(name))
    with closing(connect(server)) as connection, connection.cursor() as cursor:
        cursor.execute(SQL["end_sessions"], [template])
        cursor.execute(sql.SQL(create).format(*values))
        made.add(name)
        cursor.execute(SQL["settings"], [name, template])
        for setting, value, says_so in cursor.fetchall():
            cursor.execute("SELECT set_config(%s, %s, false)", [setting, value])
            cursor.execute(says_so)
    return server.set(database=name)


def drop_leftovers(server: URL, run: str) -> list[str]:
    """Drop the databases with our mark that are this run's or a dead one's; returns their names."""
    found = execute(server, SQL["leftovers"], run)
    names = [name for name, limit in found if limit == mark(name)]
    for name in names:
        drop_database(server, name)
    return names


def drop_database(server: URL, name: str) -> None:
    """Drop a database, with whatever is still connected to it."""
    statement = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
    execute(server, statement.format(sql.Identifier(name)))
    made.discard(name)


@contextmanager
def temporary_database(server: URL, name: str, template: str = "template0") -> Generator[URL]:
    """A database for as long as the block lasts."""
    try:
        yield create_database(server, name, template)
    finally:
        drop_database(server, name)


def copy_of(url: URL, name: str) -> AbstractContextManager[URL]:
    """A clone of a database that nobody is connected to; `name` is added to the name."""
    return temporary_database(url, f"{url.database}_{name}", str(url.database))


class Alembic:
    """The commands of Alembic on one database, through env.py like any other caller."""

    def __init__(self, url: URL | None = None) -> None:
        self.output = io.StringIO()
        self.config = Config(BACKEND / "alembic.ini", stdout=self.output, output_buffer=self.output)
        if url is not None:
            self.config.attributes["url"] = for_driver(url, "postgresql+psycopg2")

    def __call__(self, name: str, *arguments: str, **options: Any) -> str:
        """Run `alembic <name> <arguments>`; returns what it printed."""
        self.output.truncate(self.output.seek(0))
        getattr(command, name)(self.config, *arguments, **options)
        return self.output.getvalue()

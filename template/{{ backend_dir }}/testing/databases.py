"""Databases of the tests' own, and Alembic's commands on them."""

import io
from collections.abc import Generator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg2
from alembic import command
from alembic.config import Config
from psycopg2 import sql
from psycopg2.extensions import connection as Connection  # noqa: N812 (it is a class)
from sqlalchemy import URL, make_url

from app.core.config import for_driver

BACKEND = Path(__file__).resolve().parents[1]
PSYCOPG2: Any = make_url("postgresql+psycopg2://").get_dialect()()
# The comment on a database that may be dropped, before its name: a name alone proves nothing.
MARK = "made by the tests, which may drop it: "
made: set[str] = set()  # the databases that this process made, and has not dropped
_OURS = """
    SELECT datname FROM pg_database
    WHERE shobj_description(oid, 'pg_database') = %s || datname AND pg_has_role(datdba, 'USAGE')
"""


def connect(url: URL, **options: Any) -> Connection:
    """A session in which each statement is committed; `options` are more arguments of libpq."""
    __tracebackhide__ = True
    arguments = PSYCOPG2.create_connect_args(for_driver(url, "postgresql+psycopg2"))[1]
    if given := arguments.get("options"):
        options["options"] = f"{given} {options.get('options', '')}"
    try:
        connection: Connection = psycopg2.connect(**arguments | options)
    except psycopg2.OperationalError as error:
        raise error.with_traceback(None) from None  # psycopg2's arguments hold the password
    connection.autocommit = True  # CREATE DATABASE cannot run in a transaction
    return connection


def execute(
    url: URL, statement: str | sql.Composable, *parameters: object
) -> list[tuple[Any, ...]]:
    """Run one statement in a session of its own, committed; returns its rows."""
    with closing(connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute(statement, parameters or None)
        return cursor.fetchall() if cursor.description else []


# What ALTER DATABASE ... SET said, which a copy lacks: name, value, and the statement that says it.
_SETTINGS = """
    SELECT split_part(setting, '=', 1), substr(setting, strpos(setting, '=') + 1),
           format('ALTER %%s DATABASE %%I SET %%I FROM CURRENT',
                  'ROLE ' || nullif(setrole, 0)::regrole || ' IN', %s, split_part(setting, '=', 1))
    FROM pg_db_role_setting s JOIN pg_database d ON d.oid = setdatabase, unnest(setconfig) setting
    WHERE datname = %s
"""


def create_database(server: URL, name: str, template: str = "template0") -> URL:
    """Create a database that bears our mark, as a copy of `template`; returns its URL."""
    statement = (
        "CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy"  # quicker than wal_log in memory
    )
    with closing(connect(server)) as connection, connection.cursor() as cursor:
        cursor.execute(sql.SQL(statement).format(sql.Identifier(name), sql.Identifier(template)))
        cursor.execute(_mark(name))
        made.add(name)
        cursor.execute(_SETTINGS, [name, template])
        for setting, value, says_so in cursor.fetchall():
            cursor.execute("SELECT set_config(%s, %s, false)", [setting, value])
            cursor.execute(says_so)
    return server.set(database=name)


def _mark(name: str) -> sql.Composable:
    statement = sql.SQL("COMMENT ON DATABASE {} IS {}")
    return statement.format(sql.Identifier(name), sql.Literal(MARK + name))


def rename_database(server: URL, name: str, new_name: str) -> None:
    """Rename a database of ours; the mark goes with it."""
    statement = sql.SQL("ALTER DATABASE {} RENAME TO {}")
    execute(server, statement.format(sql.Identifier(name), sql.Identifier(new_name)))
    execute(server, _mark(new_name))


def marked_databases(server: URL) -> list[str]:
    """The names of those that bear our mark, and that this role may drop."""
    return [name for (name,) in execute(server, _OURS, MARK)]


def drop_database(server: URL, name: str) -> None:
    """Drop a database, with whatever is still connected to it."""
    statement = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
    execute(server, statement.format(sql.Identifier(name)))
    made.discard(name)


@contextmanager
def temporary_database(server: URL, name: str, template: str = "template0") -> Generator[URL]:
    """A database for as long as the block lasts."""
    url = create_database(server, name, template)
    try:
        yield url
    finally:
        drop_database(server, name)


def copy_of(url: URL, name: str) -> AbstractContextManager[URL]:
    """A clone of a database that nobody is connected to; `name` is added to the name."""
    return temporary_database(url, f"{url.database}_{name}", str(url.database))


class Alembic:
    """The commands of Alembic on one database, through env.py like any other caller."""

    def __init__(self, url: URL | None = None, script_location: Path | None = None) -> None:
        self.output = io.StringIO()
        self.config = Config(BACKEND / "alembic.ini", stdout=self.output, output_buffer=self.output)
        if url is not None:
            self.config.attributes["url"] = url.set(drivername="postgresql+psycopg2")
        if script_location is not None:
            self.config.set_main_option("script_location", str(script_location).replace("%", "%%"))

    def __call__(self, name: str, *words: str, **options: Any) -> str:
        """Run `alembic <name> <words>`; returns what it printed."""
        self.output.seek(0)
        self.output.truncate()
        getattr(command, name)(self.config, *words, **options)
        return self.output.getvalue()

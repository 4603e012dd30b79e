"""Databases for your tests: a fixture is called what it gives. README.md has the list.

One migrated template database for the run, one clone of it for each worker, one transaction that
is rolled back for each test.
"""

import os
from collections.abc import AsyncGenerator, Generator
from contextlib import closing, contextmanager
from unittest.mock import patch

import alembic.util
import pytest
from sqlalchemy import URL, create_engine, make_url
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from app.core.config import get_settings
from app.core.database import get_engine, get_session_factory
from app.migrate.explain import explain
from testing.databases import (
    Alembic,
    connect,
    create_database,
    drop_database,
    execute,
    temporary_database,
)
from testing.overlap import overlaps_refused
from testing.revisions import OneProblem, released, shared_problem, warnings_shown
from testing.rows import Examples
from testing.server import database_name


def forget_settings() -> None:
    """The next `get_settings()` reads the environment, and `get_engine()` follows it."""
    for function in (get_settings, get_engine, get_session_factory):
        function.cache_clear()


forget_settings()  # of another run in this process
# How Alembic reads revisions, and runs them: as a part of env.py.
alembic.util.load_python_file = warnings_shown()(alembic.util.load_python_file)


@pytest.fixture(scope="session")
def server() -> URL:
    """The server, as a URL to a database that is always there."""
    if "TESTING_URL" not in os.environ:
        raise OneProblem(f"PostgreSQL: {os.environ['TESTING_SERVER']}")
    return make_url(os.environ["TESTING_URL"])


def made_once(server: URL, what: str, source: str, *revisions: str) -> str:
    """The name of a copy, made once for all workers, and upgraded to these revisions."""
    name = database_name(what)
    with closing(connect(server)) as connection, connection.cursor() as cursor:
        wait = "SET lock_timeout = 0; SELECT pg_advisory_lock(hashtext(%s))"
        cursor.execute(wait, [name])  # other workers
        cursor.execute("SELECT FROM pg_database WHERE datname = %s", [name])
        if not cursor.rowcount:
            try:
                url = create_database(server, name, source)
                for revision in revisions:
                    Alembic(url)("upgrade", revision)
            except Exception as error:
                drop_database(server, name)
                known = shared_problem(error) or f"upgrade to head fails: {explain(error) or error}"
                raise OneProblem(known) from error
    return name


@contextmanager
def without_hangs(server: URL, what: str, template: str = "template0") -> Generator[URL]:
    """A database of which two sessions of one test wait for each other no longer than this."""
    with temporary_database(server, database_name(what), template) as url:
        execute(url, f"ALTER DATABASE {url.database} SET lock_timeout = '30s'")
        yield url


@pytest.fixture(scope="session")
def released_template(server: URL) -> str:
    """The name of a database at `released` of pyproject.toml; without any, of an empty one."""
    return made_once(server, "released", "template0", *released()) if released() else "template0"


@pytest.fixture(scope="session")
def released_database(server: URL, released_template: str) -> Generator[URL]:
    """Where the checks of revisions begin, to be cloned."""
    with temporary_database(server, database_name("origin"), released_template) as url:
        yield url


@pytest.fixture(scope="session")
def template(server: URL, released_template: str) -> str:
    """The name of a database at head, to be cloned."""
    return made_once(server, "template", released_template, "heads")


@pytest.fixture(scope="session")
def database(server: URL, template: str) -> Generator[URL]:
    """This worker's database, at head; DATABASE_URL names it."""
    with without_hangs(server, "worker", template) as url:
        yield url


@pytest.fixture
def own_database(server: URL, template: str) -> Generator[URL]:
    """A database at head for this test alone, which may commit and change the schema."""
    with without_hangs(server, "own", template) as url:
        yield url


@pytest.fixture
def empty_database(server: URL) -> Generator[URL]:
    """A database for this test alone, without any table."""
    with without_hangs(server, "empty") as url:
        yield url


@pytest.fixture(scope="session")
def example_rows() -> Examples:
    """Rows for tables that the checks of revisions cannot fill. README.md says how to give some."""
    return {}


@pytest.fixture(scope="session")
async def engine(database: URL) -> AsyncGenerator[AsyncEngine]:
    """An engine on `database`, made as the application makes its own."""
    engine = get_engine.__wrapped__()
    yield engine
    await engine.dispose()


@pytest.fixture
async def connection(engine: AsyncEngine) -> AsyncGenerator[AsyncConnection]:
    """A connection, and that of the application's sessions; what is committed is gone after it."""
    options = get_session_factory().kw
    async with engine.connect() as connection:
        await connection.begin()  # to be rolled back when the connection is closed
        mode = {"bind": connection, "join_transaction_mode": "create_savepoint"}
        with patch.dict(options, mode), overlaps_refused(connection.sync_connection):
            yield connection


@pytest.fixture
async def session(connection: AsyncConnection) -> AsyncGenerator[AsyncSession]:
    """A session of the application's; what it commits is gone after the test."""
    async with get_session_factory()() as session:
        yield session
        session.info["test_is_over"] = True


@pytest.fixture
def sync_session(database: URL) -> Generator[Session]:
    """The same for synchronous code: psycopg2, in a transaction of its own."""
    engine = create_engine(get_settings().database_url_sync, poolclass=NullPool)
    with engine.connect() as connection:
        connection.begin()  # to be rolled back when the connection is closed
        with Session(connection, join_transaction_mode="create_savepoint") as session:
            yield session


@pytest.fixture
async def application_engine(
    own_database: URL, monkeypatch: pytest.MonkeyPatch
) -> AsyncGenerator[AsyncEngine]:
    """What `get_engine()` returns in this test: on `own_database`, to commit for real."""
    for name in ("DATABASE_URL", "MIGRATION_DATABASE_URL"):
        url = make_url(os.environ[name]).set(database=own_database.database)
        monkeypatch.setenv(name, url.render_as_string(hide_password=False))
    forget_settings()
    yield get_engine()
    await get_engine().dispose()
    forget_settings()

"""Databases for your tests: a fixture is called what it gives. README.md has the list.

One migrated template database for the run, one clone of it for each worker, one transaction that
is rolled back for each test.
"""

import os
from collections.abc import AsyncGenerator, Generator

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
    create_database,
    drop_database,
    execute,
    rename_database,
    temporary_database,
)
from testing.revisions import missing_feature, released
from testing.rows import Examples
from testing.server import database_name


def forget_settings() -> None:
    """The next `get_settings()` reads the environment, and `get_engine()` follows it."""
    for function in (get_settings, get_engine, get_session_factory):
        function.cache_clear()


forget_settings()  # of another run in this process


@pytest.fixture(scope="session")
def server() -> URL:
    """The server, as a URL to a database that is always there."""
    if "TESTING_URL" not in os.environ:
        pytest.fail(f"PostgreSQL: {os.environ['TESTING_SERVER']}", pytrace=False)
    return make_url(os.environ["TESTING_URL"])


@pytest.fixture(scope="session")
def template(server: URL) -> str:
    """The name of a database at head, made once for all workers, to be cloned."""
    name = database_name("template")
    ready = "SELECT 1 FROM pg_database WHERE datname = %s"
    if not execute(server, ready, name):
        # Under another name until it is ready, and whoever comes first makes it.
        making = database_name("making")
        url = create_database(server, making)
        try:
            Alembic(url)("upgrade", "heads")
        except Exception as error:
            drop_database(server, making)
            if not (problem := explain(error)):
                raise
            lines = [f"upgrade to head fails: {problem.cause}", *missing_feature(error)]
            pytest.fail("\n".join(lines), pytrace=False)
        try:
            rename_database(server, making, name)
        except Exception:
            drop_database(server, making)
            if not execute(server, ready, name):
                raise
    return name


@pytest.fixture(scope="session")
def database(server: URL, template: str) -> Generator[URL]:
    """This worker's database, at head; DATABASE_URL names it."""
    with temporary_database(server, database_name("worker"), template) as url:
        yield url


@pytest.fixture
def own_database(server: URL, template: str) -> Generator[URL]:
    """A database at head for this test alone, which may commit and change the schema."""
    with temporary_database(server, database_name("own"), template) as url:
        yield url


@pytest.fixture
def empty_database(server: URL) -> Generator[URL]:
    """A database for this test alone, without any table."""
    with temporary_database(server, database_name("empty")) as url:
        yield url


@pytest.fixture(scope="session")
def released_database(server: URL) -> Generator[URL]:
    """A database at `released` of pyproject.toml, to be cloned: with no table while it is empty."""
    names = released()
    with temporary_database(server, database_name("released")) as url:
        for name in names:
            Alembic(url)("upgrade", name)
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
    """A connection in a transaction that is rolled back after the test.

    The application's sessions, those of `get_session`, are on it too: what the code under test
    commits is a savepoint, and gone after the test.
    """
    factory = get_session_factory()
    before = dict(factory.kw)
    async with engine.connect() as connection, connection.begin() as transaction:
        factory.configure(bind=connection, join_transaction_mode="create_savepoint")
        try:
            yield connection
        finally:
            factory.kw.clear()
            factory.kw.update(before)
            await transaction.rollback()


@pytest.fixture
async def session(connection: AsyncConnection) -> AsyncGenerator[AsyncSession]:
    """A session whose commits are savepoints: what it commits is gone after the test."""
    async with AsyncSession(
        connection, expire_on_commit=False, join_transaction_mode="create_savepoint"
    ) as session:
        yield session


@pytest.fixture
def sync_session(database: URL) -> Generator[Session]:
    """The same for synchronous code: psycopg2, in a transaction of its own."""
    engine = create_engine(get_settings().database_url_sync, poolclass=NullPool)
    with engine.connect() as connection, connection.begin() as transaction:
        with Session(connection, join_transaction_mode="create_savepoint") as session:
            yield session
        transaction.rollback()


@pytest.fixture
async def application_engine(
    own_database: URL, monkeypatch: pytest.MonkeyPatch
) -> AsyncGenerator[AsyncEngine]:
    """What `get_engine()` returns in this test: an engine on `own_database`, as are the settings.

    For code under test that uses the engine itself, or has to commit for real.
    """
    for name in ("DATABASE_URL", "MIGRATION_DATABASE_URL"):
        monkeypatch.setenv(name, own_database.render_as_string(hide_password=False))
    forget_settings()
    yield get_engine()
    await get_engine().dispose()
    forget_settings()

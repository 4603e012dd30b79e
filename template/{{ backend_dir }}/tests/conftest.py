"""One server, one migrated template database, one clone for each worker, one rolled-back
transaction for each test.

The server is TEST_DATABASE_URL's, or one that is started for this run. The developer's own database
is never touched: the settings that the code under test reads point to the worker's clone.
"""

import os
import secrets
from collections.abc import AsyncGenerator, Generator

import pytest
from sqlalchemy import URL, make_url
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, create_async_engine

from tests.databases import Alembic, create_database, drop_database, execute, temporary_database
from tests.postgres import NoServerError, postgres_server

SOURCE = pytest.StashKey[str]()
NOWHERE = "postgresql://nobody@127.0.0.1:1/nowhere"  # nothing listens on port 1


def pytest_configure(config: pytest.Config) -> None:
    """Find or start the server, before any worker starts; workers inherit the environment."""
    if "TEST_RUN" not in os.environ:  # not in a worker
        os.environ["TEST_RUN"] = secrets.token_hex(4)
        config.add_cleanup(lambda: os.environ.pop("TEST_RUN"))
        if "TEST_DATABASE_URL" in os.environ:
            config.stash[SOURCE] = "TEST_DATABASE_URL"
            config.add_cleanup(_drop_databases_of_this_run)
        elif not config.option.collectonly:
            manager = postgres_server()
            try:
                server = manager.__enter__()
            except NoServerError as error:
                config.stash[SOURCE] = f"none. {error}"
            else:
                config.stash[SOURCE] = server.source
                config.add_cleanup(lambda: manager.__exit__(None, None, None))
                os.environ["TEST_DATABASE_URL"] = URL.create(
                    "postgresql", server.user, server.password, server.host, server.port, "postgres"
                ).render_as_string(hide_password=False)
                config.add_cleanup(lambda: os.environ.pop("TEST_DATABASE_URL"))
    url = _server_url()
    ours = (
        url.set(database=_name("worker")).render_as_string(hide_password=False) if url else NOWHERE
    )
    os.environ |= {
        "DATABASE_URL": ours,
        "MIGRATION_DATABASE_URL": ours,
        "ENVIRONMENT": "development",
    }


def pytest_report_header(config: pytest.Config) -> str:
    """Say which server it is."""
    return f"PostgreSQL: {config.stash.get(SOURCE, 'the run has one for all workers')}"


def _server_url() -> URL | None:
    """TEST_DATABASE_URL; what it leaves out comes from PGUSER and PGPASSWORD, as with libpq."""
    if "TEST_DATABASE_URL" not in os.environ:
        return None
    url = make_url(os.environ["TEST_DATABASE_URL"])
    return url.set(
        drivername="postgresql",
        username=url.username or os.environ.get("PGUSER"),
        password=url.password or os.environ.get("PGPASSWORD"),
    )


def _name(what: str) -> str:
    """Of a database: of this run, and but for the template of this worker."""
    run = f"test_{os.environ['TEST_RUN']}"
    if what == "template":
        return f"{run}_template"
    return f"{run}_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}_{what}"


def _drop_databases_of_this_run() -> None:
    if server := _server_url():
        pattern = f"test\\_{os.environ['TEST_RUN']}\\_%"
        for (name,) in execute(
            server, "SELECT datname FROM pg_database WHERE datname LIKE %s", pattern
        ):
            drop_database(server, name)


@pytest.fixture(scope="session")
def server() -> URL:
    """The server, as a URL to a database that is always there."""
    url = _server_url()
    if url is None:
        pytest.fail(
            "no PostgreSQL server; the first lines of pytest's output say why", pytrace=False
        )
    return url


@pytest.fixture(scope="session")
def template(server: URL) -> str:
    """The name of a database at head, made once for all workers, to be cloned."""
    name = _name("template")
    ready = "SELECT 1 FROM pg_database WHERE datname = %s"
    if not execute(server, ready, name):
        # Under another name until it is ready, and whoever comes first makes it.
        making = f"{_name('making')}"
        url = create_database(server, making)
        Alembic(url)("upgrade", "head")
        statement = f'ALTER DATABASE "{making}" RENAME TO "{name}"'
        try:
            execute(server, statement)
        except Exception:
            drop_database(server, making)
            if not execute(server, ready, name):
                raise
    return name


@pytest.fixture(scope="session")
def database(server: URL, template: str) -> Generator[URL]:
    """This worker's database, at head; DATABASE_URL names it."""
    with temporary_database(server, _name("worker"), template) as url:
        yield url


@pytest.fixture
def committed_database(server: URL, template: str) -> Generator[URL]:
    """A database at head for this test alone, which may commit and change the schema."""
    with temporary_database(server, _name("committed"), template) as url:
        yield url


@pytest.fixture
def empty_database(server: URL) -> Generator[URL]:
    """A database for this test alone, without any table."""
    with temporary_database(server, _name("empty")) as url:
        yield url


@pytest.fixture(scope="session")
async def engine(database: URL) -> AsyncGenerator[AsyncEngine]:
    """The engine of all tests of this worker."""
    engine = create_async_engine(database.set(drivername="postgresql+asyncpg"))
    yield engine
    await engine.dispose()


@pytest.fixture
async def connection(engine: AsyncEngine) -> AsyncGenerator[AsyncConnection]:
    """A connection in a transaction that is rolled back after the test."""
    async with engine.connect() as connection, connection.begin() as transaction:
        yield connection
        await transaction.rollback()


@pytest.fixture
async def session(connection: AsyncConnection) -> AsyncGenerator[AsyncSession]:
    """A session whose commits are savepoints: what it commits is gone after the test."""
    async with AsyncSession(
        connection, expire_on_commit=False, join_transaction_mode="create_savepoint"
    ) as session:
        yield session

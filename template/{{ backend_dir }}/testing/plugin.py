"""One server, one migrated template database, one clone for each worker, one rolled-back
transaction for each test.

The server is TEST_DATABASE_URL's, or one that is started for this run. The developer's own database
is never touched: the settings that the code under test reads point to the worker's clone.
"""

import os
import re
import secrets
from collections.abc import AsyncGenerator, Generator
from contextlib import AbstractContextManager
from functools import partial

import pytest
from sqlalchemy import URL, create_engine, make_url
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, create_async_engine
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
from testing.revisions import missing_feature
from testing.server import NoServerError, Server, server_for_tests

NOWHERE = "postgresql://nobody@127.0.0.1:1/nowhere"  # nothing listens on port 1
# What the names of a run's databases begin with; `test_` and a date would be one of yours.
RUN = re.compile(r"test_run[0-9a-f]{8}(?=_|$)")
DATABASES = "SELECT datname FROM pg_database WHERE pg_has_role(datdba, 'USAGE')"


def pytest_configure(config: pytest.Config) -> None:
    """Find or start the server, before any worker starts; workers inherit the environment."""
    if "TEST_RUN" not in os.environ:  # not in a worker
        os.environ["TEST_RUN"] = f"run{secrets.token_hex(4)}"
        os.environ["TEST_SERVER"] = "that of TEST_DATABASE_URL"
        config.add_cleanup(partial(_unset, "TEST_RUN", "TEST_SERVER"))
        if "TEST_DATABASE_URL" in os.environ:
            _join_server(config)
        elif not config.option.collectonly:
            _start_server(config)
    url = _server_url()
    ours = (
        url.set(database=_name("worker")).render_as_string(hide_password=False) if url else NOWHERE
    )
    os.environ |= {
        "DATABASE_URL": ours,
        "MIGRATION_DATABASE_URL": ours,
        "ENVIRONMENT": "development",
    }


def _unset(*names: str) -> None:
    for name in names:
        os.environ.pop(name, None)


def _stop(manager: AbstractContextManager[Server]) -> None:
    manager.__exit__(None, None, None)


def _start_server(config: pytest.Config) -> None:
    manager = server_for_tests()
    try:
        server = manager.__enter__()
    except NoServerError as error:
        os.environ["TEST_SERVER"] = f"none. {error}"
        return
    config.add_cleanup(partial(_stop, manager))
    os.environ["TEST_SERVER"] = server.source
    os.environ["TEST_DATABASE_URL"] = URL.create(
        "postgresql", server.user, server.password, server.host, server.port, "postgres"
    ).render_as_string(hide_password=False)
    config.add_cleanup(partial(_unset, "TEST_DATABASE_URL"))


def _join_server(config: pytest.Config) -> None:
    """Say that this run lives, and drop what runs left behind that do not live any more."""
    server = _server_url()
    assert server
    try:
        # The session says it for as long as this process lives, whatever its end.
        run = connect(server, application_name=f"test_{os.environ['TEST_RUN']}")
    except Exception as error:
        os.environ["TEST_SERVER"] = f"none. {explain(error) or error}"
        config.add_cleanup(partial(_unset, "TEST_DATABASE_URL_FAILS"))
        os.environ["TEST_DATABASE_URL_FAILS"] = "yes"
        return
    config.add_cleanup(run.close)
    config.add_cleanup(_drop_databases_of_this_run)
    alive = "SELECT application_name, datname FROM pg_stat_activity"
    names = [name for row in execute(server, alive) for name in row if name]
    living = {found[0] for name in names if (found := RUN.match(name))}
    for (name,) in execute(server, DATABASES):
        if (found := RUN.match(name)) and found[0] not in living:
            drop_database(server, name)


def _drop_databases_of_this_run() -> None:
    if server := _server_url():
        for (name,) in execute(server, DATABASES):
            if name.startswith(f"test_{os.environ['TEST_RUN']}_"):
                drop_database(server, name)


def pytest_report_header(config: pytest.Config) -> str:
    """Say which server it is."""
    return f"PostgreSQL: {os.environ['TEST_SERVER']}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What tests have to say without failing: `record_property("note", "...")`."""
    notes = {
        str(value)
        for report in terminalreporter.getreports("passed")
        for name, value in report.user_properties
        if name == "note"
    }
    if notes:
        terminalreporter.section("notes")
    for note in sorted(notes):
        terminalreporter.line(note)


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


@pytest.fixture(scope="session")
def server() -> URL:
    """The server, as a URL to a database that is always there."""
    url = _server_url()
    if url is None or "TEST_DATABASE_URL_FAILS" in os.environ:
        pytest.fail(f"PostgreSQL: {os.environ['TEST_SERVER']}", pytrace=False)
    return url


@pytest.fixture(scope="session")
def template(server: URL) -> str:
    """The name of a database at head, made once for all workers, to be cloned."""
    name = _name("template")
    ready = "SELECT 1 FROM pg_database WHERE datname = %s"
    if not execute(server, ready, name):
        # Under another name until it is ready, and whoever comes first makes it.
        making = _name("making")
        url = create_database(server, making)
        if failed := _upgrade(url):
            drop_database(server, making)
            pytest.fail(failed, pytrace=False)
        statement = f'ALTER DATABASE "{making}" RENAME TO "{name}"'
        try:
            execute(server, statement)
        except Exception:
            drop_database(server, making)
            if not execute(server, ready, name):
                raise
    return name


def _upgrade(url: URL) -> str:
    """Bring a database to head; returns why it failed."""
    try:
        Alembic(url)("upgrade", "heads")
    except Exception as error:
        if problem := explain(error):
            text = [f"upgrade to head fails: {problem.cause}", *missing_feature(error)]
            return "\n".join(text)
        raise
    return ""


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
    engine = create_engine(database.set(drivername="postgresql+psycopg2"), poolclass=NullPool)
    with engine.connect() as connection, connection.begin() as transaction:
        with Session(connection, join_transaction_mode="create_savepoint") as session:
            yield session
        transaction.rollback()


@pytest.fixture
async def application(
    committed_database: URL, monkeypatch: pytest.MonkeyPatch
) -> AsyncGenerator[URL]:
    """For code under test that has to commit for real, such as what uses `get_engine` itself.

    The settings and the engine of the application are those of `committed_database`.
    """
    url = committed_database.render_as_string(hide_password=False)
    monkeypatch.setenv("DATABASE_URL", url)
    monkeypatch.setenv("MIGRATION_DATABASE_URL", url)
    caches = (get_settings, get_engine, get_session_factory)
    for function in caches:
        function.cache_clear()
    yield committed_database
    if get_engine.cache_info().currsize:
        await get_engine().dispose()
    for function in caches:
        function.cache_clear()

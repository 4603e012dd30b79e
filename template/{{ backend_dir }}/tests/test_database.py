"""An example of each fixture, to copy or to delete; testing/README.md has the list."""

from sqlalchemy import URL, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession
from sqlalchemy.orm import Session

from app.core.config import get_settings
from app.core.database import get_engine, get_session
from testing.databases import Alembic, execute


async def test_what_a_test_commits_is_gone_afterwards(
    session: AsyncSession, engine: AsyncEngine
) -> None:
    await session.execute(text("CREATE TABLE test_database_notes (id int PRIMARY KEY)"))
    await session.execute(text("INSERT INTO test_database_notes VALUES (1)"))
    await session.commit()
    assert await session.scalar(text("SELECT count(*) FROM test_database_notes")) == 1
    async with engine.connect() as another:
        assert await another.scalar(text("SELECT to_regclass('test_database_notes')")) is None


async def test_so_is_what_the_application_commits(connection: AsyncConnection) -> None:
    await connection.execute(text("CREATE TABLE test_database_notes (id int PRIMARY KEY)"))
    async for session in get_session():  # as an endpoint of yours gets it
        await session.execute(text("INSERT INTO test_database_notes VALUES (1)"))
        await session.commit()
    assert await connection.scalar(text("SELECT count(*) FROM test_database_notes")) == 1


def test_synchronous_code_has_a_session_too(sync_session: Session) -> None:
    sync_session.execute(text("CREATE TABLE test_database_notes (id int PRIMARY KEY)"))
    sync_session.commit()
    assert sync_session.scalar(text("SELECT count(*) FROM test_database_notes")) == 0


async def test_an_application_with_its_own_engine_commits_to_its_own_database(
    application_engine: AsyncEngine, own_database: URL
) -> None:
    async with get_engine().begin() as connection:  # which is application_engine
        await connection.execute(text("CREATE TABLE test_database_notes (id int PRIMARY KEY)"))
    assert execute(own_database, "SELECT count(*) FROM test_database_notes") == [(0,)]


def test_the_settings_name_the_tests_database(database: URL) -> None:
    assert get_settings().database_url.database == database.database


def test_migrations_are_tracked(own_database: URL, empty_database: URL) -> None:
    assert Alembic(empty_database)("current") == ""
    alembic = Alembic(own_database)
    assert "(head)" in alembic("current")
    alembic("stamp", "base")
    assert execute(own_database, "SELECT version_num FROM alembic_version") == []

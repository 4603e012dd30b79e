"""An example of each fixture, to copy or to delete; testing/README.md has the list."""

from sqlalchemy import URL, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession
from sqlalchemy.orm import Session

from app.core.config import get_settings
from app.core.database import get_engine, get_session
from testing.databases import Alembic, execute

MAKE = text("SELECT lo_create(4711)")  # stands for a row of yours: there is no table yet
COUNT = text("SELECT count(*) FROM pg_largeobject_metadata")


async def test_what_a_test_commits_is_gone_afterwards(
    session: AsyncSession, engine: AsyncEngine
) -> None:
    await session.execute(MAKE)
    await session.commit()
    assert await session.scalar(COUNT) == 1
    async with engine.connect() as another:
        assert await another.scalar(COUNT) == 0


async def test_so_is_what_the_application_commits(connection: AsyncConnection) -> None:
    async for session in get_session():  # as an endpoint of yours gets it
        await session.execute(MAKE)
        await session.commit()
    assert await connection.scalar(COUNT) == 1


def test_synchronous_code_has_a_session_too(sync_session: Session) -> None:
    sync_session.execute(MAKE)
    sync_session.commit()
    assert sync_session.scalar(COUNT) == 1


async def test_an_application_with_its_own_engine_commits_to_its_own_database(
    application_engine: AsyncEngine, own_database: URL
) -> None:
    async with get_engine().begin() as connection:  # which is application_engine
        await connection.execute(MAKE)
    assert execute(own_database, COUNT.text) == [(1,)]


def test_the_settings_name_the_tests_database(database: URL) -> None:
    assert get_settings().database_url.database == database.database


def test_migrations_are_tracked(own_database: URL, empty_database: URL) -> None:
    assert Alembic(empty_database)("current") == ""
    alembic = Alembic(own_database)
    assert "(head)" in alembic("current")
    alembic("stamp", "base")
    assert execute(own_database, "SELECT version_num FROM alembic_version") == []

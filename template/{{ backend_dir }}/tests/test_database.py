"""The database as the application and the tests see it."""

import pytest
from sqlalchemy import URL, func, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from app.core.config import get_settings
from app.core.database import get_engine, get_session
from tests.databases import Alembic, execute


async def test_the_application_connects_to_the_tests_database(database: URL) -> None:
    assert get_settings().database_url.database == database.database
    async for session in get_session():
        assert await session.scalar(select(func.current_database())) == database.database
    await get_engine().dispose()


async def test_the_database_is_at_head(session: AsyncSession) -> None:
    alembic = Alembic(get_settings().database_url_sync)
    version = await session.scalar(text("SELECT version_num FROM alembic_version"))
    assert f"{version} (head)" in alembic("current")


async def test_what_a_test_commits_is_gone_afterwards(
    session: AsyncSession, engine: AsyncEngine
) -> None:
    await session.execute(text("CREATE TABLE scratch (id int PRIMARY KEY)"))
    await session.execute(text("INSERT INTO scratch VALUES (1)"))
    await session.commit()
    with pytest.raises(IntegrityError):
        await session.execute(text("INSERT INTO scratch VALUES (1)"))
    await session.rollback()
    await session.execute(text("INSERT INTO scratch VALUES (2)"))  # and it goes on
    await session.commit()
    assert await session.scalar(text("SELECT count(*) FROM scratch")) == 2
    async with engine.connect() as other:
        assert await other.scalar(text("SELECT to_regclass('scratch')")) is None


def test_current_up_and_down_are_tracked(empty_database: URL) -> None:
    alembic = Alembic(empty_database)
    assert alembic("current") == ""
    alembic("upgrade", "head")
    rows = execute(empty_database, "SELECT version_num FROM alembic_version")
    assert f"{rows[0][0]} (head)" in alembic("current")
    alembic("downgrade", "base")
    assert execute(empty_database, "SELECT version_num FROM alembic_version") == []
    alembic("upgrade", "+1")
    assert execute(empty_database, "SELECT version_num FROM alembic_version") == [("baseline",)]
    alembic("stamp", "base")
    assert execute(empty_database, "SELECT version_num FROM alembic_version") == []

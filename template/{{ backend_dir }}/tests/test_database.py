"""The database as the application and the tests see it."""

import pytest
from sqlalchemy import URL, func, select, text
from sqlalchemy.exc import IntegrityError, ProgrammingError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session

from app.core.config import get_settings
from app.core.database import get_engine, get_session
from testing.databases import Alembic, execute
from testing.revisions import revisions, scripts


async def test_the_application_connects_to_the_tests_database(database: URL) -> None:
    assert get_settings().database_url.database == database.database
    async for session in get_session():
        assert await session.scalar(select(func.current_database())) == database.database
    await get_engine().dispose()


async def test_what_the_application_commits_is_gone_afterwards(
    session: AsyncSession, engine: AsyncEngine
) -> None:
    """Its sessions share the test's transaction, whatever they commit, fail at and go on with."""
    await session.execute(text("CREATE TABLE scratch (id int PRIMARY KEY)"))
    for expected in (1, 2):
        async for ours in get_session():
            await ours.execute(text("INSERT INTO scratch SELECT count(*) + 1 FROM scratch"))
            await ours.commit()
            with pytest.raises(IntegrityError):
                await ours.execute(text("INSERT INTO scratch VALUES (1)"))
            await ours.rollback()
            assert await ours.scalar(text("SELECT count(*) FROM scratch")) == expected
    assert await session.scalar(text("SELECT count(*) FROM scratch")) == 2
    async with engine.connect() as other:
        assert await other.scalar(text("SELECT to_regclass('scratch')")) is None


async def test_an_application_that_commits_for_real_has_a_database_of_its_own(
    application: URL, engine: AsyncEngine
) -> None:
    async with get_engine().begin() as connection:
        await connection.execute(text("CREATE TABLE scratch ()"))
    assert execute(application, "SELECT to_regclass('scratch')::text") == [("scratch",)]
    async with engine.connect() as other:
        assert await other.scalar(text("SELECT to_regclass('scratch')")) is None


def test_what_a_synchronous_test_commits_is_gone_afterwards(
    sync_session: Session, database: URL
) -> None:
    sync_session.execute(text("CREATE TABLE scratch (id int PRIMARY KEY)"))
    sync_session.commit()
    with pytest.raises(ProgrammingError):
        sync_session.execute(text("SELECT nonsense"))
    sync_session.rollback()
    assert sync_session.scalar(text("SELECT count(*) FROM scratch")) == 0
    assert execute(database, "SELECT to_regclass('scratch')") == [(None,)]


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
    alembic, first = Alembic(empty_database), revisions()[0].revision
    heads = {(head,) for head in scripts().get_heads()}
    version = "SELECT version_num FROM alembic_version"
    assert alembic("current") == ""
    alembic("upgrade", "heads")
    assert set(execute(empty_database, version)) == heads
    assert all(f"{head} (head)" in alembic("current") for (head,) in heads)
    alembic("downgrade", "base")
    assert execute(empty_database, version) == []
    alembic("upgrade", first)
    assert execute(empty_database, version) == [(first,)]
    alembic("stamp", "base")
    assert execute(empty_database, version) == []

"""The declarative base, and the application's connections: async, made on first use.

Migrations do not come this way: app/migrate/connect.py makes their engine, a synchronous one.
"""

from collections.abc import AsyncGenerator
from datetime import datetime
from functools import lru_cache
from typing import Annotated

from sqlalchemy import BigInteger, DateTime, Identity, MetaData
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import DeclarativeBase, mapped_column

from app.core.config import get_settings
from app.core.naming import NAMING_CONVENTION


class Base(DeclarativeBase):
    """What every model derives from."""

    metadata = MetaData(naming_convention=NAMING_CONVENTION)
    type_annotation_map = {datetime: DateTime(timezone=True)}  # noqa: RUF012 (SQLAlchemy's name)


# For `id: Mapped[Id]`: 64 bits do not run out, and only the server gives the numbers.
Id = Annotated[int, mapped_column(BigInteger, Identity(always=True), primary_key=True)]


@lru_cache
def get_engine() -> AsyncEngine:
    """The application's one pool of connections."""
    settings = get_settings()
    arguments = settings.connect_args
    if settings.statement_timeout:
        limit = str(round(settings.statement_timeout * 1000))
        arguments = arguments | {"server_settings": {"statement_timeout": limit}}
    return create_async_engine(
        settings.database_url,
        connect_args=arguments,
        pool_pre_ping=True,
        pool_size=settings.pool_size,
    )


@lru_cache
def get_session_factory() -> async_sessionmaker[AsyncSession]:
    """Makes sessions whose objects stay readable after a commit."""
    return async_sessionmaker(get_engine(), expire_on_commit=False)


async def get_session() -> AsyncGenerator[AsyncSession]:
    """One session for one piece of work, such as a request; the work itself commits."""
    async with get_session_factory()() as session:
        yield session

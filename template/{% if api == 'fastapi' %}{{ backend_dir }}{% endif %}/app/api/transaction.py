"""One transaction for each request."""

from collections.abc import AsyncGenerator
from typing import Annotated

from fastapi import Depends
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.database import get_session_factory


async def in_transaction() -> AsyncGenerator[AsyncSession]:
    """A session that commits when the endpoint returns, and rolls back when it raises."""
    async with get_session_factory().begin() as session:
        yield session


# An argument of an endpoint: `async def add(item: NewItem, session: Transaction) -> ...`.
# "function": the commit comes before the response, so that no client is told of what was not saved.
Transaction = Annotated[AsyncSession, Depends(in_transaction, scope="function")]

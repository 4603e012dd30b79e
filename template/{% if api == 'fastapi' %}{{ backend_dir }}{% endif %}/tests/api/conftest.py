"""Fixtures of the application's tests."""

from collections.abc import AsyncGenerator

import pytest
from httpx import ASGITransport, AsyncClient
from sqlalchemy.ext.asyncio import AsyncConnection

from app.main import app


@pytest.fixture
async def client(connection: AsyncConnection) -> AsyncGenerator[AsyncClient]:
    """A client of the application, in this test's transaction: `session` sees what it commits."""
    async with AsyncClient(transport=ASGITransport(app), base_url="http://test") as client:
        yield client

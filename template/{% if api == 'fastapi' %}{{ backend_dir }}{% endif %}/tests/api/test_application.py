"""What the application promises before it does anything of its own; an example of each fixture."""

import json
import logging

import pytest
from fastapi import FastAPI, HTTPException
from httpx import ASGITransport, AsyncClient
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from app.api.logs import JsonFormatter, RequestLog
from app.api.transaction import Transaction

notes = FastAPI()
notes.add_middleware(RequestLog)


@notes.post("/notes/{number}")
async def add_note(number: int, session: Transaction) -> int:
    # A large object stands for a row of yours, since a fresh project has no table.
    await session.execute(text("SELECT lo_create(:n)"), {"n": number})
    if number == 0:
        raise HTTPException(409)
    logging.getLogger("notes").warning("one more")
    return number


async def test_it_is_alive(client: AsyncClient) -> None:
    response = await client.get("/health/live")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})


async def test_it_is_ready_at_head_and_else_says_what_is_pending(
    client: AsyncClient, connection: AsyncConnection, caplog: pytest.LogCaptureFixture
) -> None:
    assert (await client.get("/health/ready")).status_code == 200
    await connection.execute(text("SET LOCAL ROLE NONE"))  # the application may not
    await connection.execute(text("DELETE FROM alembic_version"))
    response = await client.get("/health/ready")
    assert response.status_code == 503
    assert "pending: " in response.json()["cause"]
    assert "upgrade head" in response.json()["next"]
    assert "not ready: " in caplog.text


async def test_a_request_commits_when_it_succeeds_and_rolls_back_when_it_fails(
    connection: AsyncConnection, session: AsyncSession
) -> None:
    async with AsyncClient(transport=ASGITransport(notes), base_url="http://test") as client:
        assert (await client.post("/notes/1")).status_code == 200
        assert (await client.post("/notes/0")).status_code == 409
    assert list(await session.scalars(text("SELECT oid FROM pg_largeobject_metadata"))) == [1]


async def test_a_line_of_the_log_names_its_request(
    connection: AsyncConnection, caplog: pytest.LogCaptureFixture
) -> None:
    lines: list[str] = []
    caplog.handler.emit = lambda record: lines.append(JsonFormatter().format(record))  # type: ignore[method-assign]
    async with AsyncClient(transport=ASGITransport(notes), base_url="http://test") as client:
        with caplog.at_level("INFO"):
            response = await client.post("/notes/1", headers={"x-request-id": "from-the-proxy"})
    assert response.headers["x-request-id"] == "from-the-proxy"
    ours = [json.loads(line) for line in lines if json.loads(line)["logger"] != "httpx"]
    assert [line["message"] for line in ours] == ["one more", "request"]
    assert {line["request_id"] for line in ours} == {"from-the-proxy"}
    assert ours[1]["status"] == 200

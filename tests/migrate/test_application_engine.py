"""The application's engine: its pool, and how long its statements may run."""

import pytest

from tests.migrate.service import Service

pytestmark = pytest.mark.server

CODE = """
import asyncio

from sqlalchemy import text

from app.core.database import get_engine


async def main():
    engine = get_engine()
    async with engine.connect() as connection:
        limit = await connection.scalar(text("SHOW statement_timeout"))
    print(engine.pool.size(), limit)
    await engine.dispose()


asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("variables", "said"),
    [({}, "5 0"), ({"POOL_SIZE": "2", "STATEMENT_TIMEOUT": "1.5"}, "2 1500ms")],
)
def test_its_pool_and_its_statements_are_limited_by_settings(
    service: Service, variables: dict[str, str], said: str
) -> None:
    done = service.python(CODE, **variables)
    assert (done.returncode, done.stdout.strip()) == (0, said), done


def test_a_limit_that_cannot_be_is_named(service: Service) -> None:
    done = service.migrate("current", POOL_SIZE="0")
    assert done.returncode == 2
    assert "POOL_SIZE" in done.stderr

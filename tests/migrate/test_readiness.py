"""Is the schema at this code's head? What the application is told."""

import json
from typing import Any

from tests.migrate.service import Service

ASK = """
import asyncio, json, sys
from sqlalchemy.ext.asyncio import AsyncSession
from app.core.database import get_engine
from app.migrate.readiness import schema_problem

async def main():
    async with get_engine().connect() as connection:
        problem = await schema_problem(connection)
        assert not connection.in_transaction()
        await connection.begin()
        same = await schema_problem(connection)
        assert connection.in_transaction()
    async with AsyncSession(get_engine()) as session:
        assert (await schema_problem(session)) == same == problem
        assert not session.in_transaction()
    await get_engine().dispose()
    print(json.dumps([problem and [int(problem.exit_code), problem.cause, problem.remedy],
                      "alembic" in sys.modules]))

asyncio.run(main())
"""


def ask(service: Service) -> tuple[Any, bool]:
    """The problem, and whether Alembic was imported."""
    done = service.run("-c", ASK, program="python")
    assert done.returncode == 0, done
    problem, imported = json.loads(done.stdout)
    return problem, imported


def test_readiness_names_what_is_pending(service: Service) -> None:
    first = service.add("one", "pass")
    service.sql("SELECT 1")
    problem, imported = ask(service)
    names = f"20261122_0000_baseline_empty_schema, {first.stem}"
    cause = f"the database is not at this code's head; pending: {names}"
    assert problem == [6, cause, "alembic upgrade head"]
    assert not imported
    assert service.migrate().returncode == 0
    assert ask(service) == (None, False)
    second = service.add("two", "pass")
    problem, _ = ask(service)
    assert problem[1].endswith(f"pending: {second.stem}")


def test_readiness_knows_a_database_that_is_newer_than_the_code(service: Service) -> None:
    path = service.add("one", "pass")
    assert service.migrate().returncode == 0
    path.unlink()
    problem, _ = ask(service)
    assert problem[0] == 8
    assert problem[1] == "the database is at revision one, which this code does not have"


def test_readiness_knows_branches_and_several_heads(service: Service) -> None:
    left = service.add("left", "pass")
    service.head = "baseline"
    service.add("right", "pass")
    problem, _ = ask(service)
    assert problem[0] == 8
    assert "several heads" in problem[1]
    service.head = "left"
    joined = service.add("joined", "pass")
    joined.write_text(joined.read_text().replace("= 'left'", "= ('left', 'right')"))
    problem, imported = ask(service)
    assert problem[0] == 6
    assert not imported
    # What the short way does not read, Alembic does.
    left.write_text(left.read_text().replace("branch_labels = None", "branch_labels = ('l',)"))
    problem, imported = ask(service)
    assert (problem[0], imported) == (6, True)
    assert service.migrate().returncode == 0
    assert ask(service) == (None, True)

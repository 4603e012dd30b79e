"""Is the schema at this code's head? What the application is told."""

import json
from typing import Any

import pytest

from tests.migrate.service import Service

ASK = """
import asyncio, json
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
    print(json.dumps(problem and [int(problem.exit_code), problem.cause, problem.remedy]))

asyncio.run(main())
"""


def ask(service: Service) -> Any:
    """The exit code, the cause and the remedy; None where there is no problem."""
    done = service.run("-c", ASK, program="python")
    assert done.returncode == 0, done
    return json.loads(done.stdout)


def test_readiness_names_what_is_pending(service: Service) -> None:
    first = service.add("one", "pass")
    names = f"20261122_0000_baseline_empty_schema, {first.stem}"
    cause = f"the database is not at this code's head; pending: {names}"
    assert ask(service) == [6, cause, "python -m app.migrate upgrade head"]
    assert service.migrate().returncode == 0
    assert ask(service) is None
    second = service.add("two", "pass")
    assert ask(service)[1].endswith(f"pending: {second.stem}")


def test_a_database_that_a_newer_release_has_migrated_is_ready(service: Service) -> None:
    path = service.add("one", "pass")
    service.head = "one"
    later = service.add("two", "pass")
    assert service.migrate().returncode == 0
    later.unlink()
    assert ask(service) is None
    path.unlink()
    assert ask(service) is None


def test_a_database_of_another_branch_is_not(service: Service) -> None:
    path = service.add("one", "pass")
    assert service.migrate().returncode == 0
    path.unlink()
    service.head = "baseline"
    service.add("other", "pass")
    problem = ask(service)
    assert problem[0] == 8
    assert problem[1] == "the database is at revision one, which this code does not have"
    # Nor is one where this code's head was reverted before.
    service.sql(
        "INSERT INTO alembic_history (revision, direction, milliseconds, sha256, host)"
        " VALUES ('other', 'upgrade', 1, '', ''), ('other', 'downgrade', 1, '', '')"
    )
    assert ask(service) == problem
    service.sql("DROP TABLE alembic_history")
    assert ask(service) == problem


def test_readiness_knows_branches_labels_and_several_heads(service: Service) -> None:
    left = service.add("left", "pass")
    left.write_text(left.read_text().replace("branch_labels = None", "branch_labels = ('l',)"))
    service.head = "baseline"
    service.add("right", "pass")
    problem = ask(service)
    assert problem[0] == 8
    assert "several heads" in problem[1]
    service.head = "left"
    joined = service.add("joined", "pass")
    joined.write_text(joined.read_text().replace("= 'left'", "= ('left', 'right')"))
    assert ask(service)[0] == 6
    assert service.migrate().returncode == 0
    assert ask(service) is None


@pytest.mark.parametrize(
    ("rows", "cause"),
    [
        (["one", "one"], "alembic_version has a wrong row: one, 2 times"),
        (["one", ""], "alembic_version has a wrong row: an empty one"),
        (["one", None], "alembic_version has a wrong row: an empty one"),
        (
            ["one", "baseline"],
            "alembic_version has a wrong row: baseline, and one which comes after it",
        ),
        (
            ["one", "0123456789ab"],
            "the database is at revision 0123456789ab, which this code does not have",
        ),
    ],
)
def test_readiness_names_rows_that_cannot_be(
    service: Service, rows: list[str | None], cause: str
) -> None:
    service.add("one", "pass")
    service.sql("CREATE TABLE alembic_version (version_num text)")  # by another hand
    for row in rows:
        service.sql("INSERT INTO alembic_version VALUES (%s)", row)
    problem = ask(service)
    assert problem[:2] == [8, cause]
    wrong = "find out where the database is, then python -m app.migrate stamp --purge <revision>"
    unknown = "deploy the code that has it, or downgrade with that code first"
    assert problem[2] == (wrong if "wrong row" in cause else unknown)


def test_readiness_reads_the_revisions_once(service: Service) -> None:
    path = service.add("one", "pass")
    assert service.migrate().returncode == 0
    remove = f"    __import__('os').unlink({str(path)!r})\n    async with AsyncSession"
    done = service.run("-c", ASK.replace("    async with AsyncSession", remove), program="python")
    assert (done.returncode, done.stdout) == (0, "null\n"), done

"""Is the schema at this code's head? For the application's start and its health check.

    problem = await schema_problem(session)   # None: ready

Costs a query or two. The revisions are read once per process, by Alembic.
"""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.script.revision import RevisionError
from alembic.util import CommandError
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from app.migrate.errors import BACKEND, ExitCode, MigrationError, Problem, command
from app.migrate.explain import explain


async def schema_problem(database: AsyncSession | AsyncConnection) -> Problem | None:
    """What keeps this code from working with this database; None if nothing does.

    Args:
        database: a session or connection; a transaction that is open stays open.
    """
    was_in_transaction = database.in_transaction()
    try:
        rows: Sequence[str | None] = []
        if await database.scalar(text("SELECT to_regclass('alembic_version')")):
            found = await database.scalars(text("SELECT version_num FROM alembic_version"))
            rows = found.all()
        if not was_in_transaction:
            await database.rollback()
        pending = _pending(tuple(sorted(str(row or "") for row in rows)))
    except Exception as error:
        if problem := explain(error):
            return problem
        raise
    if pending:
        return Problem(
            f"the database is not at this code's head; pending: {', '.join(pending)}",
            command("upgrade head"),
            ExitCode.PENDING,
        )
    return None


@lru_cache
def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(Config(BACKEND / "alembic.ini", BACKEND / "pyproject.toml"))


@lru_cache(maxsize=8)
def _pending(rows: tuple[str, ...]) -> list[str]:
    """The files of the revisions that an upgrade would run, oldest first.

    Raises:
        MigrationError: a row names no revision of this code, or the rows are no state of it.
        alembic.util.CommandError: there are several heads.
    """
    scripts = _scripts()
    scripts.get_current_head()  # raises if there are several
    unknown = sorted(set(rows) - {script.revision for script in scripts.walk_revisions()})
    if not all(rows) or len(set(rows)) < len(rows):
        raise _odd_rows(rows, "one of them is empty, or there twice")
    if unknown:
        raise MigrationError(
            Problem(
                f"the database is at revision {', '.join(unknown)}, which this code does not have",
                "deploy the code that has it, or downgrade with that code first",
                ExitCode.HISTORY,
            )
        )
    try:
        found = list(scripts.iterate_revisions("heads", rows or "base"))
    except (CommandError, RevisionError) as error:
        raise _odd_rows(rows, str(error)) from error
    return [Path(script.path).stem for script in reversed(found)]


def _odd_rows(rows: tuple[str, ...], why: str) -> MigrationError:
    return MigrationError(
        Problem(
            f"alembic_version has the rows {', '.join(map(repr, rows))}: {why}",
            "delete the row that should not be there",
            ExitCode.HISTORY,
        )
    )

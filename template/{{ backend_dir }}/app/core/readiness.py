"""Is the schema at this code's head? For the application's start and its health check.

    problem = await schema_problem(session)   # None: ready

Cheap: one query, and the files of the revisions are read once per process, without Alembic.
"""

from functools import lru_cache

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from app.core.problems import ExitCode, Problem, command, explain
from app.migrate.heads import History, read_history


@lru_cache
def _history() -> History | None:
    return read_history()


async def schema_problem(database: AsyncSession | AsyncConnection) -> Problem | None:
    """What keeps this code from working with this database; None if nothing does.

    Args:
        database: a session or connection; its transaction is left as it was.
    """
    try:
        applied: set[str] = set()
        if await database.scalar(text("SELECT to_regclass('alembic_version')")):
            applied.update(await database.scalars(text("SELECT version_num FROM alembic_version")))
    except (DBAPIError, OSError) as error:
        if problem := explain(error):
            return problem
        raise
    history = _history()
    if history is None:
        return Problem(
            "the revisions cannot be read as one line of history with one head",
            command("heads") + " shows them",
            ExitCode.HISTORY,
        )
    pending = history.pending(applied)
    if pending is None:
        unknown = ", ".join(sorted(applied - history.revisions.keys()))
        return Problem(
            f"the database is at revision {unknown}, which this code does not have: it is newer",
            "deploy the code that has it, or downgrade with that code first",
            ExitCode.HISTORY,
        )
    if pending:
        names = ", ".join(revision.file.stem for revision in pending)
        return Problem(
            f"the database is not at this code's head; pending: {names}",
            command("upgrade head"),
            ExitCode.PENDING,
        )
    return None

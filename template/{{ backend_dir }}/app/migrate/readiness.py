"""Is the schema at this code's head? For the application's start and its health check.

    problem = await schema_problem(session)   # None: ready

Cheap: one query or two, and the files of the revisions are read once per process, without Alembic.
"""

from functools import lru_cache
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from app.migrate.errors import ExitCode, MigrationError, Problem, command
from app.migrate.explain import explain
from app.migrate.heads import BACKEND, read_history


async def schema_problem(database: AsyncSession | AsyncConnection) -> Problem | None:
    """What keeps this code from working with this database; None if nothing does.

    Args:
        database: a session or connection; a transaction that is open stays open.
    """
    was_in_transaction = database.in_transaction()
    try:
        applied: set[str] = set()
        if await database.scalar(text("SELECT to_regclass('alembic_version')")):
            applied.update(await database.scalars(text("SELECT version_num FROM alembic_version")))
        if not was_in_transaction:
            await database.rollback()
        pending = _pending(frozenset(applied))
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


@lru_cache(maxsize=8)
def _pending(applied: frozenset[str]) -> list[str]:
    """The files of the revisions that an upgrade would run, oldest first.

    Raises:
        MigrationError: a row names no revision of this code.
        alembic.util.CommandError: there are several heads.
    """
    if history := read_history():
        pending = history.pending(applied)
        if pending is None:
            unknown = ", ".join(sorted(applied - history.revisions.keys()))
            raise MigrationError(
                Problem(
                    f"the database is at revision {unknown}, which this code does not have",
                    "deploy the code that has it, or downgrade with that code first",
                    ExitCode.HISTORY,
                )
            )
        return [Path(revision.file).stem for revision in pending]
    # Several heads, branches: seldom, and Alembic has the words.
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory.from_config(Config(f"{BACKEND}/alembic.ini"))
    scripts.get_current_head()  # raises if there are several
    found = list(scripts.iterate_revisions("heads", tuple(applied) or "base"))
    return [Path(script.path).stem for script in reversed(found)]

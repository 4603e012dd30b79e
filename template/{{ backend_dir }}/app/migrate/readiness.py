"""Is the schema at this code's head? For the application's start and its health check.

    problem = await schema_problem(session)   # None: ready

Costs a query or two. The revisions are read once per process: those that its code was written for,
whatever is on disk later. Where a newer release has migrated, this one is ready: it still serves.
"""

from functools import lru_cache
from pathlib import Path

from alembic.script.revision import RevisionError
from alembic.util import CommandError
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from app.migrate.errors import MigrationError, Problem, problem
from app.migrate.explain import explain, scripts
from app.migrate.queries import SQL

_scripts = lru_cache(scripts)


async def schema_problem(database: AsyncSession | AsyncConnection) -> Problem | None:
    """What keeps this code from working with this database; None if nothing does.

    Args:
        database: a session or connection; a transaction that is open stays open.
    """
    was_in_transaction = database.in_transaction()
    try:
        rows: list[str] = []
        if await database.scalar(text("SELECT to_regclass('alembic_version')")):
            found = await database.scalars(text("SELECT version_num FROM alembic_version"))
            rows = sorted(row or "" for row in found)
        unknown = set(rows) - {script.revision for script in _scripts().walk_revisions()}
        if unknown and await database.scalar(text("SELECT to_regclass('alembic_history')")):
            applied = set(await database.scalars(text(SQL["applied"])))
            if applied.issuperset(_scripts().get_heads()):
                rows = _scripts().get_heads()  # and what came later
        if not was_in_transaction:
            await database.rollback()
        _check(tuple(rows))
    except Exception as error:
        if found_problem := explain(error):
            return found_problem
        raise
    return None


@lru_cache(maxsize=8)
def _check(rows: tuple[str, ...]) -> None:
    """Raise MigrationError or CommandError, whichever way the rows are not this code's head."""
    _scripts().get_current_head()  # raises if there are several
    wrong = ["an empty one" for row in rows if not row]
    wrong += [f"{row}, {rows.count(row)} times" for row in rows if rows.count(row) > 1]
    if wrong:
        raise MigrationError(problem("revisions", "wrong-row", which=wrong[0]))
    known = {script.revision for script in _scripts().walk_revisions()}
    if unknown := ", ".join(sorted(set(rows) - known)):
        raise MigrationError(problem("readiness", "unknown-revision", unknown=unknown))
    try:
        found = list(_scripts().iterate_revisions("heads", rows or "base"))
    except RevisionError as error:
        raise CommandError(str(error)) from error
    if found:
        pending = ", ".join(Path(script.path).stem for script in reversed(found))
        raise MigrationError(problem("readiness", "pending", pending=pending))

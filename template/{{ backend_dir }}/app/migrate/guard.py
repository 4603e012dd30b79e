"""In production nothing is reverted or stamped, and nowhere are rows lost, without `--yes`."""

from collections.abc import Callable
from typing import Any

from alembic.runtime.environment import EnvironmentContext
from sqlalchemy import Connection

from app.migrate.errors import MigrationError, problem
from app.migrate.queries import SQL


def guard(context: EnvironmentContext, connection: Connection) -> Callable[..., None]:
    """What Alembic is to call after each revision, in its transaction; leaves none open.

    Raises:
        MigrationError: in production at once; where rows are lost, in that call, which rolls back.
    """
    options: Any = context.config.cmd_opts  # None: a program knows what it asks for
    name = options.cmd[0].__name__ if options else ""
    if name not in {"downgrade", "stamp"} or "yes" in context.get_x_argument():
        return lambda **_: None
    from app.core.config import get_settings

    revisions = [options.revision] if name == "downgrade" else options.revisions
    values = {"name": name, "command": " ".join([name, *revisions, "--yes"])}
    if get_settings().environment == "production":
        raise MigrationError(problem("guard", "production", **values))
    tables = _tables(connection)
    connection.commit()

    def refuse_loss(*, ctx: Any, **_: Any) -> None:
        nonlocal tables
        before, tables, lost = tables, _tables(ctx.connection), list[str]()
        for oid, (table, columns, rows) in before.items():
            kept, left = tables[oid][1:] if oid in tables else (columns, 0)
            gone = [f"{table}.{columns[key]}" for key in columns if key not in kept]
            if count := rows if gone else max(rows - left, 0):
                lost += [f"{what} (rows: {count})" for what in gone or [table]]
        if lost:
            raise MigrationError(problem("guard", "loss", lost=", ".join(lost), **values))

    return refuse_loss


def _tables(connection: Connection) -> dict[int, tuple[str, dict[str, str], int]]:
    """Of each table by its OID, which a rename keeps: its name, its columns, how many rows."""
    count = "SELECT count(*) FROM "
    return {
        oid: (table, columns, connection.exec_driver_sql(count + table).scalar_one())
        for oid, table, columns in connection.exec_driver_sql(SQL["tables"]).all()
    }

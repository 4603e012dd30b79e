"""What a migration must not leave behind: invalid indexes and unvalidated constraints."""

from sqlalchemy import Connection

from app.migrate.errors import MigrationError, problem
from app.migrate.queries import SQL
from app.migrate.record import Recorder


def refuse_leftovers(connection: Connection, recorder: Recorder) -> None:
    """Fail after an upgrade if there are any; a downgrade may be removing them.

    Raises:
        MigrationError: names each, and how to fix it.
    """
    leftovers = connection.exec_driver_sql(SQL["leftovers"]).scalars().all()
    if leftovers and not recorder.reverted:
        raise MigrationError(problem("migrate", "leftovers", leftovers="; ".join(leftovers)))

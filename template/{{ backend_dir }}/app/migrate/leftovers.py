"""What a migration must not leave behind: invalid indexes and unvalidated constraints."""

from sqlalchemy import Connection

from app.migrate.errors import ExitCode, MigrationError, Problem, command
from app.migrate.queries import LEFTOVERS
from app.migrate.record import Recorder


def refuse_leftovers(connection: Connection, recorder: Recorder) -> None:
    """Fail after an upgrade if there are any; a downgrade may be removing them.

    Raises:
        MigrationError: names each, and how to fix it.
    """
    if recorder.reverted:
        return
    leftovers = connection.exec_driver_sql(LEFTOVERS.replace("%", "%%")).scalars().all()
    if leftovers:
        raise MigrationError(
            Problem(
                f"the migration left invalid objects behind: {'; '.join(leftovers)}",
                "in a new revision, drop the index (DROP INDEX CONCURRENTLY) and create it again, "
                "or validate the constraint (ALTER TABLE ... VALIDATE CONSTRAINT); then "
                + command("upgrade head"),
                ExitCode.FAILED,
            )
        )

"""What a migration must not leave behind: half-built indexes and constraints nobody has checked."""

from sqlalchemy import Connection

from app.migrate.errors import ExitCode, MigrationError, Problem, command
from app.migrate.queries import LEFTOVERS
from app.migrate.record import Recorder


def refuse_leftovers(connection: Connection, recorder: Recorder) -> None:
    """Fail after an upgrade if there are any; after a downgrade they are on their way out.

    Raises:
        MigrationError: names each, and what mends it.
    """
    if recorder.reverted:
        return
    leftovers = connection.exec_driver_sql(LEFTOVERS.replace("%", "%%")).scalars().all()
    if leftovers:
        raise MigrationError(
            Problem(
                f"something is left unfinished: {'; '.join(leftovers)}",
                "in a new revision, drop the index (DROP INDEX CONCURRENTLY) and create it again, "
                "or validate the constraint (ALTER TABLE ... VALIDATE CONSTRAINT); then "
                + command("upgrade head"),
                ExitCode.FAILED,
            )
        )

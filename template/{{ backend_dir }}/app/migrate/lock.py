"""One migrator at a time: an advisory lock of PostgreSQL, held by the migrating session.

It is asked for again and again, never waited for inside the server: a session that waits there
deadlocks with the holder's CREATE INDEX CONCURRENTLY. No transaction stays open meanwhile, since
Alembic would take one that it finds for its caller's, and commit nothing. The lock ends with the
session, however that ends.
"""

from sqlalchemy import Connection

from app.migrate.errors import MigrationError, printable, problem
from app.migrate.queries import SQL
from app.migrate.retry import Attempts


def take_lock(connection: Connection, wait: float) -> None:
    """Take the lock, and say who has it while that takes time; leaves no transaction open.

    Raises:
        MigrationError: another migration still held the lock after `wait` seconds.
    """
    ask = connection.exec_driver_sql
    attempts = Attempts(wait, first=0.025, longest=2)
    while not ask(SQL["try_lock"]).scalar():
        pid = ask(SQL["lock_holder"]).scalar()
        description = ask(SQL["describe_holder"], {"pid": pid}).scalar()
        holder = printable(description or "a session that has just ended")
        connection.commit()
        if not attempts.again(f"Waiting for another migration: {holder}"):
            wrong = problem("migrate", "locked-out", wait=f"{wait:.0f}", holder=holder)
            raise MigrationError(wrong)
    connection.commit()

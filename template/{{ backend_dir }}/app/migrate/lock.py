"""One migrator at a time: an advisory lock of PostgreSQL, held by the migrating session.

It is asked for again and again, never waited for inside the server: a session that waits there
deadlocks with the holder's CREATE INDEX CONCURRENTLY. No transaction stays open meanwhile, since
Alembic would take one that it finds for its caller's, and commit nothing. The lock ends with the
session, however that ends.
"""

from sqlalchemy import Connection, text

from app.migrate.attempts import Attempts
from app.migrate.errors import MigrationError, printable, problem
from app.migrate.queries import LOCK_KEY

_KEY = "objsubid = 1 AND (classid::bigint << 32 | objid::bigint)"
HOLDS_LOCK = (
    "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted"  # noqa: S608
    f" AND pid = pg_backend_pid() AND {_KEY} = {LOCK_KEY})"
)
_TRY = text("SELECT pg_try_advisory_lock(:key)").bindparams(key=LOCK_KEY)
_HOLDER = text(
    f"""
    SELECT format('pid %s (%s), since %s, now running: %s', a.pid,
                  coalesce(nullif(a.application_name, ''), 'no name'),
                  to_char(a.backend_start AT TIME ZONE 'UTC', 'HH24:MI:SS "UTC"'),
                  coalesce(nullif(left(regexp_replace(a.query, '[[:space:]]+', ' ', 'g'), 60), ''),
                           'nothing'))
    FROM pg_locks l JOIN pg_stat_activity a USING (pid)
    WHERE locktype = 'advisory' AND granted AND {_KEY} = :key
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    """  # noqa: S608
).bindparams(key=LOCK_KEY)


def take_lock(connection: Connection, wait: float) -> None:
    """Take the lock, and say who has it while that takes time.

    Args:
        connection: the one that will migrate, with no transaction open; none is open afterwards.
        wait: seconds to wait at most.

    Raises:
        MigrationError: another migration still held the lock after `wait` seconds.
    """
    attempts = Attempts(wait, first=0.025, longest=2)
    while not connection.scalar(_TRY):
        holder = printable(connection.scalar(_HOLDER) or "a session that has just ended")
        connection.commit()
        if not attempts.again(f"Waiting for another migration: {holder}"):
            wrong = problem("migrate", "locked-out", wait=f"{wait:.0f}", holder=holder)
            raise MigrationError(wrong)
    connection.commit()

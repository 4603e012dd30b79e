"""One migrator at a time: an advisory lock of PostgreSQL, held by the migrating session.

It is asked for again and again, never waited for inside the server: a session that waits there
deadlocks with the holder's CREATE INDEX CONCURRENTLY. No transaction stays open meanwhile, since
Alembic would take one that it finds for its caller's, and commit nothing. The lock ends with the
session, however that ends.
"""

import random
import time
from logging import getLogger

from sqlalchemy import Connection, text

from app.migrate.errors import ExitCode, MigrationError, Problem, unfinished

log = getLogger(__name__)

LOCK_KEY = int.from_bytes(b"alembic", "big")  # advisory locks are per database: one key will do
REPORT_EVERY = 10.0  # seconds

_TRY = text("SELECT pg_try_advisory_lock(:key)").bindparams(key=LOCK_KEY)
_HOLDER = text(
    """
    SELECT format('pid %s (%s), since %s, now running: %s', a.pid,
                  coalesce(nullif(a.application_name, ''), 'no name'),
                  to_char(a.backend_start AT TIME ZONE 'UTC', 'HH24:MI:SS "UTC"'),
                  coalesce(nullif(left(regexp_replace(a.query, '[[:space:]]+', ' ', 'g'), 60), ''),
                           'nothing'))
    FROM pg_locks l JOIN pg_stat_activity a USING (pid)
    WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
      AND (l.classid::bigint << 32 | l.objid::bigint) = :key
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    """
).bindparams(key=LOCK_KEY)


def take_lock(connection: Connection, wait: float) -> None:
    """Take the lock, and say who has it while that takes time.

    Args:
        connection: the one that will migrate, with no transaction open; none is open afterwards.
        wait: seconds to wait at most.

    Raises:
        MigrationError: another migration still held the lock after `wait` seconds.
    """
    start = time.monotonic()
    report_at, pause = start, 0.025  # from 25 ms to 2 s with jitter, as Atlas does
    while not connection.scalar(_TRY):
        holder = connection.scalar(_HOLDER) or "a session that has just ended"
        connection.commit()
        now = time.monotonic()
        left = start + wait - now
        if left <= 0:
            raise MigrationError(
                Problem(
                    f"another migration held the lock for {wait:.0f} s: {holder}",
                    f"wait for it, then {unfinished()}; to wait longer set "
                    "MIGRATION_LOCK_WAIT (seconds)",
                    ExitCode.LOCKED_OUT,
                )
            )
        if now >= report_at:
            log.info("Waiting for another migration: %s", holder)
            report_at = now + REPORT_EVERY
        time.sleep(min(left, pause * random.uniform(0.5, 1.5)))  # noqa: S311 (no secret)
        pause = min(pause * 2, 2.0)
    connection.commit()

"""A record of what was applied: which revision, when, by whom, from where, and from which text.

`migrate log` shows it. It is written in the transaction of the revision itself, so that it never
says anything that did not happen.
"""

import socket
import time
from logging import getLogger
from pathlib import Path
from typing import Any

from alembic.runtime.migration import MigrationContext, MigrationInfo
from alembic.script import Script, ScriptDirectory
from sqlalchemy import Connection, text

from app.migrate.heads import sha256_of
from app.migrate.queries import APPLIED_TEXTS, HISTORY_TABLE

log = getLogger(__name__)

_CREATE = f"""
CREATE TABLE IF NOT EXISTS {HISTORY_TABLE} (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    revision text NOT NULL,
    direction text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    milliseconds integer NOT NULL,
    sha256 text NOT NULL,
    role text NOT NULL DEFAULT current_user,
    host text NOT NULL
)"""
_INSERT = text(
    f"INSERT INTO {HISTORY_TABLE} (revision, direction, milliseconds, sha256, host)"  # noqa: S608
    " VALUES (:revision, :direction, :milliseconds, :sha256, :host)"
)
_LOG = text(
    f"""
    SELECT to_char(applied_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS "UTC"'), direction,
           revision, milliseconds, role, host
    FROM {HISTORY_TABLE} ORDER BY id
    """  # noqa: S608
)


class Recorder:
    """Writes a row for each revision that a run applies or reverts."""

    def __init__(self, connection: Connection) -> None:
        """Make the table where it is missing; leaves no transaction open."""
        self.applied = 0  # up or down
        self.reverted = 0  # of these, down
        self._since = time.monotonic()
        if connection.scalar(text("SELECT to_regclass(:name)"), {"name": HISTORY_TABLE}) is None:
            connection.exec_driver_sql(_CREATE)
        connection.commit()

    def __call__(self, *, ctx: MigrationContext, step: MigrationInfo, **_: Any) -> None:
        """What Alembic calls after each revision, in its transaction (`on_version_apply`)."""
        now = time.monotonic()
        direction = "upgrade" if step.is_upgrade else "downgrade"
        assert ctx.connection is not None
        for revision in step.up_revisions:
            assert isinstance(revision, Script)  # with a file; not a bare node of the graph
            ctx.connection.execute(
                _INSERT,
                {
                    "revision": revision.revision,
                    "direction": f"{direction} (stamp)" if step.is_stamp else direction,
                    "milliseconds": round((now - self._since) * 1000),
                    "sha256": sha256_of(revision.path),
                    "host": socket.gethostname(),
                },
            )
        self.applied += 1
        self.reverted += not step.is_upgrade
        self._since = now


def warn_of_edited_revisions(connection: Connection, scripts: ScriptDirectory) -> None:
    """Name the files that were changed after they were applied here."""
    files = {script.revision: script.path for script in scripts.walk_revisions()}
    for revision, before in connection.exec_driver_sql(APPLIED_TEXTS).all():
        if revision in files and sha256_of(files[revision]) != before:
            log.warning(
                "%s was changed after it was applied to this database: other databases will differ "
                "from this one. Bring it back (git checkout), and write a new revision.",
                Path(files[revision]).name,
            )
    connection.rollback()


def show(connection: Connection) -> list[str]:
    """The record, oldest first, one line for each revision that was applied or reverted."""
    if connection.scalar(text("SELECT to_regclass(:name)"), {"name": HISTORY_TABLE}) is None:
        return []
    return [
        f"{when}  {direction:17}  {revision}  {milliseconds} ms  {role}@{host}"
        for when, direction, revision, milliseconds, role, host in connection.execute(_LOG)
    ]

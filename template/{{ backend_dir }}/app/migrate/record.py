"""A record of what was applied: which revision, when, by whom, from where, and what it did.

`migrate log` shows it. A row is written in the transaction of the revision itself, so that it never
says anything that did not happen.
"""

import ast
import hashlib
import socket
import time
from logging import getLogger
from pathlib import Path
from typing import Any

from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext, MigrationInfo
from alembic.script import Script
from sqlalchemy import Connection, text

from app.migrate.errors import MIGRATE
from app.migrate.fastpath import files_digest
from app.migrate.queries import HISTORY_TABLE

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
# The latest row of each revision; what was reverted since is not applied.
_APPLIED = f"""
SELECT revision, sha256 FROM (
    SELECT DISTINCT ON (revision) revision, sha256, direction FROM {HISTORY_TABLE}
    ORDER BY revision, id DESC
) latest WHERE starts_with(direction, 'upgrade')
"""  # noqa: S608
_EDITED = (
    "%s was changed after it was applied to this database, which has what the earlier file did. "
    "In a database of your own: '%s', then upgrade it again. Elsewhere: restore the file (git "
    "checkout), and write a new revision; or, if both files do the same, 'stamp heads' records it"
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

    def __init__(self, context: EnvironmentContext) -> None:
        """Before the connection: what changes from now on may not be what runs."""
        self.applied = 0  # revisions, up or down
        self.reverted = 0  # of these, down
        self.edited: list[Script] = []  # since they were applied
        self.context = context
        self.digest = files_digest()
        self._texts: dict[str, bytes] = {}
        self._since = time.monotonic()

    def begin(self, connection: Connection) -> None:
        """Create the table where it is missing, read the revisions, and name the edited ones.

        `stamp` records those as they are now. Leaves no transaction open.
        """
        if connection.scalar(text("SELECT to_regclass(:name)"), {"name": HISTORY_TABLE}) is None:
            connection.exec_driver_sql(_CREATE)
        scripts = self.context.script
        folders = scripts.version_locations or [f"{scripts.dir}/versions"]
        files = [path.resolve() for folder in folders for path in Path(folder).rglob("*.py")]
        self._texts = {str(path): path.read_bytes() for path in files}  # before they are loaded
        applied = {row.revision: row.sha256 for row in connection.exec_driver_sql(_APPLIED)}
        for script in scripts.walk_revisions():
            if not _is_same(self._texts.get(script.path, b""), applied.get(script.revision)):
                self.edited.append(script)
        options = self.context.config.cmd_opts
        for script in self.edited:
            if options is not None and options.cmd[0].__name__ == "stamp":
                self._insert(connection, script, "upgrade (stamp)")
            else:
                parent = next(iter(script._versioned_down_revisions), "base")
                log.warning(_EDITED, Path(script.path).name, f"{MIGRATE} downgrade {parent}")
        connection.commit()
        self._since = time.monotonic()

    def __call__(self, *, ctx: MigrationContext, step: MigrationInfo, **_: Any) -> None:
        """What Alembic calls after each revision, in its transaction (`on_version_apply`)."""
        direction = "upgrade" if step.is_upgrade else "downgrade"
        assert ctx.connection is not None
        for script in step.up_revisions:
            assert isinstance(script, Script)  # with a file; not a bare node of the graph
            self._insert(ctx.connection, script, direction + " (stamp)" * step.is_stamp)
        self.applied += 1
        self.reverted += not step.is_upgrade
        self._since = time.monotonic()

    def _insert(self, connection: Connection, script: Script, direction: str) -> None:
        content = self._texts.get(script.path, b"")
        row = {
            "revision": script.revision,
            "direction": direction,
            "milliseconds": round((time.monotonic() - self._since) * 1000),
            "sha256": _sha256(content)[:32] + effect(content)[:32],
            "host": socket.gethostname(),
        }
        connection.execute(_INSERT, row)


def _is_same(content: bytes, recorded: str | None) -> bool:
    """Whether a file does what it did when it was recorded; earlier releases knew its text only."""
    if recorded is None or recorded[:32] == _sha256(content)[:32]:
        return True
    return recorded[32:] == effect(content)[:32]


def effect(content: bytes) -> str:
    """SHA-256 of what `upgrade()` does: its syntax tree, and what it uses of the module.

    Without comments, docstrings and formatting, and the same in every version of Python.
    """
    try:
        module = ast.parse(content)
    except (SyntaxError, ValueError):
        return _sha256(content)  # byte code without its source
    used, before = {"upgrade"}, set[str]()
    while used != before:
        before = set(used)
        chosen = [node for node in module.body if not (names := _bound(node)) or names & used]
        used |= {n.id for node in chosen for n in ast.walk(node) if isinstance(n, ast.Name)}
    return _sha256(repr([_plain(node) for node in chosen if not _is_text(node)]).encode())


def _bound(node: ast.stmt) -> set[str]:
    """The names that a statement of the module defines; none where it may do anything."""
    match node:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return {name}
        case ast.Import(names=names) | ast.ImportFrom(names=names):
            return {(item.asname or item.name).partition(".")[0] for item in names}
        case ast.Assign(targets=targets):
            return {n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name)}
        case ast.AnnAssign(target=ast.Name(id=name)) | ast.AugAssign(target=ast.Name(id=name)):
            return {name}
    return set()


def _is_text(node: object) -> bool:
    """Whether it is a statement that is only a string, as a docstring."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _plain(value: object) -> object:
    """A syntax tree as tuples; what is empty is left out, since it depends on Python's version."""
    if isinstance(value, list):
        return [_plain(item) for item in value if not _is_text(item)]
    if not isinstance(value, ast.AST):
        return value
    fields = [(name, _plain(item)) for name, item in ast.iter_fields(value) if name != "returns"]
    return type(value).__name__, [(name, item) for name, item in fields if item not in (None, [])]


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content.replace(b"\r\n", b"\n")).hexdigest()


def show(connection: Connection) -> list[str]:
    """The record, oldest first, one line for each revision that was applied or reverted."""
    if connection.scalar(text("SELECT to_regclass(:name)"), {"name": HISTORY_TABLE}) is None:
        return []
    return [
        f"{when}  {direction:17}  {revision}  {milliseconds} ms  {role}@{host}"
        for when, direction, revision, milliseconds, role, host in connection.execute(_LOG)
    ]

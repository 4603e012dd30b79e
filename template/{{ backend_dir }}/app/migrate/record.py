"""A record of what was applied: which revision, when, by whom, from where, and what it did.

`migrate log` shows it. A row is written in the transaction of the revision itself, so that it never
says anything that did not happen.
"""

import ast
import hashlib
import os
import re
import socket
import time
from functools import cache
from logging import getLogger
from pathlib import Path
from typing import Any

from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext, MigrationInfo
from alembic.script import Script
from sqlalchemy import Connection

from app.migrate.errors import MigrationError, problem
from app.migrate.fastpath import HEADS, digest_of, read_files
from app.migrate.queries import SQL

log = getLogger(__name__)


class Recorder:
    """Writes a row for each revision that a run applies or reverts."""

    def __init__(self, context: EnvironmentContext) -> None:
        """Before the connection: what changes from now on may not be what runs."""
        self.applied = 0  # revisions, up or down
        self.reverted = 0  # of these, down
        self.edited: list[Script] = []  # since they were applied
        self.context = context
        self.digest = digest_of(read_files())
        self._texts: dict[str, bytes] = {}
        self._since = time.monotonic()

    def begin(self, connection: Connection) -> None:
        """Once, create the table where it is missing, read the revisions, name the edited ones.

        `stamp` records those as they are now. Leaves no transaction open.

        Raises:
            MigrationError: no revision, an id that cannot be, another table that recorded them; or
                a newer release has migrated, so that one that starts again has no work.
        """
        if self._texts:
            return  # this is another attempt
        if is_new := not has_history(connection):
            connection.exec_driver_sql(SQL["create_history"])
        applied = {row.revision: row.sha256 for row in connection.exec_driver_sql(SQL["applied"])}
        scripts = self.context.script
        folders = scripts.version_locations or [f"{scripts.dir}/versions"]
        files = [path for folder in folders for path in Path(folder).resolve().rglob("*.py")]
        # Before they are loaded.
        self._texts = {str(path): path.read_bytes() for path in files if path.is_file()}
        options = self.context.config.cmd_opts
        if not scripts.get_bases():
            raise MigrationError(problem("revisions", "none"))
        ids = {script.revision for script in scripts.walk_revisions()}
        for table, query in connection.exec_driver_sql(SQL["version_tables"]) if is_new else ():
            rows = connection.exec_driver_sql(query).scalars()
            if ids.intersection(rows) and self.context.context_opts["fn"].__name__ != "do_stamp":
                raise MigrationError(problem("revisions", "elsewhere", table=table))
        for script in scripts.walk_revisions():
            _check_id(connection, script)
            recorded = applied.get(script.revision)
            if recorded is None or _is_same(self._texts.get(script.path, b""), recorded):
                continue
            self.edited.append(script)
            if options is not None and options.cmd[0].__name__ == "stamp":
                self._insert(connection, script, "upgrade (stamp)")
            else:
                parent = next(iter(script._versioned_down_revisions), "base")
                edited = problem("record", "edited", file=Path(script.path).name, parent=parent)
                log.warning("%s. %s", edited.cause, edited.remedy)
        is_image = os.environ.get("ENVIRONMENT") == "production"  # on a laptop, a file is missing
        is_to_head = self.context.context_opts["destination_rev"] in HEADS
        if is_image and is_to_head and applied.keys() >= set(scripts.get_heads()):
            heads = MigrationContext.configure(connection).get_current_heads()
            if set(heads) - ids:
                raise MigrationError(problem("migrate", "ahead", revision=", ".join(heads)))
        connection.commit()
        self._since = time.monotonic()

    def __call__(self, *, ctx: MigrationContext, step: MigrationInfo, **_: Any) -> None:
        """What Alembic calls after each revision, in its transaction (`on_version_apply`)."""
        direction = "upgrade" if step.is_upgrade else "downgrade"
        if step.is_stamp:
            direction += " (stamp)"
        assert ctx.connection is not None
        for script in step.up_revisions:
            assert isinstance(script, Script)  # with a file; not a bare node of the graph
            self._insert(ctx.connection, script, direction)
        self.applied += 1
        self.reverted += not step.is_upgrade
        self._since = time.monotonic()

    def may_go_on(self) -> bool:
        """Whether a second run does what the first left undone; not where one of +2 is done."""
        destination = str(self.context.context_opts["destination_rev"])
        return not (self.applied and re.search(r"[+-]\d+$", destination))

    def _insert(self, connection: Connection, script: Script, direction: str) -> None:
        content = self._texts.get(script.path, b"")
        row = {
            "revision": script.revision,
            "direction": direction,
            "milliseconds": round((time.monotonic() - self._since) * 1000),
            "sha256": _sha256(content)[:32] + effect(content)[:32],
            "host": socket.gethostname(),
        }
        connection.exec_driver_sql(SQL["record"], row)


def _check_id(connection: Connection, script: Script) -> None:
    """Before anything runs: Alembic would notice after the revision, and roll it back, or never."""
    file, length = Path(script.path).name, len(script.revision)
    if script.revision in {"", "head", "heads"} or not script.revision.isprintable():
        wrong = problem("revisions", "unusable-id", file=file, id=repr(script.revision))
        raise MigrationError(wrong)
    if length > 32:  # what alembic_version holds, where nobody widened it
        room = connection.exec_driver_sql(SQL["room_for_ids"]).scalar()
        if room and length > room:
            raise MigrationError(problem("migrate", "long-id", file=file, length=length, room=room))


def has_history(connection: Connection) -> bool:
    """Whether a migration has ever been recorded in this database."""
    return connection.exec_driver_sql("SELECT to_regclass('alembic_history')").scalar() is not None


def _is_same(content: bytes, recorded: str) -> bool:
    """Whether a file does what it did when it was recorded; earlier releases knew its text only.

    One that testing/squash.py wrote has those digests of what it replaced.
    """
    return (
        recorded[:32] == _sha256(content)[:32]
        or recorded[32:] == effect(content)[:32]
        or any(half.encode() in content for half in (recorded[:32], recorded[-32:]))
    )


@cache  # a run of the tests asks for that of each revision ten times
def effect(content: bytes) -> str:
    """SHA-256 of what `upgrade()` does: its syntax tree, and what it uses of the module.

    Without comments, docstrings and formatting, and the same in every version of Python.
    """
    try:
        module = ast.parse(content)
    except (SyntaxError, ValueError):
        return _sha256(content)  # byte code without its source
    nodes = [
        (node, _bound(node), {name.id for name in ast.walk(node) if isinstance(name, ast.Name)})
        for node in module.body
    ]
    used, before = {"upgrade"}, set[str]()
    while used != before:
        before = set(used)
        chosen = [it for it in nodes if not it[1] or it[1] & used]
        used.update(*(names for _, _, names in chosen))
    return _sha256(repr(_plain([node for node, _, _ in chosen])).encode())


def _bound(node: ast.stmt) -> set[str]:
    """The names that a statement of the module defines; none where it may do anything."""
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return {node.name}
        case ast.Import() | ast.ImportFrom():
            return {(item.asname or item.name).partition(".")[0] for item in node.names}
        case ast.Assign() | ast.AnnAssign() | ast.AugAssign():
            names = [n for n in ast.walk(node) if isinstance(n, ast.Name)]
            return {n.id for n in names if isinstance(n.ctx, ast.Store)}
    return set()


def _plain(value: object) -> object:
    """A syntax tree as tuples; what is empty is left out, since it depends on Python's version."""
    match value:
        case list():
            return [plain for item in value if (plain := _plain(item)) != ()]
        case ast.Expr(value=ast.Constant()):
            return ()  # a docstring
        case ast.AST():
            fields = [(name, _plain(item)) for name, item in ast.iter_fields(value)]
            some = [it for it in fields if it[0] != "returns" and it[1] not in (None, [])]
            return type(value).__name__, some
    return value


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content.replace(b"\r\n", b"\n")).hexdigest()

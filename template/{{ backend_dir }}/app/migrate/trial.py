"""A new revision is tried on the server, in a transaction that is rolled back, and then written.

What the server refuses stands in the file as a comment, with the server's words: what depends on a
column, and which rows are in the way, only the server knows.
"""

import re
import warnings
from collections.abc import Callable, Collection, Iterator
from typing import Any

import sqlalchemy
from alembic.autogenerate import render
from alembic.autogenerate.api import AutogenContext
from alembic.operations import Operations, ops
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection

from app.migrate.comparison import ByHand, Comparison, Facts, Statements
from app.migrate.errors import printable

# Neither the revision nor the rows: no connection, no privilege, no lock, a full disk.
_OTHER_CAUSES = ("08", "40", "42501", "53", "55P03", "57")
_NO_CAST = "42846"
_DROPS = (ops.DropColumnOp, ops.DropTableOp)


class _Untried(Exception):  # noqa: N818 (no fault)
    """Why not."""


class Incomplete(ops.MigrateOperation):
    """Where a part of downgrade() is left to do by hand: it must not run without."""

    def __init__(self, why: str) -> None:
        self.why = f"downgrade() is to be completed by hand: {why}"


def try_out(
    context: AutogenContext,
    script: Any,
    comparison: Comparison,
    plan: Callable[[Collection[str]], list[ops.MigrateOperation]],
) -> list[str]:
    """Leave to do by hand what the server refuses; a line for each, or why it was not tried.

    What is refused is tried once more with all that uses it set aside: dropped, and made again. If
    that is refused too, all of the change is left to do by hand, not a part of it.
    """
    assert context.connection
    upgrade, downgrade, lines = script.upgrade_ops, script.downgrade_ops, list[str]()
    aside, given_up, held = set[str](), set[str](), dict[str, ByHand]()
    with context.connection.engine.connect() as connection, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        connection.exec_driver_sql("SET LOCAL lock_timeout = '2s'")
        try:
            while True:
                attempt = connection.begin_nested()
                _run(context, connection, comparison, upgrade, held)
                if not _by_hand(upgrade):
                    _compare(connection, comparison, upgrade, comparison.new)
                upgrade.reverse_into(downgrade)
                _run(context, connection, comparison, downgrade, {})
                if not _by_hand(downgrade):
                    _compare(connection, comparison, downgrade, comparison.old)
                refused = {op.of: op for op in _by_hand(upgrade)[::-1] if op.of}
                about = refused.keys() | {op.of for op in _by_hand(downgrade) if op.of}
                given_up |= about & aside
                again = (about | aside) - given_up
                if again == aside and refused.keys() <= held.keys():
                    break
                held |= refused if again == aside else {}
                aside = again
                attempt.rollback()
                upgrade.ops = plan(aside)
        except _Untried as error:
            lines.append(f"could not be tried on the server: {error}")
            upgrade.ops = plan(())
            upgrade.reverse_into(downgrade)
    why = dict.fromkeys((op.why for op in _by_hand(upgrade)), "by hand")
    if unreverted := _by_hand(downgrade):
        downgrade.ops.insert(0, Incomplete(unreverted[0].why))
    for op in unreverted:
        why.setdefault(op.why, "by hand in downgrade()")
    return lines + [f"{place}: {said}" for said, place in why.items()]


def _run(
    context: AutogenContext,
    connection: Connection,
    comparison: Comparison,
    container: Any,
    held: dict[str, ByHand],
) -> None:
    """Run the code of each operation; what fails, or is a part of what failed, is left by hand."""
    environment = MigrationContext.configure(connection, opts={"target_metadata": context.metadata})
    names = {"op": Operations(environment), "sa": sqlalchemy}
    for parent, number, op in [*leaves(container)]:
        of = comparison.subject(op)
        if why := _why_held(op, of, held):
            parent.ops[number] = ByHand(why, op, of)
            continue
        try:
            _attempt(context, connection, op, names)
        except Exception as error:
            said: Any = error
            while said.__cause__:
                said = said.__cause__
            diag = getattr(said, "diag", None)
            words = [diag.message_primary] if diag else [repr(said)]
            if diag and said.pgcode.startswith(_OTHER_CAUSES):
                raise _Untried(printable(words[0])) from error
            if diag and not said.pgcode.startswith("23"):  # whose details are values of rows
                words.append(diag.message_detail)
            if diag and said.pgcode.startswith("22"):  # as they are in these
                words = [re.sub('".*"', '"..."', words[0])]
            why = printable(": ".join(filter(None, [of, *words])))
            parent.ops[number] = ByHand(why, op, of)


def _why_held(op: Any, of: str, held: dict[str, ByHand]) -> str:
    """Of what it is a part: the change of a column, or what goes with a column or a table."""
    for name, it in held.items():
        uses = getattr(op, "uses", ()) if isinstance(it.refused, _DROPS) else ()
        is_part = name == of or any(f"{use}.".startswith(f"{name}.") for use in uses)
        if is_part and not isinstance(op, ByHand):
            return it.why
    return ""


def _attempt(
    context: AutogenContext, connection: Connection, op: Any, names: dict[str, Any]
) -> None:
    try:
        with connection.begin_nested():
            code = render.render_op(context, op)
            exec("\n".join([*context.imports, *code]), dict(names))  # noqa: S102 (what is written)
    except sqlalchemy.exc.DBAPIError as error:
        is_cast = getattr(error.orig, "pgcode", "") == _NO_CAST and isinstance(op, Statements)
        if not is_cast or len(op.do) > 1 or "::text::" in op.do[0]:
            raise
        value, _, type_ = op.do[0].rpartition("::")
        op.do = [f"{value}::text::{type_}"]
        _attempt(context, connection, op, names)


def _compare(connection: Connection, comparison: Comparison, container: Any, wanted: Facts) -> None:
    """What is still another way is left to do by hand too."""
    now = wanted if comparison.failure else comparison.facts(connection)
    for op in comparison.operations(now, wanted):
        if isinstance(op, Statements):
            container.ops.append(ByHand(f"{op.of}: not done by what is above", op, op.of))


def _by_hand(container: Any) -> list[ByHand]:
    return [op for _, _, op in leaves(container) if isinstance(op, ByHand)]


def leaves(container: Any) -> Iterator[tuple[Any, int, Any]]:
    """Each operation, with its place."""
    for number, op in enumerate(container.ops):
        if isinstance(op, ops.OpContainer):
            yield from leaves(op)
        else:
            yield container, number, op

"""A new revision is tried on the server, in a transaction that is rolled back, and then written.

What the server refuses stands in the file as a comment, with the server's words: what depends on a
column, and which rows are in the way, only the server knows.
"""

import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
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
    """Leave to do by hand what the server refuses; a line for each, or why it was not tried."""
    assert context.connection
    upgrade, downgrade, lines = script.upgrade_ops, script.downgrade_ops, list[str]()
    try:
        with context.connection.engine.connect() as connection, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            connection.exec_driver_sql("SET LOCAL lock_timeout = '2s'")
            _try(context, connection, script, comparison, plan)
    except _Untried as error:
        lines.append(f"could not be tried on the server: {error}")
        upgrade.ops = plan(())
        upgrade.reverse_into(downgrade)
    why = dict[str, str]()
    for place, it in {"by hand": upgrade, "by hand in downgrade()": downgrade}.items():
        for op in (op for _, _, op in leaves(it) if isinstance(op, ByHand)):
            why.setdefault(op.why, place)
    if unreverted := [op for _, _, op in leaves(downgrade) if isinstance(op, ByHand)]:
        downgrade.ops.insert(0, Incomplete(unreverted[0].why))
    return lines + [f"{place}: {said}" for said, place in why.items()]


def _try(
    context: AutogenContext,
    connection: Connection,
    script: Any,
    comparison: Comparison,
    plan: Callable[[Collection[str]], list[ops.MigrateOperation]],
) -> None:
    """What is refused is tried once more with all that uses it set aside: dropped, and made again.

    If that is refused too, all of the change is left to do by hand, not a part of it.
    """
    upgrade, downgrade = script.upgrade_ops, script.downgrade_ops
    aside, given_up, held = set[str](), set[str](), dict[str, ByHand]()
    while True:
        attempt = connection.begin_nested()
        for parent, number, op in [*leaves(upgrade)]:
            if (whole := _whole(op, comparison, held)) and not isinstance(op, ByHand):
                parent.ops[number] = ByHand(whole.why, op, comparison.subject(op))
        refused = _run(context, connection, upgrade, comparison)
        by_hand = [op for _, _, op in leaves(upgrade) if isinstance(op, ByHand)]
        if not by_hand:
            refused += _left(upgrade, comparison, connection, comparison.new)
        upgrade.reverse_into(downgrade)
        unreverted = _run(context, connection, downgrade, comparison)
        if not by_hand and not refused and not unreverted:
            unreverted += _left(downgrade, comparison, connection, comparison.old)
        about = {*map(comparison.subject, [*refused, *unreverted])} - {""}
        given_up |= about & aside
        again, more = (about | aside) - given_up, {comparison.subject(it): it for it in by_hand[::-1]}
        more.pop("", None)
        if again == aside and more.keys() <= held.keys():
            return
        held |= more if again == aside else {}
        aside = again
        attempt.rollback()
        upgrade.ops = plan(aside)


def _whole(op: Any, comparison: Comparison, held: dict[str, ByHand]) -> ByHand | None:
    """The change that is left to do by hand, of which this operation is a part."""
    for name, it in held.items():
        uses = getattr(op, "uses", ()) if isinstance(it.refused, _DROPS) else ()
        if name == comparison.subject(op) or any(f"{use}.".startswith(f"{name}.") for use in uses):
            return it
    return None


def _run(
    context: AutogenContext, connection: Connection, container: Any, comparison: Comparison
) -> list[ops.MigrateOperation]:
    """Run the code of each operation; those that failed, which are left to do by hand."""
    environment = MigrationContext.configure(connection, opts={"target_metadata": context.metadata})
    names = {"op": Operations(environment), "sa": sqlalchemy}
    refused = []
    for parent, number, op in [*leaves(container)]:
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
            refused.append(op)
            why = printable(": ".join(filter(None, [comparison.subject(op), *words])))
            parent.ops[number] = ByHand(why, op, comparison.subject(op))
    return refused


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


def _left(
    container: Any, comparison: Comparison, connection: Connection, wanted: Facts
) -> Sequence[ops.MigrateOperation]:
    """What is still another way, where nothing was refused: it is left to do by hand too."""
    now = wanted if comparison.failure else comparison.facts(connection)
    found = [op for op in comparison.operations(now, wanted) if isinstance(op, Statements)]
    container.ops += [
        ByHand(f"{op.of}: not done by the operations above", op, op.of) for op in found
    ]
    return found


def leaves(container: Any) -> Iterator[tuple[Any, int, Any]]:
    """Each operation, with its place."""
    for number, op in enumerate(container.ops):
        if isinstance(op, ops.OpContainer):
            yield from leaves(op)
        else:
            yield container, number, op

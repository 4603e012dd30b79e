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


class _Untried(Exception):  # noqa: N818 (no fault)
    """Why not."""


def try_out(
    context: AutogenContext,
    script: Any,
    comparison: Comparison,
    plan: Callable[[Collection[str]], list[ops.MigrateOperation]],
) -> list[str]:
    """Leave to do by hand what the server refuses; a line for each, or why it was not tried.

    What is refused is tried once more with all that uses it set aside: dropped, and made again.
    """
    assert context.connection
    upgrade, downgrade = script.upgrade_ops, script.downgrade_ops
    aside, given_up = set[str](), set[str]()
    with context.connection.engine.connect() as connection, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        connection.exec_driver_sql("SET LOCAL lock_timeout = '2s'")
        try:
            while True:
                attempt = connection.begin_nested()
                refused = _run(context, connection, upgrade)
                if not refused:
                    refused += _left(upgrade, comparison, connection, comparison.new)
                upgrade.reverse_into(downgrade)
                unreverted = _run(context, connection, downgrade)
                if not refused and not unreverted:
                    unreverted += _left(downgrade, comparison, connection, comparison.old)
                about = {*map(subject, refused), *map(subject, unreverted)} - {""}
                given_up |= about & aside
                if (about | aside) - given_up == aside:
                    places = {"by hand": upgrade, "by hand in downgrade()": downgrade}
                    why = dict[str, str]()
                    for place, it in places.items():
                        for _, _, op in _leaves(it):
                            if isinstance(op, ByHand):
                                why.setdefault(op.why, place)
                    return [f"{place}: {said}" for said, place in why.items()]
                aside = (about | aside) - given_up
                attempt.rollback()
                upgrade.ops = plan(aside)
        except _Untried as error:
            return [f"could not be tried on the server: {error}"]


def _run(
    context: AutogenContext, connection: Connection, container: Any
) -> list[ops.MigrateOperation]:
    """Run the code of each operation; those that failed, which are left to do by hand."""
    environment = MigrationContext.configure(connection, opts={"target_metadata": context.metadata})
    names = {"op": Operations(environment), "sa": sqlalchemy}
    refused = []
    for parent, number, op in [*_leaves(container)]:
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
            why = printable(": ".join(filter(None, [subject(op), *words])))
            parent.ops[number] = ByHand(why, op)
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
        if not is_cast or "::text::" in op.do[0]:
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
        ByHand(f"{subject(op)}: not done by the operations above", op) for op in found
    ]
    return found


def _leaves(container: Any) -> Iterator[tuple[Any, int, Any]]:
    for number, op in enumerate(container.ops):
        if isinstance(op, ops.OpContainer):
            yield from _leaves(op)
        else:
            yield container, number, op


def subject(op: Any) -> str:
    """What it is about, as Comparison has it: `sales.orders.price`."""
    names = [getattr(op, "schema", None), getattr(op, "table_name", getattr(op, "name", None))]
    names += [getattr(op, "column_name", None), getattr(getattr(op, "column", None), "name", None)]
    return getattr(op, "of", "") or ".".join(filter(None, names))

"""A new revision is tried on the server, in a transaction that is rolled back, and then written.

What the server refuses stands in the file as a comment, with the server's words: what depends on a
column, and which rows are in the way, only the server knows.
"""

import re
import warnings
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import sqlalchemy
from alembic.autogenerate import render
from alembic.autogenerate.api import AutogenContext
from alembic.operations import Operations, ops
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text

from app.migrate.comparison import ByHand, Comparison, Facts, Statements, stable
from app.migrate.errors import printable

# Neither the revision nor the rows: no connection, no privilege, no lock, a full disk.
_OTHER_CAUSES = ("08", "40", "42501", "53", "55P03", "57")
_NO_CAST = "42846"
_ATTACHED = text(Path(__file__).with_name("attached.sql").read_text(encoding="utf-8"))


class _Untried(Exception):  # noqa: N818 (no fault)
    """Why not."""


class Incomplete(ops.MigrateOperation):
    """Where a part of a function is left to do by hand: it must not run without."""

    def __init__(self, function: str, why: str) -> None:
        self.why = f"{function}() is to be completed by hand, and this line deleted: {why}"


def try_out(
    context: AutogenContext,
    script: Any,
    comparison: Comparison,
    plan: Callable[[Collection[str], Collection[str]], list[ops.MigrateOperation]],
) -> list[str]:
    """Leave to do by hand what the server refuses; a line for each, or why it was not tried.

    What is refused is tried once more with it `aside`: all that uses it is dropped, and made again,
    on the way `there` or on the way back alone. What is refused even so is `given_up`.
    """
    assert context.connection
    upgrade, downgrade, lines = script.upgrade_ops, script.downgrade_ops, list[str]()
    aside, there, given_up = set[str](), set[str](), set[str]()
    with context.connection.engine.connect() as connection, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        connection.exec_driver_sql("SET LOCAL lock_timeout = '2s'")
        trial = _Trial(context, connection, comparison)
        try:
            while True:
                attempt = connection.begin_nested()
                trial.run(upgrade, comparison.new)
                upgrade.reverse_into(downgrade)
                if not _by_hand(upgrade):
                    lost = trial.attach()
                    upgrade.ops += [op for op in lost if not isinstance(op, ByHand)]  # it has gone
                    trial.run(downgrade, comparison.old)
                    downgrade.ops += trial.attach()
                refused = {op.of for op in _by_hand(upgrade) if op.of}
                there |= refused
                refused |= {op.of for op in _by_hand(downgrade) if op.of}
                given_up |= refused & aside
                again = (refused | aside) - given_up
                if again == aside:
                    break
                aside = again
                attempt.rollback()
                upgrade.ops = plan(aside, there)
        except _Untried as error:
            lines.append(f"could not be tried on the server: {error}")
            upgrade.ops = plan((), ())
            upgrade.reverse_into(downgrade)
    places = {"upgrade": "by hand", "downgrade": "by hand in downgrade()"}
    why = dict[str, str]()
    for (name, place), container in zip(places.items(), (upgrade, downgrade), strict=True):
        if found := [op.why for op in _by_hand(container)]:
            why |= {said: place for said in found if said not in why}
            container.ops.insert(0, Incomplete(name, found[0]))
    return lines + [f"{place}: {said}" for said, place in why.items()]


class _Trial:
    """The revision, run operation by operation in a transaction that is rolled back."""

    def __init__(self, context: AutogenContext, connection: Any, comparison: Comparison) -> None:
        self.context, self.connection, self.comparison = context, connection, comparison
        options = {"target_metadata": context.metadata}
        environment = MigrationContext.configure(connection, opts=options)
        self.names = {"op": Operations(environment), "sa": sqlalchemy}
        self._attached = self._look()

    def _look(self) -> list[str]:
        return [*map(stable, self.connection.execute(_ATTACHED).scalars())]

    def attach(self) -> list[ops.MigrateOperation]:
        """Make again what went with a table or a column, such as a trigger."""
        found = {*self._look()}
        lost: Any = ops.UpgradeOps(
            [Statements(9, [it], ()) for it in self._attached if it not in found]
        )
        self._run_each(lost)
        return list(lost.ops)

    def run(self, container: Any, wanted: Facts) -> None:
        """Run each operation, and then what is missing; what fails is left to do by hand."""
        self._run_each(container)
        for is_last in (False, True):
            if _by_hand(container):
                break
            found = self.comparison.operations(self.comparison.facts(self.connection), wanted)
            more: Any = ops.UpgradeOps([op for op in found if isinstance(op, Statements)])
            for number, op in enumerate(more.ops):
                more.ops[number] = replace(op, undo=())  # the way back is tried on its own
                if is_last:
                    more.ops[number] = ByHand(f"{op.of}: not done by what is above", op, op.of)
            self._run_each(more)
            container.ops += more.ops

    def _run_each(self, container: Any) -> None:
        causes = dict[str, str]()
        for parent, number, op in [it for it in leaves(container) if not isinstance(it[2], ByHand)]:
            of = self.comparison.subject(op)
            try:
                self._attempt(op)
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
                parent.ops[number] = ByHand(causes.setdefault(of or why, why), op, of)

    def _attempt(self, op: Any) -> None:
        try:
            with self.connection.begin_nested():
                lines = render.render_op(self.context, op)  # and what it imports
                code = "\n".join([*self.context.imports, *lines])
                exec(code, dict(self.names))  # noqa: S102 (what is written)
        except sqlalchemy.exc.DBAPIError as error:
            is_cast = getattr(error.orig, "pgcode", "") == _NO_CAST and isinstance(op, Statements)
            if not is_cast or len(op.do) > 1 or "::text::" in op.do[0]:
                raise
            value, _, type_ = op.do[0].rpartition("::")
            op.do = [f"{value}::text::{type_}"]
            self._attempt(op)


def _by_hand(container: Any) -> list[ByHand]:
    return [op for _, _, op in leaves(container) if isinstance(op, ByHand)]


def leaves(container: Any) -> Iterator[tuple[Any, int, Any]]:
    """Each operation, with its place."""
    for number, op in enumerate(container.ops):
        if isinstance(op, ops.OpContainer):
            yield from leaves(op)
        else:
            yield container, number, op

"""What `revision --autogenerate` and `check` compare and write, beyond Alembic's defaults.

Alembic finds tables and columns, comparison.py all the rest.
Imported only where models are compared.
"""

import re
import warnings
from collections.abc import Collection, Iterator
from importlib import import_module
from itertools import accumulate
from typing import Any

import sqlalchemy as sa
from alembic.autogenerate import render
from alembic.autogenerate.api import AutogenContext
from alembic.ddl.postgresql import PostgresqlImpl
from alembic.operations import ops
from alembic.runtime.plugins import Plugin
from alembic.util import DispatchPriority, PriorityDispatchResult
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import ARRAY, NullType, TypeDecorator

from app.core import autogenerate as yours
from app.migrate.comparison import (
    ByHand,
    Comparison,
    Statements,
    is_view,
    schemas,
    stable,
    tables_of,
)
from app.migrate.comparison import subject as name
from app.migrate.notes import notes
from app.migrate.queries import SQL
from app.migrate.trial import Incomplete, try_out

_THEIRS = "alembic.autogenerate."
_PLUGINS = [f"{_THEIRS}*", f"~{_THEIRS}types", f"~{_THEIRS}defaults"]
_PARTS = (ops.CreateIndexOp, ops.DropIndexOp, ops.AddConstraintOp, ops.DropConstraintOp)
# What SQLAlchemy and Alembic warn of, and the server is asked about here.
_KNOWN_HERE = (
    "Did not recognize type|Expression #|Could not parse CHECK|.*'dialect_options'"
    "|Cannot correctly sort tables"  # whose keys are cyclic: they come later
)


def include_name(name: str | None, kind: str, _parents: Any) -> bool:
    """A schema without a model belongs to others."""
    from app.core.database import Base

    return kind != "schema" or name in schemas(Base.metadata)


def include_object(item: Any, name: Any, kind: str, reflected: bool, other: Any) -> bool:
    """A view is for a revision by hand."""
    mine = not (kind == "table" and is_view(item))
    return mine and yours.include_object(item, name, kind, reflected, other)


def comparing(connection: sa.Connection) -> dict[str, Any]:
    """The arguments of context.configure() where models are compared."""
    from app.core.database import Base

    warnings.filterwarnings("ignore", _KNOWN_HERE)
    tables_of(Base.metadata)  # now, as Alembic copies what an index says
    left = {*connection.exec_driver_sql(SQL["left_alone"]).scalars()}

    def is_compared(name: str | None, kind: str, parents: Any) -> bool:
        table = parents.get("schema_qualified_table_name")
        is_left = table in left or f"{table}.{name}" in left
        return not is_left and include_name(name, kind, parents)

    return {
        "include_name": is_compared,
        "include_object": include_object,
        "include_schemas": True,  # those of the models
        "render_item": render_item,
        "autogenerate_plugins": [*_PLUGINS, "app.migrate"],
        **yours.OPTIONS,
    }


class Postgres(PostgresqlImpl):
    """What Alembic asks and writes; it takes the last one of a dialect."""

    __dialect__ = "postgresql"

    def autogen_column_reflect(self, _inspector: Any, _table: Any, column: Any) -> None:
        """Of a sequence, comparison.py knows whose it is, and its schema."""
        if (column["default"] or "").startswith("nextval("):
            column["default"] = None

    def render_ddl_sql_expr(self, *what: Any, **how: Any) -> str:
        """Texts of SQL reach the revision with their % and their colons."""
        sql = super().render_ddl_sql_expr(*what, **how)
        return sql if how.get("is_index") else _escaped(sql)


# What a revision says


def render_item(kind: str, item: Any, context: AutogenContext) -> str | bool | None:
    """The text for a revision; None leaves it out, False leaves it to Alembic."""
    if isinstance(item, sa.Constraint) and _is_late(item):
        return None
    if kind == "server_default" and isinstance(getattr(item, "arg", None), str):
        return repr(item.arg)  # Alembic takes the quotes off its ends
    package = type(item).__module__.partition(".")[0]
    if kind != "type":
        return False
    if package not in ("app", "sqlalchemy") and (code := _imported(item, context)):
        return code
    if isinstance(item, TypeDecorator):
        impl: Any = item
        while isinstance(impl, TypeDecorator):
            own = impl.dialect_impl(context.dialect)  # Interval's is another type
            is_more = isinstance(own, TypeDecorator)
            impl = impl.load_dialect_impl(context.dialect) if is_more else own
        known = (it for it in type(impl).__mro__ if getattr(postgresql, it.__name__, None) is it)
        return str(render._repr_type(impl.adapt(next(known, type(impl))), context))
    if isinstance(item, sa.Enum) and not item.native_enum:
        return f"sa.String(length={item.length})"  # its CHECK is written on its own
    if package != "sqlalchemy" or isinstance(item, sa.Enum | ARRAY | postgresql.DOMAIN):
        context.imports.add("from sqlalchemy.dialects import postgresql")
    if isinstance(item, sa.Enum):
        values = "".join(f"{it!r}, " for it in item.enums)
        schema = f", schema={item.schema!r}" if item.schema else ""
        return f"postgresql.ENUM({values}name={item.name!r}{schema}, create_type=False)"
    if isinstance(item, ARRAY):
        of = render._repr_type(item.item_type, context)
        return f"postgresql.ARRAY({of}, dimensions={item.dimensions})"
    if package == "sqlalchemy" and not isinstance(item, postgresql.DOMAIN):
        return False
    name = item.compile(context.dialect)  # not quoted
    if name in postgresql.dialect.ischema_names:  # which SQLAlchemy would refuse
        name = name.upper()
    of = render._repr_type(getattr(item, "data_type", sa.Text()), context)
    return f"postgresql.DOMAIN(sa.quoted_name({name!r}, quote=False), {of}, create_type=False)"


def _imported(item: Any, context: AutogenContext) -> str | None:
    """A package's type by its import, where what repr() says makes the same."""
    kind: Any = type(item)
    if isinstance(item, TypeDecorator) and kind.__repr__ is not TypeDecorator.__repr__:
        return None  # it may show the key of an encrypted column
    modules = accumulate(kind.__module__.split("."), "{}.{}".format)
    public = (it for it in modules if getattr(import_module(it), kind.__name__, None) is kind)
    scope: dict[str, Any] = {}
    try:
        code = f"{(module := next(public))}.{item!r}"
        exec(f"import {module}\nsame = {code}", scope)  # noqa: S102 (what is written)
        if scope["same"].compile(context.dialect) != item.compile(context.dialect):
            return None
    except Exception:
        return None  # repr() has other arguments than __init__()
    context.imports.add(f"import {module}")
    return code


def _is_late(item: sa.Constraint) -> bool:
    """Whether it is written on its own, after the tables: Alembic would lose it, or part of it."""
    is_exclude = isinstance(item, postgresql.ExcludeConstraint)
    return bool(is_exclude or item._type_bound or item.info.get("late"))


def _escaped(sql: str) -> str:
    """As op.execute() takes it, where `:name` would be a parameter."""
    plain = re.sub(r"(?<![:\w\\]):(?=\w)", r"\:", sql)
    return plain if str(sa.text(plain)) == sql else sql.replace(":", r"\:")


@render.renderers.dispatch_for(Statements)
def _render_statements(_context: AutogenContext, op: Statements) -> list[str]:
    return [f"# {it[3:]}" if it[:3] == "-- " else f"op.execute({_escaped(it)!r})" for it in op.do]


@render.renderers.dispatch_for(ByHand)
def _render_by_hand(context: AutogenContext, op: ByHand) -> list[str]:
    code = "\n".join(render.render_op(context, op.refused)) if op.refused else ""
    return [f"pass  # by hand: {op.why}", *(f"# {line}" for line in code.splitlines())]


@render.renderers.dispatch_for(Incomplete)
def _render_incomplete(_context: AutogenContext, op: Incomplete) -> str:
    return f"raise NotImplementedError({op.why!r})"


# What is compared


def finish(context: AutogenContext, upgrade: ops.UpgradeOps) -> PriorityDispatchResult:
    """Put what the server says in the place of what Alembic found, and all in order."""
    metadata: Any = context.metadata
    assert context.connection
    comparison = Comparison(context.connection, metadata)
    subject = comparison.subject
    new = {subject(op) for op in upgrade.ops if isinstance(op, ops.CreateTableOp)}
    theirs: list[Any] = [
        op
        for it in upgrade.ops
        for op in (it.ops if isinstance(it, ops.ModifyTableOps) else [it])
        if op is it or subject(it) in new or not isinstance(op, _PARTS)
    ]
    comparison.dropped = {subject(op) for op in theirs if isinstance(op, ops.DropTableOp)}
    comparison.late = _late(theirs, comparison)
    old = {(key[0], name(key)): it.definition for key, it in comparison.old.items()}
    tables = [op for op in theirs if isinstance(op, ops.DropTableOp)]
    parents = {op.table_name: op.table_kw.get("postgresql_inherits", ()) for op in tables}

    def depth(table: str) -> int:
        return 1 + max(map(depth, parents.get(table, ())), default=0)

    theirs.sort(key=lambda op: -depth(op.table_name) if op in tables else 0)  # children go first
    for op in tables:
        if by := old.get(("partition", subject(op))):
            op.table_kw["postgresql_partition_by"] = by.removeprefix("partitioned by ")
    gone: Any = (op for op in theirs if isinstance(op, ops.DropTableOp | ops.DropColumnOp))
    for made in (op._reverse for op in gone):
        items = [made.column] if isinstance(made, ops.AddColumnOp) else [*made.columns]
        for column in (it for it in items if isinstance(it, sa.Column)):
            of = comparison.named(column.table.schema, column.table.name, column.name)
            said, default = old.get(("type", of)), old.get(("default", of))
            if said and isinstance(column.type, NullType):
                column.type = postgresql.DOMAIN(sa.quoted_name(said, quote=False), sa.Text())
            if default and not column.server_default:
                column.server_default = sa.DefaultClause(sa.text(_escaped(default)))
            if column.computed:
                column.computed.sqltext = sa.text(_escaped(stable(str(column.computed.sqltext))))
            if said == "":  # it comes with its parent's
                made.columns.remove(column)

    def plan(aside: Collection[str], there: Collection[str]) -> list[ops.MigrateOperation]:
        remade, now = comparison.remade(aside), comparison.remade(there)
        gone = comparison.columns(now)
        for it in (it for it in theirs if isinstance(it, ops.CreateTableOp)):
            for key in it.columns if subject(it) in aside else ():
                if isinstance(key, sa.ForeignKeyConstraint):
                    key.info["late"] = True
                    comparison.late.add(comparison.of_constraint(it, key))
        own = [op for op in theirs if subject(op) not in gone]
        found = comparison.operations(comparison.old, comparison.new, remade, remade - now)
        return sorted([*own, *comparison.first, *found], key=_rank)

    upgrade.ops = plan((), ())
    named = postgresql.dialect(paramstyle="named")  # type: ignore[no-untyped-call]
    context.migration_context.impl.dialect = named  # which doubles no %
    _try_at_the_end(context, comparison, plan)
    return PriorityDispatchResult.CONTINUE


Plugin("app.migrate").add_autogenerate_comparator(
    finish, "autogenerate", priority=DispatchPriority.LAST
)


def _rank(op: Any) -> tuple[float, int]:
    """Tables go before an enum that they have gets other labels, and the others come after.

    Generated columns come after the types of what they use, and go before it; the last goes first.
    """
    if isinstance(op, ops.DropColumnOp) and op._reverse:
        column: Any = op._reverse.column
        return 3.2 - (column.computed is not None) / 10, -[*column.table.c.keys()].index(column.key)
    is_generated = isinstance(op, ops.AddColumnOp) and op.column.computed is not None
    place = 2.2 if isinstance(op, ops.DropTableOp) else 4.1 if is_generated else 3
    return getattr(op, "rank", place), 0


def _late(theirs: list[Any], comparison: Comparison) -> set[str]:
    """Constraints that are written on their own: keys to later tables, and of tables that go."""
    late, subject = set[str](), comparison.subject
    created = [op for op in theirs if isinstance(op, ops.CreateTableOp)]
    pending = {*map(subject, created)}
    dropped: Any = [op._reverse for op in theirs if isinstance(op, ops.DropTableOp)]
    for op in [*created, *dropped]:
        pending -= {subject(op)}
        for item in (item for item in op.columns if isinstance(item, sa.Constraint)):
            if isinstance(item, sa.ForeignKeyConstraint) and op in created:
                to = comparison.named(item.referred_table.schema, item.referred_table.name)
                item.info["late"] = item.use_alter or to in pending
            elif isinstance(
                item, sa.CheckConstraint | sa.ForeignKeyConstraint | sa.UniqueConstraint
            ):
                item.info["late"] = op not in created
            if _is_late(item):
                late.add(comparison.of_constraint(op, item))
    return late


def _try_at_the_end(context: AutogenContext, comparison: Comparison, plan: Any) -> None:
    """Before the file is written, and say what is left to do; `check` writes none."""
    revision = context.opts["revision_context"]
    generate = revision.generate_scripts

    def generate_and_say() -> Iterator[Any]:
        lines, written = list[str](), [*revision.script_directory.walk_revisions()]
        for script in revision.generated_revisions:  # a hook of yours may have removed it
            lines += try_out(context, script, comparison, plan)
            lines += notes(comparison, script.upgrade_ops, [it.path for it in written])
        yield from generate()
        for line in lines:
            revision.config.print_stdout("%s", line)

    revision.generate_scripts = generate_and_say

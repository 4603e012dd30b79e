"""What the models would make, and what the database has, both in the server's own words.

Alembic compares texts, and the server keeps none: `lower(name)` becomes `lower((name)::text)`. So
it makes the models' tables in schemas of their own, in a transaction that is rolled back, and says
what it has of both. Nothing is locked, and nothing stays.
"""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy
from alembic.operations import ops
from alembic.util.sqla_compat import _get_constraint_final_name as final_name
from sqlalchemy import Connection, Constraint, Enum, MetaData, Table, inspect, text
from sqlalchemy.exc import CompileError, DBAPIError
from sqlalchemy.schema import AddConstraint, CreateSchema, DropConstraint
from sqlalchemy.util import to_list

from app.migrate.errors import MigrationError, problem
from app.migrate.queries import SQL

_DEFINITIONS = text(Path(__file__).with_name("definitions.sql").read_text(encoding="utf-8"))
# The server writes `name IN ('a', 'b')` in a form that it would write otherwise the next time.
_IN = re.compile(
    r"""("[^"]+"|\w+)::text (= ANY|<> ALL) \(ARRAY\[((?:'[^']*'|[^]'])*)\](?:::text\[\])?\)"""
)
_NOW = re.compile(r"(?i)'(now|today|tomorrow|yesterday)\b(?!'::text)")  # at once
_TIMES = (sqlalchemy.Date, sqlalchemy.DateTime, sqlalchemy.Time)
_LENGTH = re.compile(r"\(.*?\)| COLLATE .*")
_CAST = re.compile(r"(ARRAY\[(?:'[^']*'|[^]'])+\])(\)?::text\[\])")
# In the order in which they are made; they are dropped the other way round.
_KINDS = [
    *("schema", "extension", "enum", "domain", "sequence", "persistence", "inherits", "option"),
    *("type", "number", "numbers", "default", "generated", "not null", "constraint", "index"),
    *("tablespace", "foreign key", "comment", "not valid"),
]
_BEFORE_TABLES = _KINDS[:5]
_NO_REMOVAL = (
    "-- PostgreSQL removes no label: the type is made again, which fails while rows have it."
)
_OF_COLUMNS = ("type", "number", "numbers", "default", "not null", "generated")
# Where what they use changes.
_REMADE = ("generated", "constraint", "index", "foreign key", "comment")


class Fact(NamedTuple):
    """What the server says of one thing, statements, and `table.name` of what it uses."""

    definition: str = ""
    make: Sequence[str] = ()
    drop: Sequence[str] = ()
    uses: frozenset[str] = frozenset()


Key = tuple[str, str, str]  # kind, table and name
Facts = dict[Key, Fact]


def plain(name: str) -> str:
    """Without quotes."""
    return name.replace('"', "")


def subject(key: Key) -> str:
    """What a fact is about: `sales.orders.price`."""
    return plain(".".join(filter(None, key[1:])))


@dataclass(eq=False)
class Statements(ops.MigrateOperation):
    """SQL and what reverts it; those of a low rank come first, and Alembic's own have 3."""

    rank: float
    do: Sequence[str]
    undo: Sequence[str]
    of: str = ""

    def reverse(self) -> "Statements":
        """The other way round."""
        return replace(self, do=self.undo, undo=self.do)

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """What `check` shows of it."""
        return ("execute", "; ".join(self.do))


@dataclass(eq=False)
class ByHand(ops.MigrateOperation):
    """What is left to do by hand, and the operation that the server refused."""

    why: str
    refused: ops.MigrateOperation | None = None
    of: str = ""
    rank = 9

    def reverse(self) -> "ByHand":
        """The other way round."""
        return replace(self, refused=self.refused and self.refused.reverse())

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """What `check` shows of it."""
        return ("by hand", self.why)


def _dropped(kind: str, do: Sequence[str], undo: Sequence[str], of: str) -> Statements:
    return Statements(7 if kind == "enum" else 2 - _KINDS.index(kind) / 100, do, undo, of)


def _made(kind: str, do: Sequence[str], undo: Sequence[str], of: str = "") -> Statements:
    """After the tables, except what they are made of."""
    return Statements((0 if kind in _BEFORE_TABLES else 4) + _KINDS.index(kind) / 100, do, undo, of)


def _as_in(found: re.Match[str]) -> str:
    values, number = re.subn("::character varying(::text)?", "", found[3])
    return f"{found[1]} {'IN' if '=' in found[2] else 'NOT IN'} ({values})" if number else found[0]


def stable(sql: str) -> str:
    """With a cast of the whole array, where the server would cast each of its values."""
    return _CAST.sub(r"\1::character varying[]\2", sql)


def _types(metadata: MetaData) -> list[Any]:
    columns = (column for table in metadata.tables.values() for column in table.columns)
    return [getattr(it.type, "item_type", it.type) for it in columns]


def schemas(metadata: MetaData) -> set[str | None]:
    """Those of the models; None is the default one."""
    named = [*metadata.tables.values(), *metadata._sequences.values(), *_types(metadata)]
    return {None, *(getattr(item, "schema", None) for item in named)}


def is_view(table: Any) -> bool:
    """`CreateView(...)`, or a model with `__table_args__ = {"info": {"is_view": True}}`."""
    return table.is_view or bool(table.info.get("is_view"))


def tables_of(metadata: MetaData) -> list[Table]:
    """Those for create_all(), without views.

    It is to make types that say create_type=False too, and works in a transaction. What Alembic
    would lose of a column, it is told otherwise: its CHECK, and that a Sequence numbers it.
    """
    for column in (column for table in metadata.tables.values() for column in table.columns):
        if isinstance(numbers := column.default, sqlalchemy.Sequence) and not numbers.optional:
            column.autoincrement = False
        elif column.autoincrement == "ignore_fk":
            column.autoincrement = True
        default: Any = getattr(column.server_default, "arg", None)
        words = f"'{default}" if isinstance(default, str) else str(getattr(default, "text", ""))
        if _NOW.match(words) and column.type._type_affinity in _TIMES:
            said = f"the default of {column} is the time when the column is made: use func.now()"
            raise MigrationError(problem("code", "models", message=said))
        for constraint in [*column.constraints]:
            column.constraints.remove(constraint)
            column.table.append_constraint(constraint)
    labels = dict[Any, list[str]]()
    for type_ in _types(metadata):
        if isinstance(type_, Enum) and type_.native_enum and getattr(type_, "create_type", True):
            first = labels.setdefault((type_.schema, type_.name), type_.enums)
            if first != type_.enums:
                said = f"two enums are named {type_.name}: {first} and {type_.enums}"
                raise MigrationError(problem("code", "models", message=said))
    for type_ in (it for it in _types(metadata) if hasattr(it, "create_type")):
        type_.create_type = True
    for table in metadata.tables.values():
        if long := [it.name for it in (table, *table.columns) if len(it.name.encode()) > 63]:
            said = f"PostgreSQL cuts the name {long[0]} off after 63 bytes"
            raise MigrationError(problem("code", "models", message=said))
        for name in to_list(table.dialect_options["postgresql"]["inherits"]) or ():
            if name in metadata.tables:
                table.add_is_dependent_on(metadata.tables[name])
    for index in (index for table in metadata.tables.values() for index in table.indexes):
        if index.dialect_kwargs["postgresql_concurrently"]:
            index.dialect_kwargs["postgresql_concurrently"] = False
    for key in (key for table in metadata.tables.values() for key in table.foreign_keys):
        key.column  # noqa: B018 (that it is there)
    return [table for table in metadata.tables.values() if not is_view(table)]


class Comparison:
    """The facts of the database and of the models.

    Of tables that only one side has, Alembic writes all but `late`: constraints, as `table.name`.
    """

    def __init__(self, connection: Connection, metadata: MetaData) -> None:
        self.late, self.dropped = set[str](), set[str]()
        self._default = default = str(connection.dialect.default_schema_name)
        tables = tables_of(metadata)
        views = [table for table in metadata.tables.values() if table not in tables]
        found = {name or default for name in schemas(metadata)}
        self._schemas = sorted(found)
        self._apart: dict[str | None, str] = {
            name: f"autogenerate_{n}" for n, name in enumerate(self._schemas)
        }
        self._dialect = connection.dialect
        self._quote = connection.dialect.identifier_preparer.quote
        self.first, self.old = list[Statements | ByHand](), self.facts(connection)
        there = inspect(connection)
        for name in map(self._quote, sorted(found - set(there.get_schema_names()))):
            self._first("schema", name)
        self.new = self._make(connection, metadata, tables)
        self._generated = {it for it in self.old.keys() & self.new.keys() if it[0] == "generated"}
        names = {self.named(table.schema, table.name): table for table in views}
        for name in sorted(names.keys() & {plain(table) for _, table, _ in self.old}):
            self.first.append(ByHand(f"{name} is a table, in the models a view", of=name))
        others = {*there.get_schema_names()} - found - {"information_schema"}
        self.other_schemas = {name: there.get_table_names(schema=name) for name in others}
        self.missing_views = [
            name for name, it in names.items() if not there.has_table(it.name, schema=it.schema)
        ]

    def _first(self, kind: str, name: str) -> None:
        do, undo = (f"{verb} {kind.upper()} {name}" for verb in ("CREATE", "DROP"))
        self.first.append(_made(kind, [do], [undo]))

    def named(self, schema: str | None, *names: str | None) -> str:
        """As subject() has it: the default schema is not in it."""
        return ".".join(filter(None, (schema if schema != self._default else None, *names)))

    def subject(self, op: Any) -> str:
        """What an operation is about."""
        table = getattr(op, "table_name", getattr(op, "name", None))
        column = getattr(op, "column_name", getattr(getattr(op, "column", None), "name", None))
        return getattr(op, "of", "") or self.named(getattr(op, "schema", None), table, column)

    def of_constraint(self, table: Any, constraint: Constraint) -> str:
        """What a constraint of an operation's table is called, as subject() has it."""
        return f"{self.subject(table)}.{final_name(constraint, self._dialect)}"

    def _named(self, sql: str) -> str:
        for name in self._schemas:
            sql = sql.replace(f"{self._apart[name]}.", f"{self._quote(name)}.")
        return stable(_IN.sub(_as_in, sql))

    def facts(self, connection: Connection, *, apart: bool = False) -> Facts:
        """What the server says of the database now, or of what is made apart."""
        found = [*self._apart.values()] if apart else self._schemas
        given = {"found": found, "named": self._schemas, "short": self._default}
        return {
            (kind, table, item): Fact(
                self._named(definition),
                [*map(self._named, make or [])],
                [*map(self._named, drop or [])],
                frozenset(plain(self._named(it)) for it in uses or []),
            )
            for kind, table, item, definition, make, drop, uses in connection.execute(
                _DEFINITIONS, given
            )
            if kind != "not valid" or not apart
        }

    def _make(self, connection: Connection, metadata: MetaData, tables: list[Table]) -> Facts:
        path, extensions = connection.exec_driver_sql("SHOW search_path").scalar_one(), list[str]()
        apart, default = self._apart, self._default
        while True:
            scratch = connection.begin_nested()
            try:
                for name in extensions:
                    connection.exec_driver_sql(f"CREATE EXTENSION {self._quote(name)}")
                for name in apart.values():
                    connection.execute(CreateSchema(name))
                connection.exec_driver_sql(f"SET LOCAL search_path = {apart[default]}, {path}")
                connection.execution_options(schema_translate_map=apart | {None: apart[default]})
                metadata.create_all(connection, tables)
                for it in (constraint for table in tables for constraint in table.constraints):
                    if it.dialect_kwargs.get("postgresql_not_valid"):  # in CREATE TABLE, of no use
                        connection.execute(DropConstraint(it))
                        connection.execute(AddConstraint(it, isolate_from_table=False))
                return self.facts(connection, apart=True)
            except (CompileError, DBAPIError) as error:
                state = str(getattr(getattr(error, "orig", None), "pgcode", "42"))
                if state == "42501" or state[:2] not in {"0A", "22", "3F", "42"}:
                    raise  # no privilege, or no connection: that says nothing of the models
                said = str(getattr(error, "orig", error)).splitlines()[0]
            finally:
                connection.execution_options(schema_translate_map=None)
                scratch.rollback()
            known = connection.exec_driver_sql(SQL["extension"], {"said": said}).one_or_none()
            name, is_available = known or ("", False)
            if is_available and name not in extensions:
                extensions.append(name)
                self._first("extension", self._quote(name))
                continue
            if name and not is_available:
                code = f"op.execute('CREATE EXTENSION {self._quote(name)}')"
                said += f"; if an extension has it, a revision before runs {code}"
            raise MigrationError(problem("code", "models", message=said))

    def remade(self, refused: Iterable[str] = ()) -> set[str]:
        """What has to be dropped and made again, because something that it uses cannot change."""
        old, new = self.old, self.new
        changed = (key for key in self._generated if old[key].definition != new[key].definition)
        remade = {*map(subject, changed), *refused}
        facts = [*old.items(), *new.items()]
        while more := {subject(key) for key, fact in facts if fact.uses & remade} - remade:
            remade |= more
        return remade

    def columns(self, remade: Collection[str]) -> set[str]:
        """Those that are dropped and made again."""
        return {*map(subject, self._generated)} & {*remade}

    def operations(
        self, old: Facts, new: Facts, remade: Collection[str] = (), back: Collection[str] = ()
    ) -> list[Statements | ByHand]:
        """The statements for what both have, and for what Alembic leaves out of whole tables.

        What is in `back` is made again on the way back alone.
        """
        both, again = {it[1] for it in old} & {it[1] for it in new}, self.columns(remade)
        renewed = {subject(key) for key in old.keys() & new.keys() if _is_renewed(key, old, new)}
        gone, come = list[Statements](), list[Statements | ByHand]()
        places = {key: place for place, key in enumerate([*old, *new]) if key[0] == "generated"}
        for key in sorted(old.keys() | new.keys(), key=lambda it: (*it[:2], places.get(it, 0), it)):
            kind, table, item = key
            of, in_both = subject(key), key in old and key in new
            if not self._is_ours(key, old, new, both) or (kind in _OF_COLUMNS[:-1] and of in again):
                continue  # Alembic's, or with its column
            was, now = old.get(key, Fact()), new.get(key, Fact())
            types = [it.get(("type", table, item), Fact()).definition for it in (old, new)]
            is_same = in_both and now.definition in (was.definition, f"invalid: {was.definition}")
            is_replaced = bool(was.drop) and kind != "comment"
            if kind == "default":
                is_replaced = types[0] != types[1]  # it has to fit each
                column = old.get(("enum column", table, item), Fact())
                if not is_replaced and column.uses & renewed:
                    continue  # with its type
                is_same &= not is_replaced
            if is_same and not (kind in _REMADE and of in remade):
                continue
            if kind == "type" and len({_LENGTH.sub("", it.definition) for it in (was, now)}) == 1:
                # Of the same type in another length: with USING, it would rewrite the table.
                was, now = (
                    it._replace(make=[make.partition(" USING ")[0] for make in it.make])
                    for it in (was, now)
                )
            if kind == "numbers" and in_both:  # whose name stays, where its table gets another
                now = now._replace(make=[was.make[0].removesuffix(was.definition) + now.definition])
            if kind == "labels":
                come.append(_relabelled(key, old, new, of in renewed, self.dropped))
            elif (
                kind == "partition"
                or (kind == "domain" and key in old)
                or (kind == "generated" and not in_both)
            ):
                words = (it.definition or "plain" for it in (was, now))
                come.append(ByHand(f"{of} is {', in the models '.join(words)}", of=of))
            elif in_both and not is_replaced:
                come.append(_made(kind, now.make, was.make, of))
            else:
                is_idle = is_same and of in back
                if key in old:
                    gone.append(_dropped(kind, () if is_idle else was.drop, was.make, of))
                if key in new:
                    come.append(_made(kind, () if is_idle else now.make, now.drop, of))
        return [*reversed(gone), *come]

    def _is_ours(self, key: Key, old: Facts, new: Facts, both: Collection[str]) -> bool:
        """Whether it is compared here: not by Alembic, and not what revisions alone may make."""
        kind, table, item = key
        if kind in ("enum", "domain", "sequence"):
            if key in new:
                return kind != "sequence" or key not in old  # "numbers" changes one
            users = {
                it[1]
                for it, fact in old.items()
                if it[0] in ("enum column", "generated") and plain(table) in fact.uses
            }
            return bool(users) and all(it in both or plain(it) in self.dropped for it in users)
        if kind == "comment":  # of a constraint; one that revisions made may stay
            return key in new or plain(table) in self.dropped
        if table not in both:
            definition = (old.get(key) or new[key]).definition
            is_late = subject(key) in self.late or definition.startswith("EXCL")
            if key in new:
                return is_late
            return plain(table) in self.dropped and (is_late or kind == "index")
        if kind == "not valid":  # a model may say so of what has been validated
            constraints = {("constraint", table, item), ("foreign key", table, item)}
            return key in old and bool(constraints & old.keys() & new.keys())
        is_tuning = kind == "option" and item.startswith(("autovacuum_", "toast."))
        if is_tuning or kind == "tablespace":
            return key in new
        if kind in _OF_COLUMNS and item:
            needs = ("generated" if kind == "not null" else "type", table, item)
            numbers = {it.get(("number", table, item), (None,))[0] for it in (old, new)}
            if kind == "numbers" and (None in numbers or len(numbers) > 1):
                return False  # they come with their options
            is_identity = any(it[key].definition for it in (old, new) if key in it)
            is_serial = kind == "number" and not is_identity  # of which Alembic knows nothing
            return is_serial or (needs in old and needs in new)
        return kind not in ("enum column", "own default")


def _is_renewed(key: Key, old: Facts, new: Facts) -> bool:
    """Whether an enum loses or moves a label."""
    was, now = old[key].make, new[key].make
    return key[0] == "labels" and [it for it in now if it in was] != [*was]


def _relabelled(
    key: Key, old: Facts, new: Facts, is_renewed: bool, dropped: Collection[str]
) -> Statements:
    """An enum gets labels, or is made again with others, as PostgreSQL removes and moves none."""
    _, name, _ = key

    def again(to: Facts) -> list[str]:
        put_aside, drop = to[key].drop
        lines, own = [_NO_REMOVAL, put_aside, *to["enum", name, ""].make], list[str]()
        for column, fact in old.items():
            if plain(name) not in fact.uses or {plain(column[1]), *fact.uses} & {*dropped}:
                continue
            if column[0] == "enum column":
                wanted = to.get(column, Fact())
                lines += wanted.make if wanted.uses == fact.uses else fact.drop
            own += fact.make if column[0] == "own default" else ()
        return [*lines, *own, drop]

    was, now = old[key].make, new[key].make
    do = again(new) if is_renewed else []
    for number, label in enumerate(() if is_renewed else now):
        if label not in was:
            before = [f" BEFORE {it}" for it in now[number:] if it in was][:1]
            do.append(f"ALTER TYPE {name} ADD VALUE {label}{''.join(before)}")
    return Statements(2.5, do, again(old), plain(name))

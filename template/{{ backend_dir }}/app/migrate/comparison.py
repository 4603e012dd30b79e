"""What the models would make, and what the database has, both in the server's own words.

Alembic compares texts, and the server keeps none: `lower(name)` becomes `lower((name)::text)`. So
it makes the models' tables in schemas of their own, in a transaction that is rolled back, and says
what it has of both. Nothing is locked, and nothing stays.
"""

import re
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from alembic.operations import ops
from sqlalchemy import Connection, MetaData, Table, inspect, text
from sqlalchemy.exc import CompileError, DBAPIError
from sqlalchemy.schema import CreateSchema

_DEFINITIONS = text(Path(__file__).with_name("definitions.sql").read_text(encoding="utf-8"))
_AVAILABLE = text(
    "SELECT FROM pg_available_extensions WHERE name = :name AND installed_version IS NULL"
)
# The server writes `name IN ('a', 'b')` in a form that it would write otherwise the next time.
_IN = re.compile(r'("[^"]+"|\w+)::text (= ANY|<> ALL) \(ARRAY\[([^]]*)\](?:::text\[\])?\)')
# In the order in which they are made; they are dropped the other way round.
_KINDS = [
    *("schema", "extension", "domain", "sequence", "persistence", "option", "type", "number"),
    *("numbers", "default", "generated", "not null", "constraint", "index", "foreign key"),
]
_BEFORE_TABLES = _KINDS[:4]
_OF_COLUMNS = ("type", "number", "numbers", "default", "not null", "generated")
_REMADE = ("generated", "constraint", "index", "foreign key")  # where what they use changes


class Fact(NamedTuple):
    """What the server says of one thing, statements, and `table.name` of what it uses."""

    definition: str = ""
    make: Sequence[str] = ()
    drop: Sequence[str] = ()
    uses: frozenset[str] = frozenset()


Facts = dict[tuple[str, str, str], Fact]  # by kind, table and name


def _subject(key: tuple[str, str, str]) -> str:
    return ".".join(filter(None, key[1:])).replace('"', "")


class Statements(ops.MigrateOperation):
    """SQL and what reverts it; those of a low rank come first, and Alembic's own have 3."""

    def __init__(self, rank: float, do: Sequence[str], undo: Sequence[str], of: str = "") -> None:
        self.rank, self.do, self.undo, self.of = rank, do, undo, of

    def reverse(self) -> "Statements":
        """The other way round."""
        return Statements(self.rank, self.undo, self.do, self.of)

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """What `check` shows of it."""
        return ("execute", "; ".join(self.do))


class ByHand(ops.MigrateOperation):
    """What is left to do by hand, and the operation that the server refused."""

    rank = 9

    def __init__(self, why: str, refused: ops.MigrateOperation | None = None) -> None:
        self.why, self.refused = why, refused

    def reverse(self) -> "ByHand":
        """The other way round."""
        return ByHand(self.why, self.refused and self.refused.reverse())

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """What `check` shows of it."""
        return ("by hand", self.why)


def _dropped(kind: str, do: Sequence[str], undo: Sequence[str], of: str = "") -> Statements:
    return Statements(2 - _KINDS.index(kind) / 100, do, undo, of)


def _made(kind: str, do: Sequence[str], undo: Sequence[str], of: str = "") -> Statements:
    """After the tables, except what they are made of."""
    return Statements((0 if kind in _BEFORE_TABLES else 4) + _KINDS.index(kind) / 100, do, undo, of)


def _as_in(found: re.Match[str]) -> str:
    values = re.sub("::character varying(::text)?", "", found[3])
    return f"{found[1]} {'IN' if '=' in found[2] else 'NOT IN'} ({values})"


def schemas(metadata: MetaData) -> set[str | None]:
    """Those of the models; None is the default one."""
    tables = metadata.tables.values()
    types = [getattr(it.type, "item_type", it.type) for table in tables for it in table.columns]
    named = [*tables, *metadata._sequences.values(), *types]
    return {None, *(getattr(item, "schema", None) for item in named)}


class Comparison:
    """The facts of the database and of the models.

    Of tables that only one side has, Alembic writes all but `late`: the names of constraints.
    """

    def __init__(self, connection: Connection, metadata: MetaData, late: set[str]) -> None:
        self.late, self.failure = late, ""
        self._default = default = str(connection.dialect.default_schema_name)
        # A model of a view says so: __table_args__ = {"info": {"is_view": True}}.
        tables = [table for table in metadata.tables.values() if not table.info.get("is_view")]
        found = {name or default for name in schemas(metadata)}
        self._schemas = sorted(found)
        self._apart: dict[str | None, str] = {
            name: f"autogenerate_{n}" for n, name in enumerate(self._schemas)
        }
        self._quote = connection.dialect.identifier_preparer.quote
        self.first, self.old = list[Statements](), self.facts(connection)
        self.new = self.old
        for name in sorted(found - set(inspect(connection).get_schema_names())):
            quoted = self._quote(name)
            self.first.append(
                _made("schema", [f"CREATE SCHEMA {quoted}"], [f"DROP SCHEMA {quoted}"])
            )
        self._make(connection, metadata, tables)

    def _named(self, sql: str) -> str:
        for name in self._schemas:
            sql = sql.replace(f"{self._apart[name]}.", f"{self._quote(name)}.")
        return _IN.sub(_as_in, sql)

    def facts(self, connection: Connection, *, apart: bool = False) -> Facts:
        """What the server says of the database now, or of what is made apart."""
        found = [*self._apart.values()] if apart else self._schemas
        given = {"found": found, "named": self._schemas, "short": self._default}
        return {
            (kind, table, item): Fact(
                self._named(definition),
                [*map(self._named, make or [])],
                [*map(self._named, drop or [])],
                frozenset(self._named(it).replace('"', "") for it in uses or []),
            )
            for kind, table, item, definition, make, drop, uses in connection.execute(
                _DEFINITIONS, given
            )
        }

    def _make(self, connection: Connection, metadata: MetaData, tables: list[Table]) -> None:
        path, extensions = connection.exec_driver_sql("SHOW search_path").scalar_one(), list[str]()
        apart, default = self._apart, self._default
        while True:
            scratch = connection.begin_nested()
            try:
                for name in extensions:
                    connection.exec_driver_sql(f"CREATE EXTENSION {name}")
                for name in apart.values():
                    connection.execute(CreateSchema(name))
                connection.exec_driver_sql(f"SET LOCAL search_path = {apart[default]}, {path}")
                connection.execution_options(schema_translate_map=apart | {None: apart[default]})
                metadata.create_all(connection, tables)
                self.new = self.facts(connection, apart=True)
                return
            except (CompileError, DBAPIError) as error:
                state = str(getattr(getattr(error, "orig", None), "pgcode", "42"))
                if state == "42501" or state[:2] not in {"0A", "22", "42"}:
                    raise  # no privilege, or no connection: that says nothing of the models
                said = str(getattr(error, "orig", error))
            finally:
                connection.execution_options(schema_translate_map=None)
                scratch.rollback()
            missing = re.search(r'type "(\w+)" does not exist', said)
            known = {"name": missing[1] if missing else ""}
            if known["name"] in extensions or not connection.execute(_AVAILABLE, known).rowcount:
                self.failure = said.splitlines()[0]
                return
            extensions.append(known["name"])
            make, drop = (f"{verb} EXTENSION {known['name']}" for verb in ("CREATE", "DROP"))
            self.first.append(_made("extension", [make], [drop]))

    @property
    def generated(self) -> set[tuple[str, str, str]]:
        """Generated columns, before and after."""
        return {it for it in self.old.keys() & self.new.keys() if it[0] == "generated"}

    def remade(self, refused: Iterable[str] = ()) -> set[str]:
        """What has to be dropped and made again, because something that it uses cannot change."""
        old, new = self.old, self.new
        changed = (key for key in self.generated if old[key].definition != new[key].definition)
        remade = {*map(_subject, changed), *refused}
        facts = [*old.items(), *new.items()]
        while more := {_subject(key) for key, fact in facts if fact.uses & remade} - remade:
            remade |= more
        return remade

    def columns(self, remade: Collection[str]) -> set[str]:
        """Those that are dropped and made again."""
        return {*map(_subject, self.generated)} & {*remade}

    def operations(
        self, old: Facts, new: Facts, remade: Collection[str] = ()
    ) -> list[Statements | ByHand]:
        """The statements for what both have, and for what Alembic leaves out of whole tables."""
        both = {table for _, table, _ in old} & {table for _, table, _ in new}
        columns = {key for key in old.keys() & new.keys() if key[0] in ("type", "generated")}
        again = self.columns(remade)
        gone, come = list[Statements](), list[Statements | ByHand]()
        places = {key: place for place, key in enumerate([*old, *new]) if key[0] == "generated"}
        for key in sorted(old.keys() | new.keys(), key=lambda it: (*it[:2], places.get(it, 0), it)):
            kind, table, item = key
            of = _subject(key)
            was, make_old, drop_old, _ = old.get(key, Fact())
            now, make_new, drop_new, _ = new.get(key, Fact())
            if kind in _OF_COLUMNS[:-1] and of in again:
                continue  # with its column
            if kind == "default" and key in old and key in new:  # it has to fit each type
                types = [it["type", table, item].definition for it in (old, new)]
                was, now = f"{types[0]} {was}", f"{types[1]} {now}"
                drop_old = drop_old if types[0] != types[1] else []
            if kind == "type" and was.partition("(")[0] == now.partition("(")[0]:
                # Of the same type in another length: with USING, it would rewrite the table.
                make_old, make_new = (
                    [it.partition(" USING ")[0] for it in make] for make in (make_old, make_new)
                )
            is_serial = kind == "number" and not (was or now)  # of which Alembic knows nothing
            needs = ("generated" if kind == "not null" else "type", table, item)
            if kind in ("domain", "sequence"):
                if key not in new or (kind == "sequence" and key in old):
                    continue  # what only revisions make may stay; "numbers" changes a sequence
            elif table not in both:
                late = item in self.late or was.startswith("EXCL")
                if not late and kind != "index" * (key in old):
                    continue
            elif kind in _OF_COLUMNS and item and not is_serial and needs not in columns:
                continue  # of a column that comes or goes
            is_remade = kind in _REMADE and of in remade
            if was == now and (key in old) == (key in new) and not is_remade:
                continue
            if (
                kind == "partition"
                or (kind == "domain" and was)
                or (kind == "generated" and (key in old) != (key in new))
            ):
                come.append(ByHand(f"{of} is {was or 'plain'}, in the models {now or 'plain'}"))
            elif key in old and key in new and not drop_old:
                come.append(_made(kind, make_new, make_old, of))
            else:
                gone += [_dropped(kind, drop_old, make_old, of)] if key in old else []
                come += [_made(kind, make_new, drop_new, of)] if key in new else []
        return [*reversed(gone), *come]

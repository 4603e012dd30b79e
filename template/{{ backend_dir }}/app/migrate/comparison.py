"""What the models would make, and what the database has, both in the server's own words.

Alembic compares texts, and the server keeps none: `lower(name)` becomes `lower((name)::text)`. So
it makes the models' tables in schemas of their own, in a transaction that is rolled back, and says
what it has of both. Nothing is locked, and nothing stays.
"""

import re
from pathlib import Path
from typing import Any

from alembic.operations import ops
from sqlalchemy import Connection, MetaData, inspect, text
from sqlalchemy.exc import CompileError, DBAPIError
from sqlalchemy.schema import CreateSchema

_DEFINITIONS = text(Path(__file__).with_name("definitions.sql").read_text(encoding="utf-8"))
_AVAILABLE = "SELECT FROM pg_available_extensions WHERE name = :name AND installed_version IS NULL"
# The server writes `name IN ('a', 'b')` in a form that it would write otherwise the next time.
_IN = re.compile(r'("[^"]+"|\w+)::text (= ANY|<> ALL) \(ARRAY\[([^]]*)\](?:::text\[\])?\)')
# In the order in which they are made; they are dropped the other way round.
_KINDS = [
    *("schema", "extension", "domain", "sequence", "persistence", "option", "type", "number"),
    *("numbers", "default", "constraint", "index", "foreign key"),
]
_BEFORE_TABLES = _KINDS[:4]

# (kind, table, name) -> definition, statements that make it, and that drop it
Facts = dict[tuple[str, str, str], tuple[str, list[str], list[str]]]


class Statements(ops.MigrateOperation):
    """SQL and what reverts it, or what is left to do by hand; those of a low rank come first."""

    def __init__(self, rank: float, do: list[str], undo: list[str], by_hand: str = "") -> None:
        self.rank, self.do, self.undo, self.by_hand = rank, do, undo, by_hand

    def reverse(self) -> "Statements":
        """The other way round."""
        return Statements(self.rank, self.undo, self.do, self.by_hand)

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """What `check` shows of it."""
        return ("by hand", self.by_hand) if self.by_hand else ("execute", "; ".join(self.do))


def dropped(kind: str, do: list[str], undo: list[str]) -> Statements:
    """Before Alembic's own operations, whose rank is 3."""
    return Statements(2 - _KINDS.index(kind) / 100, do, undo)


def made(kind: str, do: list[str], undo: list[str]) -> Statements:
    """After them, but for what tables are made of."""
    return Statements((0 if kind in _BEFORE_TABLES else 4) + _KINDS.index(kind) / 100, do, undo)


def _as_in(found: re.Match[str]) -> str:
    values = re.sub("::character varying(::text)?", "", found[3])
    return f"{found[1]} {'IN' if '=' in found[2] else 'NOT IN'} ({values})"


def compare(
    connection: Connection, metadata: MetaData, late: set[str]
) -> tuple[list[Statements], str]:
    """What makes the database like the models, and why that is not all; if it is, an empty text.

    Of tables that only one side has, Alembic writes all but `late`: the names of constraints.
    """
    default = str(connection.dialect.default_schema_name)
    # A model of a view says so: __table_args__ = {"info": {"is_view": True}}.
    tables = [table for table in metadata.tables.values() if not table.info.get("is_view")]
    sequences = metadata._sequences.values()
    schemas = sorted({item.schema or default for item in [*tables, *sequences]} | {default})
    apart: dict[str | None, str] = {name: f"autogenerate_{n}" for n, name in enumerate(schemas)}
    quote = connection.dialect.identifier_preparer.quote

    def named(sql: str) -> str:
        for name in schemas:
            sql = sql.replace(f"{apart[name]}.", f"{quote(name)}.")
        return _IN.sub(_as_in, sql)

    def facts(found: list[str]) -> Facts:
        given = {"found": found, "named": schemas, "short": default}
        return {
            (kind, table, item): (named(text), [*map(named, make or [])], [*map(named, drop or [])])
            for kind, table, item, text, make, drop in connection.execute(_DEFINITIONS, given)
        }

    statements, extensions, old = list[Statements](), list[str](), facts(schemas)
    known = set(inspect(connection).get_schema_names())
    for name in sorted({*schemas} - known):
        statements.append(
            made("schema", [f"CREATE SCHEMA {quote(name)}"], [f"DROP SCHEMA {quote(name)}"])
        )
    path = connection.exec_driver_sql("SHOW search_path").scalar_one()
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
            return statements + _changes(old, facts([*apart.values()]), late), ""
        except (CompileError, DBAPIError) as error:
            state = str(getattr(getattr(error, "orig", None), "pgcode", "42"))
            if state == "42501" or state[:2] not in {"0A", "22", "42"}:
                raise  # no privilege, or no connection: that says nothing of the models
            said = str(getattr(error, "orig", error))
        finally:
            connection.execution_options(schema_translate_map=None)
            scratch.rollback()
        missing = re.search(r'type "(\w+)" does not exist', said)
        name = missing[1] if missing else ""
        if name in extensions or not connection.execute(text(_AVAILABLE), {"name": name}).rowcount:
            return statements, said.splitlines()[0]
        extensions.append(name)
        statements.append(
            made("extension", [f"CREATE EXTENSION {name}"], [f"DROP EXTENSION {name}"])
        )


def _changes(old: Facts, new: Facts, late: set[str]) -> list[Statements]:
    """The statements for what both have, and for what Alembic leaves out of whole tables."""
    both = {table for _, table, _ in old} & {table for _, table, _ in new}
    columns = {key[1:] for key in old.keys() & new.keys() if key[0] == "type"}
    nothing = ("", list[str](), list[str]())
    found = []
    for key in sorted(old.keys() | new.keys()):
        kind, table, item = key
        (was, make_old, drop_old), (now, make_new, drop_new) = (
            it.get(key, nothing) for it in (old, new)
        )
        if kind == "default" and key in old and key in new:  # it has to fit each type
            types = [it["type", table, item][0] for it in (old, new)]
            was, now = f"{types[0]} {was}", f"{types[1]} {now}"
            drop_old = drop_old if types[0] != types[1] else []
        if kind in ("domain", "sequence"):
            if key not in new or (kind == "sequence" and key in old):
                continue  # what only revisions make may stay; "numbers" changes a sequence
        elif table not in both:
            if item not in late and kind != "index" * (key in old) and not was.startswith("EXCL"):
                continue
        elif (
            kind in ("type", "number", "numbers", "default", "generated")
            and item
            and (table, item) not in columns
        ):
            continue  # of a column that comes or goes
        if was == now and (key in old) == (key in new):
            continue
        if kind in ("partition", "generated") or (kind == "domain" and was):
            name = f"{table}.{item}" if item else table
            what = f"{name} is {was or 'plain'}, in the models {now or 'plain'}"
            found.append(Statements(9, [], [], what))
        elif key in old and key in new and not drop_old:
            found.append(made(kind, make_new, make_old))
        else:
            found += [dropped(kind, drop_old, make_old)] if key in old else []
            found += [made(kind, make_new, drop_new)] if key in new else []
    return found

"""Rows for tables that nobody has seen before: `Filler.fill` puts some into every empty table.

The server is the judge. Of a pool of texts, the literals of the table's own CHECKs first, it says
which are values of a column's type; combinations of those are tried until the table takes one. A
table that takes none stays empty: `Filler.notes` says so, and how to give it rows.
"""

import random
import re
import tomllib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import psycopg2
from alembic.script import Script
from psycopg2 import sql
from psycopg2.extensions import QuotedString
from psycopg2.extensions import connection as Connection  # noqa: N812 (it is a class)
from psycopg2.extras import Json
from sqlalchemy.exc import ObjectNotExecutableError

from testing.revisions import driver_error, failure, where

# Of a table: INSERT statements, or rows as column -> value.
Examples = Mapping[str, Sequence[str | Mapping[str, Any]]]

ROWS = 3  # for each table
TRIES = 400  # combinations for one row
NO_USE = ("23502", "23503", "P0001")  # not null, foreign key, a trigger: no other value would do
_known: dict[str, dict[str, str | None]] = {}  # built-in type -> text -> SQL, if it is a value
_DATA = tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))


def every_row(cursor: Any) -> dict[str, list[str]]:
    """All rows of all tables, as JSON, and how far the sequences have come."""
    cursor.execute(_DATA["every_row"])
    cursor.execute(*cursor.fetchone())
    return dict(cursor.fetchall())


class Filler:
    """Fills the tables of databases on their way through the history; knows which stay empty."""

    def __init__(self, examples: Examples | None = None) -> None:
        """For tables with `examples`, rows that the user gives, none are made up."""
        self.examples = examples or {}
        self.problems: dict[str, str] = {}  # tables that have no rows now -> why
        self._unused = dict.fromkeys(self.examples, "no revision that was checked has this table")
        self._refused: dict[str, str] = {}  # definition of a table that took no row -> why
        self._notes: dict[str, str] = {}

    def fill(
        self, connection: Connection, more: Collection[str] = (), without: Collection[str] = ()
    ) -> dict[str, int]:
        """Put rows into every table that has none, except Alembic's own; how many each got.

        And into those of `more`, beside what they have; none into those of `without`, whatever
        their schema. `problems` says why a table has none.
        """
        filled: dict[str, int] = {}
        self.problems = {}
        with connection, connection.cursor() as cursor:
            cursor.execute(f"SAVEPOINT attempt; {_DATA['tables']}", [[*without]])
            names = dict(cursor.fetchall())
            parts = [f"({oid}, EXISTS (TABLE {name}))" for oid, name in names.items()]
            if not parts:
                return filled
            cursor.execute(f"SELECT * FROM (VALUES {', '.join(parts)}) AS t")
            have = {names[oid]: oid for oid, has_rows in cursor.fetchall() if has_rows}
            wanted = [oid for oid, name in names.items() if name in more or name not in have]
            cursor.execute(_DATA["details"], [wanted])
            tables = _parents_first([table for (table,) in cursor.fetchall()])
            before = -1
            while before != len(tables):  # a table waits for those that it refers to
                before = len(tables)
                for table in tables:
                    name = table["name"]
                    filled[name], self.problems[name] = self._fill_table(
                        cursor, table, TRIES // 10 if name in have else TRIES
                    )
                tables = [table for table in tables if not filled[table["name"]]]
        for name, why in [*self.problems.items()]:
            # Of a partitioned table its partitions say it.
            if filled[name] or name in have or not why:
                del self.problems[name]
        return filled

    def checked(self, script: Script, without_rows: Mapping[str, str]) -> None:
        """A revision was checked while these tables had no rows, for the reasons given."""
        for table, why in without_rows.items():
            self._notes.setdefault(
                table,
                f"{where(script, 'upgrade')}: table {table} had no rows, and what this and later "
                f"revisions do to them was not checked: {why}. Give it rows: fixture example_rows, "
                "see testing/README.md",
            )

    def in_the_way(self, script: Script, error: Exception) -> list[str]:
        """A step failed on rows of our making alone: those of the application may keep more rules.

        That is a note. But a syntax error, and a new column that may not be null, or gets the same
        unique value everywhere, is in anyone's way: what is wrong.
        """
        said, (code, diagnosis) = failure(script, "upgrade", error), driver_error(error)
        statement = getattr(error, "statement", None) or ""
        written = re.sub(r"%\((\w+)\)s", r":\1", statement).strip()
        is_written = code == "42601" and written in Path(script.path).read_text("utf-8")
        if is_written or isinstance(error, ObjectNotExecutableError):  # no row is in it
            return [f"{said}\n  It fails wherever there are rows, whatever they hold."]
        keys = re.findall(r"^Key \((.*?)\)=", getattr(diagnosis, "message_detail", None) or "")
        adds = r'(?i)\bADD\s+(?:COLUMN\s+)?(?:IF NOT EXISTS\s+)?"?(\w+)"?\s'
        for column in [*keys, getattr(diagnosis, "column_name", None)]:
            if column in re.findall(adds, statement):
                cure = f"give {column} a value for those first."
                return [f"{said}\n  It fails wherever {diagnosis.table_name} has rows: {cure}"]
        said = said.splitlines()[0].partition(" DETAIL:")[0].rstrip(".")  # without values
        self._notes[said] = (
            f"checked without generated rows, as they are in the way: {said}. Give better ones: "
            "fixture example_rows, see testing/README.md"
        )
        return []

    def notes(self) -> list[str]:
        """What was checked without rows, once for each table; and examples that were of no use."""
        unused = [f"example_rows: {table}: {why}" for table, why in self._unused.items()]
        return [*self._notes.values(), *unused]

    def _fill_table(self, cursor: Any, table: Any, tries: int) -> tuple[int, str]:
        """How many rows it got, and why no more."""
        number, why = self._insert_examples(cursor, table)
        if table["partitioned"]:
            return number, "it has no partitions" if table["without_partitions"] else why
        definition, is_given = repr(table), tries < TRIES and table["name"] in self.examples
        if not number and not is_given and definition not in self._refused:
            number, reason, is_final = _insert_some(cursor, table, tries)
            why = why or reason
            if is_final and not number and tries == TRIES:
                self._refused[definition] = why
        return number, self._refused.get(definition, why)

    def _insert_examples(self, cursor: Any, table: Any) -> tuple[int, str]:
        name, number, why = table["name"], 0, ""
        for row in self.examples.get(name, ()):
            statement: Any = row
            values = None
            if not isinstance(row, str):  # without the columns that later revisions add
                some = {key: value for key, value in row.items() if key in table["names"]}
                names = sql.SQL(", ").join(map(sql.Identifier, some))
                statement = sql.SQL(f"INSERT INTO {name} ({{}}) VALUES %s").format(names)
                values = [tuple(Json(it) if isinstance(it, dict) else it for it in some.values())]
            if error := _attempt(cursor, statement, values):
                why = str(error).partition("\n")[0]
            else:
                number += 1
        if number:
            self._unused.pop(name, None)
        elif name in self._unused:
            self._unused[name] = why or "there is no row"
        return number, why


def _parents_first(tables: list[Any]) -> list[Any]:
    """Each table after those that it refers to, as far as there is such an order."""
    ordered: list[Any] = []
    while tables:
        waiting = {table["name"] for table in tables}
        ready = [
            table
            for table in tables
            if waiting.isdisjoint({parent for parent, _ in table["keys"] or ()} - {table["name"]})
        ]
        ordered += ready or tables
        tables = [table for table in tables if table not in ordered]
    return ordered


def _insert_some(cursor: Any, table: Any, tries: int) -> tuple[int, str, bool]:
    """Rows of our making: how many, why no more, and whether another time would be no better."""
    choices = _choices(cursor, table)
    nullable = [column["nullable"] for column in table["columns"] or []]
    into = f"({', '.join(choices)}) VALUES ({{}})" if choices else "DEFAULT VALUES"
    statement = f"INSERT INTO {table['name']} {into}"
    chance = random.Random(table["name"])  # noqa: S311 (the same each time)
    number, why, is_final = 0, "the server took no row of those tried", True
    for n in range(ROWS):
        for attempt in range(tries):
            values = [
                "NULL" if null and (
                    (place + n + attempt) % 3 == 2 if attempt < 3 else chance.random() < 0.5
                )
                else some[n][0] if attempt < 2
                else chance.choice(some[n])
                for place, (null, some) in enumerate(zip(nullable, choices.values(), strict=True))
            ]  # fmt: skip
            if error := _attempt(cursor, statement.replace("{}", ", ".join(values), 1)):
                why, is_final = str(error).partition("\n")[0], error.pgcode not in NO_USE
                if not is_final:
                    break
            elif cursor.rowcount:
                number += 1
                break
        else:
            tries //= 10  # of the next row too most will not do
    return number, why, is_final


def _choices(cursor: Any, table: Any) -> dict[str, list[list[str]]]:
    """Of each column, for each row: the values to choose from, as SQL.

    Documents are objects, or what a CHECK has as a text.
    """
    quoted = re.findall(r"'((?:[^']|'')*)'", table["checks"])
    literals = [text.replace("''", "'") for text in quoted]
    literals += re.findall(r"(?<![\w'.])-?\d+(?:\.\d+)?", re.sub(r"'[^']*'", "", table["checks"]))
    pools = [_pool(n, literals) for n in range(ROWS)]
    texts = list(dict.fromkeys(text for pool in pools for text in pool))
    of_type: dict[str, dict[str, str]] = {}
    choices: dict[str, list[list[str]]] = {}
    for column in table["columns"] or []:
        type_ = column["type"]
        if type_ not in of_type:
            known = _known.setdefault(type_, {}) if column["builtin"] else dict[str, str | None]()
            if unknown := [text for text in texts if text not in known]:
                known |= dict.fromkeys(unknown) | _values(cursor, type_, unknown)
            of_type[type_] = {text: it for text in texts if (it := known[text])}
        values = every = of_type[type_]
        if type_ in ("json", "jsonb"):
            values = {text: it for text, it in every.items() if text[0] == "{" or text in quoted}
        for check in column["checks"] or []:
            some = (_passing(cursor, column["name"], check, it) for it in (values, every))
            values = next(filter(None, some), values)
        choices[column["name"]] = [
            [values[text] for text in pool if text in values] or ["NULL"] for pool in pools
        ]
    needed = {column["name"] for column in table["columns"] or [] if not column["nullable"]}
    for parent, pairs in table["keys"] or []:
        for mine, theirs in pairs:
            if parent == table["name"] and mine in needed and theirs in choices:
                choices[mine] = choices[theirs]  # the first row can only refer to itself
                continue
            select = f"SELECT {theirs} FROM {parent} ORDER BY tableoid, ctid"
            number = f"greatest(1, (SELECT count(*) FROM {parent}))"
            choices[mine] = [[f"({select} OFFSET {n} % {number} LIMIT 1)"] for n in range(ROWS)]
    return choices


def _values(cursor: Any, type_: str, texts: list[str]) -> dict[str, str]:
    """Those of the texts that are values of a type: text -> SQL."""
    select = "SELECT v, format('%%L::%%s', v, %s::text) FROM unnest(%s) AS v"
    if not _attempt(cursor, f"{select} WHERE pg_input_is_valid(v, %s)", [type_, texts, type_]):
        return dict(cursor.fetchall())
    # PostgreSQL 15, or a type that can only say so by an error.
    values = {text: f"{QuotedString(text).getquoted().decode()}::{type_}" for text in texts}
    return {text: it for text, it in values.items() if not _attempt(cursor, f"SELECT {it}")}


def _passing(cursor: Any, name: str, check: str, values: dict[str, str]) -> dict[str, str]:
    """Those of the values for which a CHECK of one column holds; none where it fails for one."""
    rows = ", ".join(f"({value}, {n})" for n, value in enumerate(values.values()))
    query = f"SELECT n FROM (VALUES {rows}) AS t ({name}, n) WHERE ({check}) IS NOT FALSE"
    if not values or _attempt(cursor, query):
        return {}
    texts = list(values)
    return {texts[n]: values[texts[n]] for (n,) in sorted(cursor.fetchall())}


def _attempt(cursor: Any, statement: Any, values: Any = None) -> psycopg2.Error | None:
    """Run it in a savepoint, of which there is one; returns the error, a deferred one too."""
    begin: Any = "RELEASE SAVEPOINT attempt; SAVEPOINT attempt; SET CONSTRAINTS ALL DEFERRED; "
    try:
        cursor.execute(
            (begin if isinstance(statement, str) else sql.SQL(begin)) + statement, values
        )
        if cursor.rowcount:
            cursor.connection.cursor().execute("SET CONSTRAINTS ALL IMMEDIATE")
    except psycopg2.Error as error:
        cursor.execute("ROLLBACK TO attempt")
        return error
    return None


def _pool(n: int, literals: list[str]) -> list[str]:
    """Texts that look like values of many types, others for each n: those of the CHECKs first."""
    first = n % max(1, len(literals))
    pool = literals[first:] + literals[:first]
    for text in literals:
        if re.match(r"\d{4}-\d\d-\d\d", text):
            pool.append(f"{text[:8]}{int(text[8:10]) % 27 + n + 1:02}")
        elif re.fullmatch(r"-?\d{1,9}", text):
            number = int(text)
            pool += [str(number + 1), str(number - 1)]
            pool += [letter * number for letter in "aA1" if number < 1000]  # length()
        elif "%" in text:  # LIKE
            pool.append(text.replace("%", f"a{n}"))
        if re.fullmatch(r"\w+", text):
            pool += [f'{{"{text}": {n}}}', f"{{{text}}}"]
    return pool + [some[n % len(some)] for some in _DATA["texts"]]

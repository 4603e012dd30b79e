"""Rows for tables that nobody has seen before: `fill(url)` puts some into every empty table.

Values come from the column's type; where a CHECK, a domain or a partition's bounds say more, the
server itself tries combinations of values, the literals of those expressions among them.
"""

import re
from collections.abc import Callable, Iterable
from itertools import count, cycle
from typing import Any

import psycopg2
from psycopg2.extensions import connection as Connection  # noqa: N812 (it is a class)
from psycopg2.extensions import cursor as Cursor  # noqa: N812
from sqlalchemy import URL

_TABLES = """
SELECT c.oid::bigint AS oid, c.oid::regclass::text AS name,
    (SELECT json_agg(json_build_object(
         'name', quote_ident(attname), 'type', atttypid::bigint,
         'as', format_type(atttypid, atttypmod), 'nullable', NOT (attnotnull OR typnotnull),
         'given', attidentity <> '' OR coalesce(pg_get_expr(adbin, adrelid) ~ 'nextval', false))
         ORDER BY attnum)
     FROM pg_attribute a JOIN pg_type t ON t.oid = atttypid
     LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
     WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped AND attgenerated = '') AS columns,
    (SELECT json_agg(pg_get_expr(conbin, conrelid)) FROM pg_constraint
     WHERE conrelid = c.oid AND contype = 'c') AS checks,
    relkind = 'p' AS partitioned,
    (SELECT json_agg(pg_get_partition_constraintdef(relid)) FROM pg_partition_tree(c.oid)
     WHERE isleaf AND relid <> c.oid) AS leaves,
    (SELECT json_agg(json_build_object(
         'table', confrelid::bigint, 'name', confrelid::regclass::text,
         'columns', (SELECT json_agg(quote_ident(attname) ORDER BY n)
                     FROM unnest(conkey) WITH ORDINALITY AS k (attnum, n)
                     JOIN pg_attribute USING (attnum) WHERE attrelid = conrelid),
         'referenced', (SELECT json_agg(quote_ident(attname) ORDER BY n)
                        FROM unnest(confkey) WITH ORDINALITY AS k (attnum, n)
                        JOIN pg_attribute USING (attnum) WHERE attrelid = confrelid))
         ORDER BY cardinality(conkey), conname)  -- the widest last: it has the last word
     FROM pg_constraint WHERE conrelid = c.oid AND contype = 'f' AND conparentid = 0) AS keys
FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
  AND relkind IN ('r', 'p') AND NOT relispartition AND relpersistence <> 't'
  AND relname NOT IN ('alembic_version', 'alembic_history')
  AND NOT EXISTS (SELECT FROM pg_depend
                  WHERE classid = c.tableoid AND objid = c.oid AND deptype = 'e')
ORDER BY c.oid
"""
_TYPES = """
WITH RECURSIVE used (oid) AS (
    SELECT unnest(%s::oid[])
    UNION
    SELECT part FROM used JOIN pg_type t USING (oid), LATERAL (
        SELECT typbasetype UNION ALL SELECT typelem WHERE typcategory = 'A'
        UNION ALL SELECT rngsubtype FROM pg_range WHERE t.oid IN (rngtypid, rngmultitypid)
        UNION ALL SELECT rngtypid FROM pg_range WHERE t.oid = rngmultitypid
        UNION ALL SELECT atttypid FROM pg_attribute
        WHERE attrelid = typrelid AND attnum > 0 AND NOT attisdropped) AS parts (part)
    WHERE part <> 0
)
SELECT t.oid::bigint, json_build_object(
    'name', t.oid::regtype::text, 'kind', typtype, 'category', typcategory,
    'base', typbasetype::bigint, 'element', typelem::bigint,
    'as', format_type(typbasetype, typtypmod),
    'labels', (SELECT json_agg(enumlabel ORDER BY enumsortorder) FROM pg_enum
               WHERE enumtypid = t.oid),
    'of', (SELECT CASE WHEN t.oid = rngtypid THEN rngsubtype ELSE rngtypid END::bigint
           FROM pg_range WHERE t.oid IN (rngtypid, rngmultitypid)),
    'fields', (SELECT json_agg(json_build_array(atttypid::bigint, format_type(atttypid, atttypmod))
                      ORDER BY attnum)
               FROM pg_attribute WHERE attrelid = typrelid AND attnum > 0 AND NOT attisdropped),
    'checks', (SELECT json_agg(regexp_replace(pg_get_constraintdef(oid), '^CHECK | NOT VALID$', '',
                               'g'))
               FROM pg_constraint WHERE contypid = t.oid AND contype = 'c'))
FROM used JOIN pg_type t USING (oid)
"""
_TEXT = re.compile(r"text|character|name|citext|\"char\"")
_NUMBER = re.compile(r"smallint|integer|bigint|numeric|real|double|money|oid")
_LITERAL = re.compile(r"'((?:[^']|'')*)'(?:::([a-z_ ]*[a-z_]))?")
# What the patterns of CHECK constraints tend to ask for.
_WORDS = (
    "a@example.com", "b@example.com", "c@example.com", "https://example.com/",
    "https://example.com/b", "https://example.com/c", "abc", "ABC", "def", "DEF", "A",
    "B", "a", "b", "12345", "1", "+15550100",
    "2024-01-02", "#a1b2c3", "en", "EN", "en-US", "AB-12", "a_b", "a-b", "a.b", "a/b", "/a",
    "1.2.3", "10.0.0.1", "00000000-0000-4000-8000-000000000000", "Abc", "+1", "{}", "",
)  # fmt: skip
_UNKNOWN = ("1", "a", "{}", "(1,1)", "[1,1]", "POINT(1 1)", "a=>1", "1.1", "{1:1}/1", "", "<a/>")
_COMBINATIONS = 20_000  # at most, for one set of columns that constraints join
_SIMPLE: dict[str, Callable[[int], object]] = {
    "boolean": lambda n: "ft"[n % 2],
    "smallint": lambda n: n + 1,
    "integer": lambda n: n + 1,
    "bigint": lambda n: n + 1,
    "oid": lambda n: n + 1,
    "real": lambda n: n + 0.5,
    "double precision": lambda n: n + 0.5,
    "money": lambda n: n + 1,
    "uuid": lambda n: f"00000000-0000-4000-8000-{n:012x}",
    "json": lambda n: f'{{"a": {n}}}',
    "jsonb": lambda n: f'{{"a": {n}}}',
    "bytea": lambda n: f"\\x{n:08x}",
    "date": lambda n: f"2024-01-01 + {n}",
    "interval": lambda n: f"{n + 1} hours",
    "inet": lambda n: f"10.0.{n // 250}.{n % 250 + 1}",
    "cidr": lambda n: f"10.{n // 250}.{n % 250}.0/24",
    "macaddr": lambda n: f"08:00:2b:00:{n // 250:02x}:{n % 250:02x}",
    "macaddr8": lambda n: f"08:00:2b:00:00:00:{n // 250:02x}:{n % 250:02x}",
    "point": lambda n: f"({n},{n})",
    "line": lambda n: f"{{1,1,{n}}}",
    "lseg": lambda n: f"(({n},0),({n},1))",
    "box": lambda n: f"(({2 * n + 1},1),({2 * n},0))",
    "path": lambda n: f"(({n},0),({n},1))",
    "polygon": lambda n: f"(({n},0),({n},1),({n + 1},1))",
    "circle": lambda n: f"<({3 * n},0),1>",
    "tsvector": lambda n: f"word{n}",
    "tsquery": lambda n: f"word{n}",
    "pg_lsn": lambda n: f"0/{n:X}",
    "jsonpath": lambda n: f"$.a{n}",
    "hstore": lambda n: f"a=>{n}",
    "ltree": lambda n: f"a.b{n}",
}


class Filled(dict[str, int]):
    """How many rows each table got that had none: name -> number; `problems` says why it is 0."""

    def __init__(self) -> None:
        super().__init__()
        self.problems: dict[str, str] = {}


def fill(database: URL | Connection, rows: int = 3) -> Filled:
    """Put `rows` rows into every table that has none, but for Alembic's own; committed.

    Args:
        database: its URL, or a connection to it, which is left open.

    Returns:
        The number of rows per table; of a table that could not be filled 0, and the reason.
    """
    if isinstance(database, Connection):
        with database:
            return _Filler(database, rows).fill()
    connection = psycopg2.connect(
        host=database.host,
        port=database.port,
        user=database.username,
        password=database.password,
        dbname=database.database,
    )
    try:
        with connection:
            return _Filler(connection, rows).fill()
    finally:
        connection.close()


def _quoted(text: object, as_: str) -> str:
    return "'{}'::{}".format(str(text).replace("'", "''"), as_)


class _Filler:
    def __init__(self, connection: Connection, rows: int) -> None:
        self.cursor: Cursor = connection.cursor()
        self.rows = rows
        self.types: dict[int, dict[str, Any]] = {}
        self.probed: dict[str, str | None] = {}

    def fill(self) -> Filled:
        filled = Filled()
        tables = {table["oid"]: table for table in self._select(_TABLES)}
        if not tables:
            return filled
        probes = [f"SELECT {oid} WHERE EXISTS (TABLE {t['name']})" for oid, t in tables.items()]
        for row in self._select(" UNION ALL ".join(probes)):
            del tables[row["?column?"]]
        used = {column["type"] for table in tables.values() for column in table["columns"] or []}
        self.cursor.execute(_TYPES, [list(used)])
        self.types = dict(self.cursor.fetchall())
        later = []
        done: set[int] = set(tables)
        for table in _in_order(tables):
            done.discard(table["oid"])  # what is left in it does not have rows yet
            waiting = [key for key in table["keys"] or [] if key["table"] in {*done, table["oid"]}]
            filled[table["name"]] = self._fill_table(table, waiting, filled.problems)
            later += [(table, key) for key in waiting]
        for table, key in later:
            self._link(table, key)
        return filled

    def _select(self, statement: str) -> list[dict[str, Any]]:
        self.cursor.execute(statement)
        names = [column.name for column in self.cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in self.cursor.fetchall()]

    def _try(self, statement: str) -> str:
        """Run it in a savepoint; returns the server's complaint."""
        self.cursor.execute("SAVEPOINT attempt")
        try:
            self.cursor.execute(statement)
        except psycopg2.Error as error:
            self.cursor.execute("ROLLBACK TO attempt")
            return str(error).splitlines()[0]
        return ""

    def _fill_table(
        self, table: dict[str, Any], waiting: list[dict[str, Any]], problems: dict[str, str]
    ) -> int:
        if table["partitioned"] and not table["leaves"]:
            problems[table["name"]] = "it has no partitions"
            return 0
        number, why = 0, ""
        for leaf, bounds in enumerate(table["leaves"] or [None]):
            checks = [*(table["checks"] or []), *([bounds] if bounds else [])]
            solved = self._solve(table, checks, waiting)
            for nulls in ("some", "none", "all"):
                statement = self._insert(table, waiting, solved, nulls, leaf * self.rows)
                why = self._try(statement)
                if not why:
                    break
            else:
                # Without foreign keys and triggers, if this role may. What points to rows that are
                # not there yet is set right afterwards.
                replica = "SET LOCAL session_replication_role = replica;"
                statement = self._insert(table, waiting, solved, "none", leaf * self.rows)
                if not self._try(replica + statement):
                    why = ""
            if not why:
                number += max(self.cursor.rowcount, 0)
                self._try("SET LOCAL session_replication_role = origin")
        if not number:
            problems[table["name"]] = why or "the server took no row of those tried"
        return number

    def _insert(
        self,
        table: dict[str, Any],
        waiting: list[dict[str, Any]],
        solved: list[dict[str, str]],
        nulls: str,
        first: int,
    ) -> str:
        columns = [column for column in table["columns"] or [] if not column["given"]]
        columns += [
            column
            for column in table["columns"] or []
            if column["given"] and any(column["name"] in choice for choice in solved)
        ]
        if not columns:
            return f"INSERT INTO {table['name']} SELECT FROM generate_series(1, {self.rows})"
        nullable = {column["name"] for column in columns if column["nullable"]}
        lines = []
        for n in range(first, first + self.rows):
            values: dict[str, str] = {}
            for place, column in enumerate(columns):
                empty = nulls == "all" or (nulls == "some" and (n + place) % 3 == 2)
                value = self._value(column["type"], column["as"], n)
                values[column["name"]] = "NULL" if empty and column["nullable"] else value
            for key in table["keys"] or []:
                names = [name for name in key["columns"] if name in values]
                if key in waiting:
                    values |= dict.fromkeys(nullable & set(names), "NULL")
                elif nulls != "all" or not nullable & set(names):
                    empty = nulls == "some" and n % 3 == 2 and set(names) <= nullable
                    pairs = zip(key["columns"], key["referenced"], strict=True)
                    values |= {
                        name: "NULL" if empty else _reference(key["name"], referenced, n)
                        for name, referenced in pairs
                        if name in values
                    }
            if solved:
                values |= solved[(n - first) % len(solved)]
            lines.append("({})".format(", ".join(values[column["name"]] for column in columns)))
        names = [column["name"] for column in columns]
        system = " OVERRIDING SYSTEM VALUE" if any(column["given"] for column in columns) else ""
        return (
            f"INSERT INTO {table['name']} ({', '.join(names)}){system} VALUES {', '.join(lines)} "
            "ON CONFLICT DO NOTHING"
        )

    def _link(self, table: dict[str, Any], key: dict[str, Any]) -> None:
        """Let what was inserted before the rows that it refers to refer to them."""
        assignments = ", ".join(
            f"{name} = (SELECT {referenced} FROM {key['name']} r"
            " ORDER BY r.tableoid, r.ctid OFFSET t.n % greatest(1, t.of) LIMIT 1)"
            for name, referenced in zip(key["columns"], key["referenced"], strict=True)
        )
        source = (
            f"(SELECT tableoid AS t, ctid AS c, row_number() OVER () AS n,"
            f" (SELECT count(*) FROM {key['name']}) AS of FROM {table['name']}) t"
        )
        update = (
            f"UPDATE {table['name']} u SET {assignments} FROM {source} "
            "WHERE u.tableoid = t.t AND u.ctid = t.c AND t.n % 3 <> 0"
        )
        if self._try(update):
            self._try(update.replace("% 3 <> 0", "= 1"))

    # Values

    def _value(self, oid: int, as_: str, n: int) -> str:
        """The nth value of a type, as an SQL expression; distinct where the type has so many."""
        type_ = self.types[oid]
        name: str = type_["name"]
        size = int(found[1]) if (found := re.search(r"\((\d+)", as_)) else None
        if type_["kind"] == "d":
            return f"{self._value(type_['base'], type_['as'], n)}::{as_}"
        if type_["kind"] == "e":
            labels = type_["labels"] or [""]
            return _quoted(labels[n % len(labels)], as_)
        if type_["kind"] == "r":
            of = self.types[type_["of"]]["name"]
            bounds = [self._value(type_["of"], of, 2 * n + more) for more in (0, 1)]
            return f"{name}({', '.join(bounds)})"
        if type_["kind"] == "m":
            return f"{name}({self._value(type_['of'], self.types[type_['of']]['name'], n)})"
        if type_["kind"] == "c":
            return "ROW({})::{}".format(
                ", ".join(self._value(of, as_of, n) for of, as_of in type_["fields"] or []), as_
            )
        if type_["category"] == "A" and type_["element"]:
            element = self._value(type_["element"], self.types[type_["element"]]["name"], n)
            return f"ARRAY[{element}]::{as_}"
        if _TEXT.match(name):
            text = f"value {n}"
            if size and len(text) > size:
                text = _digits(n, 36)[-size:]
            return _quoted(text, as_)
        if name == "numeric":
            scale = int(found[1]) if (found := re.search(r",(-?\d+)\)", as_)) else 0
            if size is not None and size <= scale:
                return _quoted(f"{n + 1}e-{scale}", as_)
            return _quoted((n + 1) % 10 ** (min(size - scale, 9) if size else 9), as_)
        if name in ("bit", "bit varying"):
            return _quoted(f"{n:b}".zfill(size or 1)[-(size or 1) :], as_)
        if name.startswith("time"):
            zone = "+00" if name.endswith("with time zone") else ""
            day = f"2024-01-{n // 24 % 28 + 1:02} " if name.startswith("timestamp") else ""
            return _quoted(f"{day}{n % 24:02}:00:00{zone}", as_)
        if name == "date":
            return f"('2024-01-01'::date + {n})::{as_}"
        if name == "vector":
            return _quoted([n] * (size or 3), as_)
        if simple := _SIMPLE.get(name.rpartition(".")[2]):
            return _quoted(simple(n), as_)
        return self._probe(as_)

    def _probe(self, as_: str) -> str:
        """A value of a type that is not known here: the first of a few that the server takes."""
        if as_ not in self.probed:
            tries = (_quoted(text, as_) for text in _UNKNOWN)
            self.probed[as_] = next((t for t in tries if not self._try(f"SELECT {t}")), None)
        return self.probed[as_] or "NULL"

    # Constraints

    def _solve(
        self, table: dict[str, Any], checks: list[str], waiting: list[dict[str, Any]]
    ) -> list[dict[str, str]]:
        """Values that satisfy the checks, one mapping for each row; only for columns in them."""
        columns = {column["name"]: column for column in table["columns"] or []}
        conditions = [(check, _names(check, columns)) for check in checks]
        for name, column in columns.items():
            type_ = self.types[column["type"]]
            while type_["kind"] == "d":
                conditions += [(_of_value(check, name), {name}) for check in type_["checks"] or []]
                type_ = self.types[type_["base"]]
        references = {
            name: (key["name"], referenced)
            for key in table["keys"] or []
            if key not in waiting
            for name, referenced in zip(key["columns"], key["referenced"], strict=True)
        }
        solved: list[dict[str, str]] = [{} for _ in range(self.rows)]
        for expressions, names in _joined(conditions):
            # A generated column, or one that the server numbers: as it comes.
            if not names or (not table["leaves"] and any(columns[name]["given"] for name in names)):
                continue
            limit = max(2, int(_COMBINATIONS ** (1 / len(names))))
            sources = []
            for name in names:
                column = columns[name]
                base, as_ = self._base(column)
                if name in references:
                    parent, referenced = references[name]
                    source = f"SELECT {referenced} FROM {parent} LIMIT {self.rows}"
                    source = f"(({source})" + (
                        " UNION ALL SELECT NULL)" if column["nullable"] else ")"
                    )
                else:
                    tries = ["NULL"] * bool(column["nullable"])
                    # What is to refer to rows that are not there yet stays null until they are.
                    if not (tries and any(name in key["columns"] for key in waiting)):
                        tries += self._candidates(base, as_, " ".join(expressions))[:limit]
                    source = "(VALUES {})".format(", ".join(f"({value})" for value in tries))
                sources.append(f"{source} AS {_alias(name)} ({name})")
            texts = ", ".join(f"{name}::text" for name in names)
            true = " AND ".join(f"({expression}) IS NOT FALSE" for expression in expressions)
            statement = (
                f"SELECT {texts} FROM {', '.join(sources)} WHERE {true} "
                f"ORDER BY num_nulls({texts}), md5(concat_ws('|', {texts})) LIMIT 200"
            )
            if self._try(statement):
                continue
            chosen = _most_different(self.cursor.fetchall(), self.rows)
            # Where there are fewer than rows some come twice; what must be unique is then left out.
            for row, values in zip(solved, cycle(chosen), strict=False):
                row |= {
                    name: "NULL" if value is None else _quoted(value, columns[name]["as"])
                    for name, value in zip(names, values, strict=True)
                }
        return [row for row in solved if row]

    def _base(self, column: dict[str, Any]) -> tuple[int, str]:
        """The type below a domain, whose own checks would stop the search."""
        oid, as_ = column["type"], column["as"]
        while self.types[oid]["kind"] == "d":
            oid, as_ = self.types[oid]["base"], self.types[oid]["as"]
        return oid, as_

    def _candidates(self, oid: int, as_: str, expression: str) -> list[str]:
        """SQL expressions to try for a column, those that its constraints speak of first."""
        type_ = self.types[oid]
        name: str = type_["name"]
        size = int(found[1]) if (found := re.search(r"\((\d+)", as_)) else None
        literals = [(text.replace("''", "'"), of) for text, of in _LITERAL.findall(expression)]
        numbers = [text for text, of in literals if _NUMBER.match(of or "?")]
        numbers += re.findall(r"(?<![\w'.])-?\d+(?:\.\d+)?", _LITERAL.sub("''", expression))
        found_texts: Iterable[Any] = ()
        if type_["category"] == "A":
            pass
        elif type_["kind"] == "e":
            found_texts = type_["labels"] or []
        elif _TEXT.match(name):
            texts = [text for text, of in literals if not of or _TEXT.match(of)]
            numbers += re.findall(r"\{(\d+)", expression)  # as in [A-Z]{3}
            sizes = [int(n) for n in numbers if n.isdigit() and int(n) <= 1000]
            padded = [
                c * n for n in {m + d for m in sizes for d in (0, 1, -1)} for c in "a1Ab2Bc3C"
            ]
            found_texts = [
                text for text in (*texts, *padded, *_WORDS) if not size or len(text) <= size
            ]
        elif _NUMBER.match(name):
            near = [float(n) + d for n in numbers for d in (0, 1, -1)]
            found_texts = [int(n) if n == int(n) else n for n in (*near, 0, 1, 2, 100, 0.5, -1)]
            if name in ("smallint", "integer", "bigint"):
                found_texts = [n for n in found_texts if isinstance(n, int) and abs(n) < 2**31]
            if name == "smallint":
                found_texts = [n for n in found_texts if abs(n) < 2**15]
        elif name in ("json", "jsonb"):
            keys = {text for text, of in literals if re.fullmatch(r"\w+", text)}
            whole = "{{{}}}".format(", ".join(f'"{key}": 1' for key in sorted(keys)))
            found_texts = ["{}", "[]", '"a"', "1", "[1]", whole]
        else:
            stem = name.removesuffix(" without time zone").removesuffix(" with time zone")
            found_texts = texts = [text for text, of in literals if of and of.startswith(stem)]
            if name.startswith(("date", "timestamp")):
                days = [
                    f"({_quoted(t, as_)} + interval '{d} day')::{as_}"
                    for t in texts
                    for d in (1, -1)
                ]
                usual = [self._value(oid, as_, n) for n in range(4)]
                return [*days, *(_quoted(t, as_) for t in texts), *usual, f"now()::{as_}"]
        given = [_quoted(text, as_) for text in found_texts]
        usual = [self._value(oid, as_, n) for n in range(self.rows + 2)]
        if type_["category"] == "A":
            of = self.types[type_["element"]]["name"]
            one = self._value(type_["element"], of, 0)
            elements = [f"ARRAY[{', '.join([one] * n)}]::{as_}" for n in (2, 3)]
            usual += [_quoted("{}", as_), *elements]
        return list(dict.fromkeys([*given, *usual]))


def _of_value(check: str, column: str) -> str:
    """The check of a domain, said of a column."""
    return re.sub(r"\bVALUE\b", lambda _: column, check)


def _digits(n: int, base: int) -> str:
    digits = ""
    while n or not digits:
        n, digit = divmod(n, base)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[digit] + digits
    return digits


def _reference(table: str, column: str, n: int) -> str:
    number = f"greatest(1, (SELECT count(*) FROM {table}))"
    order = f"ORDER BY r.tableoid, r.ctid OFFSET {n} % {number} LIMIT 1"
    return f"(SELECT {column} FROM {table} r {order})"


def _alias(name: str) -> str:
    return f"c{abs(hash(name))}"


def _names(expression: str, columns: Iterable[str]) -> set[str]:
    """The columns that an expression speaks of."""
    plain = _LITERAL.sub("''", expression)
    return {name for name in columns if re.search(rf'(?<![\w"]){re.escape(name)}(?![\w"(])', plain)}


def _joined(conditions: list[tuple[str, set[str]]]) -> list[tuple[list[str], list[str]]]:
    """Conditions that share columns, directly or not, together."""
    groups: list[tuple[list[str], set[str]]] = []
    for expression, names in conditions:
        expressions, together = [expression], set(names)
        for group in [group for group in groups if group[1] & names]:
            groups.remove(group)
            expressions = group[0] + expressions
            together |= group[1]
        groups.append((expressions, together))
    return [(expressions, sorted(names)) for expressions, names in groups]


def _most_different(found: list[tuple[Any, ...]], number: int) -> list[tuple[Any, ...]]:
    """Some of the rows, with as few repeated values as can be."""
    seen: set[tuple[int, Any]] = set()
    chosen: list[tuple[Any, ...]] = []
    rest = list(found)
    while rest and len(chosen) < number:
        best = max(rest, key=lambda row: len(set(enumerate(row)) - seen))
        rest.remove(best)
        chosen.append(best)
        seen |= set(enumerate(best))
    return chosen


def _in_order(tables: dict[int, dict[str, Any]]) -> list[dict[str, Any]]:
    """Referenced tables first; a circle is entered where it can be left null."""
    left, ordered = dict(tables), []
    for _ in count():
        ready = [
            table
            for table in left.values()
            if not any(
                key["table"] in left and key["table"] != table["oid"] for key in table["keys"] or []
            )
        ]
        if not left:
            break
        if not ready:

            def hard(table: dict[str, Any]) -> int:
                empty = {c["name"] for c in table["columns"] or [] if c["nullable"]}
                keys = [key for key in table["keys"] or [] if key["table"] in left]
                return sum(not set(key["columns"]) <= empty for key in keys)

            ready = [min(left.values(), key=hard)]
        for table in ready:
            del left[table["oid"]]
            ordered.append(table)
    return ordered

"""The schema of a database, read from the server's catalogs, as text that can be compared.

As complete as `pg_dump --schema-only`, in one query that is built from the server's own map of its
catalogs: a definition has a line for each column, those of a later PostgreSQL too. Left out: what
belongs to an extension or to the system (except changed privileges), temporary objects, Alembic's
tables, subscriptions, large objects, and the values of sequences.
"""

import re
import tomllib
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from itertools import groupby
from os.path import commonprefix
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import URL

from testing.databases import connect

Catalog = dict[tuple[str, str], str]


class _Column(NamedTuple):
    catalog: str
    name: str
    type: str
    target: str | None  # the catalog whose OIDs it has
    relation: str | None  # if it has numbers of columns: the column with the OID of their table


_SQL = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
_TABLES = {"table", "view", "materialized view", "foreign table", "type"}
_TEXT_CAST = re.compile(r"::(text|character varying|bpchar)(\(\d+\))?(\[\])?")
_PARTS = {"column", "column order", "constraint", "index", "policy", "rule", "trigger"}


def _line(column: _Column, prefix: str, relation: str) -> str:
    """The line, or the lines, of a column; NULL for none."""
    name, kind, value = column.name, column.type, column.name
    if name in _SQL["lines"]:
        return str(_SQL["lines"][name])
    label = name.removeprefix(prefix).removeprefix("is")
    if re.fullmatch(_SQL["usually_true"], name):
        kind = "usually true"
    elif column.relation:
        kind, relation = "numbers", column.relation
    elif column.target and kind in ("oid[]", "oidvector"):
        kind, value = "references", "value"
    elif column.target or kind == "regproc":
        kind = "reference"
    words = _SQL["codes"].get(name, {})
    to_role = column.target == "pg_authid"
    return str(_SQL["types"].get(kind, _SQL["types"]["any"])).format(
        name=name,
        label=_SQL["labels"].get(name) or re.sub("(fdw)?options$", "option", label) or name,
        relation=relation,
        cases=" ".join(f"WHEN '{code}' THEN '{word}'" for code, word in words.items()),
        reference=_SQL["reference_to_role" if to_role else "reference"].format(
            target=column.target or "pg_proc",
            value=value,
            none=100 if column.target == "pg_collation" else 0,  # the default collation
        ),
    )


def _lines(columns: list[_Column]) -> list[str]:
    """All that a definition has of the row of a catalog."""
    names = [column.name for column in columns if column.name != "oid"]
    prefix = commonprefix(names)  # noqa: RUF071 (they are no paths)
    relation = next((it.name for it in columns if it.target == "pg_class"), "0")
    said = {relation, next((it.name for it in columns if it.type == "name"), "")}  # by its name
    function, others = _SQL["functions"].get(columns[0].catalog, ("NULL", ".*"))
    return [function] + [
        _line(it, prefix, relation)
        for it in columns
        if it.name in _SQL["lines"]
        or (
            re.fullmatch(others, it.name)
            and not (re.fullmatch(_SQL["other_columns"], it.name) or it.name in said)
            and it.type != "aclitem[]"
            and (it.target != "pg_namespace" or it.name in _SQL["labels"])
        )
    ]


def _branches(columns: list[_Column]) -> str:
    """The part of the query that reads the catalogs."""
    catalogs = {name: [*rows] for name, rows in groupby(columns, lambda it: it.catalog)}
    main = {name for name, rows in catalogs.items() if rows[0].name == "oid"} | {"pg_attribute"}
    branches = []
    for catalog in sorted(main):
        rows = catalogs[catalog]
        to = {row.target: row.name for row in reversed(rows) if row.type == "oid"}
        fields = _SQL["catalogs"]["other"] | {
            "class": f"'{catalog}'::regclass::oid",
            "namespace": to.get("pg_namespace", "NULL"),
            "owner": to.get("pg_authid", "NULL"),
            "acl": next((row.name for row in rows if row.type == "aclitem[]"), "NULL::aclitem[]"),
            "source": f"{catalog} c",
            "joins": "",
        }
        fields |= _SQL["catalogs"].get(catalog, {})
        lines = _lines(rows)
        for more in catalogs.values():
            if more[0].catalog not in main and more[0].target == catalog:
                lines += _lines(more)
                fields["joins"] += f" LEFT JOIN {more[0].catalog} ON {more[0].name} = c.oid"
        identity = name = _SQL["identity"].format(**fields)
        plain = next((row.name for row in rows if row.type == "name"), None)
        if plain and "pg_class" in to:
            name = f"{to['pg_class']}::regclass || '.' || quote_ident({plain})"
        fields = {"name": name, "identity": identity, "lines": ", ".join(lines)} | fields
        branches.append(_SQL["objects"].format(**fields))
        if fields["acl_type"] != "NULL":
            branches.append(_SQL["privileges"].format(**fields))
    return "\n    UNION ALL".join(branches)


_queries: dict[int, str] = {}  # by the server's version


@contextmanager
def catalog_reader(url: URL) -> Generator[Callable[[], Catalog]]:
    """Reads the same again and again: over one connection and with one plan, ten times as fast."""
    with closing(connect(url)) as connection, connection.cursor() as cursor:
        # With this search path the server writes names in `public` short, others with their schema.
        cursor.execute("SET search_path = public; SET jit = off")
        version = connection.server_version
        if version not in _queries:
            cursor.execute(_SQL["columns"])
            branches = _branches([_Column(*row) for row in cursor.fetchall()])
            _queries[version] = _SQL["schema"].replace("/* catalogs */", branches)
        cursor.execute("SET plan_cache_mode = force_generic_plan")
        cursor.execute(f"PREPARE catalog AS {_queries[version]}")

        def read() -> Catalog:
            cursor.execute("EXECUTE catalog")
            rows = cursor.fetchall()
            return {(kind, name): text for kind, name, text in rows if text or kind != "privileges"}

        yield read


def catalog(url: URL) -> Catalog:
    """Everything in a database: (kind, name) -> definition."""
    with catalog_reader(url) as read:
        return read()


def without_not_null(catalog: Catalog) -> Catalog:
    """Without constraints whose names the server chose, of which the column says as much."""
    is_one = re.compile(r"NOT NULL \S+(\n(not local|inherited))*").fullmatch
    return {key: it for key, it in catalog.items() if key[0] != "constraint" or not is_one(it)}


def difference(before: Catalog, after: Catalog) -> list[str]:
    """What is not the same, one line each; empty if all is."""
    lines = []
    whole = {name for kind, name in before.keys() ^ after.keys() if kind in _TABLES}
    for kind, name in sorted(before.keys() | after.keys()):
        old, new = before.get((kind, name)), after.get((kind, name))
        if old == new or (kind in _PARTS and whole & {name, name.rpartition(".")[0]}):
            continue
        if old is None:
            lines.append(f"left over: {kind} {name}")
        elif new is None:
            lines.append(f"lost: {kind} {name}")
        elif _plain(kind, old) != _plain(kind, new) and (change := _change(kind, old, new)):
            lines.append(f"changed: {kind} {name}: {change}")
    return lines


def _plain(kind: str, definition: str) -> str:
    """Without what the server writes in another way though it means the same."""
    if kind in ("function", "procedure"):
        return "".join(definition.split())
    # As from its own text, when a type changed, or from a dump.
    return _TEXT_CAST.sub("", definition.replace("CURRENT_TIMESTAMP", "now()"))


def _change(kind: str, old: str, new: str) -> str:
    """The lines that are not in both."""
    was = [line.strip(" ,") for line in old.splitlines() if line not in new.splitlines()]
    now = [line.strip(" ,") for line in new.splitlines() if line not in old.splitlines()]
    if kind == "column order" and (was or now):
        return ""  # columns came or went, which has lines of its own
    if not was and not now:  # only their order
        was, now = old.splitlines(), new.splitlines()
    return f"{', '.join(was) or 'nothing'} -> {', '.join(now) or 'nothing'}"


def tables(catalog: Catalog) -> set[str]:
    """The tables that hold rows of their own or of their partitions."""
    is_partition = re.compile(r"(?m)^partition$")
    return {
        n for (kind, n), it in catalog.items() if kind == "table" and not is_partition.search(it)
    }

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
# Not schema, or read together with another catalog.
_OTHER_CATALOGS = re.compile(
    "pg_(attrdef|depend|description|enum|inherits|init_privs|largeobject.*|seclabel"
    "|statistic(_ext_data)?|subscription.*|ts_config_map|user_mapping)"
)
# Bookkeeping, and what follows from another column.
_OTHER_COLUMNS = re.compile(
    "oid|rel(type|filenode|pages|tuples|all.*|has(index|triggers|subclass)|isshared|natts|checks|"
    "rewrite|.*xid)|att(len|num|typmod|ndims|byval|align|cacheoff|hasmissing|isdropped|missingval)"
    "|typ(relid|defaultbin|typmod)"
)
_USUALLY_TRUE = {"relispopulated", "indisvalid", "indisready", "conislocal", "attislocal"}
_TABLES = {"table", "view", "materialized view", "foreign table", "type"}
_PARTS = {"column", "column order", "constraint", "index", "policy", "rule", "trigger"}


def _identity(catalog: str, value: str, part: str = "0") -> str:
    """The server's name for an object, without `public.` and `pg_catalog.`."""
    name = f"(pg_identify_object({catalog}, {value}, {part})).identity"
    return rf"regexp_replace({name}, '\m(public|pg_catalog)\.', '', 'g')"


def _reference(value: str, target: str) -> str:
    """The name of the object that an OID stands for; NULL for none."""
    if target == "pg_authid":
        return f"coalesce(nullif({value}, 0)::regrole::text, 'PUBLIC')"
    none = 100 if target == "pg_collation" else 0  # the default collation
    return _identity(f"'{target}'::regclass", f"nullif({value}::oid, {none})")


def _line(column: _Column, prefix: str, relation: str) -> str:
    """The line, or the lines, of a column; NULL for none."""
    name, label = column.name, column.name.removeprefix(prefix).removeprefix("is")
    label = _SQL["labels"].get(name) or re.sub("(fdw)?options$", "option", label) or name
    value = f"{name}::text"
    if name in _SQL["lines"]:
        return str(_SQL["lines"][name])
    if column.type == "boolean":
        no = name in _USUALLY_TRUE
        return f"CASE WHEN {'NOT ' * no}{name} THEN '{'not ' * no}{label}' END"
    if column.type == "text[]":  # Debian's 17.12 keeps an option of its own
        return rf"""(SELECT string_agg('{label} ' || x, E'\n' ORDER BY x)
            FROM unnest({name}) AS x WHERE NOT starts_with(x, 'pg_attver='))"""
    if column.relation:
        value = f"""(SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute
            WHERE attrelid = {column.relation} AND attnum = ANY ({name}))"""
    elif column.target and column.type in ("oid[]", "oidvector"):
        value = f"(SELECT string_agg(x, ', ' ORDER BY x) FROM unnest({name}) AS o, LATERAL"
        value += f" (SELECT {_reference('o', column.target)}) AS u (x))"
    elif column.target or column.type == "regproc":
        value = _reference(name, column.target or "pg_proc")
    elif column.type == "pg_node_tree":
        value = f"pg_get_expr({name}, {relation})"
    elif column.type == '"char"':
        words = _SQL["codes"].get(name, {})
        cases = " ".join(f"WHEN '{code}' THEN '{word}'" for code, word in words.items())
        value = f"nullif(CASE {name} WHEN '' THEN NULL {cases} ELSE {value} END, 'default')"
    elif column.type in ("smallint", "integer"):
        value = f"nullif({name}, -1)"
    return f"'{label} ' || {value}"


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
            and not (_OTHER_COLUMNS.fullmatch(it.name) or it.name in said)
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
        class_, id_, part = "c.tableoid", "c.oid", "0"
        if catalog == "pg_attribute":  # a column is a part of its table
            class_, id_, part = "r.tableoid", "attrelid", "attnum"
            to |= {"pg_namespace": "relnamespace", "pg_authid": "relowner"}
        namespace = to.get("pg_namespace", "c.oid" if catalog == "pg_namespace" else "NULL")
        where = "c.oid >= 16384"  # the first OID that is not the system's
        if namespace != "NULL":
            where += f" AND {namespace} IN (SELECT * FROM ours)"
        lines, joins = _lines(rows), ""
        for more in catalogs.values():
            if more[0].catalog not in main and more[0].target == catalog:
                lines += _lines(more)
                joins += f" LEFT JOIN {more[0].catalog} ON {more[0].name} = c.oid"
        kind = f"(pg_identify_object({class_}, {id_}, {part})).type"
        name = identity = _identity(class_, id_, part)
        plain = next((row.name for row in rows if row.type == "name"), None)
        if plain and "pg_class" in to:
            name = f"{to['pg_class']}::regclass || '.' || quote_ident({plain})"
        acl_type, owner = _SQL["acl_types"].get(catalog, "NULL"), to.get("pg_authid", "NULL")
        fields = {
            "class": class_,
            "id": id_,
            "part": part,
            "kind": _SQL["kinds"].get(catalog, kind),
            "name": _SQL["names"].get(catalog, name),
            "lines": ", ".join(lines),
            "acl": next((row.name for row in rows if row.type == "aclitem[]"), "NULL::aclitem[]"),
            "usual": f"acldefault({acl_type}, {owner})",
            "source": _SQL["sources"].get(catalog, f"{catalog} c"),
            "joins": joins,
            "where": _SQL["where"].get(catalog, where),
            "namespace": namespace,
            "identity": identity,
        }
        branches.append(_SQL["objects"].format(**fields))
        if acl_type != "NULL":
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
            columns = [_Column(*row) for row in cursor.fetchall()]
            columns = [it for it in columns if not _OTHER_CATALOGS.fullmatch(it.catalog)]
            _queries[version] = _SQL["schema"].replace("/* catalogs */", _branches(columns))
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
        elif change := _change(kind, old, new):
            lines.append(f"changed: {kind} {name}: {change}")
    return lines


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

"""What a statement says without being run: its parts, and how many rows it may touch."""

import re
from typing import Any, NamedTuple

import psycopg2
from psycopg2.extensions import TRANSACTION_STATUS_INTRANS
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

_TOKENS = re.compile(
    r"--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|\$(\w*)\$.*?\$\1\$|;", re.DOTALL
)
_STRING = re.compile(r"'(?:[^']|'')*'|\$(\w*)\$.*?\$\1\$", re.DOTALL)
_CAST = re.compile(
    r'::("[^"]+"|\w+( varying| precision|( without| with) time zone)?)(\(\d+\))?(\[\])?'
)
_CONSTANT = r"(?:'|-?\d|ANY '|ANY ARRAY|\$\d|InitPlan|now\b|CURRENT|true|false)"


def says(text: str, pattern: str) -> bool:
    """Whether a pattern, in whatever case, is in a statement."""
    return re.search(pattern, text, re.IGNORECASE | re.DOTALL) is not None


def mentions(text: str, name: str) -> bool:
    """Whether a statement names a thing, with its schema or without."""
    plain = name.replace('"', "").rpartition(".")[2]
    return re.search(rf"(?<!\w){re.escape(plain)}(?!\w)", text) is not None


def split(text: str) -> list[str]:
    """The statements of a text, without comments."""
    parts, start, part = [], 0, ""
    for token in _TOKENS.finditer(text):
        part += text[start : token.start()]
        start = token.end()
        if token[0] == ";":
            parts.append(part.strip())
            part = ""
        elif not token[0].startswith(("--", "/*")):
            part += token[0]
    parts.append((part + text[start:]).strip())
    return [part for part in parts if part]


def as_sent(cursor: Cursor, statement: str, parameters: Any, many: bool) -> str:
    """The statement as the server gets it; of many the first."""
    if many and isinstance(parameters, list | tuple):
        parameters = parameters[0] if parameters else None
    if not parameters:
        return statement.replace("%%", "%")
    return bytes(cursor.mogrify(statement, parameters)).decode()


def long_names(statement: str) -> list[str]:
    """The names that the server would cut."""
    names = re.findall(r'"(?:[^"]|"")*"|\w+', _STRING.sub("", statement))
    return [name for name in names if len(name.strip('"').encode()) > 63]


class Plan(NamedTuple):
    """What EXPLAIN says of a statement."""

    kind: str = "Select"  # or Update, Delete, Insert, Merge; Lock is SELECT ... FOR UPDATE
    targets: frozenset[int] = frozenset()  # tables
    sources: frozenset[int] = frozenset()
    limited: bool = False  # by LIMIT
    listed: bool = False  # the rows come from a list of constants
    equal: frozenset[str] = frozenset()  # columns that are compared with a constant
    above: frozenset[str] = frozenset()
    below: frozenset[str] = frozenset()


def explain(cursor: Cursor, statement: str) -> Plan:
    """The plan of a statement; an empty one if it has none."""
    in_transaction = cursor.connection.info.transaction_status == TRANSACTION_STATUS_INTRANS
    try:
        if in_transaction:
            cursor.execute("SAVEPOINT audit")
        cursor.execute(f"EXPLAIN (VERBOSE, COSTS OFF, FORMAT JSON) {statement}")
        nodes = [
            node for (tops,) in cursor.fetchall() for top in tops for node in _walk(top["Plan"])
        ]
        names = {node["name"]: 0 for node in nodes if "Relation Name" in node}
        cursor.execute("SELECT n, to_regclass(n)::oid::bigint FROM unnest(%s) n", [list(names)])
        names |= dict(cursor.fetchall())
        if in_transaction:
            cursor.execute("RELEASE audit")
    except psycopg2.Error:
        if in_transaction:
            cursor.execute("ROLLBACK TO audit")
        return Plan()
    changing = [node for node in nodes if node["Node Type"] == "ModifyTable"]
    types = {node["Node Type"] for node in nodes}
    kind = changing[0]["Operation"] if changing else "Lock" if "LockRows" in types else "Select"
    sources = {
        names[node["name"]]
        for node in nodes
        if "Relation Name" in node
        and node not in changing
        # A value that an INSERT looks up brings no rows.
        and (kind != "Insert" or node["brings rows"])
    }
    conditions = " ; ".join(
        str(value)
        for node in nodes
        for key, value in node.items()
        if key.endswith(("Cond", "Filter"))
    )
    return Plan(
        kind,
        frozenset(sources if kind == "Lock" else (names[node["name"]] for node in changing)),
        frozenset(sources),
        "Limit" in types,
        bool(types & {"Values Scan", "Function Scan", "Tid Scan"}),
        _compared(conditions, "="),
        _compared(conditions, ">|>="),
        _compared(conditions, "<|<="),
    )


def _walk(node: dict[str, Any], brings_rows: bool = True) -> list[dict[str, Any]]:
    """A node of a plan and all that is below it, each with what is needed here."""
    parts = (node.get("Schema", ""), node.get("Relation Name", ""))
    node["name"] = ".".join('"{}"'.format(part.replace('"', '""')) for part in parts)
    within = node.get("Parent Relationship") not in ("InitPlan", "SubPlan")
    node["brings rows"] = brings_rows and within
    children = [_walk(child, node["brings rows"]) for child in node.get("Plans", [])]
    return [node, *(below for child in children for below in child)]


def _compared(conditions: str, operators: str) -> frozenset[str]:
    """The columns that conditions, as EXPLAIN writes them, compare with a constant."""
    text = re.sub(r"[()]", "", _CAST.sub("", conditions))
    if " OR " in text:
        return frozenset()  # one side alone does not bound anything
    return frozenset(re.findall(rf'(?:\w+\.)?"?(\w+)"? (?:{operators}) {_CONSTANT}', text))

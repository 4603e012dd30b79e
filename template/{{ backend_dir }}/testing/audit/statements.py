"""What a statement says without being run: its parts, its names, and how many rows it may touch."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import psycopg2
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

_STRING = r"'(?:[^']|'')*'|\$(\w*)\$.*?\$\1\$"
_TOKENS = re.compile(rf'{_STRING}|--[^\n]*|/\*.*?\*/|"(?:[^"]|"")*"|;', re.DOTALL)
_CAST = re.compile(
    r'::("[^"]+"|\w+( varying| precision|( without| with) time zone)?)(\(\d+\))?(\[\])?'
)
_CONSTANT = r"(?:'|-?\d|ANY '|ANY ARRAY|\$\d|InitPlan|now\b|CURRENT|true|false)"
# Nodes of a plan whose rows do not grow in number with a table.
_BOUNDED = {"Limit", "Values Scan", "Function Scan", "Tid Scan"}


class Statement(NamedTuple):
    """What a revision sent to the server, and the line that sent it."""

    place: str  # file:line
    text: str


def says(text: str, pattern: str) -> bool:
    """Whether a statement contains a pattern, in whatever case."""
    return re.search(pattern, text, re.IGNORECASE | re.DOTALL) is not None


def mentions(text: str, name: str) -> bool:
    """Whether a statement contains a name, with its schema or without."""
    plain = name.replace('"', "").rpartition(".")[2]
    return re.search(rf"(?<!\w){re.escape(plain)}(?!\w)", text) is not None


def split(text: str) -> list[str]:
    """The statements of a text, without comments."""

    def marked(token: re.Match[str]) -> str:
        if token[0] == ";":
            return "\0"  # which no statement contains
        return "" if token[0].startswith(("--", "/*")) else token[0]

    parts = _TOKENS.sub(marked, text).split("\0")
    return [part.strip() for part in parts if part.strip()]


def long_names(text: str) -> list[str]:
    """The names of more than 63 bytes, PostgreSQL's limit; but a DROP gives none."""
    parts = [part for part in split(text) if not says(part, r"\ADROP\b")]
    code = re.sub(rf"(?s){_STRING}", "", "; ".join(parts))
    names = re.findall(r'"(?:[^"]|"")*"|\w+', code)
    return [name for name in names if len(name.strip('"').encode()) > 63]


def as_sent(cursor: Cursor, statement: str, parameters: Any, _context: Any, many: bool) -> str:
    """The text that the server receives; of an executemany the first."""
    if many and not isinstance(parameters, dict):
        parameters = next(iter(parameters), None)
    if not parameters:
        return statement.replace("%%", "%")
    return bytes(cursor.mogrify(statement, parameters)).decode()


class Plan(NamedTuple):
    """What EXPLAIN says of a statement."""

    kind: str = "Select"  # or Update, Delete, Insert, Merge; Lock is SELECT ... FOR UPDATE
    targets: frozenset[int] = frozenset()  # tables
    sources: frozenset[int] = frozenset()
    nodes: frozenset[str] = frozenset()
    compared: frozenset[tuple[str, str]] = frozenset()  # column, and =, < or > a constant

    def is_bounded(self, keys: list[list[str]]) -> bool:
        """Whether the number of rows does not grow with the table, which has these unique keys."""
        above, below, equal = (
            {column for column, operator in self.compared if operator == wanted} for wanted in "><="
        )
        return bool(self.nodes & _BOUNDED or above & below) or any(
            equal.issuperset(key) or (len(key) == 1 and below.issuperset(key)) for key in keys
        )


def plan_of(cursor: Cursor, statement: str, tables: Mapping[str, int]) -> Plan:
    """The plan of a statement, in a transaction; an empty one if it has none.

    Args:
        tables: the tables of the database, by schema and name.
    """
    cursor.execute("SAVEPOINT audit")  # by itself: what cannot be explained cannot be parsed
    try:
        cursor.execute(f"EXPLAIN (VERBOSE, COSTS OFF, FORMAT JSON) {statement}")
        nodes = [node for (tops,) in cursor for top in tops for node in _walk(top["Plan"])]
        cursor.execute("RELEASE audit")
    except psycopg2.Error:
        cursor.execute("ROLLBACK TO audit")
        return Plan()
    types = frozenset(node["Node Type"] for node in nodes)
    changing = [node for node in nodes if node["Node Type"] == "ModifyTable"]
    kind = changing[0]["Operation"] if changing else "Lock" if "LockRows" in types else "Select"
    # A value that an INSERT looks up brings no rows.
    reading = [node for node in nodes if kind != "Insert" or node["brings rows"]]
    sources = _tables([node for node in reading if node not in changing], tables)
    conditions = " ; ".join(
        str(value)
        for node in nodes
        for key, value in node.items()
        if key.endswith(("Cond", "Filter"))
    )
    targets = sources if kind == "Lock" else _tables(changing, tables)
    return Plan(kind, targets, sources, types, _compared(conditions))


def _walk(node: dict[str, Any], brings_rows: bool = True) -> Iterator[dict[str, Any]]:
    """A node of a plan and all below it, and of each whether it brings rows."""
    inner = node.get("Parent Relationship") in ("InitPlan", "SubPlan")
    node["brings rows"] = brings_rows and not inner
    yield node
    for child in node.get("Plans", []):
        yield from _walk(child, node["brings rows"])


def _tables(nodes: list[dict[str, Any]], tables: Mapping[str, int]) -> frozenset[int]:
    names = {f"{node.get('Schema')}.{node.get('Relation Name')}" for node in nodes}
    return frozenset(tables[name] for name in names & tables.keys())


def _compared(conditions: str) -> frozenset[tuple[str, str]]:
    """What conditions, as EXPLAIN writes them, compare with a constant."""
    text = re.sub(r"[()]", "", _CAST.sub("", conditions))
    if " OR " in text:
        return frozenset()  # one side alone does not bound anything
    return frozenset(re.findall(rf'(?:\w+\.)?"?(\w+)"? ([<>=])=? {_CONSTANT}', text))

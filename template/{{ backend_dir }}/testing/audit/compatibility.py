"""What a revision did to names, types and privileges, seen in the catalog before and after it.

During a deploy the previous release still runs, on the new schema.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from psycopg2.extensions import connection as Connection  # noqa: N812 (it is a class)

from testing.audit.messages import Report
from testing.audit.statements import Statement, mentions, says
from testing.revisions import where

Properties = dict[str, Any]
Snapshot = dict[str, dict[Any, Properties]]  # kind -> oid, or whatever it has instead -> properties

_SNAPSHOT = Path(__file__).with_name("snapshot.sql").read_text("utf-8")
# What the statement that did it says.
_VERBS = {
    "drops": r"\bDROP\b",
    "renames": r"\bRENAME\b|\bSET\s+SCHEMA\b",
    "changes-type": r"\bTYPE\b",
    "requires-value": r"\bADD\s+(?!CONSTRAINT|FOREIGN|CHECK|UNIQUE|PRIMARY|EXCLUDE)"
    r"|\bSET\s+NOT\s+NULL\b|\bDROP\s+DEFAULT\b",
    "loosens": r"\bDROP\b",
    "restricts": r"\bPOLICY\b|\bSECURITY\b|\bREVOKE\b",
    "adds-trigger": r"\bCREATE\b",
    "json-column": r"\bADD\b",
    "wide-index": r"\bINDEX\b",
}
_TABLES = ("r", "p", "f")
_INDEXES = ("i", "I")
_TEXTS = {"text", "character varying"}  # whoever reads the one can read the other


def snapshot(connection: Connection) -> Snapshot:
    """What code can rely on in a database."""
    with connection.cursor() as cursor:
        cursor.execute(_SNAPSHOT)
        (found,) = cursor.fetchone() or ({},)
    return {
        kind: {int(key) if key.isdigit() else key: value for key, value in (named or {}).items()}
        for kind, named in found.items()
    }


def compare(before: Snapshot, after: Snapshot, statements: list[Statement], report: Report) -> None:
    """Report what breaks code that was written for `before`."""
    unknown = Statement(where(report.script, "upgrade"), "(unknown)")
    changes: dict[tuple[str, Statement], list[str]] = {}
    for hazard, name, what in _Comparison(before, after).changes():
        statement = _origin(statements, hazard, name.partition("(")[0], what) or unknown
        changes.setdefault((hazard, statement), []).append(what)
    for (hazard, statement), names in changes.items():
        if hazard == "loosens" and ("drops", statement) in changes:
            continue  # the same change: a foreign key goes with its table
        if hazard == "requires-value" and says(statement.text, r"\bADD\b"):
            # Where it succeeds there are no rows to read.
            report.drop("blocks-while-reading", statement.place)
        report.add(hazard, statement, " and ".join(dict.fromkeys(names)))


def _origin(statements: list[Statement], hazard: str, name: str, what: str) -> Statement | None:
    """The last one that names it, at best with its table and the verb of the hazard."""
    table = what.removesuffix(f".{name}").rpartition(" of ")[2]  # if it has one

    def fits(statement: Statement) -> tuple[bool, ...]:
        named, verb = mentions(statement.text, name), says(statement.text, _VERBS[hazard])
        return named and verb, named and verb and mentions(statement.text, table), named, verb

    return max(reversed(statements), key=fits, default=None)


class _Comparison:
    """Of two snapshots. A change is a hazard, the name to look for, and what is said of it."""

    def __init__(self, before: Snapshot, after: Snapshot) -> None:
        self.before, self.after = before, after
        self.stay = before["relations"].keys() & after["relations"].keys()
        self.names = {oid: it["name"] for oid, it in before["relations"].items()}

    def changes(self) -> Iterator[tuple[str, str, str]]:
        """All of them."""
        yield from self._relations()
        yield from self._columns()
        for kind in ("types", "functions", "schemas", "extensions", "constraints"):
            yield from self._named(kind)
        yield from self._constraints()
        yield from self._indexes()
        yield from self._triggers()
        yield from self._policies()

    def _relations(self) -> Iterator[tuple[str, str, str]]:
        oids = {it["name"]: oid for oid, it in self.after["relations"].items()}
        for oid, old in self.before["relations"].items():
            new, name, other = self.after["relations"].get(oid), old["name"], oids.get(old["name"])
            if old["owned"] or (old["kind"] in _INDEXES and not new):
                continue  # goes with its column; is seen among the indexes
            if not new:
                if old["kind"] in _TABLES or other is None or not self._fits(oid, other):
                    yield "drops", name, name
                continue
            if new["name"] != name:
                if old["kind"] in _INDEXES:
                    renamed = self._is_renamed_alone(old, new)
                else:  # unless a view stands in for it
                    renamed = other is None or self.after["relations"][other]["kind"] != "v"
                if renamed:
                    yield "renames", name, name
            if any(new[flag] and not old[flag] for flag in ("secure", "forced")):
                yield "restricts", name, f"row level security of {name}"
            if old["acl"] and not _privileges(old["acl"]) <= _privileges(new["acl"] or []):
                yield "restricts", name, f"privileges on {name}"

    def _fits(self, old: int, new: int) -> bool:
        """Whether a view that was made again begins with the columns that it had."""

        def columns(state: Snapshot, table: int) -> list[tuple[int, str, str]]:
            every = state["columns"].values()
            mine = (it for it in every if it["table"] == table)
            return sorted((it["number"], it["name"], it["type"]) for it in mine)

        had = columns(self.before, old)
        return had == columns(self.after, new)[: len(had)]

    def _is_renamed_alone(self, old: Properties, new: Properties) -> bool:
        """An index: not with its schema or constraint, and not to take another's place."""
        schemas = {it["name"].rpartition(".")[0] for it in (old, new)}
        constraints = {it["name"] for it in self.before["constraints"].values()}
        others = {*self.names.values()}
        return len(schemas) == 1 and old["name"] not in constraints and new["name"] not in others

    def _columns(self) -> Iterator[tuple[str, str, str]]:
        for key in self.before["columns"] | self.after["columns"]:
            old, new = self.before["columns"].get(key), self.after["columns"].get(key)
            column = old or new
            assert column
            if column["table"] not in self.stay:
                continue
            name, full = column["name"], f"{self.names[column['table']]}.{column['name']}"
            stored = self.before["relations"][column["table"]]["kind"] in _TABLES
            if not new:
                yield "drops", name, full
            elif not old:
                if stored and new["required"] and not new["given"]:
                    yield "requires-value", name, full
                if stored and new["type"] == "json":
                    yield "json-column", name, full
            else:
                if old["name"] != new["name"]:
                    yield "renames", name, full
                if self._is_other_type(old["type"], new["type"]):
                    yield "changes-type", name, full
                if stored and old["required"] and not new["required"]:
                    yield "loosens", name, f"NOT NULL of {full}"
                if stored and new["required"] and old["given"] and not new["given"]:
                    yield "requires-value", name, full

    def _is_other_type(self, old: str, new: str) -> bool:
        renamed = any(
            it["name"] == old and self.after["types"].get(oid, {}).get("name") == new
            for oid, it in self.before["types"].items()
        )
        return old != new and not renamed and not {old, new} <= _TEXTS

    def _named(self, kind: str) -> Iterator[tuple[str, str, str]]:
        others = {it["name"]: it for it in self.after[kind].values()}
        for oid, old in self.before[kind].items():
            name, new = old["name"], self.after[kind].get(oid)
            labels, other = old.get("labels") or {}, others.get(name)
            if not new:
                lost = not other or {*labels.values()} - {*(other.get("labels") or {}).values()}
                if kind != "constraints" and lost:
                    yield "drops", name, name
                continue
            # A function is written with its types, which may have got new names.
            if new["name"].partition("(")[0] != name.partition("(")[0] and (
                kind == "constraints" or not other
            ):
                yield "renames", name, name
            for label, text in labels.items():
                if (new["labels"] or {}).get(label) != text:
                    yield "renames", text, f"{text!r} of {name}"

    def _constraints(self) -> Iterator[tuple[str, str, str]]:
        """CHECK and foreign keys that are gone, and not made again."""

        def key(it: Properties) -> tuple[int, str, str]:
            return it["table"], it["kind"], str(it["columns"])

        others = {key(it) for it in self.after["constraints"].values()}
        for oid, it in self.before["constraints"].items():
            numbers = it["columns"] or []
            columns = [self.after["columns"].get(f"{it['table']}.{n}") for n in numbers]
            gone = oid not in self.after["constraints"] and key(it) not in others
            matters = it["kind"] in ("c", "f") and it["valid"] and it["table"] in self.stay
            if gone and matters and all(columns):
                is_not_null = re.fullmatch(r"CHECK \(\(.+ IS NOT NULL\)\)", it["of"])
                if not (is_not_null and all(column and column["required"] for column in columns)):
                    yield "loosens", it["name"], f"{it['name']} of {self.names[it['table']]}"

    def _indexes(self) -> Iterator[tuple[str, str, str]]:
        for oid, it in self.after["indexes"].items():
            new = oid not in self.before["indexes"] and it["table"] in self.stay
            if new and not it["unique"] and it["size"] > 3:
                name = self.after["relations"][oid]["name"]
                yield "wide-index", name, name
        unique = {(it["table"], it["of"]) for it in self.after["indexes"].values() if it["unique"]}
        columns = {(it["table"], it["name"]) for it in self.after["columns"].values()}
        for oid, it in self.before["indexes"].items():
            lost = it["unique"] and (it["table"], it["of"]) not in unique
            if lost and all((it["table"], column) in columns for column in it["columns"]):
                yield "drops", self.names[oid], f"{self.names[oid]} (ON CONFLICT needs it)"

    def _triggers(self) -> Iterator[tuple[str, str, str]]:
        for kind in ("triggers", "rules"):
            for key, it in self.after[kind].items():
                table = self.before["relations"].get(it["table"])
                if key not in self.before[kind] and table and table["kind"] in _TABLES:
                    yield "adds-trigger", it["name"], f"{it['name']} of {table['name']}"

    def _policies(self) -> Iterator[tuple[str, str, str]]:
        for key, it in (self.before["policies"] | self.after["policies"]).items():
            lost = it["permissive"] and key not in self.after["policies"]
            new = not it["permissive"] and key not in self.before["policies"]
            tables = [state["relations"].get(it["table"]) for state in (self.before, self.after)]
            if (lost or new) and all(table and table["secure"] for table in tables):
                yield "restricts", it["name"], f"policy {it['name']} of {self.names[it['table']]}"


def _privileges(acl: list[str]) -> set[tuple[str, str]]:
    """(who, what) of an access control list."""
    items = (item.rpartition("=") for item in acl)
    return {
        (who, letter)
        for who, _, rest in items
        for letter in rest.partition("/")[0]
        if letter != "*"
    }

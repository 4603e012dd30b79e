"""What a revision did to names, types and privileges, seen in the catalog before and after it.

During a deploy the previous release still runs, on the new schema.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from psycopg2.extensions import connection as Connection  # noqa: N812 (it is a class)

from testing.audit.messages import Report
from testing.audit.statements import Statement, mentions, says
from testing.revisions import where

Snapshot = dict[str, dict[Any, dict[str, Any]]]  # kind -> oid or the like -> properties

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
        yield from self._relations()
        yield from self._columns()
        for kind in ("types", "functions", "schemas", "extensions", "constraints"):
            yield from self._named(kind)
        yield from self._constraints()
        yield from self._indexes()
        yield from self._triggers_and_policies()

    def _relations(self) -> Iterator[tuple[str, str, str]]:
        others = {it["name"]: it for it in self.after["relations"].values()}
        for oid, old in self.before["relations"].items():
            new, name = self.after["relations"].get(oid), old["name"]
            other = others.get(name, {})
            is_index = old["kind"] in ("i", "I")
            if old["owned"] or (is_index and not new):
                continue  # goes with its column or constraint; is seen among the indexes
            if not new:
                # A view may be made again, with the columns that it had and more.
                same = other and old["columns"] == other["columns"][: len(old["columns"])]
                if old["kind"] in _TABLES or not same:
                    yield "drops", name, name
                continue
            if is_index:  # not with its schema, and not to take another's place
                schemas = {it["name"].rpartition(".")[0] for it in (old, new)}
                renamed = len(schemas) == 1 and new["name"] not in self.names.values()
            else:  # unless a view stands in for it
                renamed = new["name"] != name and other.get("kind") != "v"
            if renamed:
                yield "renames", name, name
            if any(new[flag] and not old[flag] for flag in ("secure", "forced")):
                yield "restricts", name, f"row level security of {name}"
            if not {*old["privileges"]} <= {*new["privileges"]}:
                yield "restricts", name, f"privileges on {name}"

    def _columns(self) -> Iterator[tuple[str, str, str]]:
        for key, column in (self.before["columns"] | self.after["columns"]).items():
            if column["table"] not in self.stay:
                continue
            old, new = self.before["columns"].get(key), self.after["columns"].get(key)
            name = (old or column)["name"]
            full = f"{self.names[column['table']]}.{name}"
            stored = self.before["relations"][column["table"]]["kind"] in _TABLES
            if not new:
                yield "drops", name, full
                continue
            is_required = stored and new["required"] and not new["given"]
            if is_required and (not old or old["given"]):
                yield "requires-value", name, full
            if not old:
                if stored and new["type"] == "json":
                    yield "json-column", name, full
                continue
            if old["name"] != new["name"]:
                yield "renames", name, full
            if old["type"] != new["type"] and old["type_oid"] != new["type_oid"]:
                yield "changes-type", name, full
            if stored and old["required"] and not new["required"]:
                yield "loosens", name, f"NOT NULL of {full}"

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
            renamed = new["name"].partition("(")[0] != name.partition("(")[0]
            if renamed and (kind == "constraints" or not other):
                yield "renames", name, name
            for label, text in labels.items():
                if (new["labels"] or {}).get(label) != text:
                    yield "renames", text, f"{text!r} of {name}"

    def _constraints(self) -> Iterator[tuple[str, str, str]]:
        """CHECK and foreign keys that are gone, and not made again."""
        same = {it["same"] for it in self.after["constraints"].values()}
        for oid, it in self.before["constraints"].items():
            gone = oid not in self.after["constraints"] and it["same"] not in same
            if gone and it["matters"] and it["table"] in self.stay:
                keys = [f"{it['table']}.{number}" for number in it["columns"]]
                columns = [self.after["columns"].get(key, {}) for key in keys]
                replaced = it["not_null"] and all(column.get("required") for column in columns)
                if all(columns) and not replaced:
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

    def _triggers_and_policies(self) -> Iterator[tuple[str, str, str]]:
        for key, it in self.after["triggers"].items():
            if key not in self.before["triggers"] and it["table"] in self.names:
                yield "adds-trigger", it["name"], f"{it['name']} of {self.names[it['table']]}"
        for key, it in (self.before["policies"] | self.after["policies"]).items():
            changed = key not in (self.after if it["permissive"] else self.before)["policies"]
            tables = [state["relations"].get(it["table"]) for state in (self.before, self.after)]
            if changed and all(table and table["secure"] for table in tables):
                yield "restricts", it["name"], f"policy {it['name']} of {self.names[it['table']]}"

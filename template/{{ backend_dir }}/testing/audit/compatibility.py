"""What a revision did to names, types and rights, seen in the catalog before it and after it.

While a new release is brought out, the code of the old one still runs: on the new schema.
"""

import re
from dataclasses import dataclass
from typing import Any

from psycopg2.extensions import connection as Connection  # noqa: N812 (it is a class)

from testing.audit.hazards import Report
from testing.audit.statements import mentions, says
from testing.revisions import where

Thing = dict[str, Any]
Snapshot = dict[str, dict[str, Thing]]  # kind -> oid, or whatever it has instead -> properties

_SNAPSHOT = """
WITH ours AS (
    SELECT oid FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
), member AS (
    SELECT classid, objid FROM pg_depend WHERE deptype = 'e'
), relation AS (
    SELECT c.*, c.oid::regclass::text AS name FROM pg_class c
    WHERE relnamespace IN (SELECT oid FROM ours) AND relpersistence <> 't'
      AND relname NOT IN ('alembic_version', 'alembic_history')
      AND (c.tableoid, c.oid) NOT IN (SELECT * FROM member)
)
SELECT json_build_object(
    'relations', (SELECT json_object_agg(oid, json_build_object(
            'kind', relkind, 'name', name, 'secure', relrowsecurity, 'forced', relforcerowsecurity,
            'file', pg_relation_filenode(oid)::bigint, 'acl', relacl::text[],
            'owned', relkind = 'S' AND EXISTS (SELECT FROM pg_depend
                WHERE classid = tableoid AND objid = relation.oid AND deptype IN ('a', 'i'))))
        FROM relation WHERE relkind IN ('r', 'p', 'v', 'm', 'f', 'S', 'i', 'I', 'c')),
    'columns', (SELECT json_object_agg(attrelid || '.' || attnum, json_build_object(
            'table', attrelid::bigint, 'number', attnum, 'name', attname,
            'type', atttypid::regtype::text, 'required', attnotnull,
            'given', atthasdef OR attidentity <> '' OR EXISTS (SELECT FROM pg_type t
                WHERE t.oid = atttypid AND typdefault IS NOT NULL)))
        FROM pg_attribute JOIN relation ON oid = attrelid
        WHERE attnum > 0 AND NOT attisdropped AND relkind IN ('r', 'p', 'v', 'm', 'f', 'c')),
    'types', (SELECT json_object_agg(oid, json_build_object('name', oid::regtype::text, 'labels',
            (SELECT json_object_agg(e.oid, enumlabel) FROM pg_enum e WHERE enumtypid = t.oid)))
        FROM pg_type t WHERE typnamespace IN (SELECT oid FROM ours) AND typtype IN ('e', 'd', 'r')
          AND (tableoid, oid) NOT IN (SELECT * FROM member)),
    'functions', (SELECT json_object_agg(oid, json_build_object('name', oid::regprocedure::text))
        FROM pg_proc p
        WHERE pronamespace IN (SELECT oid FROM ours) AND prosrc NOT LIKE '%range_constructor_'
          AND (tableoid, oid) NOT IN (SELECT * FROM member)),
    'schemas', (SELECT json_object_agg(oid, json_build_object('name', oid::regnamespace::text))
        FROM ours),
    'extensions', (SELECT json_object_agg(oid, json_build_object('name', extname))
        FROM pg_extension),
    'constraints', (SELECT json_object_agg(oid, json_build_object(
            'table', conrelid::bigint, 'name', conname, 'kind', contype, 'valid', convalidated,
            'of', pg_get_constraintdef(oid), 'columns', conkey::int[])) FROM pg_constraint
        WHERE conrelid IN (SELECT oid FROM relation) AND contype <> 'n'),
    'indexes', (SELECT json_object_agg(indexrelid, json_build_object(
            'table', indrelid::bigint, 'unique', indisunique, 'size', indnkeyatts,
            'columns', (SELECT json_agg(attname) FROM pg_attribute
                WHERE attrelid = indexrelid AND attnum <= indnkeyatts),
            'of', regexp_replace(pg_get_indexdef(indexrelid), '^.* USING ', '')))
        FROM pg_index WHERE indrelid IN (SELECT oid FROM relation)),
    'triggers', (SELECT json_object_agg(tgrelid || '.' || tgname, json_build_object(
            'table', tgrelid::bigint, 'name', tgname)) FROM pg_trigger
        WHERE tgrelid IN (SELECT oid FROM relation) AND NOT tgisinternal AND tgparentid = 0),
    'rules', (SELECT json_object_agg(ev_class || '.' || rulename, json_build_object(
            'table', ev_class::bigint, 'name', rulename)) FROM pg_rewrite
        WHERE ev_class IN (SELECT oid FROM relation) AND rulename <> '_RETURN'),
    'policies', (SELECT json_object_agg(polrelid || '.' || polname, json_build_object(
            'table', polrelid::bigint, 'name', polname, 'permissive', polpermissive)) FROM pg_policy
        WHERE polrelid IN (SELECT oid FROM relation)))
"""
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


@dataclass
class Said:
    """A statement that a revision gave, and the line that gave it."""

    place: str
    text: str


def snapshot(connection: Connection) -> Snapshot:
    """What the code can rely on in a database, but for what belongs to extensions."""
    with connection.cursor() as cursor:
        cursor.execute(_SNAPSHOT)
        (found,) = cursor.fetchone() or ({},)
    return {kind: things or {} for kind, things in found.items()}


def compare(before: Snapshot, after: Snapshot, said: list[Said], report: Report) -> None:
    """Report what breaks code that was written for `before`."""
    comparison = _Comparison(before, after)
    comparison.run()
    changes: dict[tuple[str, str, str], list[str]] = {}
    for hazard, name, what in comparison.found:
        one = _statement(said, hazard, name, what) or Said(
            where(report.script, "upgrade"), "(unknown)"
        )
        changes.setdefault((hazard, one.place, one.text), []).append(what)
    for (hazard, place, text), names in changes.items():
        if hazard == "requires-value" and says(text, r"\bADD\b"):  # it looked for rows as well
            report.findings = [
                it
                for it in report.findings
                if (it.hazard, it.place) != ("blocks-while-reading", place)
            ]
        # Another side of the same change: a foreign key goes with its table, a rewrite has the
        # cure of a new type.
        same = hazard == "loosens" and ("drops", place, text) in changes
        same |= hazard == "changes-type" and report.has("rewrites-table", place)
        if not same:
            report.add(hazard, place, text, " and ".join(dict.fromkeys(names)))


def _statement(said: list[Said], hazard: str, name: str, what: str) -> Said | None:
    """The last one that names a thing, at best with its table and the verb of the hazard."""
    verb = _VERBS[hazard]
    table = what.removesuffix(f".{name}").rpartition(" of ")[2]  # if it has one
    order = (
        [
            one
            for one in said
            if all(mentions(one.text, it) for it in (name, table)) and says(one.text, verb)
        ],
        [one for one in said if mentions(one.text, name) and says(one.text, verb)],
        [one for one in said if mentions(one.text, name)],
        [one for one in said if says(one.text, verb)],
        said,
    )
    return next((found[-1] for found in order if found), None)


class _Comparison:
    def __init__(self, before: Snapshot, after: Snapshot) -> None:
        self.before = before
        self.after = after
        self.found: list[tuple[str, str, str]] = []  # hazard, name to look for, words

    def run(self) -> None:
        """Find everything."""
        self._relations()
        self._columns()
        for kind in ("types", "functions", "schemas", "extensions", "constraints"):
            self._named(kind)
        self._labels()
        self._constraints()
        self._indexes()
        self._triggers()
        self._policies()

    def _add(self, hazard: str, name: str, what: str = "") -> None:
        self.found.append((hazard, name.partition("(")[0], what or name))

    def _stays(self, table: int) -> bool:
        return str(table) in self.before["relations"] and str(table) in self.after["relations"]

    def _table(self, oid: int) -> str:
        return str(self.before["relations"][str(oid)]["name"])

    def _relations(self) -> None:
        names = {it["name"]: oid for oid, it in self.after["relations"].items()}
        for oid, old in self.before["relations"].items():
            new, name, again = self.after["relations"].get(oid), old["name"], names.get(old["name"])
            if old["owned"] or (old["kind"] in _INDEXES and new is None):
                continue  # goes with its column; is seen among the indexes
            if new is None:
                if old["kind"] in _TABLES or again is None or not self._fits(oid, again):
                    self._add("drops", name)
            elif new["name"] != name:
                if old["kind"] in _INDEXES:
                    self._renamed_index(old, new)
                elif again is None or self.after["relations"][again]["kind"] != "v":
                    self._add("renames", name)  # no view stands in for it
            if new is not None:
                if any(new[flag] and not old[flag] for flag in ("secure", "forced")):
                    self._add("restricts", name, f"row level security of {name}")
                if old["acl"] and not _privileges(old["acl"]) <= _privileges(new["acl"] or []):
                    self._add("restricts", name, f"privileges on {name}")

    def _fits(self, old: str, new: str) -> bool:
        """Whether a view made anew begins with the columns that it had."""
        columns = self._of(self.before, old)
        return columns == self._of(self.after, new)[: len(columns)]

    def _of(self, state: Snapshot, table: str) -> list[tuple[int, str, str]]:
        return sorted(
            (it["number"], it["name"], it["type"])
            for it in state["columns"].values()
            if str(it["table"]) == table
        )

    def _renamed_index(self, old: Thing, new: Thing) -> None:
        """By itself: not with its schema or constraint, and not to take another's place."""
        schemas = {it["name"].rpartition(".")[0] for it in (old, new)}
        with_others = len(schemas) > 1 or any(
            it["name"] == old["name"] for it in self.before["constraints"].values()
        )
        names = {it["name"] for it in self.before["relations"].values()}
        if not with_others and new["name"] not in names:
            self._add("renames", old["name"])

    def _columns(self) -> None:
        for key in self.before["columns"] | self.after["columns"]:
            old, new = self.before["columns"].get(key), self.after["columns"].get(key)
            it = old or new
            assert it
            if not self._stays(it["table"]):
                continue
            name, full = it["name"], f"{self._table(it['table'])}.{it['name']}"
            stored = self.before["relations"][str(it["table"])]["kind"] in _TABLES
            if not new:
                self._add("drops", name, full)
            elif not old:
                if stored and new["required"] and not new["given"]:
                    self._add("requires-value", name, full)
                if stored and new["type"] == "json":
                    self._add("json-column", name, full)
            else:
                if old["name"] != new["name"]:
                    self._add("renames", name, full)
                if self._other_type(old["type"], new["type"]):
                    self._add("changes-type", name, full)
                if stored and old["required"] and not new["required"]:
                    self._add("loosens", name, f"NOT NULL of {full}")
                if stored and new["required"] and old["given"] and not new["given"]:
                    self._add("requires-value", name, full)

    def _other_type(self, old: str, new: str) -> bool:
        renamed = any(
            it["name"] == old and self.after["types"].get(oid, {}).get("name") == new
            for oid, it in self.before["types"].items()
        )
        return old != new and not renamed and not {old, new} <= _TEXTS

    def _named(self, kind: str) -> None:
        there = {it["name"]: it for it in self.after[kind].values()}
        for oid, old in self.before[kind].items():
            name, new = old["name"], self.after[kind].get(oid)
            if new is None:
                again = there.get(name)
                if kind == "types" and again:
                    labels = {*(again["labels"] or {}).values()}
                    again = again if {*(old["labels"] or {}).values()} <= labels else None
                if kind != "constraints" and again is None:
                    self._add("drops", name)
            # A function is written with its types, which may have got new names.
            elif new["name"].partition("(")[0] != name.partition("(")[0] and (
                kind == "constraints" or name not in there
            ):
                self._add("renames", name)

    def _labels(self) -> None:
        for oid, old in self.before["types"].items():
            labels = self.after["types"].get(oid, {"labels": old["labels"]})["labels"] or {}
            for label, text in (old["labels"] or {}).items():
                if labels.get(label) != text:
                    self._add("renames", text, f"{text!r} of {old['name']}")

    def _constraints(self) -> None:
        """CHECK and foreign keys that are gone, and not made anew."""
        there = {
            (it["table"], it["kind"], str(it["columns"]))
            for it in self.after["constraints"].values()
        }
        for oid, it in self.before["constraints"].items():
            columns = [
                self.after["columns"].get(f"{it['table']}.{n}", {}) for n in it["columns"] or []
            ]
            if (
                oid in self.after["constraints"]
                or it["kind"] not in ("c", "f")
                or not it["valid"]
                or not self._stays(it["table"])
                or not all(columns)
                or (it["table"], it["kind"], str(it["columns"])) in there
            ):
                continue
            is_not_null = re.fullmatch(r"CHECK \(\(.+ IS NOT NULL\)\)", it["of"])
            if not (is_not_null and all(column["required"] for column in columns)):
                self._add("loosens", it["name"], f"{it['name']} of {self._table(it['table'])}")

    def _indexes(self) -> None:
        for oid, it in self.after["indexes"].items():
            new = oid not in self.before["indexes"] and self._stays(it["table"])
            if new and not it["unique"] and it["size"] > 3:
                self._add("wide-index", self.after["relations"][oid]["name"])
        unique = {(it["table"], it["of"]) for it in self.after["indexes"].values() if it["unique"]}
        columns = {(it["table"], it["name"]) for it in self.after["columns"].values()}
        for oid, it in self.before["indexes"].items():
            is_lost = it["unique"] and (it["table"], it["of"]) not in unique
            if is_lost and all((it["table"], column) in columns for column in it["columns"]):
                name = self.before["relations"][oid]["name"]
                self._add("drops", name, f"{name} (ON CONFLICT needs it)")

    def _triggers(self) -> None:
        for kind in ("triggers", "rules"):
            for key, it in self.after[kind].items():
                if key not in self.before[kind] and self._stays(it["table"]):
                    table = self.before["relations"][str(it["table"])]
                    if table["kind"] in _TABLES:
                        self._add("adds-trigger", it["name"], f"{it['name']} of {table['name']}")

    def _policies(self) -> None:
        for key, it in (self.before["policies"] | self.after["policies"]).items():
            lost = it["permissive"] and key not in self.after["policies"]
            new = not it["permissive"] and key not in self.before["policies"]
            tables = [
                state["relations"].get(str(it["table"])) for state in (self.before, self.after)
            ]
            if (lost or new) and all(table and table["secure"] for table in tables):
                what = f"policy {it['name']} of {self._table(it['table'])}"
                self._add("restricts", it["name"], what)


def _privileges(acl: list[str]) -> set[tuple[str, str]]:
    """(who, what) of an access control list."""
    items = (item.rpartition("=") for item in acl)
    return {
        (who, letter)
        for who, _, rest in items
        for letter in rest.partition("/")[0]
        if letter != "*"
    }

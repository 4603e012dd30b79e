"""Every revision can be applied, reverted and applied again: same schema, and no row is lost.

There are rows in every table before a revision is applied, and new ones in those that it changes
before it is reverted. One that loses data on purpose says so, beside its `revision = ...`:

    data_loss = "the old e-mail addresses, which nobody has read since 2.3"
"""

import json
import re
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, closing
from datetime import UTC, date, datetime
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any, Self

import pytest
from alembic.script import Script
from sqlalchemy import URL

from testing import whole_server
from testing.databases import connect, copy_of
from testing.revisions import (
    Interruption,
    Steps,
    autocommit_blocks,
    driver_error,
    failure,
    unreleased,
    where,
)
from testing.rows import Examples, Filler
from testing.schema import Catalog, catalog_reader, difference, tables

Rows = dict[str, list[str]]  # of each table, as JSON

DECLARE = '  Keep it, or say in the file that it is on purpose: data_loss = "what, and why"'
# Columns whose value is another one each time, and statements that may lose something.
_VOLATILE = re.compile(r"(?im)^identity|^default .*(nextval|random|uuid|now\(|current_|clock_)")
_MAY_LOSE = re.compile(r"(?i)execute|delete|update|truncate|bulk|alter_column|drop_|batch")


def test_every_revision_can_be_reverted_and_applied_again(
    subtests: pytest.Subtests,
    released_database: URL,
    example_rows: Examples,
    record_property: Callable[[str, object], None],
) -> None:
    filler = Filler(example_rows)
    with Database(released_database, filler) as database:
        for script in unreleased():
            with subtests.test(script.revision):
                if problems := Check(database, script).problems():
                    pytest.fail("\n".join(problems), pytrace=False)
            if not database.applied or database.applied[-1] is not script:
                break  # it cannot be applied, and so nothing after it
    for note in [*filler.notes(), *whole_server.notes]:
        record_property("note", note)


class Database:
    """One with rows in its tables, on its way from the released revisions to head."""

    def __init__(self, origin: URL, filler: Filler) -> None:
        self.origin, self.filler, self.number = origin, filler, 0
        self.applied: list[Script] = []
        self.resources = ExitStack()

    def __enter__(self) -> Self:
        self.start_again()
        return self

    def __exit__(self, *_: object) -> None:
        self.resources.close()

    def start_again(self) -> None:
        """A new database at the same revision: the old one is in no state to go on from."""
        self.resources.close()
        self.number += 1
        enter = self.resources.enter_context
        url = enter(copy_of(self.origin, str(self.number)))
        self.read = enter(catalog_reader(url))
        self.connection = enter(closing(connect(url)))
        self.cursor = self.connection.cursor()
        self.cursor.execute("SET search_path = public; SET timezone = 'UTC'")
        self.steps = enter(Steps(url))
        for script in self.applied:
            self.steps.upgrade(script)
        self.catalog = self.read()  # after the last of those that are applied
        self.fill()

    def run(self, name: str, script: Script) -> Exception | None:
        """`upgrade` or `downgrade`; returns the error."""
        try:
            getattr(self.steps, name)(script)
        except Exception as error:
            return error
        return None

    def rows(self, catalog: Catalog) -> Rows:
        """All rows of all tables, and how far the sequences have come."""
        parts = {}
        for name in tables(catalog):
            only = "" if "\npartition by " in catalog["table", name] else "ONLY "
            parts[name] = f"to_jsonb(t)::text FROM {only}{name} t"
        for kind, name in catalog:
            if kind == "sequence":
                value = "jsonb_build_object('last value', last_value)::text"
                parts[f"sequence {name}"] = f"{value} FROM {name} WHERE is_called"
        rows: Rows = {name: [] for name in parts}
        lines = ("SELECT %s, " + part.replace("%", "%%") for part in parts.values())
        if parts:
            self.cursor.execute(" UNION ALL ".join(lines), list(parts))
            for name, row in self.cursor.fetchall():
                rows[name].append(row)
        return {name: sorted(lines) for name, lines in rows.items()}

    def empty(self, names: set[str]) -> None:
        """Without rows, and without triggers that might object."""
        if names:
            self.cursor.execute(f"TRUNCATE {', '.join(sorted(names))} CASCADE")

    def fill(self) -> None:
        """Rows into every table that has none."""
        self.filler.fill(self.connection)


class Check:
    """One revision, on a database that is at the revision before it."""

    def __init__(self, database: Database, script: Script) -> None:
        self.database, self.script = database, script
        self.below = self.above = database.catalog  # before it, and after it
        self.before: Rows = {}
        self.blocks = 0  # how often it commits in between
        self.emptied: set[str] = set()  # tables whose rows were in the way

    def problems(self) -> list[str]:
        """What is wrong with it; afterwards the database is at it, if it can be applied at all."""
        self.database.filler.checked(self.script, self.database.filler.problems)
        problems = self.apply()
        if self.database.applied[-1:] != [self.script]:
            return problems
        found, lost = self.revert()
        if not found and not lost:
            found, lost = self.revert_with_new_rows()
        found += self.judge(lost)
        if found and not self.is_applied():
            self.database.start_again()
        elif found or self.emptied or tables(self.above) - tables(self.below):
            self.database.fill()
        self.database.catalog = self.above
        return problems + found

    # Apply

    def apply(self) -> list[str]:
        """Apply it; where rows are in the way, with fewer."""
        database = self.database
        problems: list[str] = []
        for _ in range(3):
            self.before = database.rows(self.below)
            with autocommit_blocks() as blocks:
                error = database.run("upgrade", self.script)
            if not error:
                self.blocks, self.above = len(blocks), database.read()
                database.applied.append(self.script)
                return problems
            state, diagnosis = driver_error(error)
            if not state.startswith(("22", "23")) or not any(self.before.values()):
                break
            # Rows of ours may break a rule that those of the application keep. But a new column
            # that may not be null, or gets the same unique value everywhere, is in anyone's way.
            table = getattr(diagnosis, "table_name", None) or ""
            if column := self.new_column(table, diagnosis):
                cure = f"It fails wherever {table} has rows: give {column} a value for those first."
                problems = [f"{failure(self.script, 'upgrade', error)}\n  {cure}"]
            if database.read() != self.below:
                database.start_again()
            is_known = ("table", table) in self.below and not self.emptied
            self.emptied = {table} if is_known else tables(self.below)
            database.empty(self.emptied)
            if not problems:
                why = str(getattr(error, "orig", error)).splitlines()[0]
                database.filler.checked(self.script, dict.fromkeys(self.emptied, why))
        assert error
        later = len(unreleased()) - len(database.applied) - 1
        said = failure(self.script, "upgrade", error)
        return [f"{said}\n  Not checked: {later} later revisions"]

    def new_column(self, table: str, diagnosis: Any) -> str:
        """The column of an old table that was not there before, and that rows fail for."""
        detail = getattr(diagnosis, "message_detail", None) or ""
        columns = re.findall(r"^Key \((.*?)\)=", detail)
        columns += [getattr(diagnosis, "column_name", None)]
        new = [it for it in columns if it and ("column", f"{table}.{it}") not in self.below]
        return str(new[0]) if new and ("table", table) in self.below else ""

    # Revert, and apply again

    def revert(self) -> tuple[list[str], list[str]]:
        """Revert it and apply it again; returns problems, and lost rows."""
        database, script = self.database, self.script
        upgraded = database.rows(self.above)
        if error := database.run("downgrade", script):
            return [failure(script, "downgrade", error)], []
        found = database.read()
        downgraded = database.rows(found)
        lost = lost_rows(self.before, downgraded)
        if lines := revert_difference(self.below, self.above, found):
            database.run("upgrade", script)
            what = f"{where(script, 'downgrade')}: downgrade() does not revert upgrade():"
            return ["\n  ".join([what, *lines])], lost
        problems = self.apply_again()
        if not problems and self.blocks and downgraded == self.before:
            problems = self.compare_rows(upgraded, database.rows(self.above))
        return problems, lost

    def apply_again(self) -> list[str]:
        """The second upgrade, after an interruption where the revision commits in between."""
        database, script = self.database, self.script
        upgrade = where(script, "upgrade")
        for block in range(1, self.blocks + 1):
            with autocommit_blocks(interrupt=block):
                error = database.run("upgrade", script)
            if error and not isinstance(error, Interruption):
                break
        else:
            error = database.run("upgrade", script)
        if error and self.blocks:
            return [
                f"{upgrade}: upgrade() cannot be run again after an interruption, and what its "
                "autocommit_block() did stays done. Make that repeatable: drop with IF EXISTS "
                "before it is created.\n  " + failure(script, "upgrade", error)
            ]
        if error:
            return [f"the second time, {failure(script, 'upgrade', error)}"]
        if lines := difference(without_not_null(self.above), without_not_null(database.read())):
            what = "after an interruption" if self.blocks else "the second time"
            return ["\n  ".join([f"{upgrade}: {what}, upgrade() makes another schema:", *lines])]
        return []

    def compare_rows(self, once: Rows, twice: Rows) -> list[str]:
        """Whether rows show that something was done twice."""
        stable = {
            name
            for (kind, name), definition in self.above.items()
            if kind == "column" and not _VOLATILE.search(definition)
        }
        for table in tables(self.above):
            first, second = (
                Counter(
                    json.dumps({k: v for k, v in row.items() if f"{table}.{k}" in stable})
                    for row in map(json.loads, rows[table])
                )
                for rows in (once, twice)
            )
            if first != second:
                row = next(iter((second - first) or (first - second)))
                return [
                    f"{where(self.script, 'upgrade')}: upgrade() does harm when it is run again "
                    f"after an interruption: in {table}, {row} is there {second[row]} times, "
                    f"not {first[row]}"
                ]
        return []

    # Rows

    def revert_with_new_rows(self) -> tuple[list[str], list[str]]:
        """The same with rows that only the schema above can hold."""
        database, script = self.database, self.script
        changed = changed_tables(self.below, self.above)
        if not changed:
            return [], []
        database.empty(changed)
        empty = [table for table, rows in database.rows(self.above).items() if not rows]
        database.fill()
        database.filler.checked(script, database.filler.problems)
        before = database.rows(self.above)
        if error := database.run("downgrade", script) or database.run("upgrade", script):
            if not driver_error(error)[0].startswith(("22", "23")):
                return [failure(script, "downgrade", error)], []
            # A row that does not fit below is for the operator to decide about.
            database.start_again()
            return [], []
        after = database.rows(self.above)
        columns = {name for kind, name in self.below.keys() & self.above.keys() if kind == "column"}
        lost = []
        for table in set(empty) & tables(self.below):
            lost += lost_rows({table: before[table]}, {table: after[table]}, columns)
        return [], lost

    def judge(self, lost: list[str]) -> list[str]:
        """What was lost and is not declared, or the other way round."""
        script, reason = self.script, getattr(self.script.module, "data_loss", None)
        place = where(script, "data_loss")
        if reason is not None and not (isinstance(reason, str) and reason.strip()):
            return [f'{place}: data_loss is a reason: data_loss = "what, and why"']
        if lost and not reason:
            lines = "\n  ".join([f"{where(script, 'downgrade')}: rows are lost:", *lost])
            return [f"{lines}\n{DECLARE}"]
        if reason and not lost and not (self.below.keys() - self.above.keys()):
            text = re.sub(r"(?s)def downgrade.*", "", Path(script.path).read_text(encoding="utf-8"))
            if not _MAY_LOSE.search(text):
                return [f"{place}: nothing is lost; take data_loss out"]
        return []

    def is_applied(self) -> bool:
        """Whether the database is as this revision left it."""
        self.database.cursor.execute("SELECT version_num FROM alembic_version")
        versions = self.database.cursor.fetchall()
        return (self.script.revision,) in versions and self.database.read() == self.above


def changed_tables(below: Catalog, above: Catalog) -> set[str]:
    """Tables of both, where what their rows may be is not the same."""
    changed = {key for key in below.keys() | above.keys() if below.get(key) != above.get(key)}
    names = {name if kind == "type" else name.rpartition(".")[0] for kind, name in changed}
    types = tuple(name for name in names if ("type", name) in above)  # domains have constraints
    for (kind, name), definition in above.items():
        if kind == "column" and types and definition.startswith(types):
            changed.add((kind, name))
    names = {
        name if kind == "table" else name.rpartition(".")[0]
        for kind, name in changed
        if kind in ("table", "column", "constraint")
    }
    return names & tables(below) & tables(above)


def revert_difference(below: Catalog, above: Catalog, found: Catalog) -> list[str]:
    """What a downgrade has left, except the place of a column that upgrade() had dropped."""
    below, found = without_not_null(below), without_not_null(found)
    for key in below.keys() & found.keys() & above.keys():
        if key[0] == "column order" and below[key] != found[key]:
            old, between, new = (catalog[key].splitlines() for catalog in (below, above, found))
            matches = SequenceMatcher(None, old, between, autojunk=False).get_matching_blocks()
            stayed = {name for match in matches for name in old[match.a : match.a + match.size]}
            if [name for name in old if name in stayed] == [name for name in new if name in stayed]:
                below[key] = found[key]
    return difference(below, found)


def without_not_null(catalog: Catalog) -> Catalog:
    """Without constraints whose names the server chose, of which the column says as much."""
    return {
        (kind, name): definition
        for (kind, name), definition in catalog.items()
        if not (kind == "constraint" and re.fullmatch(r"NOT NULL \S+", definition))
    }


def lost_rows(before: Rows, after: Rows, columns: set[str] | None = None) -> list[str]:
    """What is not there any more, a line for each table; None may have become something."""
    lines = []
    for table in before.keys() & after.keys():
        if before[table] == after[table]:
            continue
        old, new = (
            [json.loads(row, parse_float=str) for row in rows[table]] for rows in (before, after)
        )
        if table.startswith("sequence "):
            if not new or (old and new[0]["last value"] < old[0]["last value"]):
                lines.append(f"{table} begins again, and will give numbers that are taken")
            continue
        if columns is not None:
            old, new = (
                [{k: v for k, v in row.items() if f"{table}.{k}" in columns} for row in rows]
                for rows in (old, new)
            )
        lost = []
        # Those that are the same first; then those with fewer empty columns, which fit fewer.
        for row in sorted(old, key=lambda row: (row not in new, [*row.values()].count(None))):
            if found := next((other for other in new if not changes(row, other)), None):
                new.remove(row if row in new else found)
            else:
                lost.append(row)
        if lost and len(new) >= len(lost):
            row, other = min(
                ((row, other) for row in lost for other in new), key=lambda p: len(changes(*p))
            )
            changed = ", ".join(
                f"{k} was {row[k]!r} and is {other.get(k)!r}" for k in changes(row, other)
            )
            lines.append(f"{table}: {len(lost)} of {len(old)} rows are changed: {changed}")
        elif lost:
            lines.append(f"{table}: {len(lost)} of {len(old)} rows, such as {json.dumps(lost[0])}")
    return sorted(lines)


def changes(row: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """The columns that lost their value; a time of just now is a trigger's."""
    return [
        name
        for name, value in row.items()
        if value is not None and other.get(name) != value and not is_today(other.get(name))
    ]


def is_today(value: object) -> bool:
    """Whether it is a time, and about now."""
    if not isinstance(value, str) or not re.match(r"\d{4}-\d\d-\d\dT", value):
        return False
    return abs(date.fromisoformat(value[:10]) - datetime.now(UTC).date()).days <= 1

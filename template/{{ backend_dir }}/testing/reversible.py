"""Every revision goes up, down and up again: the schema is the same, and the rows are still there.

There are rows in every table before a revision is applied, and new ones in those that it changes
before it is undone. One that loses data on purpose says so, beside its `revision = ...`:

    data_loss = "the old e-mail addresses, which nobody has read since 2.3"
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, date, datetime
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import pytest
from alembic.script import Script
from sqlalchemy import URL

from testing.databases import connect, create_database, drop_database
from testing.revisions import (
    Interruption,
    Steps,
    autocommit_blocks,
    driver_error,
    failure,
    revisions,
    where,
)
from testing.rows import fill
from testing.schema import Catalog, catalog_reader, difference

Rows = dict[str, list[str]]  # of each table, as JSON

DECLARE = '  Keep it, or say in the file that it is on purpose: data_loss = "what, and why"'
# Columns whose value is another one each time, and statements that may lose something.
_VOLATILE = re.compile(r"(?im)^identity|^default .*(nextval|random|uuid|now\(|current_|clock_)")
_MAY_LOSE = re.compile(r"(?i)execute|delete|update|truncate|bulk|alter_column|drop_|batch")


def test_every_revision_can_be_undone_and_repeated(
    subtests: pytest.Subtests, empty_database: URL
) -> None:
    with walk(empty_database) as check:
        for script in revisions():
            with subtests.test(script.revision):
                if problems := check(script):
                    pytest.fail("\n".join(problems), pytrace=False)
            if check.broken:
                break


@contextmanager
def walk(database: URL) -> "Generator[Walk]":
    """Checks one revision after the other, on a database that is empty to begin with."""
    with ExitStack() as databases:
        walk = Walk(database, databases)
        try:
            yield walk
        finally:
            walk.resources.close()


class Walk:
    """A database on its way from base to head, and back and forth at each revision."""

    def __init__(self, database: URL, databases: ExitStack) -> None:
        self.database, self.databases, self.number = database, databases, 0
        self.done: list[Script] = []
        self.broken = False
        self.open(database)

    def open(self, database: URL) -> None:
        """Go on with this database."""
        self.resources = ExitStack()
        self.read = self.resources.enter_context(catalog_reader(database))
        self.connection = self.resources.enter_context(closing(connect(database)))
        self.cursor = self.connection.cursor()
        self.cursor.execute("SET search_path = public; SET timezone = 'UTC'")
        self.steps = self.resources.enter_context(Steps(database))
        self.catalog = self.read()

    def begin_again(self) -> None:
        """A new database at the same revision: the old one is in no state to go on from."""
        self.resources.close()
        self.number += 1
        name = f"{self.database.database}_{self.number}"
        self.databases.callback(drop_database, self.database, name)
        self.open(create_database(self.database, name))
        for script in self.done:
            self.steps.up(script)
        self.catalog = self.read()
        self.fill()

    def __call__(self, script: Script) -> list[str]:
        """What is wrong with this revision; afterwards the database is at it."""
        below = self.catalog
        problems, blocks = self.upgrade(script, below)
        if self.broken:
            return problems
        above = self.read()
        self.done.append(script)
        more = self.there_and_back(script, below, above, blocks)
        if more and not self.is_at(script, above):
            self.begin_again()
        elif more or tables(above) - tables(below):
            self.fill()
        self.catalog = above
        return problems + more

    def upgrade(self, script: Script, below: Catalog) -> tuple[list[str], int]:
        """Apply it; where rows are in the way, with fewer. Returns the number of its blocks too."""
        problems: list[str] = []
        for emptied in (0, 1, 2):
            self.kept = self.rows(below)
            with autocommit_blocks() as blocks:
                error = attempt(self.steps.up, script)
            if not error:
                return problems, len(blocks)
            state, diagnosis = driver_error(error)
            if not state.startswith(("22", "23")) or not any(self.kept.values()):
                break
            # Rows of ours may break a rule that those of the application keep. But a new column
            # that may not be null, or gets the same unique value everywhere, is in anyone's way.
            table = getattr(diagnosis, "table_name", None) or ""
            detail = getattr(diagnosis, "message_detail", None) or ""
            columns = [
                getattr(diagnosis, "column_name", None),
                *re.findall(r"^Key \((.*?)\)=", detail),
            ]
            new = [name for name in columns if name and ("column", f"{table}.{name}") not in below]
            if new and ("relation", table) in below:
                cure = f"It fails wherever {table} has rows: give {new[0]} a value for those first."
                problems = [f"{failure(script, 'upgrade', error)}\n  {cure}"]
            if self.read() != below:
                self.begin_again()
            self.empty({table} if ("relation", table) in below and not emptied else tables(below))
        assert error
        self.broken = True
        later = len(revisions()) - len(self.done) - 1
        return [f"{failure(script, 'upgrade', error)}\n  Not checked: {later} later revisions"], 0

    def there_and_back(
        self, script: Script, below: Catalog, above: Catalog, blocks: int
    ) -> list[str]:
        """Undo it, apply it again; and once more with rows that the schema below never saw."""
        upgraded = self.rows(above)
        if error := attempt(self.steps.down, script):
            return [failure(script, "downgrade", error)]
        found, problems = self.read(), []
        downgraded = self.rows(found)
        lost = lost_rows(self.kept, downgraded)
        if lines := undo_difference(below, above, found):
            lines = [f"{where(script, 'downgrade')}: downgrade() does not undo upgrade():", *lines]
            problems.append("\n  ".join(lines))
            attempt(self.steps.up, script)
        if not problems:
            problems = self.again(script, above, blocks)
            if not problems and blocks and downgraded == self.kept:
                problems = self.repeated(script, above, upgraded)
        if not problems and not lost:
            lost = self.with_new_rows(script, below, above)
        return problems + self.losses(script, lost, below, above)

    def again(self, script: Script, above: Catalog, blocks: int) -> list[str]:
        """The second upgrade, after an interruption where the revision commits in between."""
        upgrade = where(script, "upgrade")
        for block in range(1, blocks + 1):
            with autocommit_blocks(interrupt=block):
                error = attempt(self.steps.up, script)
            if error and not isinstance(error, Interruption):
                break
        else:
            error = attempt(self.steps.up, script)
        if error and blocks:
            return [
                f"{upgrade}: upgrade() cannot be run again after an interruption, and what its "
                "autocommit_block() did stays done. Make that repeatable: drop with IF EXISTS "
                "before it is created.\n  " + failure(script, "upgrade", error)
            ]
        if error:
            return [f"the second time, {failure(script, 'upgrade', error)}"]
        if lines := difference(without_not_null(above), without_not_null(self.read())):
            what = "after an interruption" if blocks else "the second time"
            return ["\n  ".join([f"{upgrade}: {what}, upgrade() makes another schema:", *lines])]
        return []

    def repeated(self, script: Script, above: Catalog, once: Rows) -> list[str]:
        """Whether rows show that something was done twice."""
        volatile = {
            name
            for (kind, name), text in above.items()
            if kind == "column" and _VOLATILE.search(text)
        }
        twice = self.rows(above)
        for table in tables(above):
            first, second = (
                Counter(
                    json.dumps(
                        {k: v for k, v in json.loads(row).items() if f"{table}.{k}" not in volatile}
                    )
                    for row in rows[table]
                )
                for rows in (once, twice)
            )
            if first != second:
                row = next(iter((second - first) or (first - second)))
                return [
                    f"{where(script, 'upgrade')}: upgrade() does harm when it is run again after "
                    f"an interruption: in {table}, {row} is there {second[row]} times, "
                    f"not {first[row]}"
                ]
        return []

    def with_new_rows(self, script: Script, below: Catalog, above: Catalog) -> list[str]:
        """The rows that are lost, of those that only the schema above could hold."""
        changed = changed_tables(below, above)
        if not changed:
            return []
        self.empty(changed)
        empty = [table for table, rows in self.rows(above).items() if not rows]
        self.fill()
        rows = self.rows(above)
        for step in (self.steps.down, self.steps.up):
            if error := attempt(step, script):
                # A row that does not fit below is for the operator to decide about.
                if driver_error(error)[0].startswith(("22", "23")):
                    self.begin_again()
                    return []
                return [failure(script, "downgrade", error)]
        after = self.rows(above)
        columns = {name for kind, name in below.keys() & above.keys() if kind == "column"}
        lost = []
        for table in set(empty) & tables(below):
            lost += lost_rows({table: rows[table]}, {table: after[table]}, columns)
        return lost

    def losses(self, script: Script, lost: list[str], below: Catalog, above: Catalog) -> list[str]:
        """What was lost and is not declared, or the other way round."""
        reason = getattr(script.module, "data_loss", None)
        if reason is not None and not (isinstance(reason, str) and reason.strip()):
            return [
                f'{where(script, "data_loss")}: data_loss is a reason: data_loss = "what, and why"'
            ]
        if lost and not reason:
            return [
                "\n  ".join([f"{where(script, 'downgrade')}: rows are lost:", *lost])
                + f"\n{DECLARE}"
            ]
        if reason and not lost and not (below.keys() - above.keys()):
            text = re.sub(r"(?s)def downgrade.*", "", Path(script.path).read_text(encoding="utf-8"))
            if not _MAY_LOSE.search(text):
                return [f"{where(script, 'data_loss')}: nothing is lost; take data_loss out"]
        return []

    def is_at(self, script: Script, above: Catalog) -> bool:
        """Whether the database is as this revision left it."""
        self.cursor.execute("SELECT version_num FROM alembic_version")
        return (script.revision,) in self.cursor.fetchall() and self.read() == above

    def rows(self, catalog: Catalog) -> Rows:
        """All rows of all tables, and how far the sequences have come."""
        parts = {}
        for name in tables(catalog):
            only = "" if "partitioned table" in catalog["relation", name].split("\n") else "ONLY "
            parts[name] = f"to_jsonb(t)::text FROM {only}{name} t"
        for kind, name in catalog:
            if kind == "sequence":
                value = "jsonb_build_object('last value', last_value)::text"
                parts[f"sequence {name}"] = f"{value} FROM {name} WHERE is_called"
        rows: Rows = {name: [] for name in parts}
        if parts:
            query = " UNION ALL ".join(
                "SELECT %s, " + part.replace("%", "%%") for part in parts.values()
            )
            self.cursor.execute(query, list(parts))
            for name, row in self.cursor.fetchall():
                rows[name].append(row)
        return {name: sorted(lines) for name, lines in rows.items()}

    def empty(self, names: set[str]) -> None:
        """Without rows, and without triggers that might object."""
        if names:
            self.cursor.execute(f"TRUNCATE {', '.join(sorted(names))} CASCADE")

    def fill(self) -> None:
        """Rows into every table that has none."""
        self.connection.autocommit = False
        fill(self.connection)
        self.connection.autocommit = True


def attempt(step: Callable[[Script], object], script: Script) -> Exception | None:
    """The error, if there is one."""
    try:
        step(script)
    except Exception as error:
        return error
    return None


def tables(catalog: Catalog) -> set[str]:
    """Those that hold rows of their own or of their partitions."""
    found = set()
    for (kind, name), definition in catalog.items():
        if kind == "relation":
            lines = definition.splitlines()
            is_partition = any(line == "DEFAULT" or line.startswith("FOR VALUES") for line in lines)
            if {"table", "partitioned table"} & set(lines) and not is_partition:
                found.add(name)
    return found


def changed_tables(below: Catalog, above: Catalog) -> set[str]:
    """Tables of both, where what their rows may be is not the same."""
    changed = {key for key in below.keys() | above.keys() if below.get(key) != above.get(key)}
    types = tuple(name for kind, name in changed if kind == "type")
    for (kind, name), definition in above.items():
        if kind == "column" and types and definition.startswith(types):
            changed.add((kind, name))
    names = {
        name if kind == "relation" else name.rpartition(".")[0]
        for kind, name in changed
        if kind in ("relation", "column", "constraint")
    }
    return names & tables(below) & tables(above)


def undo_difference(below: Catalog, above: Catalog, found: Catalog) -> list[str]:
    """What a downgrade has left, but for the place of a column that upgrade() had dropped."""
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

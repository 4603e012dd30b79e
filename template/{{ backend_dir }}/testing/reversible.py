"""Every revision can be applied, reverted and applied again: same schema, and no row is lost.

There are rows in every table before a revision is applied, and new ones in those that it changes
before it is reverted. One that loses data on purpose says so, beside its `revision = ...`:

    data_loss = "the old e-mail addresses, which nobody has read since 2.3"
"""

import json
import re
from collections.abc import Callable, Iterable
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from difflib import SequenceMatcher
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from alembic.script import Script
from sqlalchemy import URL

from testing import whole_server
from testing.databases import connect, copy_of
from testing.revisions import (
    Interruption,
    OneProblem,
    Steps,
    autocommit_blocks,
    driver_error,
    failure,
    unreleased,
    where,
)
from testing.rows import Examples, Filler, every_row
from testing.schema import Catalog, catalog_reader, difference, tables

Rows = dict[str, list[str]]  # of each table, as JSON

DECLARE = '  Keep it, or say in the file that it is on purpose: data_loss = "what, and why"'
OF_ROWS = ("22", "23")  # classes of SQLSTATE: a row of ours may be in the way
# Columns whose value is another one each time, and statements that may lose something.
_VOLATILE = re.compile(r"(?im)^identity|^default .*(nextval|random|uuid|now\(|current_|clock_)")
_MAY_LOSE = re.compile(r"(?i)execute|delete|update|truncate|bulk|alter_column|drop_|batch")


def test_every_revision_can_be_reverted_and_applied_again(
    subtests: pytest.Subtests,
    released_database: URL,
    example_rows: Examples,
    record_property: Callable[[str, object], None],
) -> None:
    filler, failed = Filler(example_rows), ""
    with closing(Walk(released_database, filler)) as walk:
        for number, script in enumerate(unreleased(), 1):
            problems = "\n".join(walk.check(script))
            if script not in walk.applied:
                later = len(unreleased()) - number
                failed = f"{problems}\n  Not checked: {later} later revisions"
                break
            with subtests.test(script.revision):
                if problems:
                    pytest.fail(problems, pytrace=False)
    for note in [*filler.notes(), *whole_server.notes]:
        record_property("note", note)
    if failed:
        raise OneProblem(failed)


class Walk:
    """A database with rows in its tables, on its way from the released revisions to head."""

    def __init__(self, origin: URL, filler: Filler) -> None:
        self.origin, self.filler = origin, filler
        self.applied: list[Script] = []
        self.resources = ExitStack()
        self.close = self.resources.close
        self.start_again()

    def start_again(self) -> None:
        """A new database at the same revision: the old one is in no state to go on from."""
        self.resources.close()
        enter = self.resources.enter_context
        url = enter(copy_of(self.origin, "rows"))
        read = enter(catalog_reader(url))
        self.read: Callable[[], Catalog] = lambda: without_not_null(read())
        self.connection = enter(closing(connect(url)))
        self.cursor = self.connection.cursor()
        self.cursor.execute("SET search_path = public; SET timezone = 'UTC'; SET jit = off")
        self.steps = enter(Steps(url))
        for script in self.applied:
            self.steps.upgrade(script)
        self.above = self.read()
        self.filler.fill(self.connection)

    def check(self, script: Script) -> list[str]:
        """What is wrong with it; afterwards the database is at it, if it can be applied at all."""
        self.script, self.below = script, self.above  # the catalogs before it, and after it
        self.lost: list[str] = []
        self.emptied: set[str] = set()  # tables whose rows were in the way
        self.filler.checked(script, self.filler.problems)
        problems = self.apply()
        if script not in self.applied:
            return problems
        found = self.revert()
        if not found and not self.lost:
            found = self.revert_with_new_rows()
        found += self.judge()
        if found and not (self.is_applied and self.read() == self.above):
            self.start_again()
        elif found or self.emptied or tables(self.above) - tables(self.below):
            self.filler.fill(self.connection)
        return problems + found

    def run(self, name: str, interrupt: int | None = None) -> Exception | None:
        """`upgrade` or `downgrade`, to its end or to that of an autocommit block; the error."""
        try:
            with autocommit_blocks(interrupt) as blocks:
                self.steps.run(name, self.script)
        except Exception as error:
            return error
        self.is_applied, self.blocks = name == "upgrade", len(blocks)
        return None

    def said(self, name: str, what: str, lines: Iterable[str] = ()) -> list[str]:
        """A finding, at a function or a variable of the revision."""
        return ["\n  ".join([f"{where(self.script, name)}: {what}", *lines])]

    def empty(self, names: set[str]) -> None:
        """Without rows, and without triggers that might object."""
        if names:
            self.cursor.execute(f"TRUNCATE {', '.join(sorted(names))} CASCADE")

    def apply(self) -> list[str]:
        """Apply it; where rows are in the way, with fewer."""
        problems: list[str] = []
        while True:
            self.before = every_row(self.cursor)
            if not (error := self.run("upgrade")):
                self.applied.append(self.script)
                self.above = self.read()
                return problems
            state, diagnosis = driver_error(error)
            said = failure(self.script, "upgrade", error)
            if not state.startswith(OF_ROWS) or self.emptied >= tables(self.below):
                return [said]
            # Rows of ours may break a rule that those of the application keep. But a new column
            # that may not be null, or gets the same unique value everywhere, is in anyone's way.
            table = diagnosis.table_name or ""
            if column := self.new_column(table, diagnosis):
                cure = f"It fails wherever {table} has rows: give {column} a value for those first."
                problems = [f"{said}\n  {cure}"]
            if self.read() != self.below:
                self.start_again()
            is_known = ("table", table) in self.below and not self.emptied
            self.emptied = {table} if is_known else tables(self.below)
            self.empty(self.emptied)
            if not problems:
                why = str(getattr(error, "orig", error)).splitlines()[0]
                self.filler.checked(self.script, dict.fromkeys(self.emptied, why))

    def new_column(self, table: str, diagnosis: Any) -> str:
        """The column of an old table that was not there before, and that rows fail for."""
        if ("table", table) not in self.below:
            return ""
        keys = re.findall(r"^Key \((.*?)\)=", diagnosis.message_detail or "")
        columns = [*keys, diagnosis.column_name or ""]
        return next((it for it in columns if ("column", f"{table}.{it}") not in self.below), "")

    def revert(self) -> list[str]:
        """Revert it and apply it again."""
        blocks, upgraded = self.blocks, every_row(self.cursor) if self.blocks else {}
        if error := self.run("downgrade"):
            return [failure(self.script, "downgrade", error)]
        found, downgraded = self.read(), every_row(self.cursor)
        self.lost = lost_rows(self.before, downgraded)
        if lines := revert_difference(self.below, self.above, found):
            self.run("upgrade")
            return self.said("downgrade", "downgrade() does not revert upgrade():", lines)
        problems = self.apply_again(blocks)
        if not problems and blocks and downgraded == self.before:
            problems = self.compare_rows(upgraded, every_row(self.cursor))
        return problems

    def apply_again(self, blocks: int) -> list[str]:
        """The second upgrade, after an interruption where the revision commits in between."""
        for block in (*range(1, blocks + 1), None):
            error = self.run("upgrade", block)
            if not isinstance(error, Interruption):
                break
        if error and blocks:
            what = (
                "upgrade() cannot be run again after an interruption, and what its "
                "autocommit_block() did stays done. Make that repeatable: drop with IF EXISTS "
                "before it is created."
            )
            return self.said("upgrade", what, [failure(self.script, "upgrade", error)])
        if error:
            return [f"the second time, {failure(self.script, 'upgrade', error)}"]
        if lines := difference(self.above, self.read()):
            when = "after an interruption" if blocks else "the second time"
            return self.said("upgrade", f"{when}, upgrade() makes another schema:", lines)
        return []

    def compare_rows(self, once: Rows, twice: Rows) -> list[str]:
        """Whether rows show that something was done twice."""
        columns = {key[1]: line for key, line in self.above.items() if key[0] == "column"}
        stable = {name for name, line in columns.items() if not _VOLATILE.search(line)}
        names = tables(self.above)
        if lines := lost_rows(once, twice, names, stable) or lost_rows(twice, once, names, stable):
            what = "upgrade() does harm when it is run again after an interruption:"
            return self.said("upgrade", what, [f"in {line}" for line in lines])
        return []

    def revert_with_new_rows(self) -> list[str]:
        """The same with rows that only the schema above can hold."""
        changed = changed_tables(self.below, self.above)
        if not changed:
            return []
        self.empty(changed)
        empty = {table for table, rows in every_row(self.cursor).items() if not rows}
        self.filler.fill(self.connection)
        self.filler.checked(self.script, self.filler.problems)
        before = every_row(self.cursor)
        if error := self.run("downgrade") or self.run("upgrade"):
            if not driver_error(error)[0].startswith(OF_ROWS):
                return [failure(self.script, "downgrade", error)]
            self.start_again()  # a row that does not fit below is for the operator to decide about
            return []
        columns = {name for kind, name in self.below.keys() & self.above.keys() if kind == "column"}
        old = empty & tables(self.below)
        self.lost = lost_rows(before, every_row(self.cursor), old, columns)
        return []

    def judge(self) -> list[str]:
        """What was lost and is not declared, or the other way round."""
        reason = getattr(self.script.module, "data_loss", None)
        if reason is not None and not (isinstance(reason, str) and reason.strip()):
            return self.said("data_loss", 'data_loss is a reason: data_loss = "what, and why"')
        if self.lost and not reason:
            (said,) = self.said("downgrade", "rows are lost:", self.lost)
            return [f"{said}\n{DECLARE}"]
        if reason and not self.lost and not (self.below.keys() - self.above.keys()):
            text = Path(self.script.path).read_text(encoding="utf-8")
            if not _MAY_LOSE.search(text.partition("def downgrade")[0]):
                return self.said("data_loss", "nothing is lost; take data_loss out")
        return []


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
    below = dict(below)
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
    is_one = re.compile(r"NOT NULL \S+").fullmatch
    return {key: it for key, it in catalog.items() if key[0] != "constraint" or not is_one(it)}


def lost_rows(
    before: Rows, after: Rows, names: set[str] | None = None, columns: set[str] | None = None
) -> list[str]:
    """What is not there any more, a line for each table; None may have become something.

    With `names`, of these tables alone, else of all and of the sequences; with `columns`, of these.
    """
    lines = []
    for table in before.keys() & after.keys() & (before.keys() if names is None else names):
        if before[table] == after[table]:
            continue
        old, new = (
            [
                {k: v for k, v in row.items() if columns is None or f"{table}.{k}" in columns}
                for row in (json.loads(row, parse_float=str) for row in rows[table])
            ]
            for rows in (before, after)
        )
        if table.startswith("sequence "):
            if not new or (old and new[0]["last value"] < old[0]["last value"]):
                lines.append(f"{table} begins again, and will give numbers that are taken")
            continue
        lost = []
        # Those that are the same first; then those with fewer empty columns, which fit fewer.
        for row in sorted(old, key=lambda row: (row not in new, [*row.values()].count(None))):
            found = next((it for it in [row, *new] if it in new and not changes(row, it)), None)
            if found is None:
                lost.append(row)
            else:
                new.remove(found)
        if lost and len(new) >= len(lost):
            row, other = min(product(lost, new), key=lambda pair: len(changes(*pair)))
            pairs = (f"{k} was {row[k]!r} and is {other.get(k)!r}" for k in changes(row, other))
            lines.append(f"{table}: {len(lost)} of {len(old)} rows are changed: {', '.join(pairs)}")
        elif lost:
            lines.append(f"{table}: {len(lost)} of {len(old)} rows, such as {json.dumps(lost[0])}")
    return sorted(lines)


def changes(row: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """The columns that lost their value; a time of just now is a trigger's."""
    today = datetime.now(UTC).date()
    now = tuple(f"{today + timedelta(days)}T" for days in (-1, 0, 1))
    return [
        name
        for name, value in row.items()
        if value is not None
        and other.get(name) != value
        and not str(other.get(name)).startswith(now)
    ]

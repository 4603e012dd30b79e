"""Every revision can be applied, reverted and applied again: same schema, and no row is lost.

There are rows in every table before a revision is applied, and more in those that it changes before
it is reverted. One that loses data on purpose, or that nobody reverts, says so beside `revision`:

    data_loss = "the old e-mail addresses, which nobody has read since 2.3"
    irreversible = "restore a backup"
"""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from alembic.script import Script
from sqlalchemy import URL

from testing import whole_server
from testing.databases import connect
from testing.revisions import (
    Interruption,
    Walk,
    autocommit_blocks,
    declared,
    driver_error,
    failure,
    unreleased,
    where,
)
from testing.rows import Examples, Filler, every_row
from testing.schema import Catalog, catalog_reader, difference, tables, without_not_null

Rows = dict[str, list[str]]  # of each table, as JSON
Row = dict[str, Any]

DECLARE = 'Keep it, or say in the file that it is on purpose: data_loss = "what, and why"'
NEVER = '  If nobody will revert it, say so in the file: irreversible = "why"'
_NOW = tuple(str(datetime.now(UTC).date() + timedelta(days)) for days in (-1, 0, 1))
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
    with closing(Journey(released_database, filler)) as journey:
        for script in unreleased():
            problems = journey.check(script)
            if problems and journey.failed:
                problems.append(f"  Found without what fails: {', '.join(journey.failed)}.")
            with subtests.test(script.revision):
                if problems:
                    pytest.fail("\n".join(problems), pytrace=False)
    for note in [*filler.notes(), *whole_server.notes]:
        record_property("note", note)
    journey.raise_failure()


class Journey(Walk):
    """A database with rows in its tables, on its way from the released revisions to head."""

    below: Catalog  # as the revision found the schema
    above: Catalog  # and left it

    def __init__(self, origin: URL, filler: Filler) -> None:
        self.filler = filler
        super().__init__(origin, "rows")

    def fill(self, more: Collection[str] = ()) -> None:
        """Rows for empty tables, and for `more`. What triggers then do is no revision's."""
        filled = any(self.filler.fill(self.connection, more).values())
        if filled and any(kind in ("trigger", "rule") for kind, _ in self.above):
            self.above = self.read()

    def start_again(self) -> None:
        """The same, with what works on it."""
        super().start_again()
        read = self.resources.enter_context(catalog_reader(self.url))
        self.read: Callable[[], Catalog] = lambda: without_not_null(read())
        self.connection = self.resources.enter_context(closing(connect(self.url)))
        self.cursor = self.connection.cursor()
        self.cursor.execute("SET search_path = public; SET timezone = 'UTC'; SET jit = off")
        self.above, self.is_applied = self.read(), False

    def check(self, script: Script) -> list[str]:
        """What is wrong with it; afterwards the database is at it, if it can be applied at all."""
        if not self.passed:
            self.fill()
        self.script, self.lost = script, list[str]()
        self.filler.checked(script, self.filler.problems)
        self.is_final = bool(declared(script, "irreversible"))
        errors, error = self.make_way()
        if error and not self.is_applied:
            self.fail(script, error)
            self.fill()
            return []
        problems = [line for it in errors for line in self.filler.in_the_way(script, it)]
        self.passed.append(script)
        found = [f"{failure(script, 'downgrade', error)}\n{NEVER}"] if error else []
        if not error and not self.is_final:
            found = self.compare()
            if not found and not self.lost:
                self.revert_with_new_rows()
            found += self.judge()
        if found and not (self.is_applied and self.read() == self.above):
            self.start_again()
        problems += found
        if problems or errors or tables(self.above) - tables(self.below):
            self.fill()
        return problems

    def run(self, name: str, interrupt: int | None = None) -> Exception | None:
        """`upgrade` or `downgrade`, to its end or to that of an autocommit block; the error."""
        try:
            with autocommit_blocks(interrupt) as blocks:
                self.steps.run(name, self.script)
        except Exception as error:
            return error
        self.is_applied, self.blocks = name == "upgrade", len(blocks)
        return None

    def make_way(self) -> tuple[list[Exception], Exception | None]:
        """What fails on rows of our making alone, and what fails without them.

        Those of a table that the server names make way first, and at last all.
        """
        errors, of_upgrade, empty = list[Exception](), list[Exception](), set[str]()
        while error := self.there_and_back():
            if errors and not empty:
                return of_upgrade, error
            errors.append(error)
            of_upgrade += [error] * (not self.is_applied)
            self.start_again()
            table = getattr(driver_error(error)[1], "table_name", None)
            empty = empty | {table} if table and table not in empty else set()
            if empty:
                self.filler.fill(self.connection, without=empty)
        return errors, None

    def there_and_back(self) -> Exception | None:
        """Apply it, and revert it, where anybody will; the error."""
        self.below, self.before, self.is_applied = self.above, every_row(self.cursor), False
        if error := self.run("upgrade"):
            return error
        self.above, self.committed = self.read(), self.blocks
        self.upgraded = every_row(self.cursor) if self.blocks else {}
        return None if self.is_final else self.run("downgrade")

    def said(self, name: str, what: str, lines: Iterable[str] = ()) -> list[str]:
        """A finding, at a function or a variable of the revision."""
        return ["\n  ".join([f"{where(self.script, name)}: {what}", *lines])]

    def compare(self) -> list[str]:
        """After it was reverted: is all as it was, and can it be applied again?"""
        found, downgraded = self.read(), every_row(self.cursor)
        self.lost = lost_rows(self.before, downgraded)
        if lines := revert_difference(self.below, self.above, found):
            self.run("upgrade")
            return self.said("downgrade", "downgrade() does not revert upgrade():", [*lines])
        # What meets the same, and has no interruption, makes the same.
        is_same = not self.committed and (found, downgraded) == (self.below, self.before)
        problems = self.apply_again(self.committed, look=not is_same)
        if not problems and self.committed and downgraded == self.before:
            problems = self.compare_rows(self.upgraded, every_row(self.cursor))
        return problems

    def apply_again(self, blocks: int, *, look: bool) -> list[str]:
        """The second upgrade, after an interruption where the revision commits in between."""
        for block in (*range(1, blocks + 1), None):
            error = self.run("upgrade", block)
            if not isinstance(error, Interruption):
                break
        if error and blocks:
            what = (
                "upgrade() cannot be run again after an interruption: all up to the end of its "
                "autocommit_block() stays done. Make it repeatable: IF NOT EXISTS, or for an index "
                "DROP INDEX IF EXISTS before it."
            )
            return self.said("upgrade", what, [failure(self.script, "upgrade", error)])
        if error:
            return [f"the second time, {failure(self.script, 'upgrade', error)}"]
        if look and (lines := revert_difference(self.above, self.below, self.read())):
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

    def revert_with_new_rows(self) -> None:
        """The same with rows that only the schema above can hold."""
        if not (changed := changed_tables(self.below, self.above)):
            return
        had = every_row(self.cursor)  # the revision's own too, which may be others each time
        self.fill(changed)
        self.filler.checked(self.script, self.filler.problems)
        before = every_row(self.cursor)
        if self.run("downgrade") or self.run("upgrade"):
            # A row that does not fit below is for the operator to decide about.
            if not (self.is_applied and self.read() == self.above):
                self.start_again()
                self.fill()
            return
        columns = {name for kind, name in self.below.keys() & self.above.keys() if kind == "column"}
        self.lost = lost_rows(before, every_row(self.cursor), changed, columns, had)

    def judge(self) -> list[str]:
        """What was lost and is not declared, or the other way round."""
        reason = declared(self.script, "data_loss")
        if reason is not None and not (isinstance(reason, str) and reason.strip()):
            return self.said("data_loss", 'data_loss is a reason: data_loss = "what, and why"')
        if self.lost and not reason:
            return self.said("downgrade", "rows are lost:", [*self.lost, DECLARE])
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
    changed |= {it for it, line in above.items() if it[0] == "column" and line.startswith(types)}
    names = {
        name if kind == "table" else name.rpartition(".")[0]
        for kind, name in changed
        if kind in ("table", "column", "constraint")
    }
    return names & tables(below) & tables(above)


def revert_difference(below: Catalog, above: Catalog, found: Catalog) -> list[str]:
    """What a step there and back has left, except the place of a column that was made anew."""
    changed = {name.rpartition(".")[0] for (_, name), _ in below.items() - above.items()}
    below, new = dict(below), tables(above) - tables(below)
    for key in below.keys() & found.keys():
        is_known = key[0] == "column order" and key[1] in changed and (key in above or new)
        if is_known and sorted(below[key].split()) == sorted(found[key].split()):
            below[key] = found[key]
    return difference(below, found)


def lost_rows(
    before: Rows,
    after: Rows,
    names: set[str] | None = None,
    columns: set[str] | None = None,
    without: Rows | None = None,
) -> list[str]:
    """What is not there any more, a line for each table; None may have become something.

    With `names`, of these tables alone, else of all and of the sequences; with `columns`, of these;
    what is also in `without` is in neither.
    """
    lines = []
    for table in before.keys() & after.keys() & (before.keys() if names is None else names):
        if before[table] == after[table]:
            continue
        others = Counter((without or {}).get(table))
        was, now = (Counter(rows[table]) - others for rows in (before, after))
        old, new = (
            [
                {k: v for k, v in row.items() if columns is None or f"{table}.{k}" in columns}
                for row in (json.loads(row, parse_float=str) for row in rows.elements())
            ]
            for rows in (was - now, now - was)
        )
        if table.startswith("sequence "):
            if not new or (old and new[0]["last value"] < old[0]["last value"]):
                lines.append(f"{table} begins again, and will give numbers that are taken")
            continue
        lost, left = without_match(old, new)
        if lost and len(left) >= len(lost):
            row, other = min(product(lost[:1], left[:30]), key=lambda pair: len(changes(*pair)))
            pairs = (f"{k} was {row[k]!r} and is {other.get(k)!r}" for k in changes(row, other))
            what = f"are changed: {', '.join(pairs)}"
        elif lost:
            what = f"such as {json.dumps(lost[0])}"
        if lost:
            lines.append(f"{table}: {len(lost)} of {len(before[table])} rows {what}")
    return sorted(lines)


def without_match(old: list[Row], new: list[Row]) -> tuple[list[Row], list[Row]]:
    """The old rows whose values none of the new ones has, and the new ones that are left."""
    # Only rows that agree in these columns are compared: the time grows with the rows alone.
    values = {
        name: [{json.dumps(row.get(name)) for row in rows} for rows in (old, new)]
        for name in (old[0] if old else ())
    }
    same = [
        name
        for name, (a, b) in values.items()
        if "null" not in a and len(a & b) == min(len(a), len(b))
    ]
    alike = defaultdict[str, list[Row]](list)
    for row in new:
        alike[json.dumps([row.get(name) for name in same])].append(row)
    lost = []
    # Those with fewer empty columns first: they fit fewer.
    for row in sorted(old, key=lambda row: [*row.values()].count(None)):
        some = alike[json.dumps([row[name] for name in same])]
        fits = (number for number, it in enumerate(some[:30]) if not changes(row, it))
        if (number := next(fits, None)) is None:
            lost.append(row)
        else:
            del some[number]
    return lost, [row for some in alike.values() for row in some]


def changes(row: Row, other: Row) -> list[str]:
    """The columns that lost their value; a time of just now is a trigger's."""
    return [name for name, value in row.items() if not keeps(value, other.get(name))]


def keeps(value: Any, other: Any) -> bool:
    """Whether nothing of a value is lost: an object of JSON may have got more."""
    if isinstance(value, dict) and isinstance(other, dict):
        return {**other, **value} == other
    return value is None or other == value or str(other).startswith(_NOW)

"""What a revision would do to a database in use, seen by running it on one with rows.

locks.py looks at its statements as they run, compatibility.py at the catalog before and after;
messages.toml says what each hazard does, and what to write instead.
"""

from contextlib import ExitStack, closing
from typing import Self

from alembic.script import Script
from sqlalchemy import URL

from testing.audit.compatibility import Snapshot, compare, snapshot
from testing.audit.locks import OPTIONS, Watch
from testing.audit.messages import Report
from testing.audit.statements import Statement
from testing.databases import connect, copy_of
from testing.revisions import Steps, failure, sqlstate, unreleased
from testing.rows import Filler

_UNSAFE_ENUM_USE = "55P04"


def run(origin: URL, filler: Filler) -> list[Report]:
    """Reports on revisions, oldest first, up to one that cannot be applied.

    Args:
        origin: a database at what is released, of which copies are made.
    """
    reports: list[Report] = []
    bare: Script | None = None  # it failed on generated rows, after it had committed something
    while len(reports) < len(unreleased()):
        with copy_of(origin, "audit") as url, _Database(url, filler) as database:
            for number, script in enumerate(unreleased()):
                if number < len(reports):
                    database.upgrade(script)
                    continue
                try:
                    reports.append(database.audit(script, rows=script is not bare))
                except Exception as error:
                    if script is bare:
                        return [*reports, _failed(script, error)]
                    bare = script
                    break
    return reports


def _failed(script: Script, error: Exception) -> Report:
    """The report on a revision that cannot be applied."""
    text = failure(script, "upgrade", error)
    if sqlstate(error) == _UNSAFE_ENUM_USE:
        report = Report(script)
        statement = getattr(error, "statement", None) or "(unknown)"
        report.add("uses-new-enum-value", Statement(text.partition(": ")[0], statement))
        text = str(report.findings[0])
    return Report(script, failure=text)


class _Database:
    """A database on its way through the history, with rows in every table."""

    def __init__(self, url: URL, filler: Filler) -> None:
        self._url, self._filler = url, filler
        self._stack = ExitStack()
        self._now: Snapshot | None = None
        self._seen: set[int] = set()  # tables that were filled, or had rows
        self._filled: set[int] = set()
        self._empty: dict[int, str] = {}  # tables without rows -> why

    def __enter__(self) -> Self:
        observer = closing(connect(self._url, options=OPTIONS))
        self._observer = self._stack.enter_context(observer)
        self._steps = self._stack.enter_context(Steps(self._url))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def upgrade(self, script: Script) -> None:
        """Apply a revision without a look at it."""
        self._steps.upgrade(script)
        self._now = None

    def audit(self, script: Script, rows: bool) -> Report:
        """Apply a revision, watched, with generated rows in every table or without.

        Raises:
            Exception: what the revision raised, with rows and without. What it committed stays.
        """
        before = self._now or snapshot(self._observer)
        if rows:
            self._fill(before)
        try:
            return self._watched(script, before)
        except Exception as error:
            if not self._filled:
                raise
            # Generated rows know no business rules, and may not suit it. Those that revisions put
            # in stay: only empty tables were filled.
            self._truncate(before, failure(script, "upgrade", error).splitlines()[0])
            return self._watched(script, before)

    def _watched(self, script: Script, before: Snapshot) -> Report:
        report = Report(script)
        watch = Watch(report, before, self._observer, self._url)
        with watch.listening():
            self._steps.upgrade(script)
        self._now = snapshot(self._observer)
        compare(before, self._now, watch.statements, report)
        report.without_rows = {
            before["relations"][oid]["name"]: self._empty[oid]
            for oid in watch.touched & self._empty.keys()
        }
        return report

    def _fill(self, before: Snapshot) -> None:
        tables = {oid for oid, it in before["relations"].items() if it["kind"] in "rp"}
        if tables - self._seen:
            filled = self._filler.fill(self._url)
            names = {oid: before["relations"][oid]["name"] for oid in tables}
            why = self._filler.problems
            self._filled |= {oid for oid, name in names.items() if filled.get(name)}
            self._empty = {oid: why[name] for oid, name in names.items() if name in why}
            self._seen = tables

    def _truncate(self, before: Snapshot, why: str) -> None:
        relations = before["relations"]
        names = [relations[oid]["name"] for oid in self._filled & relations.keys()]
        self._empty |= dict.fromkeys(self._filled, why)
        self._filled, self._seen = set(), set()
        if names:
            with self._observer.cursor() as cursor:
                cursor.execute(f"TRUNCATE {', '.join(names)} CASCADE")
            for oid, it in snapshot(self._observer)["relations"].items():
                relations.get(oid, it)["file"] = it["file"]  # not the revision's doing

"""What a revision would do to a database that is in use, seen by running it on one with rows.

watch.py looks at its statements as they run, compatibility.py at the catalog before and after;
hazards.py has the words.
"""

from contextlib import ExitStack, closing
from typing import Self

from alembic.script import Script
from sqlalchemy import URL

from testing.audit.compatibility import Snapshot, compare, snapshot
from testing.audit.hazards import Finding, Report
from testing.audit.watch import OPTIONS, Watch
from testing.databases import connect
from testing.revisions import Steps, failure, sqlstate
from testing.rows import fill

__all__ = ["Audit", "Finding", "Report", "report_failure"]

_UNSAFE_ENUM_USE = "55P04"


class Audit:
    """Takes revisions up one by one, on a database of its own, and reports on each."""

    def __init__(self, url: URL) -> None:
        self._url = url
        self._stack = ExitStack()
        self._now: Snapshot | None = None
        self._filled: dict[str, str] = {}  # tables: oid -> name if it got rows of our making

    def __enter__(self) -> Self:
        observer = closing(connect(self._url, options=OPTIONS))
        self._observer = self._stack.enter_context(observer)
        self._steps = self._stack.enter_context(Steps(self._url))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def skip(self, script: Script) -> None:
        """Take a revision up without a look at it."""
        self._steps.up(script)
        self._now = None

    def up(self, script: Script, rows: bool = True) -> Report:
        """Take a revision up, watched, with rows in every table that was there before.

        Raises:
            Exception: what the revision raised, with rows and without. What it committed stays.
        """
        before = self._now or snapshot(self._observer)
        tables = {oid: it["name"] for oid, it in before["relations"].items() if it["kind"] in "rp"}
        if rows and tables.keys() - self._filled.keys():
            filled = fill(self._url)
            self._filled |= {oid: name for oid, name in tables.items() if name in filled}
            self._filled = dict.fromkeys(tables, "") | self._filled
        try:
            return self._watched(script, before)
        except Exception:
            if not self._filled:
                raise
            # Rows of our making know no business rules, and may not suit it. Those that revisions
            # put in stay: only empty tables were filled.
            self._empty(before)
            return self._watched(script, before)

    def _watched(self, script: Script, before: Snapshot) -> Report:
        report = Report(script)
        watch = Watch(report, before, self._observer, self._url)
        with watch.listening():
            self._steps.up(script)
        self._now = snapshot(self._observer)
        compare(before, self._now, watch.said, report)
        return report

    def _empty(self, before: Snapshot) -> None:
        there = [name for oid, name in self._filled.items() if name and oid in before["relations"]]
        self._filled.clear()
        if there:
            with self._observer.cursor() as cursor:
                cursor.execute(f"TRUNCATE {', '.join(there)} CASCADE")
            for oid, it in snapshot(self._observer)["relations"].items():
                before["relations"].get(oid, it)["file"] = it["file"]  # not the revision's doing


def report_failure(script: Script, error: Exception) -> Report:
    """The report on a revision that cannot be run."""
    report, said = Report(script), failure(script, "upgrade", error)
    if sqlstate(error) == _UNSAFE_ENUM_USE:
        statement = getattr(error, "statement", None) or "(unknown)"
        report.add("uses-new-enum-value", said.partition(": ")[0], statement)
    else:
        report.failure = said
    return report

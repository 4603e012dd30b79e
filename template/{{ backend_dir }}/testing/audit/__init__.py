"""What a revision would do to a database in use, seen by running it on one with rows.

locks.py looks at its statements as they run, compatibility.py at the catalog before and after;
messages.toml says what each hazard does, and what to write instead.
"""

from collections.abc import Mapping
from contextlib import closing

from alembic.script import Script
from sqlalchemy import URL

from testing.audit.compatibility import SNAPSHOT, Snapshot, compare, snapshot
from testing.audit.locks import OPTIONS, Watch
from testing.audit.messages import Report
from testing.databases import connect, execute
from testing.revisions import Walk, failure
from testing.rows import Filler

# Tables that have never had a row.
_EMPTY = """
SELECT oid::regclass::text FROM pg_class
WHERE oid >= 16384 AND relkind = 'r' AND pg_relation_size(oid) = 0
"""


class Audit(Walk):
    """A database with generated rows, on its way through the history, and who observes it.

    Those rows know no business rules: a revision that fails on them runs without.
    """

    def __init__(self, origin: URL, filler: Filler) -> None:
        self.filler = filler
        super().__init__(origin, "audit")

    def start_again(self) -> None:
        """The same, with its observer."""
        super().start_again()
        self.observer = self.resources.enter_context(closing(connect(self.url, options=OPTIONS)))
        self.observer.cursor().execute(SNAPSHOT)
        self.facts: Snapshot | None = None  # of its catalog, as the last revision left it

    def check(self, script: Script) -> Report | None:
        """What it does; None if it cannot be applied."""
        self.filler.fill(self.observer)
        try:
            report = self._run(script, self.filler.problems)
            self.filler.checked(script, report.without_rows)
            return report
        except Exception as error:
            with_rows = error
            self.start_again()
        try:
            said = failure(script, "upgrade", with_rows)
            report = self._run(script, {name: said for (name,) in execute(self.url, _EMPTY)})
            self.filler.in_the_way(script, with_rows)
            return report
        except Exception as error:
            self.fail(script, error)
            return None

    def _run(self, script: Script, without_rows: Mapping[str, str]) -> Report:
        """Apply it, watched; tables without rows come with the reason."""
        report, before = Report(script), self.facts or snapshot(self.observer)
        watch = Watch(report, self.observer, self.url)
        with watch.listening():
            self.steps.run("upgrade", script)
        self.passed.append(script)
        self.facts = snapshot(self.observer)
        compare(before, self.facts, watch.statements, report)
        report.without_rows = {it: why for it, why in without_rows.items() if it in watch.touched}
        return report

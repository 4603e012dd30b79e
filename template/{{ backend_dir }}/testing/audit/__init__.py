"""What a revision would do to a database in use, seen by running it on one with rows.

locks.py looks at its statements as they run, compatibility.py at the catalog before and after;
messages.toml says what each hazard does, and what to write instead.
"""

from collections.abc import Generator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass

from alembic.script import Script
from psycopg2.extensions import connection as Connection  # noqa: N812 (it is a class)
from sqlalchemy import URL

from testing.audit.compatibility import Fact, compare, snapshot
from testing.audit.locks import OPTIONS, Watch
from testing.audit.messages import Finding, Report
from testing.audit.statements import Statement
from testing.databases import connect, copy_of, execute
from testing.revisions import Steps, driver_error, failure, unreleased
from testing.rows import Filler

_UNSAFE_ENUM_USE = "55P04"
# Tables that have never had a row.
_EMPTY = """
SELECT oid::regclass::text FROM pg_class
WHERE oid >= 16384 AND relkind = 'r' AND pg_relation_size(oid) = 0
"""


def run(origin: URL, filler: Filler) -> tuple[list[Report], str]:
    """Reports on revisions, oldest first, and why the one after them cannot be applied, if so.

    Generated rows know no business rules. A revision that fails on them runs on `bare`, where only
    revisions have put rows; the next ones go on from there, with generated rows. `origin` is a
    database at what is released, of which copies are made.
    """
    scripts, reports = unreleased(), list[Report]()
    with copy_of(origin, "audit") as bare:
        while len(reports) < len(scripts):
            start, why = len(reports), ""
            with copy_of(bare, "rows") as url, _opened(url) as database:
                for script in scripts[start:]:
                    filler.fill(database.observer)
                    try:
                        reports.append(database.audit(script, filler.problems))
                    except Exception as error:
                        why = failure(script, "upgrade", error).splitlines()[0]
                        break
                else:
                    break
            with _opened(bare) as database:
                try:
                    for earlier in scripts[start : len(reports)]:
                        database.steps.upgrade(earlier)
                    empty = {name: why for (name,) in execute(bare, _EMPTY)}
                    reports.append(database.audit(script, empty))
                except Exception as error:
                    return reports, _failure(script, error)
    return reports, ""


def _failure(script: Script, error: Exception) -> str:
    said = failure(script, "upgrade", error)
    if driver_error(error)[0] == _UNSAFE_ENUM_USE:
        statement = Statement(said.partition(": ")[0], getattr(error, "statement", None) or "?")
        said += f"\n{Finding('uses-new-enum-value', statement)}"
    return said


@contextmanager
def _opened(url: URL) -> Generator["_Database"]:
    with closing(connect(url, options=OPTIONS)) as observer, Steps(url) as steps:
        yield _Database(url, observer, steps)


@dataclass
class _Database:
    """A database on its way through the history, and those who work on it."""

    url: URL
    observer: Connection
    steps: Steps
    facts: list[Fact] | None = None  # of its catalog, as the last audit found it

    def audit(self, script: Script, without_rows: Mapping[str, str]) -> Report:
        """Apply a revision, watched; tables without rows come with the reason.

        Raises:
            Exception: what the revision raised. What it committed stays.
        """
        report, before = Report(script), self.facts or snapshot(self.observer)
        watch = Watch(report, self.observer, self.url)
        with watch.listening():
            self.steps.upgrade(script)
        self.facts = snapshot(self.observer)
        compare(before, self.facts, watch.statements, report)
        report.without_rows = {
            name: why for name, why in without_rows.items() if name in watch.touched
        }
        return report

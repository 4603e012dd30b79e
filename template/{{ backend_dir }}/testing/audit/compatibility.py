"""What a revision did to names, types and privileges, seen in the catalog before and after it.

During a deploy the previous release still runs, on the new schema.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from psycopg2.extensions import connection as Connection  # noqa: N812 (it is a class)

from testing.audit.messages import MESSAGES, Report
from testing.audit.statements import Statement, mentions, says
from testing.revisions import where

SNAPSHOT = Path(__file__).with_name("snapshot.sql").read_text("utf-8")


class Fact(NamedTuple):
    """A row of snapshot.sql, which says what these are; a list is a text, see `_parts`."""

    hazard: str
    is_new: str
    ids: str
    or_by: str
    within: str
    names: str
    what: str


class Snapshot(NamedTuple):
    """What code can rely on in a database."""

    facts: dict[str, None]  # as texts, of which most are never looked into; in their order
    ids: set[str]  # of them all


def snapshot(connection: Connection) -> Snapshot:
    """What is there now, once SNAPSHOT has prepared the connection."""
    with connection.cursor() as cursor:
        cursor.execute("EXECUTE facts")
        rows = cursor.fetchall()
    ids = "\x1f".join(ids for _, ids in rows)
    return Snapshot(dict.fromkeys(fact for fact, _ in rows), {*_parts(ids)})


def compare(before: Snapshot, after: Snapshot, statements: list[Statement], report: Report) -> None:
    """Report what breaks code that was written for `before`."""
    unknown = Statement(where(report.script, "upgrade"), "(unknown)")
    for fact in _hazards(before, after):
        report.add(fact.hazard, _origin(fact, statements) or unknown, fact.what)


def _hazards(before: Snapshot, after: Snapshot) -> Iterator[Fact]:
    for these, others, is_new in ((before, after, "f"), (after, before, "t")):
        for text in (it for it in these.facts if it not in others.facts):
            fact = Fact(*text.split("\x1e", 6))
            if (
                fact.hazard
                and fact.is_new == is_new
                and others.ids.issuperset(_parts(fact.within))
                and others.ids.isdisjoint([*_parts(fact.ids), *_parts(fact.or_by)])
            ):
                yield fact


def _parts(text: str) -> list[str]:
    return text.split("\x1f") if text else []


def _origin(fact: Fact, statements: list[Statement]) -> Statement | None:
    """The last statement that names it, at best with its table and the verb of the hazard."""

    def fits(statement: Statement) -> tuple[bool, ...]:
        verb = says(statement.text, MESSAGES[fact.hazard][-1]["verb"])
        names = _parts(fact.names)
        named, table = (mentions(statement.text, names[number]) for number in (0, -1))
        return named and verb, named and verb and table, named, verb

    return max(reversed(statements), key=fits, default=None)

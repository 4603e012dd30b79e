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

_SNAPSHOT = Path(__file__).with_name("snapshot.sql").read_text("utf-8")


class Fact(NamedTuple):
    """A row of snapshot.sql, which says what these are."""

    hazard: str
    is_new: bool
    ids: list[str]
    or_by: list[str] | None
    within: list[str]
    names: list[str]
    what: str


def snapshot(connection: Connection) -> list[Fact]:
    """What code can rely on in a database."""
    with connection.cursor() as cursor:
        cursor.execute(_SNAPSHOT)
        return [Fact(*row) for row in cursor]


def compare(
    before: list[Fact], after: list[Fact], statements: list[Statement], report: Report
) -> None:
    """Report what breaks code that was written for `before`."""
    unknown = Statement(where(report.script, "upgrade"), "(unknown)")
    for fact in _hazards(before, after):
        report.add(fact.hazard, _origin(fact, statements) or unknown, fact.what)


def _hazards(before: list[Fact], after: list[Fact]) -> Iterator[Fact]:
    was, now = ({name for fact in facts for name in fact.ids} for facts in (before, after))
    for facts, others, is_new in ((before, now, False), (after, was, True)):
        for fact in facts:
            counts = fact.hazard and fact.is_new == is_new and others.issuperset(fact.within)
            if counts and others.isdisjoint([*fact.ids, *(fact.or_by or ())]):
                yield fact


def _origin(fact: Fact, statements: list[Statement]) -> Statement | None:
    """The last statement that names it, at best with its table and the verb of the hazard."""

    def fits(statement: Statement) -> tuple[bool, ...]:
        verb = says(statement.text, MESSAGES[fact.hazard][-1]["verb"])
        named, table = (mentions(statement.text, fact.names[number]) for number in (0, -1))
        return named and verb, named and verb and table, named, verb

    return max(reversed(statements), key=fits, default=None)

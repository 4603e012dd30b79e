"""Sessions on one connection share its transaction: what that would lose is an error."""

import re
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Connection
from sqlalchemy.orm import ORMExecuteState, Session

from testing.whole_server import listening

READS = re.compile(r"\s*(SELECT|SHOW|TABLE|VALUES|WITH)\b", re.IGNORECASE)
OVERLAP = (
    "two sessions overlap, and in this test they share one transaction: one ends, and undoes what "
    "the other did. Have `application_engine` among the test's arguments: there, each has its own"
)


@contextmanager
def overlaps_refused(shared: Connection | None) -> Generator[None]:
    """Fail where a session's end would undo what another one did since it began."""
    writers: dict[Session, set[Session]] = {}  # of each open session, in order: who wrote since

    def begins(session: Session, transaction: Any, connection: Connection) -> None:
        if transaction.parent is None and connection is shared:
            writers[session] = set()

    def writes(session: Session, *_: Any) -> None:
        for other in writers.keys() - {session}:
            writers[other].add(session)

    def executes(state: ORMExecuteState) -> None:
        if not (state.is_select or READS.match(getattr(state.statement, "text", ""))):
            writes(state.session)

    def commits(session: Session) -> None:
        if session in writers and not session.in_nested_transaction():
            if session is not next(reversed(writers)):
                pytest.fail(OVERLAP, pytrace=False)
            del writers[session]

    def ends(session: Session, transaction: Any) -> None:
        if transaction.parent is None and session in writers:
            lost = writers.pop(session)
            for others in writers.values():
                others.discard(session)
            if lost and not session.info.get("test_is_over"):
                pytest.fail(OVERLAP, pytrace=False)

    with listening(
        Session, after_begin=begins, after_flush=writes, do_orm_execute=executes,
        before_commit=commits, after_transaction_end=ends,
    ):  # fmt: skip
        yield

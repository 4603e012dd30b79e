"""What a revision locks, scans, rewrites and changes, statement by statement.

The server is asked right after each statement, in its transaction. What runs outside of one is run
in a transaction first and rolled back, since its locks are gone when it returns.
"""

import re
from collections.abc import Iterable
from contextlib import AbstractContextManager, closing, suppress
from pathlib import Path
from typing import Any, NamedTuple

import psycopg2
from psycopg2.extensions import TRANSACTION_STATUS_INTRANS as _IN_TRANSACTION
from psycopg2.extensions import connection as Connection  # noqa: N812 (it is a class)
from psycopg2.extensions import cursor as Cursor  # noqa: N812
from sqlalchemy import URL, Engine

from testing.audit.messages import Report
from testing.audit.statements import Statement, as_sent, long_names, mentions, plan_of, says, split
from testing.databases import connect
from testing.whole_server import line_of_a_revision, listening

# To compile these queries takes longer than to run them, and nobody waits for a locked table.
OPTIONS = "-c jit=off -c lock_timeout=100ms"

_TABLES, _KEYS = Path(__file__).with_suffix(".sql").read_text("utf-8").split(";")
_WRITES = "writes to"  # and not reads
_NO_TRANSACTION = "25001"  # the SQLSTATE of what cannot run in a transaction
_ENDS = r"\A(COMMIT|END|ROLLBACK(?! TO)|ABORT)\b"
_QUERY = r"\A(SELECT|INSERT|UPDATE|DELETE|MERGE|WITH)\b"
# What was done to tables, by what statement, and the hazard that is. A table counts once.
_RULES = (
    ("rewritten", r"\bTRUNCATE\b", "truncates"),
    ("rewritten", r"\bREFRESH\b", "not-concurrent"),
    ("rewritten", "", "rewrites-table"),
    ("locked", r"\bSET\s+(TABLESPACE|ACCESS\s+METHOD)\b", "rewrites-table"),
    ("locked", r"(\A|; )LOCK\b(?![^;]*\bNOWAIT\b)", "locks-table"),
    ("scanned", r"\bCREATE\s+(UNIQUE\s+)?INDEX\b|\bREINDEX\b", "not-concurrent"),
    ("locked", r"\bDROP\s+INDEX\b|\bDETACH\s+PARTITION\b", "not-concurrent"),
    ("scanned", "", "blocks-while-reading"),
)
# The same of what no transaction can hold; some of it is about every table, or none that is named.
_ALONE = (
    (r"\A(VACUUM\b.*\bFULL\b|CLUSTER\b)", "rewrites-table"),
    (r"\AREINDEX\b", "not-concurrent"),
    (r"\ADROP\s+DATABASE\b", "ban-drop-database"),
)
_EVERYTHING = r"\A(DROP|REINDEX\b.*\b(SCHEMA|DATABASE|SYSTEM)\b|VACUUM\b[^(]*\bFULL\s*\Z)"


class _Table(NamedTuple):
    """What a transaction has done to a table: a row of locks.sql."""

    name: str  # as SQL writes it
    plain_name: str  # as a plan does
    blocked: str | None  # what its lock keeps others from: "writes to"
    is_locked: bool
    file: int | None
    scans: int
    changes: int


_State = dict[int, _Table]


class _Effect(NamedTuple):
    """What a statement did to tables that were there before the revision."""

    held: dict[int, str]  # blocked by an earlier statement: table -> "writes to"
    locked: dict[int, str]  # by this one
    rewritten: set[int]
    scanned: set[int]
    changed: dict[int, int]  # rows


class Watch:
    """Looks at what a revision does, and reports the hazards."""

    def __init__(self, report: Report, observer: Connection, url: URL) -> None:
        """`observer` is another session than the revision's, made with OPTIONS."""
        self.statements: list[Statement] = []
        self.touched: set[str] = set()  # tables
        self._add, self._observer, self._url = report.add, observer, url
        with observer.cursor() as cursor:
            self._tables = _observe(cursor)  # before the revision
        self._tried: set[str] = set()  # places
        self._connection: object = None  # the revision's
        self._begin()

    def _begin(self, connection: object = None) -> None:
        """A new transaction; of another session, such as one that reports progress, nothing."""
        if connection not in (None, self._connection):
            return
        self._state: _State = {}
        self._locked: dict[int, str] = {}  # table -> the place that locked it
        self._runs: dict[tuple[str, int], list[int]] = {}  # place, table -> rows changed each time

    def listening(self) -> AbstractContextManager[None]:
        """Within the block, every statement of the revision is looked at."""
        return listening(
            Engine,
            before_cursor_execute=self._before_statement,
            after_cursor_execute=self._after_statement,
            commit=self._commit,
            rollback=self._begin,
        )

    def _commit(self, connection: object) -> None:
        # Alembic's own are at the end of a step, and around autocommit_block().
        if place := line_of_a_revision(unless="migration.py"):
            self._add("ends-transaction", Statement(place, "commit()"))
        self._begin(connection)

    def _before_statement(self, connection: object, cursor: Cursor, *sent: Any) -> None:
        if not isinstance(cursor, Cursor) or not (place := line_of_a_revision()):
            return  # of another driver's engine
        self._connection = connection
        statement = Statement(place, as_sent(cursor, *sent))
        self.statements.append(statement)
        if names := long_names(statement.text):
            self._add("identifier-too-long", statement, ", ".join(names))
        parts = split(statement.text)
        if not cursor.connection.autocommit and any(says(part, _ENDS) for part in parts):
            self._add("ends-transaction", statement)
        if _is_in_transaction(cursor) and not self._state:
            with cursor.connection.cursor() as ours:
                self._state = _observe(ours, self._tables)
        elif not _is_in_transaction(cursor) and place not in self._tried:
            self._tried.add(place)
            self._try(statement, parts)

    def _after_statement(self, connection: object, cursor: Cursor, *_: object) -> None:
        if not (isinstance(cursor, Cursor) and _is_in_transaction(cursor)):
            self._begin(connection)
        elif line_of_a_revision():
            with cursor.connection.cursor() as ours:
                self._judge(self.statements[-1], ours)

    def _try(self, statement: Statement, parts: list[str]) -> None:
        """Run in a transaction, and roll back, what will run without one, or begins its own."""
        text = "; ".join(part for part in parts if not says(part, rf"{_ENDS}|\A(BEGIN|START)\b"))
        with (
            closing(connect(self._url, options=OPTIONS)) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute("BEGIN; SET LOCAL lock_timeout = '3s'")  # autovacuum gives way after 1 s
            self._state = _observe(cursor, self._tables)
            try:
                cursor.execute(text)
            except psycopg2.Error as error:
                if error.pgcode == _NO_TRANSACTION:
                    self._judge_by_text(statement)
            else:
                self._judge(statement, cursor)
        self._begin()

    def _names(self, oids: Iterable[int]) -> str:
        return " and ".join(sorted(self._tables[oid].name for oid in oids))

    def _others(self, blocked: dict[int, str]) -> str:
        """What other sessions wait for."""
        return f"{max(blocked.values(), key=len)} {self._names(blocked)}"

    def _rows_of(self, oid: int) -> int:
        """How many rows it had before this transaction; 1 if the revision itself has locked it."""
        with suppress(psycopg2.Error), self._observer.cursor() as cursor:
            cursor.execute(f"SELECT count(*) FROM {self._names([oid])}")
            return int(next(iter(cursor))[0])
        return 1

    def _effect(self, was: _State, now: _State) -> _Effect:
        there = [(oid, was[oid], now[oid]) for oid in self._tables if oid in was and oid in now]
        return _Effect(
            {oid: old.blocked for oid, old, _ in there if old.blocked},
            {oid: it.blocked for oid, old, it in there if it.blocked and it.blocked != old.blocked},
            {oid for oid, old, it in there if it.file and it.file != old.file},
            {oid for oid, old, it in there if it.scans > old.scans},
            {oid: it.changes - old.changes for oid, old, it in there if it.changes > old.changes},
        )

    def _judge(self, statement: Statement, cursor: Cursor) -> None:
        was, now = self._state, _observe(cursor, self._tables)
        self._state, effect = now, self._effect(was, now)
        self.touched |= {it.name for oid, it in was.items() if oid in now and now[oid].is_locked}
        parts = split(statement.text)
        if data := [part for part in parts if says(part, rf"{_QUERY}|\A(DO|CALL|EXECUTE)\b")]:
            self._judge_data(statement, data, effect, cursor)
        if schema := [part for part in parts if not says(part, _QUERY)]:
            self._judge_schema(statement, "; ".join(schema), effect)
        if not any(says(part, r"\ACREATE\b[^(]*?\bTABLE\b") for part in parts):
            self._judge_order(statement, parts, effect)

    def _judge_schema(self, statement: Statement, text: str, effect: _Effect) -> None:
        """What it rewrote, scanned under a lock, or locked where there is another way."""
        done: set[int] = set()
        for kind, pattern, hazard in _RULES:
            tables = set(getattr(effect, kind)) - done
            if hazard == "blocks-while-reading" and says(text, r"\bREFERENCES\b"):
                # The other table has no rows to check, nor one that was not there before.
                own = re.sub(r"(?i)\bREFERENCES\s+\S+", "", text)
                tables = {oid for oid in tables if mentions(own, self._tables[oid].name)}
            blocked = {
                oid: what
                for oid, what in (effect.held | effect.locked).items()
                if oid in tables or (kind == "scanned" and oid not in done)
            }
            if tables and blocked and says(text, pattern):
                self._add(hazard, statement, self._names(tables), self._others(blocked))
                done |= tables

    def _judge_data(
        self, statement: Statement, parts: list[str], effect: _Effect, cursor: Cursor
    ) -> None:
        """How many rows it may touch, and under which locks."""
        names = {it.plain_name: oid for oid, it in self._state.items() if oid in self._tables}
        plans = [plan_of(cursor, part, names) for part in parts]
        has_plan = any(plan.targets for plan in plans)
        # Tables: any number of their rows is changed, or some are under a lock, or in batches.
        changed, under_lock, batches = set[int](), set[int](), set[int]()
        for plan in plans:
            if plan.kind == "Insert" and not plan.sources:
                continue  # of constants
            over = plan.sources if plan.kind == "Insert" else plan.targets or plan.sources
            cursor.execute(_KEYS, [list(over)])
            is_bounded = plan.is_bounded([columns for (columns,) in cursor])
            if effect.held and (plan.targets or not is_bounded):
                under_lock |= plan.targets or plan.sources
            elif not is_bounded:
                changed |= plan.targets
            elif "Limit" in plan.nodes:
                batches |= plan.targets
        if effect.held and not has_plan:
            under_lock |= effect.changed.keys()
        if not all(plan.kind == "Insert" for plan in plans) and not under_lock:
            for oid in effect.changed.keys() | batches:
                runs = self._runs.setdefault((statement.place, oid), [])
                runs.append(effect.changed.get(oid, 0))
                if len(runs) > 1 and oid in batches:
                    changed.add(oid)  # in batches, but of one transaction
                elif (len(runs) > 1 or not has_plan) and 0 < self._rows_of(oid) <= sum(runs):
                    changed.add(oid)  # all rows one by one, or in a function
        if under_lock:
            others = self._others(effect.held)
            self._add("mixes-schema-and-data", statement, self._names(under_lock), others)
        if changed:
            self._add("changes-rows", statement, self._names(changed))

    def _judge_order(self, statement: Statement, parts: list[str], effect: _Effect) -> None:
        """The lock of a second table, while the first is still locked."""
        here = statement.place
        first = {oid: it for oid, it in effect.held.items() if self._locked.get(oid, here) != here}
        second = [oid for oid, what in effect.locked.items() if what != _WRITES]
        if first and second and not any(says(part, r"\A(CREATE|DROP)\b") for part in parts):
            self._add("locks-several-tables", statement, self._names(second), self._others(first))
        self._locked |= dict.fromkeys(second, here)

    def _judge_by_text(self, statement: Statement) -> None:
        """Of what no transaction can hold, these are not concurrent."""
        for part in split(statement.text):
            named = [oid for oid, table in self._tables.items() if mentions(part, table.name)]
            tables = "every table" if says(part, _EVERYTHING) else self._names(named)
            for pattern, hazard in _ALONE:
                if tables and says(part, pattern) and not says(part, r"\bCONCURRENTLY\b"):
                    self._add(hazard, statement, tables, f"{_WRITES} {tables}")


def _is_in_transaction(cursor: Cursor) -> bool:
    """Alembic's, also where psycopg2 has yet to begin it; or one that a revision began itself."""
    connection = cursor.connection
    will_begin = not connection.autocommit and connection.status == psycopg2.extensions.STATUS_READY
    return will_begin or connection.info.transaction_status == _IN_TRANSACTION


def _observe(cursor: Cursor, among: _State | None = None) -> _State:
    cursor.execute(_TABLES, {"among": None if among is None else [*among]})
    return {oid: _Table(*rest) for oid, *rest in cursor}

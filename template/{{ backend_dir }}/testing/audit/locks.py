"""What a revision locks, scans, rewrites and changes, statement by statement.

The server is asked right after each statement, in its transaction. What runs outside of one is run
in a transaction first and rolled back, since its locks are gone when it returns.
"""

import sys
from collections.abc import Callable, Collection, Generator, Iterable
from contextlib import closing, contextmanager
from typing import Any, NamedTuple

import psycopg2
from psycopg2.extensions import connection as Connection  # noqa: N812 (it is a class)
from psycopg2.extensions import cursor as Cursor  # noqa: N812
from sqlalchemy import URL, Engine, event

from testing.audit.compatibility import Snapshot
from testing.audit.messages import Report
from testing.audit.statements import (
    Plan,
    Statement,
    as_sent,
    long_names,
    mentions,
    plan_of,
    says,
    split,
)
from testing.databases import connect
from testing.revisions import shorten

OPTIONS = "-c jit=off"  # compiling these queries takes longer than running them

_RELATIONS = """
SELECT l.relation::bigint, array_agg(DISTINCT l.mode), c.oid IS NULL,
       pg_relation_filenode(l.relation)::bigint,
       coalesce(pg_stat_get_xact_numscans(l.relation), 0),
       coalesce(pg_stat_get_xact_tuples_inserted(l.relation)
                + pg_stat_get_xact_tuples_updated(l.relation)
                + pg_stat_get_xact_tuples_deleted(l.relation), 0)
FROM pg_locks l LEFT JOIN pg_class c ON c.oid = l.relation
WHERE l.pid = pg_backend_pid() AND l.locktype = 'relation' AND l.relation >= 16384
GROUP BY l.relation, c.oid
"""
# The server's counters run on from one transaction to the next, until it sends them off.
_COUNTERS = """
SELECT oid::bigint, pg_stat_get_xact_numscans(oid), pg_stat_get_xact_tuples_inserted(oid)
       + pg_stat_get_xact_tuples_updated(oid) + pg_stat_get_xact_tuples_deleted(oid)
FROM pg_class WHERE oid >= 16384 AND relkind IN ('r', 'p', 'm')
"""
_BLOCKS_WRITES = {"ShareLock", "ShareRowExclusiveLock", "ExclusiveLock"}
_READS = "reads and writes of"
_WRITES = "writes to"
_NO_TRANSACTION = "25001"  # the SQLSTATE of what cannot run in a transaction
_DATA = r"\A(SELECT|INSERT|UPDATE|DELETE|MERGE|WITH)\b"
_PROGRAM = r"\A(DO|CALL|EXECUTE)\b"
_END = r"\A(BEGIN|START|COMMIT|END|ROLLBACK(?! TO)|ABORT)\b"


class _Relation(NamedTuple):
    modes: frozenset[str] = frozenset()
    dropped: bool = False
    file: int | None = None
    scans: int = 0
    changes: int = 0


_State = dict[int, _Relation]
_Blocked = dict[int, str]  # table -> _READS or _WRITES


class _Effect(NamedTuple):
    """What a statement did to tables that were there before the revision."""

    held: _Blocked  # by an earlier statement
    locked: _Blocked  # by this one
    rewritten: set[int]
    scanned: set[int]
    changed: dict[int, int]  # rows


class Watch:
    """Looks at what a revision does, and reports the hazards."""

    def __init__(self, report: Report, before: Snapshot, observer: Connection, url: URL) -> None:
        self.statements: list[Statement] = []
        self.touched: set[int] = set()  # tables that were there before
        self._report, self._add = report, report.add
        self._relations = before["relations"]
        self._indexes = before["indexes"]
        self._observer = observer
        self._url = url
        self._tried: set[str] = set()  # places
        self._begin()

    def _begin(self, _connection: object = None) -> None:
        """A new transaction."""
        self._state: _State | None = None
        self._locked: dict[int, str] = {}  # table -> the place that locked it
        self._runs: dict[tuple[str, int], list[int]] = {}  # place, table -> rows changed each time

    @contextmanager
    def listening(self) -> Generator[None]:
        """Within the block, every statement of the revision is looked at."""
        listeners: dict[str, Callable[..., None]] = {
            "before_cursor_execute": self._before_statement,
            "after_cursor_execute": self._after_statement,
            "commit": self._begin,
            "rollback": self._begin,
        }
        for name, listener in listeners.items():
            event.listen(Engine, name, listener)
        try:
            yield
        finally:
            for name, listener in listeners.items():
                event.remove(Engine, name, listener)

    def _place(self) -> str | None:
        """The line of the revision that runs; None if it is Alembic or env.py for itself."""
        frame = sys._getframe()
        while frame.f_code.co_filename != self._report.script.path:
            if frame.f_back is None:
                return None
            frame = frame.f_back
        return f"{shorten(self._report.script.path)}:{frame.f_lineno}"

    def _before_statement(self, _connection: object, cursor: Cursor, *sent: Any) -> None:
        place = self._place()
        if not place:
            return
        statement = Statement(place, as_sent(cursor, *sent))
        for part in split(statement.text):
            if names := long_names(part):
                self._add("identifier-too-long", statement, ", ".join(names))
            if says(part, r"\ADROP\s+DATABASE\b"):
                self._add("ban-drop-database", statement)
        if not cursor.connection.autocommit and self._state is None:
            with cursor.connection.cursor() as ours:
                self._state = _counters(ours)
        elif cursor.connection.autocommit and place not in self._tried:
            self._tried.add(place)
            self._try(statement)

    def _after_statement(self, _connection: object, cursor: Cursor, *sent: Any) -> None:
        if place := self._place():
            self.statements.append(Statement(place, as_sent(cursor, *sent)))
            if not cursor.connection.autocommit:
                with cursor.connection.cursor() as ours:
                    self._judge(self.statements[-1], ours)

    def _try(self, statement: Statement) -> None:
        """Run in a transaction, and roll back, what will run without one."""
        self._begin()
        with closing(connect(self._url, options=OPTIONS)) as connection:
            connection.autocommit = False
            with connection.cursor() as cursor:
                cursor.execute("SET LOCAL lock_timeout = '1s'")
                self._state = _counters(cursor)
                try:
                    cursor.execute(statement.text)
                except psycopg2.Error as error:
                    if error.pgcode == _NO_TRANSACTION:
                        self._judge_by_text(statement)
                else:
                    self._judge(statement, cursor)
        self._begin()

    # What was there before

    def _old(self, oid: int) -> bool:
        return self._relations.get(oid, {}).get("kind") in ("r", "p", "f", "m")

    def _names(self, oids: Iterable[int]) -> str:
        return " and ".join(sorted(self._relations[oid]["name"] for oid in oids))

    def _others(self, blocked: _Blocked) -> str:
        """What other sessions wait for."""
        return f"{max(blocked.values(), key=len)} {self._names(blocked)}" if blocked else ""

    def _blocked(self, state: _State) -> _Blocked:
        found = {}
        for oid, relation in state.items():
            if self._old(oid):
                if "AccessExclusiveLock" in relation.modes:
                    found[oid] = _READS
                elif relation.modes & _BLOCKS_WRITES and self._relations[oid]["kind"] != "m":
                    found[oid] = _WRITES
        return found

    def _has_rows(self, oid: int, number: int) -> bool:
        """Whether it had rows before this transaction, and not more than that."""
        with self._observer.cursor() as cursor:
            try:
                cursor.execute("SET lock_timeout = '100ms'")
                cursor.execute(
                    f"SELECT count(*) FROM (SELECT FROM {self._names([oid])} LIMIT {number + 1}) r"
                )
                return 0 < int((cursor.fetchone() or (0,))[0]) <= number
            except psycopg2.Error:  # the revision itself has locked it
                return number > 0
            finally:
                cursor.execute("RESET lock_timeout")

    # Judgement

    def _effect(self, was: _State, now: _State) -> _Effect:
        held, blocked = self._blocked(was), self._blocked(now)
        locked = {oid: what for oid, what in blocked.items() if held.get(oid) != what}
        effect = _Effect(held, locked, set(), set(), {})
        for oid in filter(self._old, now):
            before, relation = was.get(oid, _Relation()), now[oid]
            file = before.file or self._relations[oid]["file"]
            if relation.file != file and not relation.dropped:
                effect.rewritten.add(oid)
            if relation.scans > before.scans:
                effect.scanned.add(oid)
            if relation.changes > before.changes:
                effect.changed[oid] = relation.changes - before.changes
        return effect

    def _judge(self, statement: Statement, cursor: Cursor) -> None:
        assert self._state is not None
        was, now = self._state, _observe(cursor)
        self._state = was | now
        self.touched |= {oid for oid in now if self._old(oid)}
        effect = self._effect(was, now)
        parts = split(statement.text)
        if any(says(part, _END) for part in parts):
            self._add("ends-transaction", statement)
        data = [part for part in parts if says(part, _DATA)]
        if data:
            self._judge_data(statement, data, effect, cursor)
        elif effect.changed and any(says(part, _PROGRAM) for part in parts):
            self._judge_program(statement, effect)
        if schema := [part for part in parts if part not in data]:
            self._judge_schema(statement, schema, effect)
        if not any(says(part, r"\ACREATE\b[^(]*?\bTABLE\b") for part in parts):
            self._judge_order(statement, parts, effect)
            tables = [oid for oid, what in effect.locked.items() if what == _READS]
            self._locked |= dict.fromkeys(tables, statement.place)

    def _judge_schema(self, statement: Statement, parts: list[str], effect: _Effect) -> None:
        """What it rewrote, scanned under a lock, or locked where there is another way."""
        text = "; ".join(parts)
        for oid in effect.rewritten:
            name = self._names([oid])
            if says(text, r"\bTRUNCATE\b"):
                self._add("truncates", statement, name)
            elif self._relations[oid]["kind"] == "m":
                self._add("not-concurrent", statement, name, f"reads of {name}")
            else:
                self._add("rewrites-table", statement, name)
        locked = {oid: what for oid, what in effect.locked.items() if oid not in effect.rewritten}
        scanned = effect.scanned - effect.rewritten
        held = effect.held | locked if scanned else {}
        names, read = self._names(locked), self._names(scanned)
        if locked and says(text, r"\bSET\s+(TABLESPACE|ACCESS\s+METHOD)\b"):
            self._add("rewrites-table", statement, names)
        elif locked and says(text, r"(\A|; )LOCK\b"):
            self._add("locks-table", statement, names, self._others(locked))
        elif held and says(text, r"\bCREATE\s+(UNIQUE\s+)?INDEX\b|\bREINDEX\b"):
            self._add("not-concurrent", statement, read, f"{_WRITES} {read}")
        elif locked and says(text, r"\bDROP\s+INDEX\b|\bDETACH\s+PARTITION\b"):
            self._add("not-concurrent", statement, names, self._others(locked))
        elif held and not self._is_key_of_new_table(parts):
            self._add("blocks-while-reading", statement, read, self._others(held))

    def _is_key_of_new_table(self, parts: list[str]) -> bool:
        """A foreign key of a table that was not there before has no rows to check."""
        names = [it["name"] for it in self._relations.values() if it["kind"] in ("r", "p")]
        return all(
            says(part, r"\bFOREIGN\s+KEY\b|\bREFERENCES\b")
            and not any(mentions(part.partition("REFERENCES")[0], name) for name in names)
            for part in parts
        )

    def _judge_data(
        self, statement: Statement, parts: list[str], effect: _Effect, cursor: Cursor
    ) -> None:
        """How many rows it may touch, and under which locks."""
        plans = [plan_of(cursor, part) for part in parts]
        batches: set[int] = set()  # tables
        for plan in plans:
            targets = {oid for oid in plan.targets if self._old(oid)}
            sources = {oid for oid in plan.sources if self._old(oid)}
            if plan.kind == "Insert" and not sources:
                continue  # of constants
            scope = sources if plan.kind == "Insert" or not targets else targets
            bounded = self._is_bounded(plan, scope)
            if effect.held and (targets or (sources and not bounded)):
                self._mixes(statement, effect, targets or sources)
            elif targets and not bounded:
                self._add("changes-rows", statement, self._names(targets))
            elif plan.limited:
                batches |= targets
        if not any(plan.targets for plan in plans):  # a function may have changed rows
            self._judge_program(statement, effect)
        if not all(plan.kind == "Insert" for plan in plans):
            self._judge_loop(statement, effect, batches)

    def _mixes(self, statement: Statement, effect: _Effect, tables: Collection[int]) -> None:
        names, others = self._names(tables), self._others(effect.held)
        self._add("mixes-schema-and-data", statement, names, others)

    def _judge_program(self, statement: Statement, effect: _Effect) -> None:
        """A DO block or a function, which has no plan to look at."""
        everything = [oid for oid, rows in effect.changed.items() if self._has_rows(oid, rows)]
        if effect.held and effect.changed:
            self._mixes(statement, effect, effect.changed)
        elif everything:
            self._add("changes-rows", statement, self._names(everything))

    def _judge_loop(self, statement: Statement, effect: _Effect, batches: set[int]) -> None:
        """The same line again and again in one transaction: in batches, or all rows one by one."""
        for oid in effect.changed.keys() | batches:
            runs = self._runs.setdefault((statement.place, oid), [])
            runs.append(effect.changed.get(oid, 0))
            if len(runs) == 1 or self._report.has("changes-rows", statement.place):
                continue
            if oid in batches or self._has_rows(oid, sum(runs)):
                self._add("changes-rows", statement, self._names([oid]))

    def _judge_order(self, statement: Statement, parts: list[str], effect: _Effect) -> None:
        """The lock of a second table, while the first is still locked."""
        first = [oid for oid, place in self._locked.items() if place != statement.place]
        second = [
            oid for oid, what in effect.locked.items() if what == _READS and oid not in self._locked
        ]
        if first and second and not any(says(part, r"\A(CREATE|DROP)\b") for part in parts):
            blocked = f"{_READS} {self._names(first)}"
            self._add("locks-several-tables", statement, self._names(second), blocked)

    def _judge_by_text(self, statement: Statement) -> None:
        """Of what no transaction can hold, these are not concurrent."""
        for part in split(statement.text):
            tables = " and ".join(
                it["name"]
                for oid, it in self._relations.items()
                if self._old(oid) and mentions(part, it["name"])
            )
            if says(part, r"\A(REINDEX\b.*\b(SCHEMA|DATABASE|SYSTEM)\b|VACUUM\b[^(]*\bFULL\s*\Z)"):
                tables = "every table"
            if tables and not says(part, r"\bCONCURRENTLY\b"):
                if says(part, r"\A(VACUUM\b.*\bFULL\b|CLUSTER\b)"):
                    self._add("rewrites-table", statement, tables)
                elif says(part, r"\AREINDEX\b"):
                    self._add("not-concurrent", statement, tables, f"{_WRITES} {tables}")

    def _is_bounded(self, plan: Plan, tables: set[int]) -> bool:
        """Whether the number of rows does not grow with the table."""
        keys = [
            set(index["columns"])
            for index in self._indexes.values()
            if index["unique"] and index["table"] in tables
        ]
        return (
            plan.limited
            or plan.listed
            or bool(plan.above & plan.below)
            or any(key <= plan.equal or (len(key) == 1 and key <= plan.below) for key in keys)
        )


def _counters(cursor: Cursor) -> _State:
    """What is so before the first statement of a transaction."""
    cursor.execute(_COUNTERS)
    return {oid: _Relation(scans=s, changes=c) for oid, s, c in cursor.fetchall() if s or c}


def _observe(cursor: Cursor) -> _State:
    cursor.execute(_RELATIONS)
    return {oid: _Relation(frozenset(modes), *rest) for oid, modes, *rest in cursor.fetchall()}

"""Watches the statements of one revision, on the connection that migrates.

What a statement locked, read to the end, wrote anew or changed is asked of the server right after
it, in its transaction. What runs outside of one is tried in a transaction first, since its locks
are gone when it returns.
"""

import sys
from collections.abc import Callable, Generator, Iterable
from contextlib import closing, contextmanager
from typing import Any, NamedTuple

import psycopg2
from psycopg2.extensions import connection as Connection  # noqa: N812 (it is a class)
from psycopg2.extensions import cursor as Cursor  # noqa: N812
from sqlalchemy import URL, Engine, event

from testing.audit.compatibility import Said, Snapshot
from testing.audit.hazards import Report
from testing.audit.statements import Plan, as_sent, explain, long_names, mentions, says, split
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
_NO_WRITING = {"ShareLock", "ShareRowExclusiveLock", "ExclusiveLock"}
_NO_TRANSACTION = "25001"  # what cannot run in a transaction says so with this SQLSTATE
_DATA = r"\A(SELECT|INSERT|UPDATE|DELETE|MERGE|WITH)\b"
_PROGRAM = r"\A(DO|CALL|EXECUTE)\b"


class _Relation(NamedTuple):
    modes: frozenset[str] = frozenset()
    dropped: bool = False
    file: int | None = None
    scans: int = 0
    changes: int = 0


_State = dict[int, _Relation]


class _Effect(NamedTuple):
    """What a statement did to tables that were there before the revision."""

    held: dict[int, str]  # locked by an earlier statement: what others cannot do with it
    locked: dict[int, str]  # newly
    rewritten: list[int]
    scanned: list[int]
    changed: dict[int, int]  # rows


class Watch:
    """Looks at what a revision does, and reports what is dangerous."""

    def __init__(self, report: Report, before: Snapshot, observer: Connection, url: URL) -> None:
        self.said: list[Said] = []
        self._report = report
        self._before = before
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

    def _before_statement(
        self, _c: Any, cursor: Cursor, statement: str, parameters: Any, _x: Any, many: bool
    ) -> None:
        place = self._place()
        if not place:
            return
        said = Said(place, as_sent(cursor, statement, parameters, many))
        for part in split(said.text):
            if names := long_names(part):
                self._add("identifier-too-long", said, ", ".join(names))
            if says(part, r"\ADROP\s+DATABASE\b"):
                self._add("ban-drop-database", said)
        if not cursor.connection.autocommit and self._state is None:
            with cursor.connection.cursor() as ours:
                self._state = _counters(ours)
        elif cursor.connection.autocommit and place not in self._tried:
            self._tried.add(place)
            self._try(said)

    def _after_statement(
        self, _c: Any, cursor: Cursor, statement: str, parameters: Any, _x: Any, many: bool
    ) -> None:
        if place := self._place():
            self.said.append(Said(place, as_sent(cursor, statement, parameters, many)))
            if not cursor.connection.autocommit:
                with cursor.connection.cursor() as ours:
                    self._judge(self.said[-1], ours)

    def _try(self, said: Said) -> None:
        """Run in a transaction, and roll back, what will run without one."""
        self._begin()
        with closing(connect(self._url, options=OPTIONS)) as connection:
            connection.autocommit = False
            with connection.cursor() as cursor:
                cursor.execute("SET LOCAL lock_timeout = '1s'")
                self._state = _counters(cursor)
                try:
                    cursor.execute(said.text)
                except psycopg2.Error as error:
                    if error.pgcode == _NO_TRANSACTION:
                        self._judge_by_text(said)
                else:
                    self._judge(said, cursor)
        self._begin()

    def _add(self, hazard: str, said: Said, *names: str) -> None:
        self._report.add(hazard, said.place, said.text, *names)

    # What was there before

    def _old(self, oid: int) -> bool:
        kind = self._before["relations"].get(str(oid), {}).get("kind")
        return kind in ("r", "p", "f", "m")

    def _is_view(self, oid: int) -> bool:
        return bool(self._before["relations"][str(oid)]["kind"] == "m")

    def _names(self, oids: Iterable[int]) -> str:
        return " and ".join(sorted(self._before["relations"][str(oid)]["name"] for oid in oids))

    def _blocked(self, state: _State) -> dict[int, str]:
        """What others cannot do with which tables."""
        found = {}
        for oid, relation in state.items():
            if self._old(oid):
                if "AccessExclusiveLock" in relation.modes:
                    found[oid] = "reading or writing"
                elif relation.modes & _NO_WRITING and not self._is_view(oid):
                    found[oid] = "writing"
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

    def _judge(self, said: Said, cursor: Cursor) -> None:
        assert self._state is not None
        was, now = self._state, _observe(cursor)
        self._state = was | now
        held, blocked = self._blocked(was), self._blocked(now)
        old = {oid: (was.get(oid, _Relation()), it) for oid, it in now.items() if self._old(oid)}
        effect = _Effect(
            held,
            {oid: what for oid, what in blocked.items() if held.get(oid) != what},
            [
                oid
                for oid, (before, it) in old.items()
                if not it.dropped
                and it.file != (before.file or self._before["relations"][str(oid)]["file"])
            ],
            [oid for oid, (before, it) in old.items() if it.scans > before.scans],
            {
                oid: it.changes - before.changes
                for oid, (before, it) in old.items()
                if it.changes > before.changes
            },
        )
        parts = split(said.text)
        if any(says(it, r"\A(BEGIN|START|COMMIT|END|ROLLBACK(?! TO)|ABORT)\b") for it in parts):
            self._add("ends-transaction", said)
        found = len(self._report.findings)
        data = [part for part in parts if says(part, _DATA)]
        if data:
            self._judge_data(said, data, effect, cursor)
        elif effect.changed and any(says(part, _PROGRAM) for part in parts):
            self._judge_program(said, effect)
        if schema := [part for part in parts if part not in data]:
            self._judge_schema(said, schema, effect)
        creates = any(says(part, r"\ACREATE\b[^(]*?\bTABLE\b") for part in parts)
        if not creates:
            if len(self._report.findings) == found:
                self._judge_order(said, parts, effect)
            tables = [oid for oid, what in effect.locked.items() if "reading" in what]
            self._locked |= dict.fromkeys(tables, said.place)

    def _judge_schema(self, said: Said, parts: list[str], effect: _Effect) -> None:
        """What it wrote anew, read under a lock, or locked where there is another way."""
        text = "; ".join(parts)
        locked, scanned = effect.locked, effect.scanned
        blocked = effect.held | locked
        for oid in effect.rewritten:
            if says(text, r"\bTRUNCATE\b"):
                self._add("truncates", said, self._names([oid]))
            elif self._is_view(oid):
                self._add("not-concurrent", said, self._names([oid]), "reading")
            else:
                self._add("rewrites-table", said, self._names([oid]))
        if effect.rewritten:
            return
        if locked and says(text, r"\bSET\s+(TABLESPACE|ACCESS\s+METHOD)\b"):
            self._add("rewrites-table", said, self._names(locked))
        elif locked and says(text, r"(\A|; )LOCK\b"):
            self._add("locks-table", said, self._names(locked), _strongest(locked))
        elif scanned and blocked and says(text, r"\bCREATE\s+(UNIQUE\s+)?INDEX\b|\bREINDEX\b"):
            self._add("not-concurrent", said, self._names(scanned), "writing")
        elif locked and says(text, r"\bDROP\s+INDEX\b|\bDETACH\s+PARTITION\b"):
            self._add("not-concurrent", said, self._names(locked), _strongest(locked))
        elif scanned and blocked and not self._is_key_of_new_table(parts):
            others = f"{_strongest(blocked)} {self._names(blocked)}"
            self._add("blocks-while-reading", said, self._names(scanned), others)

    def _is_key_of_new_table(self, parts: list[str]) -> bool:
        """A foreign key of a table that was not there before has no rows to check."""
        names = [
            it["name"] for it in self._before["relations"].values() if it["kind"] in ("r", "p")
        ]
        return all(
            says(part, r"\bFOREIGN\s+KEY\b|\bREFERENCES\b")
            and not any(mentions(part.partition("REFERENCES")[0], name) for name in names)
            for part in parts
        )

    def _judge_data(self, said: Said, parts: list[str], effect: _Effect, cursor: Cursor) -> None:
        """How many rows it may touch, and under which locks."""
        plans = [explain(cursor, part) for part in parts]
        batches: set[int] = set()  # tables
        for plan in plans:
            targets = {oid for oid in plan.targets if self._old(oid)}
            sources = {oid for oid in plan.sources if self._old(oid)}
            if plan.kind == "Insert" and not sources:
                continue  # of constants
            scope = sources if plan.kind == "Insert" or not targets else targets
            bounded = self._is_bounded(plan, scope)
            if effect.held and (targets or (sources and not bounded)):
                others = f"{_strongest(effect.held)} {self._names(effect.held)}"
                self._add("mixes-schema-and-data", said, self._names(targets or sources), others)
            elif targets and not bounded:
                self._add("changes-rows", said, self._names(targets))
            elif plan.limited:
                batches |= targets
        if not any(plan.targets for plan in plans):  # a function may have changed rows
            self._judge_program(said, effect)
        if not all(plan.kind == "Insert" for plan in plans):
            self._judge_loop(said, effect, batches)

    def _judge_program(self, said: Said, effect: _Effect) -> None:
        """A DO block or a function, which has no plan to look at."""
        everything = [oid for oid, rows in effect.changed.items() if self._has_rows(oid, rows)]
        if effect.held and effect.changed:
            others = f"{_strongest(effect.held)} {self._names(effect.held)}"
            self._add("mixes-schema-and-data", said, self._names(effect.changed), others)
        elif everything:
            self._add("changes-rows", said, self._names(everything))

    def _judge_loop(self, said: Said, effect: _Effect, batches: set[int]) -> None:
        """The same line again and again in one transaction: in batches, or all rows one by one."""
        for oid in effect.changed.keys() | batches:
            runs = self._runs.setdefault((said.place, oid), [])
            runs.append(effect.changed.get(oid, 0))
            if len(runs) == 1 or self._report.has("changes-rows", said.place):
                continue
            if oid in batches or self._has_rows(oid, sum(runs)):
                self._add("changes-rows", said, self._names([oid]))

    def _judge_order(self, said: Said, parts: list[str], effect: _Effect) -> None:
        """The lock of a second table, while the first is still locked."""
        first = [oid for oid, place in self._locked.items() if place != said.place]
        second = [
            oid
            for oid, what in effect.locked.items()
            if "reading" in what and oid not in self._locked
        ]
        if first and second and not any(says(part, r"\A(CREATE|DROP)\b") for part in parts):
            self._add("locks-several-tables", said, self._names(second), self._names(first))

    def _judge_by_text(self, said: Said) -> None:
        """Of what no transaction can hold, these are not concurrent."""
        for part in split(said.text):
            tables = " and ".join(
                it["name"]
                for oid, it in self._before["relations"].items()
                if self._old(int(oid)) and mentions(part, it["name"])
            )
            if says(part, r"\A(REINDEX\b.*\b(SCHEMA|DATABASE|SYSTEM)\b|VACUUM\b[^(]*\bFULL\s*\Z)"):
                tables = "every table"
            if tables and not says(part, r"\bCONCURRENTLY\b"):
                if says(part, r"\A(VACUUM\b.*\bFULL\b|CLUSTER\b)"):
                    self._add("rewrites-table", said, tables)
                elif says(part, r"\AREINDEX\b"):
                    self._add("not-concurrent", said, tables, "writing")

    def _is_bounded(self, plan: Plan, tables: set[int]) -> bool:
        """Whether the number of rows does not grow with the table."""
        keys = [
            set(index["columns"])
            for index in self._before["indexes"].values()
            if index["unique"] and index["table"] in tables
        ]
        return (
            plan.limited
            or plan.listed
            or bool(plan.above & plan.below)
            or any(key <= plan.equal or (len(key) == 1 and key <= plan.below) for key in keys)
        )


def _strongest(blocked: dict[int, str]) -> str:
    return max(blocked.values(), key=len)


def _counters(cursor: Cursor) -> _State:
    """What is so before the first statement of a transaction."""
    cursor.execute(_COUNTERS)
    return {oid: _Relation(scans=s, changes=c) for oid, s, c in cursor.fetchall() if s or c}


def _observe(cursor: Cursor) -> _State:
    cursor.execute(_RELATIONS)
    return {oid: _Relation(frozenset(modes), *rest) for oid, modes, *rest in cursor.fetchall()}

"""Killing a migration, or its server, at any moment."""
# ruff: noqa: S106, S311, S608

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType, TracebackType
from typing import Any, Self

import psycopg2
from sqlalchemy import URL

from tests._kit.support import execute, free_port, until
from tests.migrate.service import Done, Running, Service

ROWS = 1000

# Five revisions with data, each of another kind; every one may be cut off anywhere.
STEPS: dict[str, tuple[str, str]] = {
    "tables": (
        f"""
        op.execute("CREATE TABLE people (id int PRIMARY KEY, name text, town text, email text)")
        op.execute("INSERT INTO people (id, name, town) SELECT n, 'name ' || n, 'town ' || n % 7"
                   " FROM generate_series(1, {ROWS}) n")
        op.execute("SELECT pg_sleep(0.05)")
        """,
        'op.execute("DROP TABLE people")',
    ),
    "index": (
        """
        with op.get_context().autocommit_block():
            op.execute("DROP INDEX CONCURRENTLY IF EXISTS ix_people_name")
            op.execute("CREATE INDEX CONCURRENTLY ix_people_name ON people (name)")
        """,
        "",
    ),
    "backfill": (
        """
        with op.get_context().autocommit_block():
            for start in range(0, 1000, 100):
                op.execute(
                    "UPDATE people SET email = name || '@example.org', town = upper(town)"
                    f" WHERE id > {start} AND id <= {start} + 100 AND email IS NULL"
                )
                op.execute("SELECT pg_sleep(0.01)")
        """,
        "",
    ),
    "split": (
        """
        op.execute("CREATE TABLE towns (id int GENERATED ALWAYS AS IDENTITY UNIQUE, name text)")
        op.execute("INSERT INTO towns (name) SELECT DISTINCT town FROM people ORDER BY 1")
        op.execute("ALTER TABLE people ADD COLUMN town_id int")
        op.execute("UPDATE people SET town_id = t.id FROM towns t WHERE t.name = people.town")
        op.execute("SELECT pg_sleep(0.05)")
        op.execute("ALTER TABLE people DROP COLUMN town")
        """,
        "",
    ),
    "checked": (
        """
        op.execute("ALTER TABLE people ADD CONSTRAINT fk_people_towns FOREIGN KEY (town_id)"
                   " REFERENCES towns (id) NOT VALID")
        op.execute("ALTER TABLE people VALIDATE CONSTRAINT fk_people_towns")
        op.execute("ALTER TABLE people ALTER COLUMN email SET NOT NULL")
        op.execute("SELECT pg_sleep(0.05)")
        """,
        "",
    ),
}
DATA = (
    "SELECT count(*), md5(string_agg(p::text || t.name, ',' ORDER BY p.id))"
    " FROM people p JOIN towns t ON t.id = p.town_id"
)

MENDING = {"MIGRATION_CONNECT_WAIT": "120", "MIGRATION_LOCK_WAIT": "120"}


def prepare(service: Service) -> None:
    """Write the revisions."""
    for name, (upgrade, _) in STEPS.items():
        service.add(name, upgrade)


def empty(service: Service) -> None:
    """An empty database again, without the cost of a new one."""
    service.sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public")


@dataclass
class Expected:
    """What a run that nobody disturbed leaves, and how long it takes."""

    catalog: dict[tuple[str, str], str]
    data: list[Any]
    seconds: float


def undisturbed(service: Service, catalog: Callable[[URL], Any]) -> Expected:
    """Do one."""
    seconds = []
    for _ in range(2):
        empty(service)
        start = time.monotonic()
        done = service.migrate()
        seconds.append(time.monotonic() - start)
        assert done.returncode == 0, done
    found = service.sql(DATA)
    assert found[0][0] == ROWS
    return Expected(catalog(service.url), found, max(seconds))


@dataclass
class Report:
    """What was done, to be printed."""

    seed: int
    moments: list[str] = field(default_factory=list)
    codes: Counter[int] = field(default_factory=Counter)
    free: list[float] = field(default_factory=list)
    seconds: float = 0

    def __str__(self) -> str:
        """One paragraph."""
        freed = f"; locks free after at most {max(self.free):.2f} s" if self.free else ""
        return (
            f"seed {self.seed}, {self.seconds:.2f} s; {len(self.moments)} moments: "
            f"{', '.join(self.moments)}; exit codes {dict(self.codes)}{freed}"
        )

    def line(self, what: str) -> str:
        """Its numbers, for the end of the whole run."""
        codes = ", ".join(f"{n} times exit code {code}" for code, n in sorted(self.codes.items()))
        return f"{what}: {len(self.moments)} moments, {codes} (FAULT_SEED={self.seed})"


def disturb(
    service: Service,
    expected: Expected,
    catalog: Callable[[URL], Any],
    difference: Callable[[Any, Any], list[str]],
    fault: Callable[[Any], None],
    moment: float,
    report: Report,
    accepted: set[int],
) -> Done:
    """Run with a fault at a moment (0 to 1 of an undisturbed run); one more run mends all."""
    empty(service)
    began = time.monotonic()
    running = service.start(MIGRATION_CONNECT_WAIT="120")
    time.sleep(moment * expected.seconds)
    fault(running)
    cut = running.wait()
    if cut.returncode == 0:  # it was quicker than the one that was measured
        expected.seconds = min(expected.seconds, time.monotonic() - began)
    report.seconds = expected.seconds
    start = time.monotonic()
    done = service.migrate(**MENDING)
    if "Waiting for another migration" in done.stderr:
        report.free.append(time.monotonic() - start)
    judge(service, expected, (catalog, difference), cut, done, moment, report, accepted)
    return cut


def judge(
    service: Service,
    expected: Expected,
    compare: tuple[Callable[[URL], Any], Callable[[Any, Any], list[str]]],
    cut: Done,
    done: Done,
    moment: float,
    report: Report,
    accepted: set[int],
) -> None:
    """A run that was cut off at a moment ended as it may, and the one after it has mended all."""
    report.codes[cut.returncode] += 1
    assert cut.returncode in accepted | {0}, cut
    assert "Traceback" not in cut.stderr, cut
    assert done.returncode == 0, f"{cut}\n{done}"
    kept = [name for name in STEPS if f"-> {name}," not in done.stderr]
    report.moments.append(f"{moment:.2f} ({len(kept)} of {len(STEPS)} kept)")
    catalog, difference = compare
    changes = difference(expected.catalog, catalog(service.url))
    assert not changes, f"{report}\n{changes}\n{cut}\n{done}"
    assert service.sql(DATA) == expected.data, f"{report}\n{cut}\n{done}"
    assert service.version() == ["checked"]
    recorded = [row[0] for row in service.sql("SELECT revision FROM alembic_history ORDER BY id")]
    assert recorded == ["baseline", *STEPS], f"{report}\n{recorded}"


class KeptServer:
    """A server that survives being killed: on a directory of its own, at one port."""

    def __init__(self, postgres: ModuleType, disk: Path | None = None) -> None:
        self._postgres = postgres
        self._parent = TemporaryDirectory(prefix="kept-", dir=disk or postgres._memory())
        Path(self._parent.name).chmod(0o755)  # as root the server is another user
        self._folder = Path(self._parent.name) / "server"
        self.data = self._folder / "pgdata"
        self._port = free_port()
        self._manager: Any = None
        self._probes = 0

    def __enter__(self) -> Self:
        """Start it."""
        self.start()
        return self

    def start(self) -> None:
        """Start it, with the data that it has."""
        self._manager = self._postgres.postgres_server(
            self._folder, port=self._port, password="password"
        )
        self.url, _ = self._manager.__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        """Stop it."""
        self.stop()
        self._parent.cleanup()

    def stop(self) -> None:
        """Stop it, and keep its data."""
        self._manager.__exit__(None, None, None)

    def allow(self, rules: str) -> None:
        """Put other rules into pg_hba.conf."""
        self._probes += 1
        probe = self.url.set(username=f"probe_{self._probes}")  # let in by name, and there is none
        first = f"host all {probe.username} {probe.host}/32 trust\n"
        (self.data / "pg_hba.conf").write_text(first + rules)
        self.send(signal.SIGHUP)
        until(lambda: f'role "{probe.username}" does not exist' in refusal(probe))

    def send(self, number: int) -> None:
        """Send a signal to the postmaster."""
        pid = (self.data / "postmaster.pid").read_text().splitlines()[0]
        os.kill(int(pid), number)

    def restart(self, number: int = signal.SIGQUIT) -> None:
        """Stop it by a signal, SIGQUIT being an immediate shutdown, and start it again."""
        with suppress(ProcessLookupError):
            self.send(number)
        self.stop()
        self.start()


def refusal(url: URL) -> str:
    """Why the server does not let one in."""
    try:
        psycopg2.connect(url.render_as_string(hide_password=False)).close()
    except psycopg2.OperationalError as error:
        return str(error)
    return ""


def kill_backend(url: URL, running: Running) -> None:
    """SIGKILL the server process of the migration: the server ends all sessions and recovers."""
    of_it = "SELECT pid FROM pg_stat_activity WHERE application_name = 'migrate'"
    until(lambda: execute(url, of_it) or not running.is_running())
    for (pid,) in execute(url, of_it)[:1]:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def moments(seed: int, number: int = 10 if os.environ.get("CI") == "true" else 20) -> list[float]:
    """Spread over the run, each at random within its part."""
    chance = random.Random(seed)
    return [(n + chance.random()) / number for n in range(number)]

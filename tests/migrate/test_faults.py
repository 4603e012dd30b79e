"""A migration that is killed, or whose server is: one more run, and nothing is missing."""

import os
import secrets
import signal
import socket
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import psycopg2
import pytest

from tests._kit.support import template_module
from tests.migrate.faults import (
    KeptServer,
    Report,
    disturb,
    kill_backend,
    moments,
    prepare,
    undisturbed,
)
from tests.migrate.service import Done, Running, Service
from tests.migrate.table import Guide

Note = Callable[[str, object], None]
SEED = int(os.environ.get("FAULT_SEED") or secrets.randbelow(10**6))
# Of ten moments eight or nine hit a run, and five to seven one whose server dies. Where a run is
# quicker than the one that was measured, the next moments come sooner: three in a row do not miss.
ENOUGH = 0.2


@pytest.fixture
def catalogs() -> Any:
    """The rendered project's way to compare two schemas."""
    return template_module("testing.schema")


@pytest.mark.in_turn(3)
@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGKILL, -9), (signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, -1)],
)
def test_a_migration_cut_off_at_any_moment_is_mended_by_the_next(
    service: Service, catalogs: Any, record_property: Note, number: int, code: int
) -> None:
    prepare(service)
    expected = undisturbed(service, catalogs.catalog)
    report = Report(SEED)
    for moment in moments(SEED + number):
        disturb(
            service,
            expected,
            catalogs.catalog,
            catalogs.difference,
            lambda running: running.kill(number),
            moment,
            report,
            {code, -number},  # -15: before the program had its handlers, which is in its first ms
        )
    print(signal.Signals(number).name, report)
    record_property("line", report.line(f"a migration gets {signal.Signals(number).name}"))
    assert report.codes[code] >= ENOUGH * len(report.moments), report


def test_a_server_that_dies_at_any_moment_takes_nothing_with_it(
    new_service: Callable[..., Service], catalogs: Any, postgres: ModuleType, record_property: Note
) -> None:
    with KeptServer(postgres) as server:
        service = new_service(server.url)
        prepare(service)
        expected = undisturbed(service, catalogs.catalog)
        expected.seconds *= 2  # after a crash the caches are cold
        report = Report(SEED)

        def fault(moment_number: int, running: Running) -> None:
            if moment_number % 5:
                kill_backend(server.url, running)
            else:
                server.restart((signal.SIGKILL, signal.SIGQUIT, signal.SIGINT)[moment_number % 3])

        for position, moment in enumerate(moments(SEED)):
            disturb(
                service,
                expected,
                catalogs.catalog,
                catalogs.difference,
                partial(fault, position),
                moment,
                report,
                {4},
            )
        print("server", report)
        record_property("line", report.line("a server dies"))
        assert report.codes[4] >= ENOUGH * len(report.moments), report


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_the_running_statement_at_once(
    service: Service, number: int, code: int, guide: Guide
) -> None:
    row = guide["Ctrl-C"] if number == signal.SIGINT else guide["`docker stop`"]
    service.add("kept", 'op.execute("CREATE TABLE kept ()")')
    service.add("slow", 'op.execute("SELECT pg_sleep(600)")')
    process = service.process()
    service.until("SELECT pid FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(600)'")
    start = time.monotonic()
    process.send_signal(number)
    out, err = process.communicate(timeout=300)
    print(f"{signal.Signals(number).name}: ended after {time.monotonic() - start:.3f} s")
    assert process.returncode == code, err
    row.check(Done(code, out, err))
    assert "run the same command again" in err
    running = "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(600)'"
    service.until(running.replace("count(*)", "1") + " HAVING count(*) = 0")
    assert service.version() == ["kept"]


@pytest.mark.parametrize("all_of_it", [True, False], ids=["all of it", "one session"])
def test_a_signal_ends_a_migration_whose_server_hangs(service: Service, all_of_it: bool) -> None:
    """Its kernel still answers, so that no keepalive ends the connection, nor the cancelling."""
    service.add("kept", 'op.execute("CREATE TABLE kept ()")')
    service.add("slow", 'op.execute("SELECT pg_sleep(600)")')
    running = service.start()
    of_it = "SELECT pid FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(600)'"
    service.until(of_it)
    [[backend]] = service.sql(of_it)
    postmaster = int(Path(f"/proc/{backend}/stat").read_text().rpartition(")")[2].split()[1])
    stopped = [postmaster, backend] if all_of_it else [backend]
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        running.kill(signal.SIGTERM)
        done = running.wait()
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
    assert (done.returncode, done.stderr.count("Error: interrupted")) == (143, 1), done
    assert "Traceback" not in done.stderr
    service.until(of_it.replace("pid", "1", 1) + " HAVING count(*) = 0")
    assert service.version() == ["kept"]


IN_EXEC = "exec(\"op.execute('SELECT 42'); time.sleep(60)\")"
IN_DESTRUCTOR = """
class Destroyed:
    def __del__(self):
        op.execute("SELECT 42")
        time.sleep(60)

Destroyed()
"""
CANCELLED = "op.execute('SELECT pg_cancel_backend(pg_backend_pid())')"
LONG = "op.execute('SELECT pg_sleep(600)')"


@pytest.mark.parametrize(
    ("code", "then"),
    [(IN_EXEC, LONG), (IN_DESTRUCTOR, LONG), (IN_DESTRUCTOR, CANCELLED)],
    ids=["in exec", "in a destructor", "in a destructor before an error"],
)
def test_a_signal_counts_where_python_loses_it_or_its_number(
    service: Service, code: str, then: str
) -> None:
    service.add("asleep", f"{code}\n{then}")
    process = service.process()
    service.until("SELECT pid FROM pg_stat_activity WHERE query = 'SELECT 42'")
    process.terminate()
    _, err = process.communicate(timeout=300)
    assert process.returncode == 143, err
    assert err.count("Error: interrupted") == 1
    assert "Traceback" not in err


def test_a_signal_is_heard_while_waiting_for_the_lock_and_for_the_server(
    service: Service,
) -> None:
    holder = psycopg2.connect(service.url.render_as_string(hide_password=False))
    with holder, holder.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [int.from_bytes(b"alembic", "big")])
    waiting = service.start()
    waiting.says("Waiting for another migration")
    waiting.kill(signal.SIGTERM)
    done = waiting.wait()
    assert (done.returncode, done.stderr.count("Error:")) == (143, 1), done
    holder.close()

    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, says nothing
        waiting = service.start(
            MIGRATION_DATABASE_URL=f"postgresql://u:p@127.0.0.1:{silent.getsockname()[1]}/d",
            MIGRATION_CONNECT_WAIT="600",
        )
        accepted, _ = silent.accept()
        waiting.kill(signal.SIGTERM)
        done = waiting.wait()
        accepted.close()
    assert (done.returncode, done.stderr.count("Error:")) == (143, 1), done


def test_a_killed_migrations_locks_are_free_for_the_next(service: Service, guide: Guide) -> None:
    row = guide["killed"]
    service.add("table", 'op.execute("CREATE TABLE t (id int)")')
    service.migrate()
    path = service.add("slow", 'op.execute("LOCK TABLE t")\nop.execute("SELECT pg_sleep(600)")')
    running = service.start()
    service.until("SELECT 1 FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(600)'")
    running.kill(signal.SIGKILL)
    start = time.monotonic()
    row.check(running.wait())
    service.variables["MIGRATION_LOCK_WAIT"] = "120"
    # Without the server's check of its client the statement would last ten minutes.
    path.write_text(path.read_text().replace("pg_sleep(600)", "1"))
    row.follow(service)
    print(f"after SIGKILL the next run was through after {time.monotonic() - start:.2f} s")


def test_a_connection_that_ends_between_two_statements_is_explained(service: Service) -> None:
    block = "with op.get_context().autocommit_block():\n    op.execute('SELECT 1')\n"
    service.add("first", block)
    shut = "socket.socket(fileno=os.dup(op.get_bind().connection.fileno())).shutdown(2)"
    service.add("dies", f"import os, socket\n{block}    {shut}")  # seen at the block's end
    done = service.migrate()
    assert done.returncode == 4, done
    assert "connection lost" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_signal_after_the_last_revision_lets_the_connection_be_closed(service: Service) -> None:
    kill = "lambda *_: os.kill(os.getpid(), signal.SIGTERM)"
    service.add(
        "last",
        f"import os, signal\nsa.event.listen(op.get_bind().engine.pool, 'close', {kill})",
    )
    done = service.migrate()
    assert done.returncode == 0, done
    assert "Traceback" not in done.stderr, done
    assert service.version() == ["last"]


def test_a_commit_that_waits_for_a_standby_is_not_said_to_be_cancelled(
    new_service: Callable[..., Service], postgres: ModuleType
) -> None:
    """It is committed on this server, and the next run finds it."""
    with KeptServer(postgres) as server:
        service = new_service(server.url)
        assert service.migrate().returncode == 0
        service.add("one", 'op.execute("CREATE TABLE one ()")')
        service.sql("ALTER ROLE ALL SET synchronous_commit = on")
        service.sql("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
        service.sql("SELECT pg_reload_conf()")
        service.until("SELECT 1 WHERE current_setting('synchronous_standby_names') = 'nobody'")
        running = service.start()
        service.until("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
        running.kill(signal.SIGTERM)
        done = running.wait()
        assert done.returncode == 143, done
        assert "cancelled" not in done.stderr
        assert "the server rolls back what was not committed" in done.stderr
        service.sql("ALTER SYSTEM RESET ALL")
        service.sql("SELECT pg_reload_conf()")
        done = service.migrate(MIGRATION_LOCK_WAIT="120")
        assert (done.returncode, service.version()) == (0, ["one"]), done
        assert "-> one" not in done.stderr, "it was committed"


FIRST_IMPORT = """
import os, runpy, signal, sys

def hook(event, args):
    if event == "import" and args[0].startswith("app.migrate."):
        if args[0].split(".")[2] not in sys.argv[2:]:
            os.kill(os.getpid(), int(sys.argv[1]))
            signal.pause()

sys.addaudithook(hook)
runpy.run_module("app.migrate", run_name="__main__")
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_counts_from_the_first_import_on(service: Service, number: int, code: int) -> None:
    words = [str(int(number)), "__main__", "signals", "errors"]  # the last one has the sentence
    done = service.run("-c", FIRST_IMPORT, *words, program="python")
    assert done.returncode == code, done
    assert done.stderr.startswith("Error: interrupted"), done
    assert "Traceback" not in done.stderr


def test_a_signal_counts_where_nobody_reads_the_output(service: Service) -> None:
    service.add("long", f"op.execute({'SELECT 1 -- ' + 'x' * 200_000!r})")
    with service.process("upgrade", "head", "--sql") as process:
        assert process.stdout
        process.stdout.read(1)
        process.send_signal(signal.SIGINT)
        assert process.wait(300) == 130
        assert process.stderr
        assert "Error: interrupted" in process.stderr.read()

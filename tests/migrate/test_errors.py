"""What goes wrong: each situation has a row in the guide, a cause, a next step and an exit code.

Most are in situations.py; here they are played at their doors, and what is no error besides.
"""

import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType

import psycopg2
import pytest
from sqlalchemy import URL

from tests._kit.forks import forks
from tests._kit.support import execute, free_port, template_module, until
from tests.migrate.faults import KeptServer, empty
from tests.migrate.service import Done, Service, copy
from tests.migrate.situations import (
    COMPOSE,
    LOCK,
    MODEL,
    SITUATIONS,
    THING,
    How,
    Situation,
    Stage,
    connected,
    file,
    revision,
    sql,
    statement,
    stopped,
    url,
)
from tests.migrate.table import PASSWORD, Guide, sentence

PROGRAMS = ["alembic", "app.migrate"]
TRANSIENT = {4, 9}
# In the project: what both drivers raise, or what the application is told, by `explain`.
ASK = """
import asyncio, json, sys
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from app.core.urls import for_driver
from app.migrate.explain import explain
from app.migrate.readiness import schema_problem

def psycopg2(url, statement):
    with create_engine(for_driver(url, "postgresql+psycopg2")).connect() as connection:
        connection.execute(text("SELECT 1" if statement == "ready" else statement))

async def asyncpg(url, statement):
    engine = create_async_engine(for_driver(url, "postgresql+asyncpg"))
    async with AsyncSession(engine) as session:
        if statement == "ready":
            return await schema_problem(session)
        for part in statement.split("; "):
            await session.execute(text(part))

for attempt in (psycopg2, lambda *arguments: asyncio.run(asyncpg(*arguments))):
    try:
        problem = attempt(make_url(sys.argv[1]), sys.argv[2])
    except Exception as error:
        problem = explain(error)
        assert problem, repr(error)
    print(json.dumps([int(problem.exit_code), problem.transient, problem.cause, problem.remedy]))
"""


@pytest.fixture(scope="module")
def shared(
    postgres: ModuleType, backend: Path, tmp_path_factory: pytest.TempPathFactory
) -> Generator[Stage]:
    """A server to be stopped and restricted, with a role that owns a database, and a service."""
    with KeptServer(postgres) as server:
        execute(server.url, f"CREATE ROLE shop LOGIN PASSWORD '{PASSWORD}'")
        execute(server.url, "CREATE DATABASE shop OWNER shop")
        service = copy(backend, tmp_path_factory.mktemp("errors"), server.url)
        (service.backend / "ask.py").write_text(ASK)
        yield Stage(service, server)


@pytest.fixture
def stage(shared: Stage, backend: Path) -> Stage:
    """The same, as if it were new: an empty database, and nothing but the baseline."""
    service = shared.service
    for folder in ("alembic", "app/models"):
        shutil.rmtree(service.backend / folder)
        shutil.copytree(backend / folder, service.backend / folder)
    service.head = "baseline"
    service.variables.clear()
    service.url = shared.server.url.set(username="shop", password=PASSWORD, database="shop")
    empty(service)
    return shared


def run(service: Service, *args: str, program: str = "app.migrate", **variables: str) -> Done:
    """One of PROGRAMS, from scratch."""
    done = forks().run(program, list(args), service.backend, service.environment(**variables))
    return Done(done.returncode, done.stdout, done.stderr)


@pytest.mark.in_turn(2)
@pytest.mark.parametrize("situation", SITUATIONS, ids=str)
def test_a_situation_is_explained_at_every_door_and_then_goes_well(
    situation: Situation, stage: Stage, guide: Guide
) -> None:
    row, service = guide[situation.row], stage.service
    # What may pass is waited for; this ends a test by its limit where waiting is in vain.
    wait = {} if row.exit_code in TRANSIENT else {"MIGRATION_CONNECT_WAIT": "3600"}
    with ExitStack() as stack:
        for how in situation.how:
            stack.enter_context(how(stage))
        for program in PROGRAMS if situation.args else []:
            done = run(service, *situation.args, program=program, **wait)
            row.check(done, whole=False)
            cause, remedy = sentence(done)
            assert re.search(situation.cause, cause), cause
            assert re.search(situation.remedy, remedy), remedy
            others = done.stderr.splitlines()[:-2]
            assert all(line.startswith("INFO ") for line in others), done
        if situation.ask:
            ask(service, situation, row.exit_code)
        if situation.follow:
            row.follow(service, *situation.args)
    if situation.args and not situation.follow:
        row.follow(service)


def ask(service: Service, situation: Situation, exit_code: int) -> None:
    """Both drivers' errors have that cause and exit code, and a next step."""
    dsn = service.url.set(drivername="postgresql").render_as_string(hide_password=False)
    done = forks().run("ask", [dsn, situation.ask], service.backend, service.environment())
    assert done.returncode == 0, done
    assert PASSWORD not in done.stdout + done.stderr, done
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == 2, done
    for code, transient, cause, remedy in answers:
        assert (code, transient) == (exit_code, exit_code in TRANSIENT), cause
        assert re.search(situation.cause, cause), cause
        assert remedy


def test_every_row_is_played_and_every_exit_code_has_one(guide: Guide) -> None:
    here = Path(__file__).parent
    files = [*here.glob("test_*.py"), here.parent / "docker" / "test_errors.py"]
    played = {s for f in files for s in re.findall(r'guide\["(.+?)"\]', f.read_text("utf-8"))}
    assert played | {situation.row for situation in SITUATIONS} == set(guide)
    codes = [row.exit_code for row in guide.values()]
    assert codes == sorted(codes), "a reader looks a code up"
    documented = set(map(int, template_module("app.migrate.errors").ExitCode))
    assert set(codes) == documented | {128 + signal.SIGKILL}


def test_every_entry_can_be_said_and_be_found() -> None:
    """Some are too rare to be played, such as a full disk."""
    errors = template_module("app.migrate.errors")
    fields = {"when", "cause", "next", "exit", "compose", "host", "production", "transient"}
    for table, entries in errors.entries().items():
        for name, entry in entries.items():
            assert errors.problem(table, name).cause
            assert entry.keys() <= fields, name
        patterns = [entry.get("when") for entry in entries.values()]
        if any(patterns):  # after one that is in every text, no other would be found
            assert None not in patterns[:-1], table
            assert all(re.compile(pattern or "") for pattern in patterns), table


# --- no errors, and those of other programs ------------------------------------------------------


def test_an_upgrade_and_one_with_nothing_pending(guide: Guide, stage: Stage) -> None:
    row, service = guide["revisions were applied"], stage.service
    with revision()(stage):
        row.check(service.migrate())
        guide["nothing is pending"].check(service.migrate())
    row.follow(service)


def test_a_model_outside_of_app_models_goes_unnoticed(guide: Guide, stage: Stage) -> None:
    assert stage.service.migrate().returncode == 0
    with file("app/thing.py", THING, THING)(stage):
        guide["a changed model goes unnoticed"].check(run(stage.service, "check"))
    with file(MODEL, THING, THING)(stage):
        assert "add_table things" in run(stage.service, "check").stderr


def test_psql_before_the_first_migration(guide: Guide, stage: Stage, postgres: ModuleType) -> None:
    row = guide["psql before the first migration"]

    def psql() -> Done:
        dsn = stage.service.url.render_as_string(hide_password=False)
        words = [postgres.find_binaries() / "psql", dsn, "-c", "SELECT * FROM alembic_version"]
        done = subprocess.run(words, check=False, capture_output=True, text=True)
        return Done(done.returncode, done.stdout, done.stderr)

    row.check(psql())
    row.follow(stage.service)
    assert psql().returncode == 0


def test_an_error_that_nobody_foresaw(guide: Guide, stage: Stage) -> None:
    with file("alembic/env.py", '"""', 'raise RuntimeError(\'of mine\')\n"""')(stage):
        done = run(stage.service)
    guide["an unexpected error"].check(done)
    assert done.stderr.endswith("RuntimeError: of mine\n")


def test_a_misspelt_command_is_refused_with_the_usage(guide: Guide, stage: Stage) -> None:
    row = guide["a misspelt command"]
    row.check(*(run(stage.service, "upgarde", program=program) for program in PROGRAMS))
    row.follow(stage.service)


def test_an_empty_word_for_a_revision_is_named_beside_the_row(guide: Guide, stage: Stage) -> None:
    """As a script types it, whose variable is not set: no row is wrong."""
    row = guide["a row of `alembic_version` was written by hand"]
    done = run(stage.service, "upgrade", "")
    row.check(done, whole=False)
    assert "or the command's" in done.stderr


def test_one_of_several_hosts_is_enough(stage: Stage) -> None:
    right = stage.service.url
    query = {"host": [f"127.0.0.1:{free_port()}", f"{right.host}:{right.port}"]}
    stage.service.url = URL.create(
        "postgresql", right.username, right.password, database=right.database, query=query
    )
    assert run(stage.service, "current").returncode == 0


# --- more than one run ---------------------------------------------------------------------------


def test_a_server_is_waited_for_and_the_wait_is_told_once(stage: Stage) -> None:
    with stopped(stage):
        done = stage.service.migrate(MIGRATION_CONNECT_WAIT="1")
        assert done.stderr.count("trying again for 1 s") == 1, done
        waiting = stage.service.start(MIGRATION_CONNECT_WAIT="3600")
        waiting.says("trying again")
    done = waiting.wait()
    assert done.returncode == 0, done
    assert stage.service.version() == ["baseline"]


def test_a_server_that_shuts_down_lets_nobody_in(guide: Guide, stage: Stage) -> None:
    with connected(stage.service.url):
        stage.server.send(signal.SIGTERM)  # and waits for this session to end
        until(lambda: not can_connect(stage))
        done = stage.service.migrate()
    stage.server.stop()
    stage.server.start()
    guide["the server starts or stops"].check(done)
    guide["the server starts or stops"].follow(stage.service)


def test_a_connection_that_breaks_while_it_waits(guide: Guide, stage: Stage) -> None:
    kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name ="
    with connected(stage.service.url, f"SELECT pg_advisory_lock({LOCK})"):
        running = stage.service.start()
        running.says("Waiting for another migration")
        execute(stage.server.url, f"{kill} 'migrate'")
        guide["the connection breaks"].check(running.wait())
    guide["the connection breaks"].follow(stage.service)


def test_what_was_applied_before_a_failure_stays(stage: Stage) -> None:
    with (
        revision("op.execute('CREATE TABLE kept ()')", name="kept")(stage),
        revision("op.execute('ALTER TABLE lost ADD x int')", parent="kept")(stage),
    ):
        assert run(stage.service).returncode == 10
        assert stage.service.version() == ["kept"]
        assert stage.service.sql("SELECT count(*) FROM kept") == [(0,)]


@pytest.mark.parametrize("args", ["history", "heads", "revision -m x", "merge heads -m x"])
def test_what_needs_no_database_is_explained_by_app_migrate(stage: Stage, args: str) -> None:
    """Here `alembic` prints its own errors: it does not read env.py."""
    with revision(parent="gone")(stage):
        done = run(stage.service, *args.split())
        assert "its down_revision 'gone' does not exist" in sentence(done)[0]
        assert done.returncode == 8
    itself = file("alembic/versions/*_same_*", "'baseline'", "'same'")
    with revision(name="same")(stage), itself(stage):
        done = run(stage.service, *args.split())
        assert "Self-loop is detected in revisions (same)" in sentence(done)[0]
        assert done.returncode == 8
    with revision("", name="broken")(stage):
        [path] = stage.service.versions.glob("*_broken_*")
        path.write_text("import nowhere\n")
        done = run(stage.service, *args.split())
        assert "No module named 'nowhere'" in sentence(done)[0]
        assert done.returncode == 2


INI, MAKO = "alembic.ini", "alembic/script.py.mako"
NEW = "revision -m x"


@pytest.mark.parametrize(
    ("name", "old", "new", "args", "cause"),
    [
        (INI, "", "garbage\n", "upgrade head", "line"),
        ("pyproject.toml", "", "garbage\n", "upgrade head", "line"),
        (INI, "timezone", "truncate_slug_length = x\ntimezone", "history", "invalid literal"),
        (INI, "path_separator = os", "path_separator = x", "history", ".*path_separator"),
        (INI, "script_location = %(here)s/alembic", "", "history", ".*'script_location' key"),
        (INI, "(here)s/alembic", "(here)s/nowhere", "history", "Path doesn't exist"),
        (INI, "UTC", "Mars", NEW, ".*timezone: Mars"),
        (INI, "%%(slug)s", "%%(slugg)s", NEW, "KeyError.'slugg'"),
        (INI, "hooks = ruff_check", "hooks = ruff", NEW, ".*ruff.type"),
        (INI, "level = WARNING", "level = LOUD", "upgrade head", "Unknown level: 'LOUD'"),
        (INI, "keys = root", "kees = root", "upgrade head", "KeyError.'keys'"),
        (INI, "class = Stream", "class = Strem", "upgrade head", ".*StremHandler"),
        (INI, "(sys.stderr,)", "(sys.stderr", "upgrade head", ".*never closed"),
        (MAKO, "${create_date", "${nowhere", NEW, ".*rendering failed"),
        (MAKO, "${imports if", "${imports", NEW, ".*script.py.mako"),
    ],
)
def test_a_file_of_settings_that_cannot_be_read_is_named(
    stage: Stage, name: str, old: str, new: str, args: str, cause: str
) -> None:
    """By our command; `alembic` reads both before env.py, and prints what Python says."""
    with file(name, old, new)(stage):
        done = run(stage.service, *args.split())
    said, remedy = sentence(done)
    assert re.match(f"invalid settings: {name}: .*{cause}", said), said
    assert (done.returncode, remedy) == (2, "fix that file")


@pytest.mark.parametrize("args", ["upgrade head", "history"])
@pytest.mark.parametrize(
    "content", ["x = 1\n".encode("utf-16"), b"x = 1\0\n", b"x =" + b"-" * 10**5]
)
def test_a_file_that_is_no_python_is_named(stage: Stage, content: bytes, args: str) -> None:
    """What Python raises of it differs between its releases."""
    path = stage.service.versions / "20270101_0000_no_python.py"
    path.write_bytes(content)
    done = run(stage.service, *args.split())
    assert "alembic/versions/20270101_0000_no_python.py" in sentence(done)[0], done
    assert done.returncode in {2, 8}


def test_a_reader_that_goes_away_is_no_bug_of_ours(stage: Stage, guide: Guide) -> None:
    for number in range(200):
        stage.service.add(f"r{number}", "op.execute('SELECT 1')")
    process = stage.service.process("upgrade", "head", "--sql")
    assert process.stdout
    process.stdout.close()
    assert process.stderr
    with process.stderr as stream:
        said = stream.read()
    guide["a pipe such as `head` ended"].check(Done(process.wait(), "", said))


def test_a_full_disk_is_named(stage: Stage, guide: Guide) -> None:
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "app.migrate", "upgrade", "head", "--sql"]
        done = subprocess.run(
            command,
            check=False,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            cwd=stage.service.backend,
            env=stage.service.environment(),
        )
    guide["a disk is full"].check(Done(done.returncode, "", done.stderr))


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_command_without_an_output_succeeds(stage: Stage, program: str) -> None:
    words = [sys.executable, "-m", program, "upgrade", "head"]
    command = [
        sys.executable,
        "-c",
        f"import os; os.close(1); os.execv({sys.executable!r}, {words})",
    ]
    for _ in range(2):
        subprocess.run(
            command, check=True, cwd=stage.service.backend, env=stage.service.environment()
        )
    assert stage.service.version() == ["baseline"]


@pytest.mark.parametrize(
    "change", ["os.close(2)", "os.dup2(os.open('/dev/full', os.O_WRONLY), 2)", "os.dup2(gone, 2)"]
)
@pytest.mark.parametrize(
    ("arguments", "code"),
    [("upgrade none", 8), ("upgrade head", 0), ("downgrade -1", 0), ("backfill t x=1 x=2 id", 0)],
)
def test_an_error_output_that_takes_nothing_changes_no_exit_code(
    stage: Stage, arguments: str, code: int, change: str
) -> None:
    stage.service.sql("CREATE TABLE t AS SELECT 1 AS id, 2 AS x")
    stage.service.add("first", "op.execute('SELECT 1')")
    if arguments.startswith("down"):
        assert stage.service.migrate().returncode == 0
    words = [sys.executable, "-m", "app.migrate", *arguments.split()]
    change = f"import os; reader, gone = os.pipe(); os.close(reader); {change}"
    done = subprocess.run(
        [sys.executable, "-c", f"{change}; os.execv({sys.executable!r}, {words})"],
        check=False,
        stdout=subprocess.PIPE,
        cwd=stage.service.backend,
        env=stage.service.environment(),
    )
    stops = arguments.startswith("backfill") and "dup2" in change  # as `| head` stops others
    assert done.returncode == (2 if stops else code), done.stdout


def test_a_session_that_its_role_times_out_is_no_broken_network(stage: Stage) -> None:
    """With asyncpg; psycopg2 loses what the server said. A migration's session has no limits."""
    limits = ["transaction_timeout", "idle_in_transaction_session_timeout", "statement_timeout"]
    wrong = [f"ALTER ROLE shop SET {limit} = 100" for limit in limits]
    right = [f"ALTER ROLE shop RESET {limit}" for limit in limits]
    wait = "time.sleep(0.3); op.execute('SELECT pg_sleep(0.3)')"
    with sql("; ".join(wrong), "; ".join(right))(stage), revision(wait)(stage):
        assert run(stage.service).returncode == 0
        dsn = stage.service.url.render_as_string(hide_password=False)
        arguments = [dsn, "SET statement_timeout = 0; SELECT pg_sleep(9)"]
        done = forks().run("ask", arguments, stage.service.backend, stage.service.environment())
    code, transient, cause, remedy = json.loads(done.stdout.splitlines()[1])
    assert cause == "terminating connection due to transaction timeout (PostgreSQL)"
    assert (code, transient) == (10, False)
    assert remedy.startswith("lift that timeout")


# --- how it is said ------------------------------------------------------------------------------


def test_a_traceback_is_shown_on_request_and_holds_no_password(stage: Stage) -> None:
    with url(password=f"{PASSWORD}!")(stage):
        for program in PROGRAMS:
            done = run(stage.service, "--raiseerr", "upgrade", "head", program=program)
            assert done.returncode == 1
            assert "Traceback (most recent call last)" in done.stderr
            assert PASSWORD not in done.stdout + done.stderr


def test_the_command_that_creates_the_database_survives_the_shell(stage: Stage) -> None:
    name = """it's "a" $(touch x); b"""
    with url(database=name)(stage):
        remedy = sentence(run(stage.service, MIGRATE_COMMAND=COMPOSE))[1]
    words = shlex.split(remedy[remedy.index("docker compose exec") :])
    assert words[:6] == ["docker", "compose", "exec", "postgres", "sh", "-c"]
    assert words[6:] == ['createdb -U "$POSTGRES_USER" "$1"', "-", name]


COMMENTS = ["/* x */", "-- it's\n", "/* ' */", "/* /* ' */ */"]
SECRETS = [
    *(f"CREATE ROLE x PASSWORD {comment} '{PASSWORD}' NONSENSE" for comment in COMMENTS),
    *(f"CREATE ROLE x PASSWORD{comment}$a${PASSWORD}$a$ NONSENSE" for comment in COMMENTS),
    f"CREATE ROLE x ENCRYPTED PASSWORD E'\\'{PASSWORD}' NONSENSE",
    f"CREATE ROLE x PASSWORD U&'{PASSWORD}' UESCAPE '!' NONSENSE",
    f"CREATE ROLE x PASSWORD 'a'\n  '{PASSWORD}' NONSENSE",
    f"CREATE ROLE x PASSWORD'{PASSWORD}' NONSENSE",
    f"CREATE SUBSCRIPTION x CONNECTION 'host=h password={PASSWORD} x' NONSENSE",
    f"CREATE SUBSCRIPTION x CONNECTION 'host=h password=''{PASSWORD} x'' ' NONSENSE",
    f"CREATE SUBSCRIPTION x CONNECTION 'postgresql://h/d?password={PASSWORD}&x=1' NONSENSE",
    f"CREATE USER MAPPING FOR x SERVER y OPTIONS (user 'u', \"password\" '{PASSWORD}') NONSENSE",
    f"CREATE USER MAPPING FOR x SERVER y OPTIONS (ADD password '{PASSWORD}') NONSENSE",
    f"SELECT dblink_connect('host=h sslpassword = {PASSWORD}') NONSENSE NONSENSE",
    f'SELECT \'{{"password": "{PASSWORD}"}}\' NONSENSE NONSENSE',
    f"INSERT INTO users (name, password) VALUES ('ann', '{PASSWORD}') NONSENSE",  # noqa: S608
    *(
        f"SELECT {function}('{name}', {quote}{PASSWORD}{quote}) NONSENSE"
        for function, name in [("set_config", "app.password"), ("jsonb_build_object", "password")]
        for quote in ("'", "$$")
    ),
    f"SELECT crypt('{PASSWORD}', gen_salt('bf'))",
    f"SELECT pgp_sym_encrypt(a, '{PASSWORD}')",
    f"SELECT hmac(a, '{PASSWORD}', 'sha256')",
    f"SELECT set_config('passwd', '{PASSWORD}')",
    f"SELECT http_header('Authorization', 'Bearer {PASSWORD}')",
]


def test_a_password_in_a_statement_is_hidden() -> None:
    printable = template_module("app.migrate.errors").printable
    for text in SECRETS:
        for whole in (text, text[: text.index(PASSWORD) + 8]):  # it may have been cut off
            shown = printable(whole)
            assert PASSWORD[:8] not in shown, shown
            assert shown.startswith(text[:12]), shown


def test_control_characters_of_a_statement_do_not_reach_the_terminal(stage: Stage) -> None:
    with statement("SELECT '\x1b[31m\x07' FROM nothing")(stage):
        cause = sentence(run(stage.service))[0]
    assert r"SELECT '\x1b[31m\x07' FROM nothing" in cause


@pytest.mark.parametrize(
    "how",
    [
        url(username="x"),
        url(port=1),
        url(database="x"),
        file("app/core/config.py", "", "import x\n"),
    ],
)
def test_in_the_production_image_only_what_it_has_is_named(
    how: How, stage: Stage, tmp_path: Path
) -> None:
    image = copy(stage.service.backend, tmp_path, stage.service.url)
    shutil.rmtree(image.backend / "testing")
    with how(Stage(image, stage.server)):
        remedy = sentence(run(image))[1]
    assert not re.search(r"docker|testing|\balembic ", remedy), remedy


def test_in_the_production_image_a_revision_is_fixed_by_another_release(
    stage: Stage, tmp_path: Path
) -> None:
    image = copy(stage.service.backend, tmp_path, stage.service.url)
    shutil.rmtree(image.backend / "testing")
    with revision("op.execute('SELECT 1/0')")(Stage(image, stage.server)):
        remedy = sentence(run(image))[1]
    assert remedy.startswith("fix the revision, then deploy it as a new release")


def can_connect(stage: Stage) -> bool:
    try:
        execute(stage.service.url, "SELECT 1")
    except psycopg2.OperationalError:
        return False
    return True

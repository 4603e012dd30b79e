"""What goes wrong on the host: each gets a cause, the next command, and an exit code of its own.

Every failure is tried twice: by `alembic` and by `python -m app.migrate`.
"""

import re
import shlex
import shutil
import socket
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import psycopg2
import pytest
from sqlalchemy import URL

from tests._kit.forks import Forks, forks
from tests._kit.support import (
    Done,
    NewDatabase,
    environment,
    execute,
    free_port,
    succeed,
    template_module,
    write_revision,
)
from tests.conftest import Render

pytestmark = pytest.mark.server

ExitCode = template_module("app.migrate.errors").ExitCode
PROGRAMS = ["alembic", "app.migrate"]
PASSWORD = "do-not-show-me"  # noqa: S105


@pytest.fixture(scope="module")
def url(new_database: NewDatabase) -> URL:
    """An empty database; tests leave it as it is."""
    return new_database()


@pytest.fixture(scope="module")
def backend(rendered: Render) -> Path:
    """A project that nobody changes."""
    return rendered().backend


@pytest.fixture
def own(rendered: Render, tmp_path: Path) -> Path:
    """A project to break."""
    return shutil.copytree(rendered().path, tmp_path / "demo") / "backend"


class CommandLine:
    """Both programs: each command is tried with one after the other."""

    def __init__(self, forks: Forks) -> None:
        self.forks = forks

    def run(self, backend: Path, *words: str, program: str, env: dict[str, str]) -> Done:
        """Run one of them."""
        return self.forks.run(program, list(words), backend, env)

    def succeeds(self, backend: Path, *words: str, url: URL) -> str:
        """`alembic <words>` exits 0; returns what it printed."""
        return succeed(self.run(backend, *words, program="alembic", env=environment(url)))

    def fails(
        self,
        backend: Path,
        *words: str,
        code: int,
        error: str,
        remedy: str,
        url: URL | None = None,
        variables: dict[str, str] | None = None,
    ) -> str:
        """Both end with this problem in two lines; returns the second, what to type next."""
        env = environment(url) | (variables or {})
        for program in PROGRAMS:
            done = self.run(backend, *words, program=program, env=env)
            shown = f"{program}: {done.returncode}\n{done.stdout}\n{done.stderr}"
            lines = [line for line in done.stderr.splitlines() if not line.startswith("INFO ")]
            assert [line[:7] for line in lines] == ["Error: ", "Next:  "], shown
            assert re.search(error, lines[0]), shown
            assert re.search(remedy, lines[1]), shown
            assert done.returncode == code, shown
            for secret in {PASSWORD, url.password if url else None} - {None}:
                assert str(secret) not in done.stdout + done.stderr
        return lines[1].removeprefix("Next:  ")

    def follow(self, backend: Path, remedy: str, url: URL) -> None:
        """Type the command that the second line begins with; then the sentence may go on."""
        command, words = re.split(r" joins| goes on|$", remedy)[0], []
        program, *words = shlex.split(command)
        assert program == "alembic"
        self.succeeds(backend, *words, url=url)


@pytest.fixture(scope="module")
def cli() -> CommandLine:
    """One for all tests, which is what makes them quick."""
    return CommandLine(forks())


# --- settings ------------------------------------------------------------------------------------

FIVE = {"POSTGRES_USER": "me", "POSTGRES_PASSWORD": PASSWORD, "POSTGRES_DB": "shop"}


@pytest.mark.parametrize(
    ("variables", "error"),
    [
        ({}, "POSTGRES_USER, POSTGRES_PASSWORD, POSTGRES_DB not set"),
        ({**FIVE, "POSTGRES_PORT": PASSWORD}, "POSTGRES_PORT: "),
        ({"DATABASE_URL": f"me:{PASSWORD}@localhost/shop"}, "DATABASE_URL is not of the form"),
        (
            {**FIVE, "POSTGRES_PASSWORD_FILE": "/no/such", "POSTGRES_PASSWORD": ""},
            "_FILE cannot be",
        ),
        (
            {**FIVE, "POSTGRES_HOST": "127.0.0.1", "MIGRATION_LOCK_WAIT": "x"},
            "MIGRATION_LOCK_WAIT: ",
        ),
    ],
)
def test_a_missing_or_malformed_variable(
    cli: CommandLine, backend: Path, variables: dict[str, str], error: str
) -> None:
    cli.fails(
        backend,
        "upgrade",
        "head",
        code=ExitCode.USAGE,
        error=error,
        remedy=r"set it in the environment or in \.env",
        variables=variables,
    )


@pytest.mark.parametrize(
    ("rest", "error"),
    [
        ("127.0.0.1/shop?schema=public", 'invalid connection option "schema"'),
        ("127.0.0.1/shop?sslmode=maybe", 'invalid sslmode value: "maybe"'),
        ("127.0.0.1:99999/shop", 'invalid port number: "99999"'),
    ],
)
def test_a_url_that_libpq_refuses(cli: CommandLine, backend: Path, rest: str, error: str) -> None:
    cli.fails(
        backend,
        "upgrade",
        "head",
        code=ExitCode.USAGE,
        error=f"the settings cannot be used: {error}",
        remedy="mend DATABASE_URL",
        variables={"DATABASE_URL": f"postgresql://me:{PASSWORD}@{rest}"},
    )


def test_an_env_file_of_another_encoding(cli: CommandLine, own: Path) -> None:
    (own.parent / ".env").write_bytes("POSTGRES_USER=müller\n".encode("latin-1"))
    cli.fails(
        own,
        "current",
        code=ExitCode.USAGE,
        error=r"cannot be used: \.env: 'utf-8' codec can't decode",
        remedy=r"save \.env as UTF-8, where this user may read it",
    )


def test_a_list_that_is_not_json(cli: CommandLine, own: Path) -> None:
    config = own / "app" / "core" / "config.py"
    line = "    # Your own fields below this line.\n"
    config.write_text(config.read_text().replace(line, f"{line}    origins: list[str] = []\n"))
    cli.fails(
        own,
        "current",
        code=ExitCode.USAGE,
        error='cannot be used: error parsing value for field "origins"',
        remedy="set it in the environment or in .env",
        variables={**FIVE, "ORIGINS": "shop.example"},
    )


# --- connecting ----------------------------------------------------------------------------------


@contextmanager
def silent_server() -> Generator[int]:
    """A port where a connection is taken and closed again, by no PostgreSQL."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def close_all() -> None:
            while True:
                try:
                    server.accept()[0].close()
                except OSError:
                    return

        thread = Thread(target=close_all, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
    thread.join()


def test_one_of_several_hosts_is_enough(cli: CommandLine, backend: Path, url: URL) -> None:
    hosts = [f"127.0.0.1:{free_port()}", f"{url.host}:{url.port}"]
    cli.succeeds(backend, "current", url=url.set(host=None, port=None, query={"host": hosts}))


def test_a_wrong_password(cli: CommandLine, backend: Path, url: URL) -> None:
    cli.fails(
        backend,
        "upgrade",
        "head",
        url=url.set(password=PASSWORD),
        code=ExitCode.REFUSED,
        error=rf"PostgreSQL at {url.host}:{url.port}: .* refused the password of user postgres",
        remedy="volume keeps the first one",
    )


def test_no_password(cli: CommandLine, backend: Path, url: URL) -> None:
    cli.fails(
        backend,
        "current",
        url=URL.create("postgresql", "postgres", None, url.host, url.port, url.database),
        code=ExitCode.REFUSED,
        error="wants a password",
        remedy="set POSTGRES_PASSWORD",
    )


def test_an_unknown_user(cli: CommandLine, backend: Path, url: URL) -> None:
    cli.fails(
        backend,
        "upgrade",
        "head",
        url=url.set(username="stranger"),
        code=ExitCode.REFUSED,
        error="user stranger",
        remedy="POSTGRES_PASSWORD",
    )


def test_an_unknown_database(cli: CommandLine, backend: Path, url: URL) -> None:
    cli.fails(
        backend,
        "upgrade",
        "head",
        url=url.set(database="shop"),
        code=ExitCode.REFUSED,
        error=f"{url.port}: the server has no database shop$",
        remedy="POSTGRES_DB .*createdb .* shop'$",
    )


def test_an_unknown_host(cli: CommandLine, backend: Path) -> None:
    cli.fails(
        backend,
        "upgrade",
        "head",
        url=URL.create("postgresql", "me", PASSWORD, "no-such-host.invalid", 5432, "shop"),
        code=ExitCode.UNREACHABLE,
        error=r"the host name no-such-host\.invalid is not known",
        remedy="check POSTGRES_HOST",
    )


@pytest.mark.parametrize("port", [None, 28000, 53300])  # two SQLSTATEs have these numbers
def test_a_port_where_nobody_listens(cli: CommandLine, backend: Path, port: int | None) -> None:
    port = port or free_port()
    cli.fails(
        backend,
        "upgrade",
        "head",
        url=URL.create("postgresql", "me", PASSWORD, "127.0.0.1", port, "shop"),
        code=ExitCode.UNREACHABLE,
        error=rf"PostgreSQL at 127\.0\.0\.1:{port}: nothing answers",
        remedy="docker compose up --wait postgres",
    )


def test_a_port_where_somebody_else_listens(cli: CommandLine, backend: Path) -> None:
    with silent_server() as port:
        cli.fails(
            backend,
            "upgrade",
            "head",
            url=URL.create("postgresql", "me", PASSWORD, "127.0.0.1", port, "shop"),
            code=ExitCode.UNREACHABLE,
            error=r"PostgreSQL at 127\.0\.0\.1:\d+: .*(failed|broke off|closed)",
            remedy="check",
        )


def test_no_right_to_create_tables(
    cli: CommandLine, backend: Path, new_database: NewDatabase
) -> None:
    url = new_database()
    execute(url, f"CREATE ROLE limited LOGIN PASSWORD '{PASSWORD}'")
    execute(url, "REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    try:
        cli.fails(
            backend,
            "upgrade",
            "head",
            url=url.set(username="limited", password=PASSWORD),
            code=ExitCode.REFUSED,
            error="permission denied for schema public",
            remedy="grant the right, or set MIGRATION_DATABASE_URL",
        )
    finally:
        execute(url, "DROP ROLE limited")


def test_no_right_to_connect(cli: CommandLine, backend: Path, new_database: NewDatabase) -> None:
    url = new_database()
    execute(url, f"CREATE ROLE outsider LOGIN PASSWORD '{PASSWORD}'")
    execute(url, f"REVOKE CONNECT ON DATABASE {url.database} FROM PUBLIC")
    try:
        cli.fails(
            backend,
            "upgrade",
            "head",
            url=url.set(username="outsider", password=PASSWORD),
            code=ExitCode.REFUSED,
            error="does not let this user in",
            remedy="check POSTGRES_USER",
        )
    finally:
        execute(url, "DROP ROLE outsider")


def test_another_migration_holds_the_lock(cli: CommandLine, backend: Path, url: URL) -> None:
    holder = psycopg2.connect(url.render_as_string(hide_password=False), application_name="holder")
    try:
        with holder.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(%s)", [int.from_bytes(b"alembic", "big")])
        cli.fails(
            backend,
            "upgrade",
            "head",
            url=url,
            code=ExitCode.LOCKED_OUT,
            error=rf"held the lock for 0 s: pid {holder.info.backend_pid} \(holder\)",
            remedy="set MIGRATION_LOCK_WAIT",
            variables={"MIGRATION_LOCK_WAIT": "0"},
        )
    finally:
        holder.close()


# --- history -------------------------------------------------------------------------------------


def test_several_heads(cli: CommandLine, own: Path, new_database: NewDatabase) -> None:
    url = new_database()
    write_revision(own, "left", "pass")
    write_revision(own, "right", "pass")
    remedy = cli.fails(
        own,
        "upgrade",
        "head",
        url=url,
        code=ExitCode.HISTORY,
        error="two revisions have the same parent, so that there are several heads",
        remedy='^Next:  alembic merge heads -m "merge" joins them$',
    )
    cli.follow(own, remedy, url)
    cli.succeeds(own, "upgrade", "head", url=url)
    assert len(execute(url, "SELECT version_num FROM alembic_version")) == 1


@pytest.mark.parametrize("words", ["history", "heads", "revision -m x", "merge heads -m x"])
def test_what_needs_no_database_is_explained_by_app_migrate(
    cli: CommandLine, own: Path, words: str
) -> None:
    """Here `alembic` has words of its own, or none: it does not read env.py."""
    broken = write_revision(own, "broken", "pass")
    text = broken.read_text()
    for change, code, error in [
        (("from alembic import op", "import nowhere"), ExitCode.USAGE, "No module named 'nowhere'"),
        (("'baseline'", "'gone'"), ExitCode.HISTORY, "names 'gone' as the one before it"),
    ]:
        broken.write_text(text.replace(*change))
        done = cli.run(own, *shlex.split(words), program="app.migrate", env=environment())
        assert done.returncode == code, done.stderr
        assert error in done.stderr
        assert [line[:7] for line in done.stderr.splitlines()] == ["Error: ", "Next:  "]


def test_the_database_is_newer_than_the_code(
    cli: CommandLine, backend: Path, new_database: NewDatabase
) -> None:
    url = new_database()
    cli.succeeds(backend, "upgrade", "head", url=url)
    execute(url, "UPDATE alembic_version SET version_num = 'fedcba987654'")
    for words in (["upgrade", "head"], ["downgrade", "base"]):
        cli.fails(
            backend,
            *words,
            url=url,
            code=ExitCode.HISTORY,
            error="no revision fedcba987654 in alembic/versions: the database is newer",
            remedy=r"git log --all -- '\*fedcba987654\*'.*alembic history",
        )
    cli.succeeds(backend, "history", url=url)


def test_an_unknown_destination(cli: CommandLine, backend: Path, url: URL) -> None:
    cli.fails(
        backend,
        "upgrade",
        "0ff",
        url=url,
        code=ExitCode.HISTORY,
        error="no revision 0ff",
        remedy="alembic history",
    )


def test_a_revision_after_one_that_is_missing(cli: CommandLine, own: Path, url: URL) -> None:
    write_revision(own, "orphan", "pass", down_revision="lost")
    cli.fails(
        own,
        "upgrade",
        "head",
        url=url,
        code=ExitCode.HISTORY,
        error="20270101_0000_orphan_made_by_a_test.py names 'lost' as the one before it, "
        "and there is no such revision",
        remedy="mend down_revision",
    )


def test_the_database_is_behind(cli: CommandLine, backend: Path, new_database: NewDatabase) -> None:
    for words in (["current", "--check-heads"], ["check"]):
        url = new_database()
        remedy = cli.fails(
            backend,
            *words,
            url=url,
            code=ExitCode.PENDING,
            error="the database is not at this code's head",
            remedy="^Next:  alembic upgrade head$",
        )
        cli.follow(backend, remedy, url)
        cli.succeeds(backend, *words, url=url)


def test_the_models_and_the_revisions_differ(
    cli: CommandLine, own: Path, new_database: NewDatabase
) -> None:
    url = new_database()
    cli.succeeds(own, "upgrade", "head", url=url)
    (own / "app" / "models" / "thing.py").write_text(
        "from sqlalchemy.orm import Mapped, mapped_column\n"
        "from app.core.database import Base\n\n\n"
        "class Thing(Base):\n"
        '    __tablename__ = "things"\n\n'
        "    id: Mapped[int] = mapped_column(primary_key=True)\n"
    )
    remedy = cli.fails(
        own,
        "check",
        url=url,
        code=ExitCode.DRIFT,
        error="the models and the revisions differ: add_table things$",
        remedy='^Next:  alembic revision --autogenerate -m "what changed"$',
    )
    cli.follow(own, remedy, url)
    cli.succeeds(own, "upgrade", "head", url=url)
    cli.succeeds(own, "check", url=url)


# --- code ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("import no_such_package\n", r"No module named 'no_such_package' \(.*, line 2\)"),
        ("from app.core.database import Bas\n", r"cannot import name 'Bas' .*\(.*, line 2\)"),
        ("class Broken(Base):\n", r"(SyntaxError|IndentationError): .* \(.*, line 2\)"),
        ("x: Mapped[int]\n", r"NameError: .* in .*, line 2"),
    ],
)
def test_a_model_that_cannot_be_imported(
    cli: CommandLine, own: Path, new_database: NewDatabase, code: str, error: str
) -> None:
    url = new_database()
    cli.succeeds(own, "upgrade", "head", url=url)
    (own / "app" / "models" / "broken.py").write_text(f"# A comment.\n{code}")
    cli.fails(
        own,
        "check",
        url=url,
        code=ExitCode.USAGE,
        error=error.replace(".*, line", "app/models/broken.py, line"),
        remedy="mend that line",
    )


def test_a_config_that_cannot_be_imported(cli: CommandLine, own: Path, url: URL) -> None:
    config = own / "app" / "core" / "config.py"
    config.write_text("import no_such_package\n" + config.read_text())
    cli.fails(
        own,
        "upgrade",
        "head",
        url=url,
        code=ExitCode.USAGE,
        error=r"No module named 'no_such_package' \(app/core/config\.py, line 1\)",
        remedy="mend that line; for a missing package: add it to pyproject.toml",
    )


def test_a_syntax_error_in_a_revision(cli: CommandLine, own: Path, url: URL) -> None:
    file = write_revision(own, "broken", "op.execute('SELECT 1'")
    cli.fails(
        own,
        "upgrade",
        "head",
        url=url,
        code=ExitCode.USAGE,
        error=rf"SyntaxError: .* \(alembic/versions/{file.name}, line 12\)",
        remedy="mend that line",
    )


def test_a_statement_that_the_server_refuses(
    cli: CommandLine, own: Path, new_database: NewDatabase
) -> None:
    url = new_database()
    good = 'op.execute("CREATE TABLE kept (id int)")'
    write_revision(own, "good", good)
    file = write_revision(own, "bad", 'op.execute("ALTER TABLE lost ADD x int")', "good")
    cli.fails(
        own,
        "upgrade",
        "head",
        url=url,
        code=ExitCode.FAILED,
        error=rf'relation "lost" does not exist in alembic/versions/{file.name}, line 12; '
        "the statement: ALTER TABLE lost ADD x int",
        remedy="mend the revision, then alembic upgrade head; earlier revisions are kept",
    )
    assert execute(url, "SELECT version_num FROM alembic_version") == [("good",)]
    file.write_text(file.read_text().replace("ALTER TABLE lost", "ALTER TABLE kept"))
    cli.succeeds(own, "upgrade", "head", url=url)


def test_a_downgrade_that_fails_is_not_answered_by_an_upgrade(
    cli: CommandLine, own: Path, new_database: NewDatabase
) -> None:
    url = new_database()
    file = write_revision(own, "bad", "pass")
    text = file.read_text()
    file.write_text(text[: text.rindex("pass")] + 'op.execute("ALTER TABLE lost ADD x int")\n')
    cli.succeeds(own, "upgrade", "head", url=url)
    cli.fails(
        own,
        "downgrade",
        "base",
        url=url,
        code=ExitCode.FAILED,
        error='relation "lost" does not exist',
        remedy="mend the revision, then alembic downgrade <revision>; earlier revisions are kept",
    )


def test_an_exception_in_a_revision(cli: CommandLine, own: Path, url: URL) -> None:
    file = write_revision(own, "bad", "raise ZeroDivisionError('by zero')")
    cli.fails(
        own,
        "upgrade",
        "head",
        url=url,
        code=ExitCode.FAILED,
        error=rf"ZeroDivisionError: by zero in alembic/versions/{file.name}, line 12",
        remedy=r"'alembic --raiseerr \.\.\.'",
    )


# --- how it is said ------------------------------------------------------------------------------


def test_a_traceback_is_shown_on_request_and_holds_no_password(
    cli: CommandLine, backend: Path, url: URL
) -> None:
    for program in PROGRAMS:
        env = environment(url.set(password=PASSWORD))
        done = cli.run(backend, "--raiseerr", "upgrade", "head", program=program, env=env)
        assert done.returncode == 1
        assert "Traceback (most recent call last)" in done.stderr
        assert PASSWORD not in done.stdout + done.stderr


def test_the_next_command_is_the_one_that_was_typed(
    cli: CommandLine, backend: Path, new_database: NewDatabase
) -> None:
    cli.fails(
        backend,
        "current",
        "--check-heads",
        url=new_database(),
        code=ExitCode.PENDING,
        error="not at this code's head",
        remedy="^Next:  docker compose run --rm migrate upgrade head$",
        variables={"MIGRATE_COMMAND": "docker compose run --rm migrate"},
    )


def test_a_misspelt_command_is_refused_with_the_usage(cli: CommandLine, backend: Path) -> None:
    for program in PROGRAMS:
        done = cli.run(backend, "upgarde", program=program, env=environment())
        assert done.returncode == ExitCode.USAGE
        assert "invalid choice: 'upgarde'" in done.stderr
        assert "Traceback" not in done.stderr

"""Everything that goes wrong and is explained: one table, for test_errors.py to play.

A situation is a row of the guide, what the cause and the remedy say, and how to bring it about.
"""

# ruff: noqa: S106, S608

import socket
import threading
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg2
from sqlalchemy import URL

from tests._kit.support import execute, free_port
from tests.migrate.faults import KeptServer
from tests.migrate.service import Service
from tests.migrate.table import PASSWORD


@dataclass
class Stage:
    """A service whose role `shop` owns its database, and the server, which may be harmed."""

    service: Service
    server: KeptServer


class Made(AbstractContextManager[None]):
    """What a generator does before its yield, and after it, even if the block in between failed."""

    def __init__(self, steps: Generator[None]) -> None:
        self.steps = steps

    def __enter__(self) -> None:
        next(self.steps)

    def __exit__(self, *error: object) -> None:
        next(self.steps, None)


How = Callable[[Stage], Made]


def made(steps: Callable[[Stage], Generator[None]]) -> How:
    """The generator as a context manager."""
    return lambda stage: Made(steps(stage))


class Situation:
    """See the module.

    Args:
        row: the guide's, by its situation.
        cause: a pattern of the first line.
        remedy: a pattern of the second.
        how: what brings it about, in this order, and ends it.
        args: of the command that fails; empty if no command is tried.
        ask: a statement that fails on both drivers; `ready` asks for the readiness of the schema.
        follow: whether the row's commands end it, rather than the end of `how`.
    """

    def __init__(
        self,
        row: str,
        cause: str,
        remedy: str,
        *how: How,
        args: str = "upgrade head",
        ask: str = "",
        follow: bool = False,
    ) -> None:
        self.row, self.cause, self.remedy, self.how = row, cause, remedy, how
        self.args, self.ask, self.follow = args.split(), ask, follow

    def __str__(self) -> str:
        """Its name among the tests."""
        return f"{self.row}: {self.cause} {' '.join(self.args)}"


# --- how to bring it about -----------------------------------------------------------------------


def url(**parts: Any) -> How:
    """Another URL: password, host, port, database, or a query."""

    @made
    def how(stage: Stage) -> Generator[None]:
        right, stage.service.url = stage.service.url, stage.service.url.set(**parts)
        yield
        stage.service.url = right

    return how


@made
def no_password(stage: Stage) -> Generator[None]:
    """No password at all, which URL.set cannot say."""
    right = stage.service.url
    stage.service.url = URL.create(
        "postgresql", right.username, None, right.host, right.port, right.database
    )
    yield
    stage.service.url = right


def given(**variables: str) -> How:
    """Variables of the environment."""

    @made
    def how(stage: Stage) -> Generator[None]:
        stage.service.variables.update(variables)
        yield
        stage.service.variables.clear()

    return how


def sql(wrong: str, right: str) -> How:
    """A statement of the server's administrator in our database, and the one that reverts it."""

    @made
    def how(stage: Stage) -> Generator[None]:
        database = stage.server.url.set(database="shop")
        execute(database, wrong)
        yield
        execute(database, right)

    return how


def rows(*versions: str, column: str = "version_num varchar(32) NOT NULL") -> How:
    """An alembic_version that was made by hand."""
    table = [f"CREATE TABLE alembic_version ({column}); ALTER TABLE alembic_version OWNER TO shop"]
    table += [f"INSERT INTO alembic_version SELECT '{version}'" for version in versions]
    return sql("; ".join(table), "DROP TABLE alembic_version")


def revision(
    upgrade: str = "pass", downgrade: str = "pass", name: str = "wrong", parent: Any = "baseline"
) -> How:
    """A revision; afterwards it does nothing."""

    @made
    def how(stage: Stage) -> Generator[None]:
        stage.service.head = parent
        path = stage.service.add(name, upgrade, downgrade)
        yield
        if path.exists():
            head = path.read_text("utf-8").partition("def upgrade")[0]
            path.write_text(f"{head}def upgrade(): ...\ndef downgrade(): ...\n")

    return how


@made
def long_id(stage: Stage) -> Generator[None]:
    """A revision whose id does not fit; afterwards there is none."""
    path = stage.service.add("i" * 36, "pass")
    yield
    path.unlink()


def statement(text: str) -> How:
    """A revision that is one statement."""
    return revision(f"op.execute({text!r})")


def migrated(args: str = "upgrade head") -> How:
    """A migration that went well."""

    @made
    def how(stage: Stage) -> Generator[None]:
        done = stage.service.migrate(*args.split())
        assert done.returncode == 0, done
        yield

    return how


def file(name: str, old: str, new: str) -> How:
    """A file of the backend with `new` in the place of `old`."""

    @made
    def how(stage: Stage) -> Generator[None]:
        path = next(iter(stage.service.backend.glob(name)), stage.service.backend / name)
        right = path.read_text("utf-8") if path.exists() else None
        path.write_text((right or old).replace(old, new, 1))
        yield
        path.unlink() if right is None else path.write_text(right)

    return how


@made
def latin_1(stage: Stage) -> Generator[None]:
    """An .env that is not UTF-8; docker-compose.yml marks the folder where it is looked for."""
    root = stage.service.backend.parent
    files = {
        root / "docker-compose.yml": b"",
        root / ".env": "POSTGRES_USER=müller".encode("latin-1"),
    }
    for path, content in files.items():
        path.write_bytes(content)
    yield
    for path in files:
        path.unlink()


def away(name: str) -> How:
    """The revision of that name is no longer there."""

    @made
    def how(stage: Stage) -> Generator[None]:
        [path] = stage.service.versions.glob(f"*_{name}_*")
        moved = path.rename(stage.service.backend / path.name)
        yield
        moved.rename(path)

    return how


def session(text: str, number: int = 1) -> How:
    """Sessions of somebody else's that have run a statement; too many are as many as fit."""

    @made
    def how(stage: Stage) -> Generator[None]:
        with ExitStack() as stack:
            for _ in range(number):
                try:
                    stack.enter_context(connected(stage.service.url, text))
                except psycopg2.OperationalError:
                    break
            yield

    return how


@contextmanager
def connected(url: URL, text: str = "SELECT 1") -> Generator[Any]:
    """One of them."""
    dsn = url.render_as_string(hide_password=False)
    connection = psycopg2.connect(dsn, application_name="somebody else")
    try:
        with connection.cursor() as cursor:
            cursor.execute(text)
        yield connection
    finally:
        connection.close()


def nobody_listens(port: int) -> How:
    """A port that is free; 0 is any."""

    @made
    def how(stage: Stage) -> Generator[None]:
        with url(host="127.0.0.1", port=port or free_port())(stage):
            yield

    return how


@made
def stopped(stage: Stage) -> Generator[None]:
    """The server does not run."""
    stage.server.stop()
    yield
    stage.server.start()


def hba(rules: str) -> How:
    """Another pg_hba.conf."""

    @made
    def how(stage: Stage) -> Generator[None]:
        right = (stage.server.data / "pg_hba.conf").read_text()
        stage.server.allow(rules)
        yield
        stage.server.allow(right)

    return how


def answering(message: str = "", state: str = "") -> How:
    """A port at which every connection gets this error, as PostgreSQL sends it, or is closed."""

    @made
    def how(stage: Stage) -> Generator[None]:
        with _answering(message, state) as port, url(host="127.0.0.1", port=port)(stage):
            yield

    return how


@contextmanager
def _answering(message: str, state: str) -> Generator[int]:
    fields = b"".join(
        kind + value.encode() + b"\0"
        for kind, value in [(b"S", "FATAL"), (b"V", "FATAL"), (b"C", state), (b"M", message)]
    )
    packet = b"E" + (len(fields) + 5).to_bytes(4, "big") + fields + b"\0" if message else b""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            while True:
                try:
                    client, _ = server.accept()
                except OSError:
                    return
                with client:
                    while message and (request := client.recv(4096)):
                        if int.from_bytes(request[4:8], "big") in (80877103, 80877104):
                            client.sendall(b"N")  # no TLS, no GSS
                            continue
                        client.sendall(packet)
                        break

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
    thread.join()


# --- the table -----------------------------------------------------------------------------------

FIVE = {
    "DATABASE_URL": "",
    "POSTGRES_USER": "me",
    "POSTGRES_PASSWORD": PASSWORD,
    "POSTGRES_DB": "x",
}
SET = "set it in the environment or in .env"
LOCK = int.from_bytes(b"alembic", "big")
THING = """\
from sqlalchemy.orm import Mapped, mapped_column
from app.core.database import Base


class Thing(Base):
    __tablename__ = "things"

    id: Mapped[int] = mapped_column(primary_key=True)
"""
MODEL = "app/models/thing.py"
COMPOSE = "docker compose run --rm migrate"
SAME = "run the same command again"


def _settings(cause: str, **variables: str) -> Situation:
    return Situation("a setting is missing or wrong", cause, SET, given(**FIVE | variables))


def _option(cause: str, **parts: Any) -> Situation:
    return Situation(
        "an unknown option in the URL", cause, "fix the options in DATABASE_URL", url(**parts)
    )


def _import(
    cause: str, *how: How, args: str = "check", remedy: str = "fix that line$"
) -> Situation:
    return Situation("a model or a revision cannot be imported", cause, remedy, *how, args=args)


def _models(said: str, *columns: str) -> Situation:
    names = "from sqlalchemy import Enum, ForeignKey"
    text = "\n    ".join([f"{names}\n{THING}", *columns, ""])
    return Situation(
        "the models contradict themselves",
        said,
        "fix the model",
        migrated(),
        file(MODEL, "", text),
        args="check",
    )


def _not_ready(state: str) -> Situation:
    message = f"the database system is in {state}"
    return Situation(
        "the server starts or stops",
        state,
        "wait a moment",
        answering(message, "57P03"),
        ask="ready",
    )


def _unreadable(cause: str, old: str, new: str) -> Situation:
    return Situation(
        "Alembic cannot read a revision, or finds none",
        rf"^alembic/versions/.*_wrong_made_by_a_test.py: {cause}",
        "fix that file: upgrade and downgrade are functions",
        revision(),
        file("alembic/versions/*_wrong_*", old, new),
    )


def _loses(upgrade: str, cause: str) -> Situation:
    upgrade = f"op.execute('CREATE TABLE lost ()')\n{upgrade}"
    return Situation("a revision loses what it did", cause, "begin_nested", revision(upgrade))


def _fails(cause: str, ask: str) -> Situation:
    return Situation("a revision fails", cause, "", args="", ask=ask)


SITUATIONS = [
    # 2: arguments, settings, code
    _settings("POSTGRES_USER, POSTGRES_PASSWORD, POSTGRES_DB not set", **dict.fromkeys(FIVE, "")),
    _settings("POSTGRES_PORT: ", POSTGRES_PORT=PASSWORD),
    _settings("DATABASE_URL is not of the form", DATABASE_URL=f"me:{PASSWORD}@localhost/shop"),
    _settings("not UTF-8", POSTGRES_HOST="127.0.0.1", POSTGRES_PASSWORD="x\udcff"),
    Situation(
        "a setting is missing or wrong",
        "_FILE cannot be read: /no/such: No such file",
        "write that file",
        given(**FIVE | {"POSTGRES_PASSWORD_FILE": "/no/such", "POSTGRES_PASSWORD": ""}),
    ),
    _settings("MIGRATION_LOCK_WAIT: ", POSTGRES_HOST="127.0.0.1", MIGRATION_LOCK_WAIT="x"),
    Situation(
        "a setting is missing or wrong",
        "DATABASE_URL has schema, which the drivers of this service cannot follow",
        SET,
        url(query={"schema": "public"}),
    ),
    Situation(
        "a setting is missing or wrong",
        r"invalid settings: \.env: 'utf-8' codec can't decode",
        r"save \.env as UTF-8, readable by this user",
        latin_1,
        args="current",
    ),
    Situation(
        "a setting is missing or wrong",
        'error parsing value for field "origins"',
        SET,
        file("app/core/config.py", "line.\n", "line.\n    origins: list[str] = []\n"),
        given(ORIGINS="shop.example"),
        args="current",
    ),
    _option('invalid target_session_attrs value: "x"', query={"target_session_attrs": "x"}),
    _option('invalid port number: "99999"', port=99999),
    _option("argument for server process: endpoint=x", query={"options": "endpoint=x"}),
    _option('unrecognized configuration parameter "bogus"', query={"options": "-c bogus=1"}),
    _option('invalid value for parameter "work_mem"', query={"options": "-c work_mem=huge"}),
    _option('parameter "max_connections" cannot be', query={"options": "-c max_connections=5"}),
    Situation(
        "`downgrade -1` after a merge",
        "joined has several parents",
        "^python -m app.migrate downgrade left or python -m app.migrate downgrade right$",
        revision(name="left"),
        revision(name="right"),
        revision(name="joined", parent=("left", "right")),
        migrated(),
        args="downgrade -1",
    ),
    _import(
        rf"No module named 'nowhere' \({MODEL}, line 1\)",
        file(MODEL, THING, f"import nowhere\n{THING}"),
        remedy="missing package: add it to pyproject.toml and the locks, then install it",
    ),
    _import(
        "No module named 'nowhere'",
        file(MODEL, THING, f"import nowhere\n{THING}"),
        given(MIGRATE_COMMAND=COMPOSE),
        remedy="the locks, then docker compose build",
    ),
    _import(
        rf"cannot import name 'Bas' .*\({MODEL}, line 2\)",
        file(MODEL, THING, THING.replace("Base", "Bas", 1)),
    ),
    _import(
        rf"SyntaxError: .* \({MODEL}, line 2\)",
        file(MODEL, THING, "# Nothing.\nclass Thing(Base:\n"),
    ),
    _import(
        f"NameError: .* in {MODEL}, line 2", file(MODEL, THING, "# Nothing.\nx: Mapped[int]\n")
    ),
    _models(
        "could not find table 'nowhere'",
        'of: Mapped[int] = mapped_column(ForeignKey("nowhere.id"))',
    ),
    _models(
        r"two enums are named kind: \['a', 'b'\] and \['a', 'c'\]",
        'one: Mapped[str] = mapped_column(Enum("a", "b", name="kind"))',
        'other: Mapped[str] = mapped_column(Enum("a", "c", name="kind"))',
    ),
    _import(
        r"No module named 'nowhere' \(app/core/config.py, line 1\)",
        file("app/core/config.py", "", "import nowhere\n"),
        args="upgrade head",
        remedy="missing package",
    ),
    _import(
        r"SyntaxError: .* \(alembic/versions/.*_wrong_.*, line 15\)",
        revision("op.execute('SELECT 1'"),
        args="upgrade head",
    ),
    # 3: another migration
    Situation(
        "another migration runs",
        r"held the lock for 0 s: pid \d+ \(somebody else\)",
        "wait for it, .*set MIGRATION_LOCK_WAIT",
        session(f"SELECT pg_advisory_lock({LOCK}) /* PASSWORD '{PASSWORD}' */"),
        given(MIGRATION_LOCK_WAIT="0.2"),
    ),
    # 4: the server cannot be reached
    *(
        Situation(
            "the server does not run",
            r"connection refused \(PostgreSQL",
            "start the server",
            nobody_listens(port),
            ask="ready",
        )
        for port in (0, 28000, 53300)  # two SQLSTATEs have these numbers
    ),
    Situation(
        "the server does not run",
        "connection refused",
        "without Docker: python -m testing$",
        stopped,
    ),
    Situation(
        "the server does not run",
        "connection refused",
        "start the server: docker compose up --wait postgres$",
        stopped,
        given(MIGRATE_COMMAND=COMPOSE),
    ),
    *map(_not_ready, ("starting up", "shutting down", "recovery mode")),
    Situation(
        "an unknown host name",
        "could not translate host name",
        "check POSTGRES_HOST",
        url(host="no-such-host.invalid"),
        ask="ready",
    ),
    Situation(
        "an unknown host name",
        "could not translate host name",
        "docker compose up --wait postgres$",
        url(host="no-such-host.invalid"),
        given(MIGRATE_COMMAND=COMPOSE),
    ),
    Situation(
        "too many connections",
        "too many connections",
        "max_connections",
        sql("ALTER ROLE shop CONNECTION LIMIT 1", "ALTER ROLE shop CONNECTION LIMIT -1"),
        session("SELECT 1"),
        ask="ready",
    ),
    # The message of a full server differs from that of a full role.
    Situation(
        "too many connections",
        "too many connections",
        "max_connections",
        session("SELECT 1", 999),
        ask="ready",
    ),
    Situation("the connection breaks", "connection lost", "check the network", answering()),
    Situation(
        "the connection breaks",
        "connection lost",
        SAME,
        args="",
        ask="SELECT pg_terminate_backend(pg_backend_pid())",
    ),
    # 5: the server refuses
    Situation(
        "a wrong password",
        r"failed for user shop \(PostgreSQL",
        "check POSTGRES_PASSWORD",
        url(password=f"{PASSWORD}!"),
        ask="ready",
    ),
    Situation(
        "a wrong password",
        "failed for user stranger",
        "check POSTGRES_PASSWORD",
        url(username="stranger"),
        ask="ready",
    ),
    Situation(
        "a wrong password",
        "failed for user shop",
        "the server's volume keeps the first one",
        url(password=f"{PASSWORD}!"),
        given(MIGRATE_COMMAND=COMPOSE),
    ),
    Situation(
        "no password", "requires a password", "set POSTGRES_PASSWORD", no_password, args="current"
    ),
    Situation(
        "an unknown database",
        "database nowhere does not exist",
        "check POSTGRES_DB",
        url(database="nowhere"),
        ask="ready",
    ),
    Situation(
        "a user who may not log in",
        "shop",
        "check POSTGRES_USER",
        sql("ALTER ROLE shop NOLOGIN", "ALTER ROLE shop LOGIN"),
        ask="ready",
    ),
    Situation(
        "a user who may not log in",
        'permission denied for database "shop"',
        "check POSTGRES_USER",
        sql(
            "REVOKE CONNECT ON DATABASE shop FROM PUBLIC, shop",
            "GRANT CONNECT ON DATABASE shop TO PUBLIC, shop",
        ),
        ask="ready",
    ),
    Situation(
        "a user who may not log in",
        "template0",
        "check POSTGRES_USER",
        url(database="template0"),
        ask="ready",
    ),
    Situation(
        "a user who may not log in",
        "no pg_hba.conf entry for host .127.0.0.1.",
        "check POSTGRES_USER",
        hba("host postgres all 127.0.0.1/32 scram-sha-256\n"),
        ask="ready",
    ),
    Situation(
        "a role that does not own the schema",
        "permission denied for schema public",
        "grant the privilege, or set MIGRATION_DATABASE_URL",
        sql(
            "ALTER SCHEMA public OWNER TO postgres; GRANT USAGE ON SCHEMA public TO shop",
            "ALTER SCHEMA public OWNER TO shop",
        ),
        ask="CREATE TABLE mine ()",
    ),
    Situation(
        "a standby, or a read-only role",
        "read-only",
        "SET default_transaction_read_only = off",
        sql(
            "ALTER ROLE shop SET default_transaction_read_only = on",
            "ALTER ROLE shop RESET default_transaction_read_only",
        ),
        ask="CREATE TABLE t ()",
    ),
    Situation(
        "TLS is required, and the server has none",
        "failed: server does not support SSL, but SSL was required|rejected SSL upgrade",
        "check sslmode",
        url(query={"sslmode": "require"}),
        ask="ready",
    ),
    # 6, 7, 8: revisions and models
    Situation(
        "`upgrade +<n>` or `downgrade -<n>` at the end of the revisions",
        r"didn't produce 1 migrations: fewer are left, or there are several heads$",
        "^python -m app.migrate history --indicate-current$",
        migrated(),
        args="upgrade +1",
    ),
    *(
        Situation(
            "the database is behind the code",
            "not at this code's head",
            "^python -m app.migrate upgrade head$",
            args=args,
            follow=True,
        )
        for args in ("check", "revision --autogenerate -m x", "current --check-heads")
    ),
    Situation(
        "the database is behind the code",
        "not at this code's head",
        f"^{COMPOSE} upgrade head$",
        given(MIGRATE_COMMAND=COMPOSE),
        args="check",
    ),
    Situation(
        "`check`, and the models have changed",
        "no revision contains: add_table things$",
        '^python -m app.migrate revision --autogenerate -m "what changed"$',
        migrated(),
        file(MODEL, THING, THING),
        args="check",
        follow=True,
    ),
    *(
        Situation(
            "two branches added a revision each",
            "several heads",
            "^python -m app.migrate merge heads -m merge$",
            migrated("upgrade baseline"),
            revision(name="left"),
            revision(name="right"),
            args=args,
            follow=True,
        )
        for args in ("upgrade head", "check", "current --check-heads")
    ),
    Situation(
        "the database is newer than the code, or of another branch",
        "revision newer in alembic/versions: the database is newer",
        r"git log --all -- '\*newer\*'.* migrate history|app.migrate history",
        revision(name="newer"),
        migrated(),
        away("newer"),
    ),
    Situation(
        "the database is newer than the code, or of another branch",
        "revision newer",
        "history",
        revision(name="newer"),
        migrated(),
        away("newer"),
        args="downgrade base",
    ),
    Situation(
        "the database is newer than the code, or of another branch",
        "can't locate revision 0ff",
        "history",
        args="upgrade 0ff",
    ),
    Situation(
        "a squash has replaced the revision that the database is at",
        r"revision 0ff is older than this code: alembic/versions/\S+_baseline_\S+ has replaced it",
        "with the last release before that file",
        file(
            "alembic/versions/*_baseline_*",
            "\ndef upgrade",
            "\n# squashed: versions/x.py 0ff 1 2\ndef upgrade",
        ),
        rows("0ff"),
    ),
    *(
        Situation(
            "an earlier `env.py` recorded them in a table of another name or schema",
            f"{table} has recorded these revisions, and there is no alembic_version",
            rf"^ALTER TABLE {table} RENAME TO alembic_version .* stamp base$",
            sql(
                f"{made} CREATE TABLE {table} (version_num varchar(32));"
                f" INSERT INTO {table} VALUES ('baseline'); GRANT SELECT ON {table} TO shop",
                end,
            ),
        )
        for table, made, end in [
            ("versions_of_it", "", "DROP TABLE versions_of_it"),
            (
                "ops.alembic_version",
                "CREATE TABLE items (); CREATE SCHEMA ops; GRANT USAGE ON SCHEMA ops TO shop;",
                "DROP TABLE items; DROP SCHEMA ops CASCADE",
            ),
        ]
    ),
    Situation(
        "a revision's parent is missing",
        "_orphan_made_by_a_test.py: its down_revision 'lost' does not exist",
        "fix down_revision in that file, or restore",
        revision(name="lost"),
        revision(name="orphan", parent="lost"),
        revision(name="younger", parent="orphan"),
        away("lost"),
    ),
    *(
        Situation(
            "revisions come after each other in a circle",
            cause,
            "fix revision, down_revision or depends_on",
            revision(name="one"),
            revision(name="two", parent="one"),
            file("alembic/versions/*_one_*", "'baseline'", parent),
        )
        for parent, cause in [
            ("'one'", r"Self-loop is detected in revisions \(one\)"),
            ("'two'", r"Cycle is detected in revisions \("),
        ]
    ),
    *(
        Situation(
            "a row of `alembic_version` was written by hand",
            cause,
            r"then python -m app.migrate stamp --purge <revision>$",
            revision(name="one"),
            rows(*versions),
            args=args,
        )
        for versions, args, cause in [
            (("baseline", "one"), "upgrade head", "row: baseline, and one which comes after it$"),
            (("baseline", "baseline"), "upgrade head", "row: baseline, 2 times$"),
            (("",), "upgrade head", "row: an empty one, or the command's$"),
            (("baseline", ""), "downgrade base", "row: an empty one, or the command's$"),
        ]
    ),
    Situation(
        "a row of `alembic_version` was written by hand",
        "row: an empty one$",
        r"then python -m app.migrate stamp --purge <revision>$",
        sql(
            "CREATE TABLE alembic_version (version_num) AS SELECT CAST(NULL AS text);"
            " ALTER TABLE alembic_version OWNER TO shop",
            "DROP TABLE alembic_version",
        ),
    ),
    _unreadable("TypeError: 'int' object", "revision = 'wrong'", "revision = 5"),
    _unreadable("TypeError: .* found$", "'baseline'", "5"),
    _unreadable("AttributeError: .* no attribute 'down_revision'", "down_revision", "down"),
    _unreadable("AttributeError: .* no attribute 'upgrade'", "def upgrade", "def up"),
    Situation(
        "Alembic cannot read a revision, or finds none",
        "_made_by_a_test.py: UserWarning: Revision one is present more than once",
        "fix that file",
        revision(name="one"),
        revision(name="two", parent="one"),
        revision(parent="two"),
        file("alembic/versions/*_wrong_*", "= 'wrong'", "= 'one'"),
    ),
    Situation(
        "Alembic cannot read a revision, or finds none",
        "'one' in revision one already used by revision wrong|'one' in revision wrong already used",
        "branch_labels",
        revision(name="one"),
        revision(parent="one"),
        file("alembic/versions/*_wrong_*", "branch_labels = None", "branch_labels = 'one'"),
    ),
    *(
        Situation(
            "Alembic cannot read a revision, or finds none",
            f"_wrong_made_by_a_test.py: {cause}",
            "fix that file: upgrade and downgrade are functions",
            revision(),
            file("alembic/versions/*_wrong_*", old, new),
        )
        for cause, old, new in [
            ("a function that is async or has a yield does not run", "    pass", "    yield"),
            (r"upgrade\(\) missing 1 required positional argument", "upgrade(", "upgrade(name"),
        ]
    ),
    Situation(
        "Alembic cannot read a revision, or finds none",
        "Could not determine revision id from filename .*_wrong_",
        "fix revision, down_revision",
        revision(),
        file("alembic/versions/*_wrong_*", "revision = 'wrong'", "pass"),
    ),
    Situation(
        "a revision's parent is missing",
        "_wrong_made_by_a_test.py: its depends_on 'gone' does not exist",
        "fix depends_on in that file, or restore",
        revision(),
        file("alembic/versions/*_wrong_*", "depends_on = None", "depends_on = 'gone'"),
    ),
    *(
        Situation(
            "Alembic cannot read a revision, or finds none",
            f"a revision cannot have the id {shown}$",
            "write another one there",
            revision(),
            file("alembic/versions/*_wrong_*", "revision = 'wrong'", f"revision = {name!r}"),
        )
        for name, shown in [
            ("base", "base"),
            ("head", "'head'"),
            ("", "''"),
            ("a\x1bb", r"'a\\x1bb'"),
        ]
    ),
    Situation(
        "Alembic cannot read a revision, or finds none",
        "there are no revisions in alembic/versions",
        "restore its files from git",
        away("baseline"),
    ),
    # 9, 10: a revision fails
    _loses("op.get_bind().rollback()", "_wrong_.* rolled back its transaction"),
    _loses("op.execute('SELECT 1; ROLLBACK')", "_wrong_.* rolled back its transaction"),
    _loses("op.execute('rollback')", "_wrong_.* rolled back its transaction"),
    _loses("op.get_bind().close()", "_wrong_.* closed its connection"),
    *(
        _loses(
            f"driver = op.get_bind().connection.driver_connection\n{way}", "_wrong_.* rolled back"
        )
        for way in ("driver.rollback()", "driver.cursor().execute('ROLLBACK')", "driver.close()")
    ),
    _loses("op.get_bind().detach()", "_wrong_.* closed its connection"),
    _loses(
        "try:\n    op.execute('SELEC')\nexcept Exception:\n    op.get_bind().rollback()",
        "_wrong_.* rolled back its transaction",
    ),
    _loses(
        "try:\n    op.execute('SELEC')\nexcept Exception:\n    pass",
        "_wrong_.* went on after a statement had failed",
    ),
    Situation(
        "an extension is missing",
        'extension "nowhere" is not available in alembic/versions/',
        "install it on this server, .* run CREATE EXTENSION there; then run the same",
        statement("CREATE EXTENSION nowhere"),
    ),
    *(
        Situation(
            "a revision fails",
            "--sql has no database to read: .* in alembic/versions/.*, line 1[5-9]",
            "^run the command without --sql, or .* upgrade <revision>:<revision> --sql$",
            revision(text),
            args="upgrade head --sql",
        )
        for text in (
            "op.get_bind().execute(sa.text('SELECT 1')).scalar()",
            "for _ in op.get_bind().exec_driver_sql('SELECT 1'): ...",
            "from app.migrate.backfill import backfill\n"
            "with op.get_context().autocommit_block():\n"
            "    backfill(op.get_bind(), 't', 'x = 1', 'true')",
        )
    ),
    *(
        Situation(
            "a revision fails",
            f"a % in the text of a statement is taken for a parameter .*{cause}",
            r"double it \(%%\), or use op.execute\(\)",
            revision(f"op.get_bind().exec_driver_sql({text!r}, {parameters})"),
        )
        for text, parameters, cause in [
            ("SELECT 'a%b', %s", (1,), "IndexError"),
            ("SELECT '%(x)s', %(y)s", {"y": 1}, "KeyError"),
        ]
    ),
    *(
        Situation(
            "a revision fails",
            f"{raised}.* in alembic/versions/.*, line 1[5-9]",
            f"fix the revision, then {SAME}",
            revision(text),
        )
        for raised, text in [
            *((name, f"raise {name}") for name in ("KeyboardInterrupt", "RecursionError")),
            ("AssertionError", "assert False"),
            # What Alembic, the settings and the drivers raise too, of their own.
            ("CommandError: no", "from alembic.util import CommandError\nraise CommandError('no')"),
            ("TOMLDecodeError", "import tomllib\ntomllib.loads('x')"),
            (
                "ValidationError",
                "from pydantic import TypeAdapter as T\nT(int).validate_python('x')",
            ),
            ("ConnectionRefusedError", "raise ConnectionRefusedError('Connection refused')"),
            (
                'type "gone" does not exist',
                "op.get_bind().connection.cursor().execute('DROP TYPE gone')",
            ),
            (
                "server x",
                "op.execute(\"DO 'BEGIN RAISE ''server x'' USING errcode = ''08001''; END'\")",
            ),
            (
                "ProgrammingError.*parameters hidden",
                "op.get_bind().execute(sa.text('SELECT :x'), {'x': object()})",
            ),
        ]
    ),
    Situation(
        "a transaction that is serializable, or repeatable read, met another one",
        r"another transaction changed the same rows \(could not serialize",
        f"^{SAME}",
        given(MIGRATION_RETRY_WAIT="0"),
        statement("DO $$ BEGIN RAISE 'could not serialize' USING ERRCODE = '40001'; END $$"),
    ),
    Situation(
        "a revision fails",
        r"relation .lost. does not exist in alembic/versions/.*_wrong_made_by_a_test.py, line 15; "
        "the statement: ALTER TABLE lost ADD x int$",
        f"^fix the revision, then {SAME}; it continues after the last committed revision; ",
        statement("ALTER TABLE lost ADD x int"),
    ),
    Situation(
        "a revision fails",
        "ZeroDivisionError: by zero in alembic/versions/.*, line 15",
        r"'python -m app.migrate --raiseerr \.\.\.'",
        revision("raise ZeroDivisionError('by zero')"),
    ),
    Situation(
        "a revision fails",
        "relation .lost. does not exist",
        f"fix the revision, then {SAME}",
        revision(downgrade="op.execute('ALTER TABLE lost ADD x int')"),
        migrated(),
        args="downgrade base",
    ),
    Situation(
        "a revision fails",
        r"the statement: CREATE ROLE x PASSWORD '\*\*\*' NONSENSE",
        "fix the revision",
        statement(f"CREATE ROLE x PASSWORD '{PASSWORD}' NONSENSE"),
        ask=f"CREATE ROLE x PASSWORD '{PASSWORD}' NONSENSE",
    ),
    *(
        Situation(
            "a revision fails",
            rf"the statement: DO .*PASSWORD {shown}",
            "",
            statement(f"DO $$ BEGIN EXECUTE {text}; END $$"),
        )
        for text, shown in [
            (f"'CREATE ROLE x PASSWORD ''{PASSWORD}'' NONSENSE'", r"\*\*\* NONSENSE'; END"),
            (f"format('CREATE ROLE x PASSWORD %L NONSENSE', '{PASSWORD}')", r"%+L \*\*\*"),
            (
                f"'CREATE ROLE x PASSWORD ' || quote_literal('{PASSWORD}') || ' NONSENSE'",
                r"'\*\*\*'$",
            ),
        ]
    ),
    *(
        Situation(
            "a revision fails",
            f"SystemExit: {code} in alembic/versions/.*, line 15",
            f"fix the revision, then {SAME}",
            revision(f"raise SystemExit({code})"),
        )
        for code in (0, 3)
    ),
    _fails("syntax error", "SELEC 1"),
    _fails('relation "nothing" does not exist', "SELECT * FROM nothing"),
    _fails('column "missing" does not exist', "SELECT missing FROM pg_class"),
    _fails(
        "duplicate key", "CREATE TEMP TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1), (1)"
    ),
    _fails("check constraint", "CREATE DOMAIN d AS int CHECK (value < 10); SELECT 99::d"),
    _fails(
        "not-null constraint", "CREATE TEMP TABLE t (id int NOT NULL); INSERT INTO t VALUES (NULL)"
    ),
    _fails("too long", "CREATE TEMP TABLE t (x varchar(3)); INSERT INTO t VALUES ('abcd')"),
    _fails("division by zero", "SELECT 1 / 0"),
    _fails("invalid input syntax", "SELECT 'x'::int"),
    Situation(
        "an id of more than 32 characters",
        "its revision id has 36 characters, and alembic_version has room for 32",
        "shorten it",
        long_id,
    ),
    Situation(
        "a statement of Alembic's own fails",
        "no schema has been selected to create in; the statement: CREATE TABLE .*alembic_",
        "set search_path of this role",
        sql("ALTER ROLE shop SET search_path = nowhere", "ALTER ROLE shop RESET search_path"),
    ),
    Situation(
        "a statement of Alembic's own fails",
        "no tables today; the statement: CREATE TABLE .*alembic_",
        "event triggers",
        sql(
            "CREATE FUNCTION no() RETURNS event_trigger LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE 'no tables today'; END $$;"
            " CREATE EVENT TRIGGER no ON ddl_command_start EXECUTE FUNCTION no()",
            "DROP EVENT TRIGGER no; DROP FUNCTION no",
        ),
    ),
    Situation(
        "a statement of Alembic's own fails",
        "version_num does not exist; the statement: ",
        "not a revision's: check the columns",
        rows(column="version text"),
    ),
    Situation(
        "a statement of Alembic's own fails",
        "value too long .*; the statement: INSERT INTO alembic_version",
        r"version_num is varchar\(32\)",
        rows(column="version_num varchar(3) NOT NULL"),
    ),
    Situation(
        "`statement_timeout` or `pg_cancel_backend`",
        "due to statement timeout",
        f"lift it .*{SAME}",
        statement("SET LOCAL statement_timeout = 100; SELECT pg_sleep(9)"),
        ask="SET LOCAL statement_timeout = 100; SELECT pg_sleep(9)",
    ),
    Situation(
        "`statement_timeout` or `pg_cancel_backend`",
        "due to user request",
        f"someone cancelled .*{SAME}",
        statement("SELECT pg_cancel_backend(pg_backend_pid()), pg_sleep(9)"),
        ask="SELECT pg_cancel_backend(pg_backend_pid()), pg_sleep(9)",
    ),
]

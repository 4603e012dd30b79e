"""Nothing to do costs a connection: `upgrade head` leaves a proof, and the next run checks it.

A run that ended at head, with nothing to warn of, stores in the database a digest of all that
decides what Alembic would do. Where the next run computes the same digest, nothing is pending,
because a real run said so. In any doubt Alembic runs.

Imports only what psycopg2 imports too: Alembic and SQLAlchemy take ten times as long as all this.
"""
# ruff: noqa: PTH110, PTH112, PTH113, PTH120, PTH123, PTH208

import hashlib
import os
import re
import sys

from app.migrate.queries import HISTORY_TABLE, SQL

TYPE_CHECKING = False  # without importing typing
if TYPE_CHECKING:
    from typing import Any

    from sqlalchemy import Connection

    from app.migrate.record import Recorder

BACKEND = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
SECRETS = "/run/secrets"  # as in app/core/config.py
# SHA-256 of the files as the template ships them. Where one is edited, Alembic always runs.
SHIPPED = {
    "alembic/env.py": "5350baa19d66576007c097e0e50fa65ce89b6c2d37beae5bd467159c99ce1ea7",
    "app/core/config.py": "11f41a12e98925f3fe0d7b9971b7c10c3f46b29169843f06f2430f3bd47d1de1",
    "app/core/urls.toml": "b1cd1dcc6b41a42d38c8275bc921a9da9c10b89e7f559a0522d3514a4d68c0b7",
    "app/core/urls.py": "666635b040d8d249abc0c9fc261d644b2276877353bf0c80a4b61bbdbce9c29d",
}
MARK = "At head, as checked by runs with these digests:"  # the comment on HISTORY_TABLE
HEADS = ("head", "heads")
KEPT = 4  # digests: a host and a container have different packages

# Where the network is silent, Alembic's way is tried after five seconds: it waits longer.
_PATIENCE = "connect_timeout=5 keepalives_idle=2 keepalives_interval=1 keepalives_count=3 "
_PATIENCE += "tcp_user_timeout=5000"


def head_by_proof(arguments: list[str]) -> str | None:
    """The revision of a database at head; None where Alembic has to run with these arguments."""
    if arguments not in (["upgrade", head] for head in HEADS) or "ALEMBIC_CONFIG" in os.environ:
        return None
    import psycopg2

    try:
        texts = read_files()
        if not are_shipped(texts):
            return None
        connection = psycopg2.connect(_PATIENCE, **read_settings())
        connection.autocommit = True
        with connection.cursor() as cursor:
            # Before the rows: who gets the lock later has changed nothing.
            cursor.execute(f"SET lock_timeout = '2s'; {SQL['lock_holder']}")
            if cursor.fetchone():
                return None
            state = _State(cursor, arguments[1], digest_of(texts))
        told = connection.info.backend_pid  # a pooler tells another one than the server
        connection.close()
    except Exception:  # whatever it is: Alembic's way waits for it, or explains it
        return None
    proven = state.proof in state.comment.split() and told == state.pid and not state.leftovers
    return ", ".join(state.rows) if proven else None


def conclude(connection: "Connection", recorder: "Recorder") -> None:
    """After `upgrade head` has succeeded: say so if there was nothing to do, and store the proof.

    Where a program calls Alembic, neither: it has a standard output and settings of its own.
    """
    import json
    from contextlib import suppress

    import psycopg2

    config = recorder.context.config
    options = config.cmd_opts
    if options is None or options.cmd[0].__name__ != "upgrade" or options.revision not in HEADS:
        return
    driver: Any = connection.connection.driver_connection
    # A standby, or a role that does not own the table: there is no proof then.
    with suppress(OSError, psycopg2.Error), driver.cursor() as cursor:
        state = _State(cursor, options.revision, recorder.digest)
        if state.rows and not recorder.applied:
            config.print_stdout("The database is at head: %s", ", ".join(state.rows))
        elif os.environ.get("ENVIRONMENT") == "production":  # the image's
            heads = state.rows[0] if len(state.rows) == 1 else state.rows
            config.print_stdout("For pyproject.toml: released = %s", json.dumps(heads))
        proofs = state.comment.removeprefix(MARK).split()
        is_ours = not state.comment or state.comment.startswith(MARK)
        is_new = not (recorder.edited or state.leftovers or state.proof in proofs)
        if is_ours and is_new and _is_usual(recorder):
            comment = " ".join([MARK, state.proof, *proofs[: KEPT - 1]])
            cursor.execute(f"COMMENT ON TABLE {HISTORY_TABLE} IS %s", [comment])
            driver.commit()


class _State:
    """What the database says, and the proof that it should hold if nothing is pending."""

    def __init__(self, cursor: "Any", destination: str, digest: str) -> None:
        cursor.execute(f"{SQL['state']}, EXISTS ({SQL['leftovers']})")
        self.rows, table, last, self.comment, self.pid, self.leftovers = cursor.fetchone()
        text = "\0".join([digest, destination, table, str(last), *self.rows])
        self.proof = hashlib.sha256(text.encode()).hexdigest()[:32]


def are_shipped(texts: dict[str, bytes]) -> bool:
    """Whether these files are the template's, whatever their line endings."""
    known = {name: texts.get(name, b"").replace(b"\r\n", b"\n") for name in SHIPPED}
    return {name: hashlib.sha256(text).hexdigest() for name, text in known.items()} == SHIPPED


def read_files() -> dict[str, bytes]:
    """The code of ours that runs when Alembic does, by its name."""
    return {name: _read(f"{BACKEND}/{name}") for name in _files()}


def digest_of(texts: dict[str, bytes]) -> str:
    """Of that code by its text, and of the packages by their names."""
    digest = hashlib.sha256(sys.version.encode())
    for name, text in texts.items():
        digest.update(b"%s\0%d\0%s" % (os.fsencode(name), len(text), text))
    for folder in filter(os.path.isdir, _packages()):
        names = set(os.listdir(folder)) - {"__pycache__"}
        digest.update(os.fsencode("\0".join(sorted(names))))
    return digest.hexdigest()


def _files() -> list[str]:
    """Relative to BACKEND."""
    found = ["alembic.ini", "pyproject.toml", "app/__init__.py", "app/migrate/queries.sql"]
    found = [name for name in found if os.path.isfile(f"{BACKEND}/{name}")]
    folders = ["alembic", "app/core", "app/migrate"]
    for folder in folders:
        try:
            entries = [*os.scandir(f"{BACKEND}/{folder}")]  # they know what is a file
        except OSError:
            continue  # it is elsewhere, or may not be read
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                folders.append(f"{folder}/{entry.name}")
            elif entry.name.endswith((".py", "urls.toml")) and entry.is_file():
                found.append(f"{folder}/{entry.name}")
    return sorted(found)


def _packages() -> list[str]:
    return [folder for folder in sys.path if folder.endswith("-packages")]


def _is_usual(recorder: "Recorder") -> bool:
    """Whether the digest covers all that this run read: its settings, revisions and modules."""
    config, scripts, files = recorder.context.config, recorder.context.script, read_files()
    folders = "(?:.*/)?" if scripts.recursive_version_locations else ""
    revision = re.compile(rf"alembic/versions/{folders}(?!__init__|\.#)[^/]+")
    loaded = {_relative(script.path) for script in scripts.walk_revisions()}
    toml, ini = config.toml_file_name, config.config_file_name
    installed = (*_packages(), os.path.dirname(os.__file__))
    modules = [getattr(m, "__file__", None) for n, m in sys.modules.items() if n != "__main__"]
    own = {_relative(file) for file in modules if file and not file.startswith(installed)}
    return (
        (ini and _relative(ini), config.config_ini_section) == ("alembic.ini", "alembic")
        and (toml is None or not os.path.exists(toml) or _relative(toml) == "pyproject.toml")
        and not recorder.context.get_x_argument()
        and _relative(scripts.dir) == "alembic"
        and not (scripts.version_locations or scripts.sourceless)
        and loaded == set(filter(revision.fullmatch, files))  # none twice, none elsewhere
        and own <= set(files)
        and are_shipped(files)
        and recorder.digest == digest_of(files)  # nothing was edited meanwhile
    )


def _relative(path: "str | os.PathLike[str]") -> str:
    return os.path.realpath(path).removeprefix(BACKEND + os.sep).replace(os.sep, "/")


def _read(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:  # a fifth quicker, where there are a thousand
        return file.read()


# What follows finds the database as app/core/config.py does, where the texts leave no doubt.

_FIVE = {name: name.upper() for name in ("host", "port", "user", "password")} | {"dbname": "DB"}
_DEFAULTS = {"ENVIRONMENT": "development", "POSTGRES_HOST": "localhost", "POSTGRES_PORT": "5432"}
_OURS = re.compile(
    r"ENVIRONMENT|DATABASE_URL|(POSTGRES|MIGRATION)_\w+|POOL_SIZE|STATEMENT_TIMEOUT",
    re.ASCII | re.IGNORECASE,
)
_NUMBERS = re.compile("(MIGRATION|POOL|STATEMENT)_(?!DATABASE_URL$)")
# The settings refuse some of these.
_OF_LIBPQ = re.compile("PG(?!(HOST|PORT|USER|PASSWORD|DATABASE|OPTIONS)$)[A-Z]")
# Every reader of such a URL finds the same in it.
_URL = re.compile(
    r"""postgres(?:ql)?(?:\+\w+)?
    (://(?:[\w.~%-]+(?::[\w.~!$&'()*,;=+%\ -]*)?@)?[\w.-]+(?::\d+)?/[\w.~-]+)
    (\?(?!.*\b(\w+)=.*\b\3=)(?!.*\bssl(?:mode)?=.*\bssl(?:mode)?=)(?!.*=-)
        (?:&?(?:ssl|sslmode|application_name|connect_timeout|target_session_attrs)=[\w./:~-]+)+)?""",
    re.ASCII | re.VERBOSE,
)


def read_settings() -> "dict[str, Any]":
    """psycopg2's arguments.

    Raises:
        Exception: there is a doubt.
    """
    _sure(not any(map(_OF_LIBPQ.match, os.environ)))
    values = _DEFAULTS | _values()
    for name, value in values.items():
        is_number = re.fullmatch("[0-9]{1,6}", value) and (name != "POOL_SIZE" or int(value))
        _sure(name.isupper() and (is_number or not _NUMBERS.match(name)))
    port, url = values["POSTGRES_PORT"], values.get("DATABASE_URL")
    _sure(re.fullmatch("[1-9][0-9]{0,4}", port) and int(port) < 65536)
    if "POSTGRES_PASSWORD" not in values and (file := values.get("POSTGRES_PASSWORD_FILE")):
        values["POSTGRES_PASSWORD"] = _read(file).decode().rstrip("\r\n")
    five = {name: values.get(f"POSTGRES_{suffix}") for name, suffix in _FIVE.items()}
    _sure(url or all(five.values()))
    application = _parse(url) if url else five
    target = _parse(own) if (own := values.get("MIGRATION_DATABASE_URL")) else application
    environments = {"development", "production"}
    if "development-only" in {application.get("password"), target.get("password")}:
        environments.remove("production")
    _sure(values["ENVIRONMENT"] in environments)
    return target


def _values() -> dict[str, str]:
    """The variables that have a say: of secrets, then of `.env`, then of the environment."""
    found: dict[str, str] = {}
    for name in os.listdir(SECRETS) if os.path.isdir(SECRETS) else ():
        if _OURS.fullmatch(name):
            file, text = os.path.realpath(f"{SECRETS}/{name}"), _read(f"{SECRETS}/{name}").strip()
            _sure(text and file.startswith(os.path.realpath(SECRETS)) and name.upper() not in found)
            found[name.upper()] = text.decode("ascii")
    given: dict[str, str | None] = {}
    folder = f"{BACKEND}/app/core"
    while folder != os.path.dirname(folder) and not os.path.isfile(f"{folder}/docker-compose.yml"):
        folder = os.path.dirname(folder)
    if os.path.isfile(f"{folder}/.env"):
        from dotenv.main import dotenv_values  # with which pydantic-settings reads it

        given = dotenv_values(f"{folder}/.env", encoding="utf-8-sig")
        _sure(None not in given.values())
    given |= {name: value for name, value in os.environ.items() if value}
    return found | {name: value for name, value in given.items() if value and _OURS.fullmatch(name)}


def _sure(condition: object) -> None:
    if not condition:
        raise ValueError


def _parse(url: str) -> "dict[str, str]":
    """By libpq; asyncpg calls `sslmode` by another name."""
    from psycopg2.extensions import parse_dsn

    if not (plain := _URL.fullmatch(url)):
        raise ValueError
    query = re.sub(r"\bssl=", "sslmode=", plain[2] or "")
    parts: dict[str, str] = parse_dsn(f"postgresql{plain[1]}{query}")
    return parts

"""From an error to a sentence: the cause, what to type next, and an exit code.

One function, `explain`, for migrations, the application and the tests. Nothing to edit here.
"""

import os
import re
import sys
import traceback
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError
from sqlalchemy.exc import DBAPIError, PendingRollbackError

from app.migrate.errors import BACKEND, ExitCode, MigrationError, Problem, command, unfinished


def _start() -> str:
    """How to start the server; where it is not Compose that runs us, there may be no Docker."""
    ways = "docker compose up --wait postgres"
    if "MIGRATE_COMMAND" not in os.environ:
        ways += "; without Docker: python -m testing"
    return f"start the server ({ways}), or check POSTGRES_HOST and POSTGRES_PORT (or DATABASE_URL)"


_CHANGED_CREDENTIALS = (
    "check POSTGRES_PASSWORD (or DATABASE_URL). If you changed it: the server's volume keeps the "
    "first one. Set that back, or give the server the new one: docker compose exec postgres sh -c "
    r"""'psql -U "$POSTGRES_USER" -d "$POSTGRES_DB" -c "\password"'"""
)


class _Refusal(NamedTuple):
    """What a driver says when it cannot connect, and what that means.

    psycopg2 has no SQLSTATE for these and asyncpg no text of libpq's: the pattern knows both. {}
    stands for its first group, {start} for how to start the server.
    """

    pattern: str
    cause: str
    remedy: str
    exit_code: ExitCode
    transient: bool = False


_REFUSALS = [
    _Refusal(
        r'password authentication failed for user "(.*?)"|\[28P01\]',
        "the server refused the password of user {}",
        _CHANGED_CREDENTIALS,
        ExitCode.REFUSED,
    ),
    _Refusal(
        r"(no password supplied)",
        "the server wants a password, and none is set",
        "set POSTGRES_PASSWORD (or DATABASE_URL)",
        ExitCode.REFUSED,
    ),
    _Refusal(
        r'database "(.*?)" does not exist|\[3D000\]',
        "the server has no database {}",
        "check POSTGRES_DB (or DATABASE_URL), or create it: docker compose exec postgres "
        """sh -c 'createdb -U "$POSTGRES_USER" {}'""",
        ExitCode.REFUSED,
    ),
    _Refusal(
        r'role "(.*?)" does not exist|role "(.*?)" is not permitted to log in'
        r"|no pg_hba.conf entry for (.*)|permission denied for (.*)|\[28000\]|\[42501\]"
        r'|database "(.*?)" is not currently accepting',
        "the server does not let this user in: {}",
        "check POSTGRES_USER (or DATABASE_URL) and the rights of that role",
        ExitCode.REFUSED,
    ),
    _Refusal(
        r"(unsupported startup parameter)",
        "a connection pooler stands before the server, and would lose a migration's lock",
        "set MIGRATION_DATABASE_URL to the address of the server itself",
        ExitCode.REFUSED,
    ),
    _Refusal(
        r'could not translate host name "(.*?)"|Name or service not known|nodename nor servname'
        r"|Temporary failure in name resolution|getaddrinfo failed",
        "the host name {} is not known",
        "check POSTGRES_HOST (or DATABASE_URL); outside of Compose the host is localhost",
        ExitCode.UNREACHABLE,
        transient=True,
    ),
    _Refusal(
        r"(starting up|shutting down|recovery mode|not yet accepting connections)|\[57P03\]",
        "the server is there, but not ready ({})",
        "wait a moment, or look at its log: docker compose logs postgres",
        ExitCode.UNREACHABLE,
        transient=True,
    ),
    _Refusal(
        r"(too many clients|too many connections|remaining connection slots)|\[53300\]",
        "the server has no connection left",
        "close some, or raise max_connections",
        ExitCode.UNREACHABLE,
        transient=True,
    ),
    _Refusal(
        r"(Connection refused|Connect call failed|Multiple exceptions)",
        "nothing answers at that address",
        "{start}",
        ExitCode.UNREACHABLE,
        transient=True,
    ),
    _Refusal(
        r"\[57P0[12]\]|(timeout expired|timed out|No route to host|Network is unreachable"
        r"|Connection reset|closed the connection|TimeoutError|connection was closed"
        r"|terminating connection|closed unexpectedly|EOF detected)",
        "the connection failed or broke off",
        "check the network and the server, then run the same command again: it goes on from the "
        "last committed revision",
        ExitCode.UNREACHABLE,
        transient=True,
    ),
    _Refusal(
        r"(invalid (?:connection option|port number|[\w ]*value).*)",
        "the settings cannot be used: {}",
        "mend DATABASE_URL (or MIGRATION_DATABASE_URL)",
        ExitCode.USAGE,
    ),
    _Refusal(
        r"(SSL.*|certificate.*|no encryption.*)",
        "no secure connection could be made: {}",
        "check sslmode in DATABASE_URL and the server's certificate",
        ExitCode.REFUSED,
    ),
]


_ABOUT_STATEMENTS = {"DataError", "IntegrityError", "NotSupportedError", "ProgrammingError"}


def explain(error: BaseException) -> Problem | None:
    """The problem behind `error`; None if it is none that we know, such as a bug in our code.

    Args:
        error: what psycopg2, asyncpg, SQLAlchemy, Alembic, pydantic or Python's import raised.
    """
    while isinstance(error, PendingRollbackError) and error.__context__:
        error = (
            error.__context__
        )  # the first error; leaving Alembic's blocks raised this one on top
    match error:
        case MigrationError():
            return error.problem
        case ValidationError():
            return _explain_settings(error)
        case ImportError() | SyntaxError():
            return _explain_import(error)
    return (
        _explain_alembic(error)
        or _explain_sources(error)
        or _explain_statement(error)
        or _explain_connection(error)
        or _explain_code(error)
    )


_SETTINGS = "set it in the environment or in .env (to begin with: copy .env.example to .env)"


def _explain_settings(error: ValidationError) -> Problem:
    details = []
    for item in error.errors(include_url=False, include_input=False, include_context=False):
        name = "_".join(str(part) for part in item["loc"]).upper()
        text = item["msg"].removeprefix("Value error, ")
        details.append(f"{name}: {text}" if name else text)
    return Problem(f"the settings cannot be used: {'; '.join(details)}", _SETTINGS, ExitCode.USAGE)


def _explain_sources(error: BaseException) -> Problem | None:
    """What pydantic-settings raises before it validates anything."""
    if type(error).__name__ == "SettingsError":  # a list or the like, which is JSON
        return Problem(f"the settings cannot be used: {error}", _SETTINGS, ExitCode.USAGE)
    if not isinstance(error, (OSError, UnicodeError)):
        return None
    files = [Path(frame.filename) for frame in traceback.extract_tb(error.__traceback__)]
    if all("dotenv" not in file.parts for file in files):
        return None
    return Problem(
        f"the settings cannot be used: .env: {error}",
        "save .env as UTF-8, where this user may read it",
        ExitCode.USAGE,
    )


def _explain_import(error: ImportError | SyntaxError) -> Problem:
    if isinstance(error, SyntaxError):
        place = f"{_shorten(error.filename or '?')}, line {error.lineno}"
    else:
        place = _place(error, BACKEND) or "?"
    return Problem(
        f"{type(error).__name__}: {error.msg} ({place})",
        "mend that line; for a missing package: add it to pyproject.toml and install it",
        ExitCode.USAGE,
    )


def _explain_alembic(error: BaseException) -> Problem | None:
    if "alembic" not in sys.modules:
        return None
    from alembic.util import AutogenerateDiffsDetected, CommandError

    if isinstance(error, KeyError) and "/alembic/script/" in _last_file(error):
        missing = re.compile(f"""['"]{re.escape(str(error.args[0]))}['"]""")
        files = (BACKEND / "alembic" / "versions").rglob("*.py")
        naming = [file.name for file in files if missing.search(file.read_text("utf-8"))]
        return Problem(
            f"{', '.join(sorted(naming)) or 'a revision'} names {error} as the one before it, and "
            "there is no such revision",
            "mend down_revision in that file, or bring the missing file back from git",
            ExitCode.HISTORY,
        )
    if not isinstance(error, CommandError):
        return None
    text = str(error)
    if isinstance(error, AutogenerateDiffsDetected):
        changes = "; ".join(_describe(diff) for diff in error.diffs)
        return Problem(
            f"the models and the revisions differ: {changes}",
            command('revision --autogenerate -m "what changed"'),
            ExitCode.DRIFT,
        )
    if "not up to date" in text or "not on all head" in text:
        return Problem(
            "the database is not at this code's head", command("upgrade head"), ExitCode.PENDING
        )
    if found := re.search(r"Can't locate revision identified by '(.*?)'", text):
        return Problem(
            f"there is no revision {found[1]} in alembic/versions: the database is newer than this "
            "code, or of another branch, or the name is misspelt",
            f"bring its file back (git pull, git log --all -- '*{found[1]}*'), or see "
            + command("history"),
            ExitCode.HISTORY,
        )
    if "ultiple head" in text:
        return Problem(
            "two revisions have the same parent, so that there are several heads",
            command('merge heads -m "merge"') + " joins them",
            ExitCode.HISTORY,
        )
    return Problem(text.rstrip("."), command("--help"), ExitCode.USAGE)


def _describe(diff: object) -> str:
    """One of Alembic's differences, in a few words: `add_column users.name`."""
    operation = diff[0] if isinstance(diff, list) else diff
    if not isinstance(operation, tuple):
        return str(operation)
    names = [str(getattr(part, "name", part)) for part in operation[1:]]
    return " ".join([str(operation[0]), ".".join(n for n in names[:3] if n not in {"None", "{}"})])


def _explain_statement(error: BaseException) -> Problem | None:
    """A statement that the server refused: it has a SQLSTATE and is not about connecting."""
    driver_error, state = _driver_error(error)
    if (
        not state
        or state in {"28P01", "28000", "3D000", "53300"}
        or state.startswith(("57P", "08"))
    ):
        return None
    if state == "55000" and getattr(error, "statement", None) is None:
        return None
    message = str(driver_error).strip().splitlines()[0]
    file = _place(error, BACKEND / "alembic" / "versions")
    statement = " ".join((getattr(error, "statement", None) or "").split())[:400]
    where = "".join(
        [f" in {file}" if file else "", f"; the statement: {statement}" * bool(statement)]
    )
    if state in {"55P03", "40P01"}:
        return Problem(
            f"other sessions held the locks that a revision needs ({message}){where}",
            unfinished() + " goes on from the last committed revision",
            ExitCode.BLOCKED,
            transient=True,
        )
    if state == "42501":
        return Problem(
            f"{message}{where}",
            "grant the right, or set MIGRATION_DATABASE_URL to a role that owns the schema",
            ExitCode.REFUSED,
        )
    if state == "25006":
        return Problem(
            f"{message}{where}",
            "set POSTGRES_HOST (or DATABASE_URL, or MIGRATION_DATABASE_URL) to the primary server",
            ExitCode.REFUSED,
        )
    if state.startswith("53"):  # a full disk, no memory
        return Problem(
            f"{message}{where}",
            f"give the server what it lacks, then {unfinished()} goes on from the last committed "
            "revision",
            ExitCode.FAILED,
        )
    return Problem(
        f"{message}{where}",
        f"mend the revision, then {unfinished()}; earlier revisions are kept, and "
        f"'{command('--raiseerr ...')}' shows the traceback",
        ExitCode.FAILED,
    )


def _driver_error(error: BaseException) -> tuple[BaseException, str]:
    """What the driver raised, and its SQLSTATE; psycopg2 gives none to a refused connection."""
    driver_error = (error.orig if isinstance(error, DBAPIError) else None) or error
    state = getattr(driver_error, "pgcode", None) or getattr(driver_error, "sqlstate", None)
    return driver_error, state or ""


def _explain_connection(error: BaseException) -> Problem | None:
    driver_error, state = _driver_error(error)
    module = type(error).__module__.partition(".")[0]
    from_driver = isinstance(error, DBAPIError) or module in {"psycopg2", "asyncpg"}
    # The other classes of DBAPI are about a statement, such as a type that cannot be adapted.
    about_statement = type(error).__name__ in _ABOUT_STATEMENTS
    if from_driver and about_statement and "invalid dsn" not in str(error):
        return None
    if not from_driver and not isinstance(error, OSError):
        return None
    text = f"{type(driver_error).__name__} {driver_error} [{state}]"
    address = re.search(r'server at "(.*?)".*?port (\d+)', text)
    at = f"PostgreSQL at {address[1]}:{address[2]}: " if address else "PostgreSQL: "
    for refusal in _REFUSALS:
        if found := re.search(refusal.pattern, text):
            quoted = re.search(r'"([^"]*)"', str(driver_error))
            subject = next((g for g in found.groups() if g), quoted[1] if quoted else "").strip()
            return Problem(
                at + refusal.cause.replace("{}", subject).replace("  ", " "),
                refusal.remedy.replace("{}", subject).replace("{start}", _start()),
                refusal.exit_code,
                refusal.transient,
            )
    if from_driver:
        message = " ".join(str(driver_error).split())
        return Problem(f"PostgreSQL: {message}", _start(), ExitCode.UNREACHABLE)
    return None


def _explain_code(error: BaseException) -> Problem | None:
    """Anything else that was raised inside the user's own code: a revision, a model, settings."""
    for code in ("app/models", "app/core/config.py"):
        if place := _place(error, BACKEND / code):
            cause = f"{type(error).__name__}: {error} in {place}"
            return Problem(cause, "mend that line", ExitCode.USAGE)
    file = _place(error, BACKEND / "alembic" / "versions")
    if file is None:
        return None
    return Problem(
        f"{type(error).__name__}: {error} in {file}",
        f"mend the revision, then {unfinished()}; "
        f"'{command('--raiseerr ...')}' shows the traceback",
        ExitCode.FAILED,
    )


def _place(error: BaseException, folder: Path) -> str | None:
    """`file, line n` of the innermost frame inside `folder`."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if path.is_relative_to(folder) and "site-packages" not in path.parts:
            return f"{_shorten(frame.filename)}, line {frame.lineno}"
    return None


def _last_file(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return Path(frames[-1].filename).as_posix() if frames else ""


def _shorten(filename: str) -> str:
    path = Path(filename)
    return path.relative_to(BACKEND).as_posix() if path.is_relative_to(BACKEND) else filename

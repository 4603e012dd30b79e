"""Nothing to do must cost nearly nothing: asks without SQLAlchemy, Alembic or pydantic.

Their import takes ten times as long as the question. Only what is certain is answered here; at any
doubt, and for anything that a person should be told about, Alembic goes the long way.
"""
# ruff: noqa: PTH110, PTH112, PTH120, PTH208

import os
import re

from app.migrate.heads import BACKEND, History, can_be_parsed, read_history
from app.migrate.queries import APPLIED_TEXTS, LEFTOVERS

_PLAIN = r"[\w.~-]+"  # characters that mean themselves in every kind of URL
_URL = re.compile(
    rf"(?:postgres|postgresql)(?:\+psycopg2|\+asyncpg)?://(?P<user>{_PLAIN}):(?P<password>{_PLAIN})"
    rf"@(?P<host>{_PLAIN})(?::(?P<port>\d+))?/(?P<dbname>{_PLAIN})"
    r"(?:\?ssl(?:mode)?=(?P<sslmode>[a-z-]+))?",
    re.ASCII,
)
_STATE = f"""
SELECT pg_backend_pid(),
       (SELECT array_agg(version_num::text) FROM alembic_version),
       (SELECT array_agg(ARRAY[revision, sha256]) FROM ({APPLIED_TEXTS}) applied),
       EXISTS ({LEFTOVERS})
"""  # noqa: S608
_SECRETS = "/run/secrets"
# When a network goes silent before the answer: 5 s, as for the connection. The long way has more.
SILENCE = {
    **{"keepalives_idle": "2", "keepalives_interval": "1", "keepalives_count": "3"},
    "tcp_user_timeout": "5000",
}
_READ = {  # by the settings, in capitals or not
    *("ENVIRONMENT", "DATABASE_URL", "MIGRATION_DATABASE_URL", "POSTGRES_HOST", "POSTGRES_PORT"),
    *("POSTGRES_USER", "POSTGRES_PASSWORD", "POSTGRES_DB", "POSTGRES_PASSWORD_FILE"),
    *("MIGRATION_CONNECT_WAIT", "MIGRATION_LOCK_WAIT", "MIGRATION_LOCK_TIMEOUT"),
    "MIGRATION_RETRY_WAIT",
}


def revision_at_head() -> str | None:
    """The head, if the database is there and all is well; None if Alembic must look."""
    parameters = connection_parameters()
    if parameters is None:
        return None
    import psycopg2
    from psycopg2.extensions import make_dsn

    history = read_history()
    if history is None:
        return None
    try:
        connection = psycopg2.connect(make_dsn(**parameters | SILENCE))
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(_STATE)
            pid, applied, texts, has_leftovers = cursor.fetchone() or (0, None, None, True)
        told = connection.info.backend_pid  # a pooler tells another
        connection.close()
    except psycopg2.Error:
        return None  # the long way finds the right words, or waits
    if told != pid or has_leftovers:
        return None
    return history.head if is_at_head(history, applied, dict(texts or [])) else None


def is_at_head(history: History, applied: list[str] | None, texts: dict[str, str]) -> bool:
    """Whether Alembic would find nothing to do and nothing to say.

    Args:
        history: what the files say.
        applied: the rows of alembic_version.
        texts: for each revision in the record, the SHA-256 of the text that was applied.
    """
    if applied != [history.head]:
        return False
    # A text that was applied was loaded by Alembic; of another we know but the top.
    return all(
        item.sha256 == texts[name] if name in texts else can_be_parsed(item.file)
        for name, item in history.revisions.items()
    )


def connection_parameters() -> dict[str, str] | None:
    """Where the database is, if the environment says so plainly and nothing else has a say.

    As app/core/config.py has it: what that would refuse is None here.
    """
    folders = [BACKEND]
    while (parent := os.path.dirname(folders[-1])) != folders[-1]:
        folders.append(parent)
    if any(os.path.exists(f"{folder}/.env") for folder in folders):
        return None
    if os.path.isdir(_SECRETS) and os.listdir(_SECRETS):
        return None
    if any(name.upper() in _READ and name not in _READ for name in os.environ):
        return None
    given = {name: os.environ.get(name) or "" for name in _READ}
    application = {
        "host": given["POSTGRES_HOST"] or "localhost",
        "port": given["POSTGRES_PORT"] or "5432",
        "user": given["POSTGRES_USER"],
        "password": given["POSTGRES_PASSWORD"],
        "dbname": given["POSTGRES_DB"],
    }
    if not re.fullmatch("[1-9][0-9]{0,3}|[1-5][0-9]{4}", application["port"]):
        return None
    if url := given["DATABASE_URL"]:
        application = _parts(url)
    target = _parts(given["MIGRATION_DATABASE_URL"]) or application
    if bool(given["MIGRATION_DATABASE_URL"]) != (target is not application):
        return None
    if given["POSTGRES_PASSWORD_FILE"] or not application or not all(application.values()):
        return None
    if given["ENVIRONMENT"] not in ("", "development", "production"):
        return None
    passwords = application["password"] + target["password"]
    if given["ENVIRONMENT"] == "production" and "development" in passwords:
        return None
    waits = [value for name, value in given.items() if re.match("MIGRATION_(?!D)", name)]
    if not all(re.fullmatch("[0-9]*", value) for value in waits):
        return None
    # libpq would read such a name as a list of parameters.
    return None if re.search("[=:/]", target["dbname"]) else target | {"connect_timeout": "5"}


def _parts(url: str) -> dict[str, str]:
    """Of a URL in which every character means itself; empty for any other."""
    found = _URL.fullmatch(url)
    if found is None:
        return {}
    return {"port": "5432"} | {name: value for name, value in found.groupdict().items() if value}

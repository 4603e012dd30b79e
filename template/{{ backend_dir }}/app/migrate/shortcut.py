"""Nothing to do must cost nearly nothing: asks without SQLAlchemy, Alembic or pydantic.

Their import takes ten times as long as the question. Only what is certain is answered here; at any
doubt, and for anything that a person should be told about, Alembic goes the long way.
"""

import os
import re
from pathlib import Path

from app.migrate.heads import BACKEND, read_history
from app.migrate.queries import APPLIED_TEXTS, LEFTOVERS

_PLAIN = r"[\w.~-]+"  # characters that mean themselves in every kind of URL
_URL = re.compile(
    rf"postgres(?:ql)?(?:\+\w+)?://(?P<user>{_PLAIN}):(?P<password>{_PLAIN})"
    rf"@(?P<host>{_PLAIN})(?::(?P<port>\d+))?/(?P<dbname>{_PLAIN})"
)
_STATE = f"""
SELECT (SELECT array_agg(version_num::text) FROM alembic_version),
       (SELECT array_agg(ARRAY[revision, sha256]) FROM ({APPLIED_TEXTS}) applied),
       EXISTS ({LEFTOVERS})
"""  # noqa: S608
_SECRETS = Path("/run/secrets")


def revision_at_head() -> str | None:
    """The head, if the database is there and all is well; None if Alembic must look."""
    parameters = _parameters()
    history = read_history() if parameters else None
    if parameters is None or history is None:
        return None
    import psycopg2  # after what can be said without it
    from psycopg2.extensions import make_dsn

    try:
        connection = psycopg2.connect(make_dsn(connect_timeout=5, **parameters))
        with connection, connection.cursor() as cursor:
            cursor.execute(_STATE)
            applied, texts, has_leftovers = cursor.fetchone() or (None, None, True)
        connection.close()
    except psycopg2.Error:
        return None  # the long way finds the right words, or waits
    if applied != [history.head] or has_leftovers:
        return None
    for revision, sha256 in texts or []:
        if revision in history.revisions and history.revisions[revision].sha256 != sha256:
            return None
    return history.head


def _parameters() -> dict[str, str] | None:
    """Where the database is, if the environment says so plainly and nothing else has a say."""
    if any((folder / ".env").exists() for folder in (BACKEND, *BACKEND.parents)):
        return None
    if _SECRETS.is_dir() and any(entry.is_file() for entry in _SECRETS.iterdir()):
        return None
    given = os.environ.get
    parameters = {
        "host": given("POSTGRES_HOST") or "localhost",
        "port": given("POSTGRES_PORT") or "5432",
        "user": given("POSTGRES_USER") or "",
        "password": given("POSTGRES_PASSWORD") or "",
        "dbname": given("POSTGRES_DB") or "",
    }
    if url := given("MIGRATION_DATABASE_URL") or given("DATABASE_URL"):
        found = _URL.fullmatch(url)
        parameters = found.groupdict("5432") if found else {}
    # Left to the long way: what is missing or refused, and a name that libpq would read as a list
    # of parameters.
    if not parameters or not all(parameters.values()) or re.search(r"[=:/]", parameters["dbname"]):
        return None
    if given("ENVIRONMENT") == "production" and parameters["password"].startswith("development"):
        return None
    return parameters

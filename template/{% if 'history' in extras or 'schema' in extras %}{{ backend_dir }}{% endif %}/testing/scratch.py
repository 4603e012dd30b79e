"""What the commands of this folder share: databases of their own, pg_dump's SQL, and errors."""

import os
import re
import secrets
import signal
import subprocess
import sys
import warnings
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Engine, make_url

from app.core.config import get_settings
from app.core.urls import for_driver
from app.migrate.explain import explain
from testing.databases import execute, made, temporary_database
from testing.revisions import OneProblem
from testing.server import find_binaries
from testing.whole_server import listening

OF_PSQL = re.compile(r"\n--\n-- PostgreSQL database dump complete\n--\n\s*(\\unrestrict .*)?\s*$")
# And the comments of extensions, which come by themselves: only an owner may set them.
TITLES = re.compile(r"(?m)^--\n-- (Data for )?Name: .*\n--\n\n?|^COMMENT ON EXTENSION .*;\n+")
NO_ROWS = ("--section=pre-data", "--section=post-data")  # materialized views are populated
REVISION = '''"""{title}."""
# ruff: noqa
# fmt: off

from alembic import op

revision: str = {revision!r}
down_revision: str | None = None
branch_labels: str | tuple[str, ...] | None = {labels!r}
depends_on: str | tuple[str, ...] | None = None

STATEMENTS = [
{statements}
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement.replace(":", r"\\:"))  # no parameters


def downgrade() -> None:
    raise NotImplementedError("nothing is older")
'''


def _interrupted(*_: object) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):  # they do not break off the end of this block
        signal.signal(number, signal.SIG_IGN)
    sys.exit("Error: interrupted")


@contextmanager
def errors_as_sentences() -> Generator[None]:
    """Within the block, what fails ends the process with its cause and the next command."""
    warnings.filterwarnings("error", "Revision .* is present more than once")
    for number in (signal.SIGINT, signal.SIGTERM):  # no database is left behind
        signal.signal(number, _interrupted)
    try:
        yield
    except OneProblem as error:
        sys.exit(f"Error: {error}\nNext:  fix it, then the same command again")
    except Exception as error:
        if not (problem := explain(error)):
            raise
        print(problem, file=sys.stderr)
        sys.exit(problem.exit_code)


@contextmanager
def scratch_database(what: str) -> Generator[URL]:
    """An empty database, on the server of TEST_DATABASE_URL or on that of the settings."""
    server = make_url(os.environ.get("TEST_DATABASE_URL") or get_settings().database_url_sync)

    def only_own(dialect: Any, _: Any, args: Any, arguments: dict[str, Any]) -> None:
        name = arguments.get("dbname", arguments.get("database"))
        if dialect.name == "postgresql" and name not in made:
            raise OneProblem(f"a revision connects to {name} by itself, not by op.get_bind()")

    own = temporary_database(server, f"{what}_{secrets.token_hex(4)}")
    with own as url, listening(Engine, do_connect=only_own):
        yield url


def dump(url: URL, *options: str) -> str:
    """A database as SQL, whoever runs it and on whatever version; `options` are pg_dump's."""
    options += ("--encoding=UTF8", "--no-subscriptions")
    options += ("--exclude-table=alembic_version", "--exclude-table=alembic_history")
    dsn = for_driver(url, "postgresql").render_as_string(hide_password=False)
    command = [str(find_binaries() / "pg_dump"), *options, "--dbname", dsn]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    if done.returncode:
        sys.exit("Error: pg_dump failed (above)\nNext:  fix that, then the same command again")
    # What comes before the first title is for psql and for pg_dump's own session.
    _, title, text = done.stdout.decode().partition("\n--\n-- Name: ")
    text = TITLES.sub("", OF_PSQL.sub("", f"{title}{text}"))
    role = re.escape(execute(url, "SELECT quote_ident(current_user)")[0][0])
    text = re.sub(rf"(?m)^ALTER .* OWNER TO {role};\n\n*", "", text)
    text = re.sub(rf"(?m)^(ALTER DEFAULT PRIVILEGES) FOR ROLE {role}\b", r"\1", text)
    grants = rf"(?m)^((?:ALTER DEFAULT|GRANT|REVOKE) .* (?:FROM|TO)) {role}(?=;| WITH)"
    text = re.sub(grants, r"\1 CURRENT_USER", text)
    # Functions may name what comes later.
    return f"SET LOCAL check_function_bodies = false;\n{text.strip()}\n"


def write_revision(
    path: Path, revision: str, title: str, statements: Sequence[str], labels: object = None
) -> None:
    """A revision that runs SQL, and that nothing comes before."""
    texts = [
        f"r'''\n{sql}\n'''," if not re.search(r"'''|\r|\\\Z", sql) else f"{sql!r},"
        for sql in statements
    ]
    text = REVISION.format(
        title=title, revision=revision, labels=labels, statements="\n".join(texts)
    )
    path.write_text(text, "utf-8")

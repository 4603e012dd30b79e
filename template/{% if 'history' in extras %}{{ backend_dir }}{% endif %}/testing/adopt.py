"""`python -m testing.adopt [--database [--yes]]`: revisions or a schema from before this project.

Without the option, takes the revision files in alembic/versions as they are, and runs them once on
a database of its own. With it, says besides which revision the database of the settings is at, and
`--yes` records that; where there are no revisions, its schema becomes the first one.
"""

import ast
import json
import os
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import Script
from sqlalchemy import URL, MetaData, make_url

from app.core.config import get_settings
from app.migrate.errors import MIGRATE
from app.migrate.explain import explain
from testing.databases import BACKEND, Alembic, temporary_database
from testing.revisions import OneProblem, failure, revisions, scripts
from testing.schema import Catalog, catalog, catalog_reader, difference
from testing.server import find_binaries

VERSIONS = BACKEND / "alembic" / "versions"
BASELINE = VERSIONS / "20261122_0000_baseline_empty_schema.py"
NAMING, SETTINGS = BACKEND / "app" / "core" / "naming.py", BACKEND / "pyproject.toml"
# What pg_dump writes for psql and for its own session.
OF_PSQL = re.compile(
    r"(?m)^(\\(un)?restrict .*|SELECT pg_catalog\.set_config\('search_path'.*|SET (\w+_timeout|"
    r"client_\w+|standard_conforming_strings|xmloption|row_security|default_table\w+) = .*)\n"
)
REVISION = '''"""The schema of {database} before its first revision, as pg_dump wrote it."""

from alembic import op

revision: str = "schema"
down_revision: str | None = None
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None

SQL = {sql}


def upgrade() -> None:
    op.execute(SQL.replace(":", r"\\:"))  # no parameters


def downgrade() -> None:
    raise NotImplementedError("nothing is older")
'''


def first_revision(url: URL) -> None:
    """Write the schema of a database as the first revision."""
    options = ["--schema-only", "--no-owner", "--no-privileges", "--no-subscriptions"]
    options += ["--exclude-table=alembic_version", "--exclude-table=alembic_history", "--dbname"]
    dsn = url.set(drivername="postgresql").render_as_string(hide_password=False)
    command = [str(find_binaries() / "pg_dump"), *options, dsn]
    done = subprocess.run(command, text=True, stdout=subprocess.PIPE, check=False)
    if done.returncode:
        sys.exit("Error: pg_dump failed (above)")
    sql = OF_PSQL.sub("", done.stdout).strip()
    text = repr(sql) if "'''" in sql or sql.endswith("\\") else f"r'''\n{sql}\n'''"
    path = VERSIONS / f"{datetime.now(UTC):%Y%m%d_%H%M}_schema_before_the_first_revision.py"
    path.write_text(REVISION.format(database=url.database, sql=text), "utf-8")


def naming_convention() -> dict[str, Any]:
    """The one that is written down in this project's code, such as models; else SQLAlchemy's own.

    Alembic's operations name constraints by it: another one would give a new database other names.
    """
    found, kinds = list[dict[str, Any]](), {"ix", "uq", "ck", "fk", "pk"}
    for path in {*BACKEND.glob("*.py"), *(BACKEND / "app").rglob("*.py")} - {NAMING}:
        for node in ast.walk(ast.parse(path.read_bytes())):
            with suppress(TypeError, ValueError):  # it is no literal
                value = ast.literal_eval(node) if isinstance(node, ast.Dict) else {}
                is_one = value and value.keys() <= kinds and "%(" in str(value)
                found += [value] if is_one and value not in found else []
    if len(found) > 1:
        sys.exit(f"Error: several naming conventions: {found}\nNext:  leave one of them")
    return found[0] if found else dict(MetaData().naming_convention)


def replace(path: Path, pattern: str, text: str) -> None:
    """Replace the first match in a file."""
    old = path.read_text("utf-8")
    path.write_text(re.sub(pattern, lambda _: text, old, count=1), "utf-8")


def settle(url: URL | None) -> None:
    """Once: these revisions in place of the baseline, with their names of constraints."""
    others = [path for path in VERSIONS.rglob("*.py") if path != BASELINE]
    if not BASELINE.exists():
        return
    child = re.compile(rb"""(?m)^down_revision.*["']baseline["']""")
    if any(child.search(path.read_bytes()) for path in others):
        return  # this project began here
    if not others and not url:
        sys.exit(
            "Error: alembic/versions has no revision besides the baseline\n"
            "Next:  copy yours there; or, for a database without any: --database"
        )
    if url and not others:
        first_revision(url)
    convention = naming_convention()
    heads = [head for head in scripts().get_heads() if head != "baseline"]
    scripts.cache_clear()
    BASELINE.unlink()
    lines = [f"    {json.dumps(key)}: {json.dumps(value)},\n" for key, value in convention.items()]
    shown = f"NAMING_CONVENTION = {{\n{''.join(lines)}}}"
    said = f"released = {json.dumps(heads[0] if len(heads) == 1 else heads)}"
    replace(NAMING, r"(?ms)^NAMING_CONVENTION = \{.*?^\}", shown)
    replace(SETTINGS, r"(?m)^released = .*", said)
    print(f"The template's baseline is gone. In pyproject.toml: {said}")
    print(f"In app/core/naming.py: {shown}")


def comparable(found: Catalog) -> Catalog:
    """Without owners and privileges: they are the server's, as often as a revision's."""
    return {
        key: re.sub(r"(?m)^(owner |(not )?granted ).*\n?", "", text)
        for key, text in found.items()
        if key[0] != "privileges"
    }


def walk(server: URL, url: URL | None) -> None:
    """Run all revisions on a database of our own, and compare it with that of `url`, step by step.

    Raises:
        OneProblem: a revision fails.
    """
    live, same, nearest = url and comparable(catalog(url)), list[str](), ("", list[str]())
    with (
        temporary_database(server, f"adopt_{secrets.token_hex(4)}") as own,
        catalog_reader(own) as read,
    ):

        def steps(heads: Any, _: MigrationContext) -> Iterator[Any]:
            nonlocal nearest
            for step in scripts()._upgrade_revs("heads", heads):
                running[:] = [step.revision]
                yield step  # and then it is committed
                if live is not None:
                    lines = difference(comparable(read()), live)
                    same.extend([step.revision.revision] * (not lines))
                    if not nearest[0] or len(lines) < len(nearest[1]):
                        nearest = step.revision.revision, lines

        running = list[Script]()
        options: dict[str, Any] = {"fn": steps, "destination_rev": "heads"}
        try:
            with EnvironmentContext(Alembic(own).config, scripts(), **options):
                scripts().run_env()
        except Exception as error:
            if not running:
                raise
            raise OneProblem(failure(running[0], "upgrade", error)) from error
    print(f"Revisions that build a database from empty: {len(revisions())}.")
    if url is None:
        print(f"Next:  {MIGRATE}, or for a database that has a schema: --database")
    elif not same:
        print(f"{url.database} is none of them. What differs from {nearest[0]}, the nearest:")
        sys.exit("\n".join(f"  {line}" for line in nearest[1]))
    elif len(same) > 1:
        print(f"{url.database} has the schema of each of {', '.join(same)}: the later change rows.")
        print(f"Next:  {MIGRATE} stamp <the last one that was applied>")
    elif "--yes" in sys.argv:
        print(f"{url.database} has the schema of {same[0]}: recorded.")
        Alembic(url)("stamp", same[0])
    else:
        print(f"{url.database} has the schema of {same[0]}.\nNext:  the same with --yes records it")


if __name__ == "__main__":
    try:
        target = get_settings().database_url_sync
        database = target if "--database" in sys.argv else None
        settle(database)
        walk(make_url(os.environ.get("TEST_DATABASE_URL") or target), database)
    except OneProblem as error:
        sys.exit(f"Error: {error}\nNext:  fix it, then the same command again")
    except Exception as error:
        if not (problem := explain(error)):
            raise
        print(problem, file=sys.stderr)
        sys.exit(problem.exit_code)

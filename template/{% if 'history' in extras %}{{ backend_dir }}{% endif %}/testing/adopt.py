"""`python -m testing.adopt [--database [--yes]]`: revisions or a schema from before this project.

Without the option, takes the revision files in alembic/versions as they are, and runs them once on
a database of its own. With it, says besides which revision the database of the settings is at, and
`--yes` records that; where there are no revisions, its schema becomes the first one.
"""

import ast
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import Script
from sqlalchemy import URL, MetaData

from app.core.config import get_settings
from app.migrate.errors import MIGRATE, MigrationError, shorten
from testing.databases import BACKEND, Alembic, execute
from testing.revisions import OneProblem, driver_error, failure, revisions, scripts
from testing.schema import Catalog, catalog, catalog_reader, difference
from testing.scratch import NO_ROWS, dump, errors_as_sentences, scratch_database, write_revision
from testing.shape import BASELINE
from testing.whole_server import watched

VERSIONS = BACKEND / "alembic" / "versions"
NAMING, SETTINGS = BACKEND / "app" / "core" / "naming.py", BACKEND / "pyproject.toml"
STAMP = f"with the same DATABASE_URL, {MIGRATE} stamp --purge"
VERSION = "SELECT string_agg(version_num, ' ' ORDER BY version_num) FROM alembic_version"
KINDS, NO_CONVENTION = {"ix", "uq", "ck", "fk", "pk"}, dict(MetaData().naming_convention)


def first_revision(url: URL) -> None:
    """Write the schema of a database as the first revision."""
    path = VERSIONS / f"{datetime.now(UTC):%Y%m%d_%H%M}_schema_before_the_first_revision.py"
    sql = dump(url, *NO_ROWS, "--no-owner", "--no-privileges")
    if not re.search("(?m)^CREATE ", sql):
        sys.exit(f"Error: {url.database} is empty\nNext:  DATABASE_URL=<of the old database>")
    write_revision(path, "schema", "The schema before the first revision, by pg_dump", [sql])


def conventions(path: Path) -> Iterator[tuple[int, dict[str, Any] | None]]:
    """The naming conventions in a file, and their lines; None for one that is code."""
    tree = ast.Module([], [])
    with suppress(SyntaxError, ValueError):  # of another Python
        tree = ast.parse(path.read_bytes())
    for node in (it for it in ast.walk(tree) if isinstance(it, ast.Dict)):
        value: dict[str, Any] = {}
        with suppress(TypeError, ValueError):  # it is no literal
            value = ast.literal_eval(node)
        if value and value.keys() <= KINDS and "%(" in str(value):
            yield node.lineno, value
        elif "%(" in ast.unparse(node):
            keys = [getattr(key, "value", None) for key in node.keys]
            if len(KINDS.intersection(keys)) > 1:
                yield node.lineno, None


def find_names() -> None:
    """Write down the naming convention of this project's code, such as models; else SQLAlchemy's.

    Alembic's operations name constraints by it: another one would give a new database other names.
    """
    found = list[dict[str, Any]]()
    others = {BACKEND / name for name in ("alembic", "testing", "tests")}
    paths = {*BACKEND.glob("*.py")}
    packages = {"site-packages", "node_modules"}
    for folder in {*BACKEND.glob("[!.]*/")} - others:
        paths |= {path for path in folder.rglob("*.py") if packages.isdisjoint(path.parts)}
    for path in sorted(paths - {NAMING}):
        for line, value in conventions(path):
            if value is None:
                sys.exit(
                    f"Error: {shorten(path)}, line {line}: a naming convention that is code\n"
                    "Next:  write it down in app/core/naming.py, then the same command again"
                )
            found += [value] if value not in found else []
    if len(found) > 1:
        sys.exit(f"Error: several naming conventions: {found}\nNext:  leave one of them")
    if found:
        print(f"In app/core/naming.py: {write_names(found[0])}")
    else:
        print(
            "No naming convention in this project's code: PostgreSQL names constraints.\n"
            "If the old models have one, copy them, and run the same command again."
        )


def write_names(convention: Mapping[str, Any]) -> str:
    """Replace the naming convention; what it says now."""
    lines = [f"    {json.dumps(key)}: {json.dumps(value)},\n" for key, value in convention.items()]
    shown = f"NAMING_CONVENTION = {{\n{''.join(lines)}}}"
    replace(NAMING, r"(?ms)^NAMING_CONVENTION = \{.*?^\}", shown)
    return shown


def replace(path: Path, pattern: str, text: str) -> None:
    """Replace the first match in a file."""
    old = path.read_text("utf-8")
    path.write_text(re.sub(pattern, lambda _: text, old, count=1), "utf-8")


def settle(url: URL | None) -> None:
    """Once: these revisions in place of the baseline, with their names of constraints."""
    others = [path for path in VERSIONS.rglob("*.py") if path != BASELINE]
    child = re.compile(rb"""(?m)^down_revision.*["']baseline["']""")
    if any(child.search(path.read_bytes()) for path in others):
        return  # this project began here
    if BASELINE.exists():
        if url and not others:
            first_revision(url)
        heads = [head for head in scripts().get_heads() if head != "baseline"]
        inside = [path for path in others if path.parent != VERSIONS]
        if not heads or any(b"down_revision" in path.read_bytes() for path in inside):
            sys.exit(
                "Error: alembic/versions has no revision but the baseline, or has some in folders\n"
                "Next:  copy yours there, in no folder; or, for a database without any: --database"
            )
        scripts.cache_clear()
        BASELINE.unlink()
        said = f"released = {json.dumps(heads[0] if len(heads) == 1 else heads)}"
        replace(SETTINGS, r"(?m)^released = .*", said)
        write_names(NO_CONVENTION)
        print(f"The template's baseline is gone. In pyproject.toml: {said}")
        print(f"A database that has the baseline already: {MIGRATE} stamp --purge base")
    if NO_CONVENTION in [value for _, value in conventions(NAMING)]:
        find_names()  # again, until there is one


def comparable(found: Catalog) -> Catalog:
    """Without owners and privileges: they are the server's, as often as a revision's."""
    return {
        key: re.sub(r"(?m)^(owner |(not )?granted ).*\n?", "", text)
        for key, text in found.items()
        if key[0] != "privileges"
    }


def walk(url: URL | None) -> None:
    """Run all revisions on a database of our own, and compare it with that of `url`, step by step.

    Raises:
        OneProblem: a revision fails.
    """
    live, same, nearest = url and comparable(catalog(url)), list[str](), ("", list[str]())
    with scratch_database("adopt") as own, catalog_reader(own) as read, watched():
        os.environ.pop("TEST_DATABASE_URL", None)  # roles are made there, where they are not yet

        def steps(heads: Any, _: MigrationContext) -> Iterator[Any]:
            nonlocal nearest
            for step in scripts()._upgrade_revs("heads", heads):
                running[:] = [step.revision]
                yield step  # and then it is committed
                if live is not None:
                    lines = difference(comparable(read()), live)
                    [(at,)] = execute(own, VERSION)
                    same.extend([at] * (not lines))
                    if not nearest[0] or len(lines) < len(nearest[1]):
                        nearest = at, lines

        running = list[Script]()
        options: dict[str, Any] = {"fn": steps, "destination_rev": "heads"}
        try:
            with EnvironmentContext(Alembic(own).config, scripts(), **options):
                scripts().run_env()
        except Exception as error:
            if not running or isinstance(error, MigrationError):
                raise
            said = failure(running[0], "upgrade", error)
            if driver_error(error)[0] in {"42P01", "3F000", "42883"}:  # table, schema, function
                said += "\n  If the old application or env.py made that: testing/HISTORY.md"
            raise OneProblem(said) from error
    print(f"Revisions that build a database from empty: {len(revisions())}.")
    if url is None:
        print(f"Next:  {MIGRATE}, or for a database that has a schema: --database")
    elif not same:
        print(f"{url.database} is none of them. What differs from {nearest[0]}, the nearest:")
        sys.exit(
            "\n".join(f"  {line}" for line in nearest[1])
            + f"\nLost is what {url.database} lacks, left over what only it has.\n"
            f"Next:  change it, then the same again; or, if that may stay: {STAMP} {nearest[0]}"
        )
    elif len(same) > 1:
        print(f"{url.database} has the schema of each of {', '.join(same)}:")
        sys.exit(f"the later change at most rows.\nNext:  {STAMP} <the last one that was applied>")
    elif "--yes" in sys.argv:
        Alembic(url)("stamp", revision=same[0].split(), purge=True)
        print(f"{url.database} has the schema of {same[0]}: recorded.")
    else:
        print(f"{url.database} has the schema of {same[0]}.\nNext:  the same with --yes records it")


def missing_modules() -> Iterator[str]:
    """What the revisions import, and nobody has; with the line."""
    for path in sorted(VERSIONS.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_bytes(), path)):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module]
            else:
                continue
            for name in names:
                is_there = None
                with suppress(ModuleNotFoundError):  # neither is its package
                    is_there = find_spec(name)
                if not is_there:
                    yield f"\n  {name} ({shorten(path)}, line {node.lineno})"


if __name__ == "__main__":
    if {*sys.argv[1:]} - {"--database", "--yes"}:
        sys.exit(__doc__)
    with errors_as_sentences():
        database = get_settings().database_url_sync if "--database" in sys.argv else None
        try:
            settle(database)
            walk(database)
        except ModuleNotFoundError as error:
            if not (missing := "".join(missing_modules())):
                raise
            sys.exit(
                f"Error: {error}; the revisions import what is not here:{missing}\n"
                "Next:  install a package, by pyproject.toml and the locks; copy code of the old\n"
                "       project to the folder of app/, or write there what the revisions use of it"
            )

"""`python -m testing.squash [REVISION]`: one revision in place of all those up to `released`.

Or up to an older one. It keeps that one's id: a database there, or later, has nothing to do. It is
SQL of pg_dump's, with the rows that revisions inserted. It is proven on databases of its own before
the old files go. Where it lacks something, it stays in alembic/squashed.py, for you to complete.
"""

import hashlib
import re
import shutil
import sys
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from alembic.script import Script
from sqlalchemy import URL, Engine

from app.migrate.errors import shorten
from app.migrate.record import effect
from testing.databases import BACKEND, Alembic, connect
from testing.revisions import released, revisions, scripts, settings, unreleased
from testing.rows import every_row
from testing.schema import catalog, difference
from testing.scratch import dump, errors_as_sentences, scratch_database, write_revision
from testing.whole_server import is_about_the_server, line_of_a_revision, listening, watched

Rows = dict[str, list[str]]  # of each table, as JSON
COMMAND = "python -m testing.squash"
VERSIONS, DRAFT = BACKEND / "alembic" / "versions", BACKEND / "alembic" / "squashed.py"


def to_fold(name: str = "") -> list[Script]:
    """The revisions up to this one, or to the released one; the last is it."""
    if not released():
        sys.exit(
            "Error: `released` in pyproject.toml is empty\n"
            "Next:  set it to the newest revision that every database in use has"
        )
    head: Any = scripts().get_revision(name or released()[0])
    old = [*scripts().iterate_revisions(head.revision, "base", inclusive=True)][::-1]
    inside = {script.revision for script in old} - {head.revision}
    if head in unreleased():
        sys.exit(f"Error: {head.revision} is not released\nNext:  {COMMAND} <an older revision>")
    for script in revisions():
        if script not in old and (parents := inside & {*script._all_down_revisions}):
            sys.exit(
                f"Error: {shorten(script.path)} comes after {', '.join(parents)}, not after "
                f"{head.revision}\nNext:  {COMMAND} <a revision that all later ones come after>"
            )
    if said := ", ".join(inside & {*settings()["revisions"]}):
        sys.exit(
            f"Error: [tool.migrations.revisions] in pyproject.toml has {said}\n"
            "Next:  remove that: nothing judges what is released"
        )
    if not inside:
        sys.exit(f"Error: nothing comes before {head.revision}")
    return [*(script for script in old if script is not head), head]


@contextmanager
def statements_about_the_server() -> Generator[list[str]]:
    """What revisions say within the block about roles and the like, which pg_dump leaves out."""
    said = list[str]()

    def listen(cursor: Any, statement: str, parameters: object, *_: object) -> None:
        if is_about_the_server(statement) and line_of_a_revision():
            given = parameters if isinstance(parameters, dict | tuple) else None
            said.append(cursor.mogrify(statement, given).decode())

    with listening(Engine, do_execute=listen, do_execute_no_params=listen), watched():
        yield said


def rows(url: URL) -> Rows:
    """All rows of all tables, and how far the sequences have come."""
    with closing(connect(url)) as connection, connection.cursor() as cursor:
        return every_row(cursor)


def digest_lines(old: list[Script]) -> str:
    """By what the record of a database, a check and an error know the old revisions."""
    lines = list[str]()
    for script in old:
        content = Path(script.path).read_bytes()
        lines += re.findall("(?m)^# squashed: .*", content.decode())  # by an earlier run
        text = hashlib.sha256(content.replace(b"\r\n", b"\n")).hexdigest()
        name = f"versions/{Path(script.path).name} {script.revision}"
        lines.append(f"# squashed: {name} {text[:32]} {effect(content)[:32]}")
    return "\n".join([*lines, ""])


def squash(old: list[Script]) -> None:
    """Write the revision, prove it, and only then remove the old files."""
    head = old[-1].revision
    prefix, found, _ = Path(old[-1].path).stem.partition(head)
    name = f"{prefix if found else ''}{head}_squashed.py"
    with (
        statements_about_the_server() as said,
        scratch_database("squash") as before,
        scratch_database("squash") as again,
        scratch_database("squash") as after,
        TemporaryDirectory(prefix=".squash-", dir=VERSIONS) as folder,
    ):
        Alembic(before)("upgrade", head)
        statements = [*said]
        Alembic(again)("upgrade", head)
        had, other = rows(before), rows(again)
        if not DRAFT.exists():
            statements.append(dump(before, "--rows-per-insert=100"))
            labels = tuple(sorted({it for script in old for it in script._orig_branch_labels}))
            title = f"What {len(old)} revisions had made, by testing/squash.py"
            write_revision(DRAFT, head, title, statements, labels or None)
        for script in revisions():
            if script not in old:
                shutil.copy(script.path, folder)
        shutil.copy(DRAFT, Path(folder, name))
        new = Alembic(after)
        new.config.set_main_option("version_locations", folder.replace("%", "%%"))
        new("upgrade", head)
        lines = [*difference(catalog(before), catalog(after)), *other_rows(had, other, rows(after))]
        for alembic in (Alembic(before), new):  # what comes later is the same on both
            alembic("upgrade", "heads")
        lines = lines or difference(catalog(before), catalog(after))
    if lines:
        sys.exit(
            "\n  ".join([f"Error: {shorten(DRAFT)} makes something else:", *lines])
            + "\nNext:  complete that file, and run the same command again, which proves it; "
            "nothing else has changed"
        )
    text, traces = DRAFT.read_text("utf-8"), digest_lines(old)
    for script in old:
        Path(script.path).unlink()
    (VERSIONS / name).write_text(f"{text}\n\n{traces}", "utf-8")
    DRAFT.unlink()
    print(f"{shorten(VERSIONS / name)} makes what {len(old)} revisions did, schema and rows.")
    if varied := ", ".join(table for table in had if had[table] != other.get(table)):
        print(f"Every new database has these rows of today, which were its own before: {varied}")
    print(
        f"A database at {head} or later has nothing to do. Upgrade an older one first, with the\n"
        "last release before this file."
    )


def other_rows(had: Rows, other: Rows, found: Rows) -> list[str]:
    """Where rows are not the same; of those that each database has others of, their number."""
    return [
        f"rows: {table}"
        for table in had.keys() | found.keys()
        if len(had.get(table, ())) != len(found.get(table, ()))
        or (had.get(table) == other.get(table) != found.get(table))
    ]


if __name__ == "__main__":
    if len(sys.argv) > 2 or sys.argv[-1].startswith("-"):
        sys.exit(__doc__)
    with errors_as_sentences():
        squash(to_fold(*sys.argv[1:]))

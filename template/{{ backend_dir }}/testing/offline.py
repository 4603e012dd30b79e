"""What `--sql` prints builds the same schema as running the revisions, step by step.

A revision that has to read the database has no SQL to print, and says so beside `revision = ...`:

    online_only = "it looks for duplicates first"
"""

from collections.abc import Callable
from contextlib import closing, suppress
from functools import partial, update_wrapper
from itertools import groupby
from types import SimpleNamespace
from typing import Any, TextIO, cast
from unittest.mock import patch

import pytest
from alembic.script import Script
from psycopg2.extensions import connection as Connection  # noqa: N812 (it is a class)
from sqlalchemy import URL

from testing.databases import connect, copy_of
from testing.revisions import Steps, Walk, declared, failure, released, unreleased, where
from testing.schema import catalog_reader, difference
from testing.whole_server import is_about_the_server

# Of "upgrade" or "downgrade" and a revision: what it prints, or the error when it is asked to.
Printed = dict[tuple[str, str], list[str] | Exception]
UP, DOWN = ("upgrade", 1), ("downgrade", -1)  # and the order of the revisions
DECLARE = '  Have it work without a database, or say in the file: online_only = "why"'


def test_offline_sql_builds_the_same_schema(
    subtests: pytest.Subtests,
    released_database: URL,
    record_property: Callable[[str, object], None],
) -> None:
    with closing(Pair(released_database)) as pair:
        for _, some in groupby(unreleased(), lambda it: bool(declared(it, "irreversible"))):
            pair.look([*some])
    for revision, said in pair.found.items():
        with subtests.test(revision):
            pytest.fail(said, pytrace=False)
    for note in pair.notes:
        record_property("note", note)
    pair.raise_failure()


class Pair(Walk):
    """Two databases on their way through the history: one by what the revisions print."""

    def __init__(self, origin: URL) -> None:
        self.printed = print_sql(unreleased())
        self.found: dict[str, str] = {}  # what is wrong with a revision
        self.notes: dict[str, None] = {}
        self.at: Script | None = None  # of those that are compared
        super().__init__(origin, "online")

    def start_again(self) -> None:
        """Both are the same again."""
        super().start_again()
        self.offline = self.resources.enter_context(copy_of(self.source, "offline"))
        urls = self.url, self.offline
        self.read, self.read_offline = (
            self.resources.enter_context(catalog_reader(url)) for url in urls
        )
        self.connection = self.resources.enter_context(closing(connect(self.offline)))
        self.is_new = True

    def look(self, some: list[Script]) -> None:
        """See what is wrong with revisions that follow: with all at once, or with ever fewer."""
        size, suspect = len(some), None
        while part := some[:size]:
            said, failed = None, None
            try:
                said = self.compare(part)
            except Exception as error:
                failed = error
            if said != "" and not (self.is_new and len(part) == 1):
                # What was reverted before, or one of them alone, may be why.
                if self.is_new:
                    suspect = self.at
                    size = max(part.index(suspect) if suspect else len(part) // 4, 1)
                self.start_again()
                continue
            some = some[size:]
            size = size * 2 if said == "" and suspect not in some[:1] else 1
            if failed:
                self.fail(part[0], failed)
                continue
            self.found |= {part[0].revision: said} if said else {}
            self.passed += part
            if part[-1] is not unreleased()[-1] and (said != "" or not self.go_up_again(part)):
                self.start_again()

    def compare(self, some: list[Script]) -> str | None:
        """What is not the same; empty if all is; None where a downgrade fails.

        Raises:
            Exception: what an upgrade raised.
        """
        for name, order in (UP,) if declared(some[0], "irreversible") else (UP, DOWN):
            for script in some[::order]:
                self.at = script
                try:
                    said = self.step(name, script)
                except Exception:
                    if name == "upgrade":
                        raise
                    return None
                if said:
                    return said
            self.at = None  # any of them
            if lines := difference(self.read(), self.read_offline()):
                what = f"{name}() with --sql makes another schema than without:"
                return "\n  ".join([f"{where(script, name)}: {what}", *lines])
        return ""

    def go_up_again(self, some: list[Script]) -> bool:
        """To where what follows begins, in a tenth of the time of two copies; whether it is."""
        self.is_new = False
        with suppress(Exception):
            is_up = declared(some[0], "irreversible")
            return is_up or not any(self.step("upgrade", script) for script in some)
        return False

    def step(self, name: str, script: Script) -> str:
        """Run one step in both; what is wrong with its SQL."""
        statements = self.printed[name, script.revision]
        if not isinstance(statements, Exception):
            self.steps.run(name, script)
            try:
                run_sql(self.connection, statements)
            except Exception as error:
                return f"with --sql: {failure(script, name, error)}"
            return ""
        before = self.read()
        self.steps.run(name, script)
        self.steps.close()
        with closing(Steps(self.offline)) as steps:  # so that those after it can be seen
            steps.run(name, script)
        if not declared(script, "online_only"):
            said = f"with --sql: {failure(script, name, statements)}"
            if before == self.read() and script.revision not in self.found:
                self.notes[f"{said.splitlines()[0]}. It changes no schema."] = None
            else:
                self.found.setdefault(script.revision, f"{said}\n{DECLARE}")
        return ""


def print_sql(some: list[Script]) -> Printed:
    """What `upgrade --sql` prints for these revisions, and then `downgrade --sql`."""
    printed: Printed = {}
    statements, errors = list[str](), list[Exception]()
    buffer = SimpleNamespace(write=statements.append, flush=lambda: None)
    with closing(Steps(None, as_sql=True, starting_rev=released())) as steps:
        steps.config.output_buffer = cast("TextIO", buffer)
        for name, order in (UP, DOWN):
            for script in some[::order]:
                function = getattr(script.module, name, attempt)  # without downgrade(), this fails
                run = update_wrapper(partial(attempt, function, errors), function)
                with patch.object(script.module, name, run, create=True):
                    steps.run(name, script)
                printed[name, script.revision] = errors.pop() if errors else [*statements]
                statements.clear()
    return printed


def attempt(function: Callable[..., None], errors: list[Exception], **arguments: Any) -> None:
    """Run it so that Alembic goes on after an error, and later revisions can be seen too."""
    try:
        function(**arguments)
    except (Exception, SystemExit) as error:
        errors.append(RuntimeError(str(error)) if isinstance(error, SystemExit) else error)


def run_sql(connection: Connection, statements: list[str]) -> None:
    """As psql does: transactions whole, and what stands between them alone."""
    transaction: list[str] = []
    with connection.cursor() as cursor:
        cursor.execute("DISCARD ALL")
        for statement in map(str.strip, statements):
            if is_about_the_server(statement):
                continue
            if transaction or statement == "BEGIN;":
                transaction.append(statement)
            if not transaction or statement == "COMMIT;":
                cursor.execute("\n\n".join(transaction or [statement]))
                transaction.clear()

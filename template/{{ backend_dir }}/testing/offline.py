"""What `--sql` prints builds the same schema as running the revisions, step by step."""

from collections.abc import Callable
from contextlib import ExitStack, closing

import pytest
from alembic.script import Script
from sqlalchemy import URL

from testing.databases import connect, temporary_database
from testing.revisions import Steps, failure, revisions, where
from testing.schema import Catalog, catalog, catalog_reader, difference

# Of a revision's upgrade or downgrade: what it prints, or the error when it is asked to.
Rendered = dict[tuple[str, str], list[str] | Exception]


def test_offline_sql_builds_the_same_schema(
    subtests: pytest.Subtests,
    own_database: URL,
    empty_database: URL,
    record_property: Callable[[str, object], None],
) -> None:
    rendered = render()
    for (revision, name), statements in rendered.items():
        if isinstance(statements, Exception):
            note = f"--sql ends at {name}() of {revision}, which has no SQL: {statements}"
            record_property("note", note.splitlines()[0])
    if is_right_as_a_whole(rendered, own_database, empty_database):
        return  # the usual case, and so each part is right
    with temporary_database(empty_database, f"{empty_database.database}_online") as url:
        online = run_online(url)
    with ExitStack() as stack:
        offline = Offline(empty_database, stack)
        for script in revisions():
            if (script.revision, "upgrade") not in online:
                break  # test_reversible.py says why
            with subtests.test(script.revision):
                if problem := offline.check(script, rendered, online):
                    pytest.fail(problem, pytrace=False)


def render() -> Rendered:
    """What `upgrade` and `downgrade` print with `--sql`, for each revision."""
    rendered: Rendered = {}
    with Steps() as steps:
        for name, step, order in (("upgrade", steps.up, 1), ("downgrade", steps.down, -1)):
            for script in revisions()[::order]:
                statements = step(script)
                rendered[script.revision, name] = steps.error or statements
    return rendered


def is_right_as_a_whole(rendered: Rendered, head: URL, empty: URL) -> bool:
    """Whether all upgrades, and then all downgrades, leave what they should."""
    for name, expected, order in (("upgrade", catalog(head), 1), ("downgrade", catalog(empty), -1)):
        for script in revisions()[::order]:
            statements = rendered[script.revision, name]
            try:
                if not isinstance(statements, Exception):
                    run_sql(empty, statements)
                elif changes_schema(empty, script, name):
                    return False
            except Exception:
                return False
        if difference(expected, catalog(empty)):
            return False
    return True


def changes_schema(url: URL, script: Script, name: str) -> bool:
    """Run it as it is, since it cannot be printed."""
    before = catalog(url)
    with Steps(url) as steps:
        (steps.up if name == "upgrade" else steps.down)(script)
    return before != catalog(url)


def run_online(url: URL) -> dict[tuple[str, str], Catalog]:
    """The schema after each upgrade and each downgrade, but for those that fail."""
    catalogs: dict[tuple[str, str], Catalog] = {}
    with catalog_reader(url) as read, Steps(url) as steps:
        for script in revisions():
            try:
                steps.up(script)
            except Exception:
                break
            catalogs[script.revision, "upgrade"] = read()
            try:
                steps.down(script)
                catalogs[script.revision, "downgrade"] = read()
                steps.up(script)
            except Exception:  # a broken downgrade is for test_reversible.py, but for our next step
                if read() != catalogs[script.revision, "upgrade"]:
                    break
    return catalogs


class Offline:
    """A database that is built by what `--sql` prints, as far as that is right."""

    def __init__(self, server: URL, stack: ExitStack) -> None:
        self.server, self.stack, self.number = server, stack, 0
        self.done: list[Script] = []
        self.url = self.new_database()

    def new_database(self) -> URL:
        """One at the last of the revisions that are done."""
        self.number += 1
        name = f"{self.server.database}_offline_{self.number}"
        url = self.stack.enter_context(temporary_database(self.server, name))
        with Steps(url) as steps:
            for script in self.done:
                steps.up(script)
        return url

    def check(
        self, script: Script, rendered: Rendered, online: dict[tuple[str, str], Catalog]
    ) -> str:
        """What is wrong with this revision; afterwards the database is at it."""
        problem, old = "", catalog(self.url)
        for name in ("upgrade", "downgrade"):
            new = online.get((script.revision, name))
            statements = rendered[script.revision, name]
            if new is None or problem or (isinstance(statements, Exception) and new == old):
                break
            problem = self.compare(script, name, statements, new)
            old = new
        self.done.append(script)
        self.url = self.new_database()
        return problem

    def compare(
        self, script: Script, name: str, statements: list[str] | Exception, expected: Catalog
    ) -> str:
        """Run what it prints; returns what is not as expected."""
        if isinstance(statements, Exception):
            error: Exception | None = statements
        else:
            error = None
            try:
                run_sql(self.url, statements)
            except Exception as raised:
                error = raised
        if error:
            return f"with --sql: {failure(script, name, error)}"
        if lines := difference(expected, catalog(self.url)):
            what = f"{where(script, name)}: {name}() with --sql makes another schema than without:"
            return "\n  ".join([what, *lines])
        return ""


def run_sql(url: URL, statements: list[str]) -> None:
    """As psql does: transactions whole, and what stands between them alone."""
    transaction: list[str] | None = None
    with closing(connect(url)) as connection, connection.cursor() as cursor:
        for statement in statements:
            if statement == "BEGIN;":
                transaction = []
            if transaction is None:
                cursor.execute(statement)
                continue
            transaction.append(statement)
            if statement == "COMMIT;":
                cursor.execute("\n\n".join(transaction))
                transaction = None

"""What `--sql` prints builds the same schema as running the revisions, step by step."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any, TextIO, cast

import pytest
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext, MigrationStep
from alembic.script import Script
from sqlalchemy import URL

from testing.databases import Alembic, connect, copy_of
from testing.revisions import Steps, failure, released, scripts, unreleased, where
from testing.schema import Catalog, catalog, difference

# Of "upgrade" or "downgrade" and a revision: what it prints, or the error when it is asked to.
Printed = dict[tuple[str, str], list[str] | Exception]


def test_offline_sql_builds_the_same_schema(
    subtests: pytest.Subtests,
    released_database: URL,
    own_database: URL,
    record_property: Callable[[str, object], None],
) -> None:
    printed = print_sql(unreleased())
    for (name, revision), statements in printed.items():
        if isinstance(statements, Exception):
            note = f"--sql ends at {name}() of {revision}, which has no SQL: {statements}"
            record_property("note", note.splitlines()[0])
    with copy_of(released_database, "offline") as url:
        if is_right_as_a_whole(printed, url, own_database):
            return  # the usual case, and so each part is right
    with copy_of(released_database, "online") as url:
        for script in unreleased():
            with subtests.test(script.revision):
                problem = check(url, script, printed)
                if problem:
                    pytest.fail(problem, pytrace=False)
            if problem is None:
                break  # upgrade() fails; testing/reversible.py says why


class _Statements(list[str]):
    """The part of a file's interface that Alembic writes statements to, one at a time."""

    def write(self, statement: str) -> None:
        self.append(statement.strip())

    def flush(self) -> None:
        pass


def print_sql(some: list[Script]) -> Printed:
    """What `upgrade --sql` prints for these revisions, and then `downgrade --sql`."""
    printed: Printed = {}
    statements = _Statements()
    errors: list[Exception] = []

    def guarded(function: Callable[..., Any]) -> Callable[..., Any]:
        def run(**arguments: Any) -> None:
            try:
                function(**arguments)
            except Exception as error:  # Alembic goes on, and later revisions can be seen too
                errors.append(error)

        return run

    def steps(_heads: Any, _context: MigrationContext) -> Iterator[MigrationStep]:
        for name, make, order in (
            ("upgrade", MigrationStep.upgrade_from_script, 1),
            ("downgrade", MigrationStep.downgrade_from_script, -1),
        ):
            for script in some[::order]:
                step = make(scripts().revision_map, script)
                step.migration_fn = guarded(step.migration_fn)
                yield step
                printed[name, script.revision] = errors.pop() if errors else list(statements)
                statements.clear()

    config = Alembic().config
    config.output_buffer = cast("TextIO", statements)
    options: dict[str, Any] = {"fn": steps, "starting_rev": released(), "destination_rev": "heads"}
    with EnvironmentContext(config, scripts(), as_sql=True, **options):
        scripts().run_env()
    return printed


def is_right_as_a_whole(printed: Printed, url: URL, head: URL) -> bool:
    """Whether all upgrades, and then all downgrades, leave what they should."""
    for name, expected, order in (("upgrade", catalog(head), 1), ("downgrade", catalog(url), -1)):
        for script in unreleased()[::order]:
            statements = printed[name, script.revision]
            try:
                if not isinstance(statements, Exception):
                    run_sql(url, statements)
                elif catalog(url) != run_online(url, script, name):  # it cannot be printed
                    return False
            except Exception:
                return False
        if difference(expected, catalog(url)):
            return False
    return True


def run_online(url: URL, script: Script, name: str) -> Catalog:
    """Run `upgrade` or `downgrade` of a revision; returns the schema that it leaves."""
    with Steps(url) as steps:
        getattr(steps, name)(script)
    return catalog(url)


def check(online: URL, script: Script, printed: Printed) -> str | None:
    """What is wrong with a revision; None if it cannot be applied. Afterwards it is applied."""
    with ExitStack() as databases:
        offline, url = databases.enter_context(copy_of(online, "sql")), online
        for name in ("upgrade", "downgrade"):
            before, statements = catalog(url), printed[name, script.revision]
            try:
                after = run_online(url, script, name)
            except Exception:
                return None if name == "upgrade" else ""
            if isinstance(statements, Exception) and before == after:
                return ""
            if problem := compare(offline, script, name, statements, after):
                return problem
            if name == "upgrade":
                url = databases.enter_context(copy_of(online, "reverted"))
    return ""


def compare(
    offline: URL, script: Script, name: str, statements: list[str] | Exception, expected: Catalog
) -> str:
    """Run what a revision prints; returns what is not as expected."""
    try:
        if isinstance(statements, Exception):
            raise statements
        run_sql(offline, statements)
    except Exception as error:
        return f"with --sql: {failure(script, name, error)}"
    if lines := difference(expected, catalog(offline)):
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

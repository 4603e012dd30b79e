"""What `--sql` prints builds the same schema as running the revisions, step by step."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from functools import partial, update_wrapper
from types import SimpleNamespace
from typing import Any, TextIO, cast

import pytest
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext, MigrationStep
from alembic.script import Script
from sqlalchemy import URL

from testing.databases import Alembic, connect, copy_of
from testing.revisions import Steps, failure, released, scripts, unreleased, where
from testing.schema import Catalog, catalog, difference
from testing.whole_server import is_about_the_server

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


def print_sql(some: list[Script]) -> Printed:
    """What `upgrade --sql` prints for these revisions, and then `downgrade --sql`."""
    printed: Printed = {}
    statements: list[str] = []

    def steps(_heads: Any, _context: MigrationContext) -> Iterator[MigrationStep]:
        for name, make, order in (
            ("upgrade", MigrationStep.upgrade_from_script, 1),
            ("downgrade", MigrationStep.downgrade_from_script, -1),
        ):
            for script in some[::order]:
                step, errors = make(scripts().revision_map, script), list[Exception]()
                run = partial(attempt, step.migration_fn, errors)
                step.migration_fn = update_wrapper(run, step.migration_fn)
                yield step
                printed[name, script.revision] = errors.pop() if errors else list(statements)
                statements.clear()

    def write(statement: str) -> None:
        statements.append(statement.strip())

    config = Alembic().config
    config.output_buffer = cast("TextIO", SimpleNamespace(write=write, flush=lambda: None))
    options: dict[str, Any] = {"fn": steps, "starting_rev": released(), "destination_rev": "heads"}
    with EnvironmentContext(config, scripts(), as_sql=True, **options):
        scripts().run_env()
    return printed


def attempt(function: Callable[..., Any], errors: list[Exception], **arguments: Any) -> None:
    """Run it so that Alembic goes on after an error, and later revisions can be seen too."""
    try:
        function(**arguments)
    except Exception as error:
        errors.append(error)


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
            if not (isinstance(statements, Exception) and before == after):
                try:
                    run_sql(offline, statements)
                except Exception as error:
                    return f"with --sql: {failure(script, name, error)}"
                if lines := difference(after, catalog(offline)):
                    what = f"{name}() with --sql makes another schema than without:"
                    return "\n  ".join([f"{where(script, name)}: {what}", *lines])
            if name == "upgrade":
                url = databases.enter_context(copy_of(online, "reverted"))
    return ""


def run_sql(url: URL, statements: list[str] | Exception) -> None:
    """As psql does: transactions whole, and what stands between them alone."""
    if isinstance(statements, Exception):
        raise statements
    transaction: list[str] = []
    with closing(connect(url)) as connection, connection.cursor() as cursor:
        for statement in statements:
            if is_about_the_server(statement):
                continue
            if transaction or statement == "BEGIN;":
                transaction.append(statement)
            if not transaction or statement == "COMMIT;":
                cursor.execute("\n\n".join(transaction or [statement]))
                transaction.clear()

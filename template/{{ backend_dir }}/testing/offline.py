"""What `--sql` prints builds the same schema as running the revisions, step by step."""

from collections.abc import Callable
from contextlib import closing, suppress
from functools import partial, update_wrapper
from types import SimpleNamespace
from typing import Any, TextIO, cast
from unittest.mock import patch

import pytest
from alembic.script import Script
from sqlalchemy import URL

from testing.databases import connect, copy_of
from testing.revisions import OneProblem, Steps, apply, failure, released, unreleased, where
from testing.schema import catalog, difference
from testing.whole_server import is_about_the_server

# Of "upgrade" or "downgrade" and a revision: what it prints, or the error when it is asked to.
Printed = dict[tuple[str, str], list[str] | Exception]
BOTH_WAYS = (("upgrade", 1), ("downgrade", -1))  # and the order of the revisions


def test_offline_sql_builds_the_same_schema(
    subtests: pytest.Subtests,
    released_database: URL,
    record_property: Callable[[str, object], None],
) -> None:
    printed = print_sql(unreleased())
    for (name, revision), statements in printed.items():
        if isinstance(statements, Exception):
            note = f"--sql ends at {name}() of {revision}, which has no SQL: {statements}"
            record_property("note", note.splitlines()[0])
    with suppress(OneProblem):
        if problem(released_database, unreleased(), printed) == "":
            return  # the usual case, and so each of them is right
    with copy_of(released_database, "each") as url:
        for script in unreleased():
            said = problem(url, [script], printed)
            with subtests.test(script.revision):
                if said:
                    pytest.fail(said, pytrace=False)
            apply(url, [script])


def print_sql(some: list[Script]) -> Printed:
    """What `upgrade --sql` prints for these revisions, and then `downgrade --sql`."""
    printed: Printed = {}
    statements, errors = list[str](), list[Exception]()
    buffer = SimpleNamespace(write=statements.append, flush=lambda: None)
    with Steps(None, as_sql=True, starting_rev=released()) as steps:
        steps.config.output_buffer = cast("TextIO", buffer)
        for name, order in BOTH_WAYS:
            for script in some[::order]:
                run = partial(attempt, getattr(script.module, name), errors)
                with patch.object(script.module, name, update_wrapper(run, run.args[0])):
                    steps.run(name, script)
                printed[name, script.revision] = errors.pop() if errors else [*statements]
                statements.clear()
    return printed


def attempt(function: Callable[..., None], errors: list[Exception], **arguments: Any) -> None:
    """Run it so that Alembic goes on after an error, and later revisions can be seen too."""
    try:
        function(**arguments)
    except Exception as error:
        errors.append(error)


def problem(url: URL, some: list[Script], printed: Printed) -> str | None:
    """What is wrong with revisions that follow those of a database; empty if nothing is.

    None where a downgrade fails: testing/reversible.py says why.
    """
    with (
        copy_of(url, "online") as online,
        copy_of(url, "offline") as offline,
        Steps(online) as steps,
    ):
        for name, order in BOTH_WAYS:
            for script in some[::order]:
                statements = printed[name, script.revision]
                has_sql = not isinstance(statements, Exception)
                before = {} if has_sql else catalog(online)
                try:
                    steps.run(name, script)
                except Exception as error:
                    if name == "downgrade":
                        return None
                    raise OneProblem(failure(script, name, error)) from error
                if not has_sql and before == catalog(online):
                    continue
                try:
                    run_sql(offline, statements)
                except Exception as error:
                    return f"with --sql: {failure(script, name, error)}"
            if lines := difference(catalog(online), catalog(offline)):
                what = f"{name}() with --sql makes another schema than without:"
                return "\n  ".join([f"{where(script, name)}: {what}", *lines])
    return ""


def run_sql(url: URL, statements: list[str] | Exception) -> None:
    """As psql does: transactions whole, and what stands between them alone."""
    if isinstance(statements, Exception):
        raise statements
    transaction: list[str] = []
    with closing(connect(url)) as connection, connection.cursor() as cursor:
        for statement in map(str.strip, statements):
            if is_about_the_server(statement):
                continue
            if transaction or statement == "BEGIN;":
                transaction.append(statement)
            if not transaction or statement == "COMMIT;":
                cursor.execute("\n\n".join(transaction or [statement]))
                transaction.clear()

"""One run of the tests: its server, its settings, and the databases that it refuses.

pytest loads this before any conftest.py (`-p testing.plugin` in pyproject.toml), and it imports
nothing of `app` until the environment is the run's own: what a module of yours reads of the
settings at its import names no database of a developer's. The fixtures are in fixtures.py.
"""

import os
import re
import secrets
from contextlib import ExitStack, suppress
from importlib.util import find_spec
from typing import Any

import pytest
from sqlalchemy import URL, Engine, make_url

from testing.server import NoServerError, database_name, postgres_server
from testing.whole_server import listening, watched

NOWHERE = "postgresql://nobody@127.0.0.1:1/nowhere"  # nothing listens on port 1
NO_TESTS = ("collectonly", "help", "markers", "showfixtures", "show_fixtures_per_test")
notes: set[str] = set()  # printed at the end of the run
told: dict[str, str] = {}  # problem of many tests -> the one that failed for it


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Find or start the server, and point the settings at the run's own databases."""
    told.clear()  # of another run in this process
    stack, patch = ExitStack(), pytest.MonkeyPatch()
    stack.callback(patch.undo)
    early_config.add_cleanup(stack.close)
    # A worker has its run and its server from the process that started it.
    starts = not ("PYTEST_XDIST_WORKER" in os.environ and "TESTING_RUN" in os.environ)
    if starts:
        patch.setenv("TESTING_RUN", f"run{secrets.token_hex(4)}")
        patch.delenv("TESTING_URL", raising=False)
        _find_server(early_config.known_args_namespace, stack, patch)
    url = make_url(os.environ.get("TESTING_URL", NOWHERE)).set(database=database_name("worker"))
    for name in ("DATABASE_URL", "MIGRATION_DATABASE_URL"):
        patch.setenv(name, url.render_as_string(hide_password=False))
    patch.setenv("ENVIRONMENT", "development")
    kept = "HOST$|PORT|USER|PASS|SSL" if os.environ.get("TEST_DATABASE_URL") else "$"
    for name in filter(re.compile(f"PG(?!{kept})[A-Z]").match, [*os.environ]):
        patch.delenv(name)  # a developer's, of another server
    patch.setenv("PGDATABASE", str(url.database))  # for who asks libpq alone
    stack.enter_context(listening(Engine, do_connect=_refuse_foreign_databases))
    stack.enter_context(watched())
    if starts and os.environ.get("TEST_DATABASE_URL") and "TESTING_URL" in os.environ:
        _join_server(stack, patch)
    for name in filter(find_spec, ("testing.fixtures", "testing.roles")):  # these with `deploy`
        early_config.pluginmanager.import_plugin(name)


def _find_server(options: Any, stack: ExitStack, patch: pytest.MonkeyPatch) -> None:
    """Set TESTING_SERVER, for people, and TESTING_URL where there is a server."""
    given, url = os.environ.get("TEST_DATABASE_URL", "").strip(), None
    try:
        if given:
            url, source = _parse(given), "that of TEST_DATABASE_URL"
        elif any(getattr(options, name, False) for name in NO_TESTS):
            source = "none, since no test runs"
        else:
            url, source = stack.enter_context(postgres_server())
    except (NoServerError, ValueError) as error:
        source = f"none. {error}"
    patch.setenv("TESTING_SERVER", source)
    if url:
        patch.setenv("TESTING_URL", url.render_as_string(hide_password=False))


def _parse(given: str) -> URL:
    """A URL whose query names no user and no database: others' URLs are made from it."""
    with suppress(Exception):  # its text may hold a password
        url = make_url(given)
        query: Any = dict(url.query)
        user = query.pop("user", url.username), query.pop("password", url.password)
        database = query.pop("dbname", url.database) or "postgres"
        url = url.set(username=user[0], password=user[1], database=database, query=query)
        if url.get_backend_name() in {"postgres", "postgresql"}:
            return url.set(drivername="postgresql")
    raise ValueError("TEST_DATABASE_URL is not of the form postgresql://user:password@host:5432/db")


def _join_server(stack: ExitStack, patch: pytest.MonkeyPatch) -> None:
    """Say that this run lives, and drop what runs left behind that do not live any more."""
    from app.migrate.explain import explain
    from testing.databases import connect, drop_leftovers, execute

    server, run = make_url(os.environ["TESTING_URL"]), f"test_{os.environ['TESTING_RUN']}"
    try:
        # The session says it for as long as this process lives, whatever its end.
        stack.callback(connect(server, application_name=run).close)
        may_create = "SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user"
        if execute(server, may_create) != [(True,)]:
            raise ValueError("its role may not create databases\nNext:  ALTER ROLE ... CREATEDB")
        if execute(server, "SHOW transaction_read_only") != [("off",)]:
            raise ValueError("it is read-only\nNext:  name the primary, or a role that may write")
        for name in drop_leftovers(server, run):
            notes.add(f"dropped {name}, which a run that was killed had left behind")
        stack.enter_context(suppress(Exception))  # the server is gone, and every test said so
        stack.callback(drop_leftovers, server, run)
    except Exception as error:
        patch.setenv("TESTING_SERVER", f"none. TEST_DATABASE_URL: {explain(error) or error}")
        patch.delenv("TESTING_URL")


def _refuse_foreign_databases(dialect: Any, _: Any, args: Any, arguments: dict[str, Any]) -> None:
    """For every engine of this process, whoever makes it."""
    from testing.databases import made

    name = arguments.get("dbname", arguments.get("database"))
    if dialect.name == "postgresql" and name not in made:
        why = f"this test connects to {name}, and may only connect to databases of its own run: "
        pytest.fail(f"{why}have `session`, `engine` or `database` among its arguments", False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(call: pytest.CallInfo[None]) -> Any:
    """A problem of many tests is a sentence, and no traceback shows the server's password."""
    from app.migrate.explain import explain
    from testing.databases import connect
    from testing.revisions import shared_problem

    report = yield
    if report.failed and call.excinfo:
        problem, password = shared_problem(call.excinfo.value), os.environ.get("PGPASSWORD")
        if given := os.environ.get("TESTING_URL"):
            password = make_url(given).password or password
            try:
                connect(make_url(given), connect_timeout=5).close()
            except Exception as error:
                cause = explained.cause if (explained := explain(error)) else error
                problem = f"the tests' PostgreSQL server is gone: {cause}"
        shown = problem or str(report.longrepr)
        if password:
            shown = re.sub(rf"(?<=[:'\"=]){re.escape(password)}(?=[@'\" ])", "***", shown)
        if shown != str(report.longrepr):
            report.longrepr = shown
        if problem:
            report.user_properties.append(("problem", shown.splitlines()[0]))
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_logreport(report: pytest.TestReport) -> Any:
    """What many tests meet is one failure, of the first; in its name the others are skipped."""
    problem = dict(report.user_properties).get("problem") if report.failed else None
    if report.failed and (finding := str(report.longrepr).partition("\n")[0]) in told:
        problem = finding  # of a subtest, which has no properties
    if problem and told.setdefault(str(problem), report.nodeid) != report.nodeid:
        path, line, _ = report.location
        report.outcome, report.longrepr = "skipped", (path, (line or 0) + 1, f"Skipped: {problem}")
    return (yield)


def pytest_report_header() -> str:
    """Say which server it is."""
    return f"PostgreSQL: {os.environ['TESTING_SERVER']}"


def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, str] | None:
    """A test whose subtests failed has no failure of its own: each finding counts once."""
    failed = report.failed and str(report.longrepr).startswith("contains ")
    return ("", "", "") if failed else None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What tests have to say without failing: `record_property("note", "...")`."""
    tests = [test for end in ("passed", "failed", "") for test in terminalreporter.getreports(end)]
    said = {str(value) for test in tests for name, value in test.user_properties if name == "note"}
    if notes | said:
        terminalreporter.section("notes")
    for note in sorted(notes | said):
        terminalreporter.line(note)

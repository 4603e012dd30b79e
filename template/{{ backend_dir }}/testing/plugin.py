"""One run of the tests: its server, its settings, and the databases that it refuses.

pytest loads this before any conftest.py (`-p testing.plugin` in pyproject.toml), and it imports
nothing of `app` until the environment is the run's own: what a module of yours reads of the
settings at its import names no database of a developer's. The fixtures are in fixtures.py.
"""

import os
import re
import secrets
from contextlib import ExitStack, suppress
from typing import Any

import pytest
from sqlalchemy import URL, Engine, event, make_url

from testing.server import NoServerError, database_name, postgres_server
from testing.whole_server import left_alone

NOWHERE = "postgresql://nobody@127.0.0.1:1/nowhere"  # nothing listens on port 1
RUN = re.compile(r"test_run[0-9a-f]{8}(?=_)")  # what the names of a run's databases begin with
NO_TESTS = ("collectonly", "help", "markers", "showfixtures", "show_fixtures_per_test")
notes: set[str] = set()  # printed at the end of the run


class ForeignDatabaseError(RuntimeError):
    """A test connects to a database that its run did not make."""


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Find or start the server, and point the settings at the run's own databases."""
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
    event.listen(Engine, "do_connect", _refuse_foreign_databases)
    stack.callback(event.remove, Engine, "do_connect", _refuse_foreign_databases)
    stack.enter_context(left_alone())
    if starts and os.environ.get("TEST_DATABASE_URL") and "TESTING_URL" in os.environ:
        _join_server(stack, patch)
    early_config.pluginmanager.import_plugin("testing.fixtures")


def _find_server(options: Any, stack: ExitStack, patch: pytest.MonkeyPatch) -> None:
    """Set TESTING_SERVER, for people, and TESTING_URL where there is a server."""
    given, url = os.environ.get("TEST_DATABASE_URL", "").strip(), None
    try:
        if given:
            url, source = _parse(given), "that of TEST_DATABASE_URL"
        elif any(getattr(options, name, False) for name in NO_TESTS):
            source = "none, since no test runs"
        else:
            own = stack.enter_context(postgres_server())
            source = own.source
            url = URL.create("postgresql", own.user, own.password, own.host, own.port, "postgres")
    except (NoServerError, ValueError) as error:
        source = f"none. {error}"
    patch.setenv("TESTING_SERVER", source)
    if url:
        patch.setenv("TESTING_URL", url.render_as_string(hide_password=False))


def _parse(given: str) -> URL:
    """A URL whose query names no user and no database: others' URLs are made from it."""
    with suppress(Exception):  # its text may hold a password
        url = make_url(given)
        fields = {"dbname": "database", "user": "username", "password": "password"}
        said: Any = {fields[name]: value for name, value in url.query.items() if name in fields}
        said["database"] = said.get("database") or url.database or "postgres"
        if url.get_backend_name() in {"postgres", "postgresql"}:
            return url.set(drivername="postgresql", **said).difference_update_query([*fields])
    raise ValueError("TEST_DATABASE_URL is not of the form postgresql://user:password@host:5432/db")


def _join_server(stack: ExitStack, patch: pytest.MonkeyPatch) -> None:
    """Say that this run lives, and drop what runs left behind that do not live any more."""
    from app.migrate.explain import explain
    from testing.databases import connect, drop_database, execute, marked_databases

    server, run = make_url(os.environ["TESTING_URL"]), f"test_{os.environ['TESTING_RUN']}"

    def drop_databases() -> None:
        with suppress(Exception):  # the server is gone, and every test said so
            for name in marked_databases(server):
                if name.startswith(f"{run}_"):
                    drop_database(server, name)

    try:
        # The session says it for as long as this process lives, whatever its end.
        stack.callback(connect(server, application_name=run).close)
        stack.callback(drop_databases)
        may_create = "SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user"
        if execute(server, may_create) != [(True,)]:
            raise ValueError("its role may not create databases\nNext:  ALTER ROLE ... CREATEDB")
        marked = marked_databases(server)  # before the question who lives
        alive = "SELECT application_name, datname FROM pg_stat_activity"
        seen = " ".join(str(name) for row in execute(server, alive) for name in row)
        for name in marked:
            if (found := RUN.match(name)) and found[0] not in seen:
                drop_database(server, name)
                notes.add(f"dropped {name}, which a run that was killed had left behind")
    except Exception as error:
        patch.setenv("TESTING_SERVER", f"none. TEST_DATABASE_URL: {explain(error) or error}")
        patch.delenv("TESTING_URL")


def _refuse_foreign_databases(dialect: Any, _: Any, args: Any, arguments: dict[str, Any]) -> None:
    """For every engine of this process, whoever makes it."""
    __tracebackhide__ = True
    from testing.databases import made

    name = arguments.get("dbname", arguments.get("database"))
    if dialect.name == "postgresql" and name not in made:
        raise ForeignDatabaseError(
            f"this test connects to {name}, and may only connect to databases of its own run: "
            "have `session`, `engine` or `database` among its arguments"
        )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(call: pytest.CallInfo[None]) -> Any:
    """A server that is gone is one line, and no traceback shows the server's password."""
    report = yield
    if call.excinfo and report.failed:
        if isinstance(call.excinfo.value, ForeignDatabaseError):
            report.longrepr = str(call.excinfo.value)
        report.longrepr = _why_no_server_answers(call.excinfo.value) or report.longrepr
        url = make_url(os.environ.get("TESTING_URL", NOWHERE))
        password, shown = url.password or os.environ.get("PGPASSWORD"), str(report.longrepr)
        if password and password in shown:
            pattern = rf"(?<=[:'\"]){re.escape(password)}(?=[@'\"])"
            report.longrepr = re.sub(pattern, "***", shown)
    return report


def _why_no_server_answers(error: BaseException) -> str:
    from app.migrate.errors import ExitCode
    from app.migrate.explain import explain
    from testing.databases import connect

    problem = explain(error) if isinstance(error, Exception) else None
    if problem and problem.exit_code is ExitCode.UNREACHABLE and "TESTING_URL" in os.environ:
        try:
            connect(make_url(os.environ["TESTING_URL"]), connect_timeout=5).close()
        except Exception as gone:
            return f"the tests' PostgreSQL server is gone: {(explain(gone) or problem).cause}"
    return ""


def pytest_report_header() -> str:
    """Say which server it is."""
    return f"PostgreSQL: {os.environ['TESTING_SERVER']}"


def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, str] | None:
    """A test whose subtests failed has no failure of its own: each finding counts once."""
    failed = report.failed and str(report.longrepr).startswith("contains ")
    return ("", "", "") if failed else None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What tests have to say without failing: `record_property("note", "...")`."""
    said = {
        str(value)
        for outcome in ("passed", "failed", "")
        for report in terminalreporter.getreports(outcome)
        for name, value in report.user_properties
        if name == "note"
    }
    if notes | said:
        terminalreporter.section("notes")
    for note in sorted(notes | said):
        terminalreporter.line(note)

"""The application under test has the privileges that it has in production, with `deploy`."""

import re

import pytest
from sqlalchemy import URL

from tests._kit.forks import forks
from tests._kit.revision import write_revision
from tests._kit.support import environment
from tests.conftest import Project, Render

pytestmark = pytest.mark.server
TESTS = """\
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from app.core.database import get_engine
from testing.databases import execute

REFUSED = "permission denied|must be owner"
FORBIDDEN = [
    "CREATE TABLE mine ()",
    "CREATE TEMP TABLE mine ()",
    "ALTER TABLE items ADD x int",
    "TRUNCATE items",
    "DELETE FROM alembic_version",
    "DELETE FROM alembic_history",
]


@pytest.mark.parametrize("statement", FORBIDDEN)
async def test_it_may_not(statement, connection):
    with pytest.raises(DBAPIError, match=REFUSED):
        await connection.execute(text(statement))


async def test_it_works_on_rows(session, sync_session, own_database, application_engine):
    for statement in ("INSERT INTO %s VALUES (1)", "DELETE FROM %s", "TABLE alembic_version"):
        for table in ("items", "sales.visits"):
            await session.execute(text(statement.replace("%s", table)))
            sync_session.execute(text(statement.replace("%s", table)))
    execute(own_database, "CREATE TABLE mine (id int)")
    async with get_engine().begin() as connection:
        await connection.execute(text("INSERT INTO mine VALUES (1)"))
        with pytest.raises(DBAPIError, match=REFUSED):
            await connection.execute(text("DROP TABLE mine"))


async def test_what_no_migration_granted(session):
    await session.execute(text("SELECT * FROM secrets"))
"""
UPGRADE = """
op.execute("CREATE TABLE items (id int)")
op.execute("CREATE SCHEMA sales")
op.execute("CREATE TABLE sales.visits (id int)")
op.execute("CREATE TABLE secrets (id int)")
op.execute("REVOKE ALL ON secrets FROM demo_shop_application")
"""
DOWNGRADE = """
op.execute("DROP TABLE items, sales.visits, secrets")
op.execute("DROP SCHEMA sales")
"""


def suite(project: Project, *words: str, **variables: str) -> tuple[int, str]:
    """Run the project's own tests; returns the exit code, and what pytest said."""
    command = ["-p", "no:cacheprovider", *words]
    done = forks().run("pytest", command, project.backend, environment(None, **variables))
    return done.returncode, done.stdout + done.stderr


def test_a_missing_privilege_fails_the_applications_tests(render: Render) -> None:
    project = render(api="fastapi", deploy="compose")
    write_revision(project.backend, "items", "baseline", UPGRADE, DOWNGRADE)
    (project.backend / "tests" / "api" / "test_roles.py").write_text(TESTS)
    # By itself first: it runs the revision, which names a role.
    code, output = suite(project, "testing/reversible.py")
    assert code == 0, output
    code, output = suite(project, "tests/api", "tests/test_database.py", "-n", "2")
    assert code == 1
    assert "The application's role: demo_shop_application" in output
    assert "permission denied for table secrets" in output
    assert "= 1 failed, " in output, output


def test_a_given_server_has_to_have_the_role(rendered: Render, server: URL) -> None:
    given = server.render_as_string(hide_password=False)
    project = rendered(project_slug="corner-shop", deploy="kubernetes")
    code, output = suite(project, "tests/test_database.py", TEST_DATABASE_URL=given)
    assert code == 1
    assert "the server has no role corner_shop_application" in output
    assert re.search(r"= (\d passed, )?\d skipped, 1 error in", output), output

"""The application under test has its role, with the privileges that database/roles.sql gives it.

So what it may not do in production fails here. The settings name that role; `server`, `database`
and the other URLs name the tests' own user, who stands in for the owner. A session is that user's
after `SET LOCAL ROLE NONE`.
"""

import os
import re
from contextlib import closing

import pytest
from psycopg2 import sql
from sqlalchemy import URL, make_url

from testing.databases import BACKEND, connect, execute, temporary_database
from testing.fixtures import made_once
from testing.revisions import OneProblem
from testing.server import database_name

FILES = (folder / "database" / "roles.sql" for folder in (BACKEND, *BACKEND.parents))
TEXT = next(file for file in FILES if file.is_file()).read_text("utf-8")
ROLES = dict(re.findall(r"(?m)^\\set (application|read_only) (\w+)$", TEXT))
# What the owner grants, as psycopg2 writes names.
GRANTS = re.sub(r':"(\w+)"', r"{\1}", TEXT.split('SET LOCAL ROLE :"owner";')[1].split("COMMIT;")[0])
ON_DATABASE = "\n".join(line for line in GRANTS.splitlines() if " ON DATABASE " in line)
CREATE = """
DO $$ BEGIN CREATE ROLE {};
EXCEPTION WHEN duplicate_object OR unique_violation THEN  -- by another worker
END $$
"""


def as_application(url: str) -> str:
    """The same for sessions of the application's role."""
    options = f"{make_url(url).query.get('options', '')} -crole={ROLES['application']}".strip()
    given = make_url(url).update_query_dict({"options": options})
    return given.render_as_string(hide_password=False)


for variable in ("DATABASE_URL", "MIGRATION_DATABASE_URL"):  # this run's, of plugin.py
    os.environ[variable] = as_application(os.environ[variable])


def pytest_report_header() -> str:
    """Say whose privileges the application has."""
    return f"The application's role: {ROLES['application']} (testing/roles.py)"


@pytest.fixture(scope="session")
def server(server: URL) -> URL:
    """The same, with the roles: a server that others use has to have them."""
    with closing(connect(server)) as connection, connection.cursor() as cursor:
        for role in ROLES.values():
            cursor.execute("SELECT FROM pg_roles WHERE rolname = %s", [role])
            if not cursor.rowcount and os.environ.get("TEST_DATABASE_URL", "").strip():
                raise OneProblem(f"the server has no role {role}\nNext:  CREATE ROLE {role} there")
            cursor.execute(sql.SQL(CREATE).format(sql.Identifier(role)))
    return server


def grant(url: URL, grants: str) -> None:
    """Run statements of roles.sql on a database."""
    names = ROLES | {"database": url.database or ""}
    named = {name: sql.Identifier(text) for name, text in names.items()}
    execute(url, sql.SQL(grants).format(**named))


@pytest.fixture(scope="session")
def template(server: URL) -> str:
    """A database at head, where what is made has the privileges of roles.sql."""
    with temporary_database(server, database_name("granted")) as url:
        grant(url, GRANTS)
        return made_once(server, "template", str(url.database), "heads")


@pytest.fixture(scope="session")
def database(database: URL) -> URL:
    """The same; a copy has not the privileges on the database itself."""
    grant(database, ON_DATABASE)
    return database


@pytest.fixture
def own_database(own_database: URL) -> URL:
    """The same."""
    grant(own_database, ON_DATABASE)
    return own_database

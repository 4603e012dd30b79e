"""Two roles: one owns the schema and migrates, the application's may only work with it."""
# ruff: noqa: S106

import re
import subprocess
import time
from collections.abc import Callable, Generator
from contextlib import closing
from pathlib import Path
from threading import Thread

import psycopg2
import pytest
from sqlalchemy import URL, make_url

from tests._kit.support import environment, execute, template_module
from tests.conftest import Render
from tests.migrate.service import Service
from tests.migrate.table import Guide

ROLES = ("demo_shop_owner", "demo_shop_application", "demo_shop_read_only")
# Legal in a password, and somebody has one.
PASSWORDS = {
    "owner": "ow'n\\er \"$HOME`id`",
    "application": "%41; DROP :'owner' --",
    "read_only": "é$$x",
}


@pytest.fixture(scope="session")
def roles_sql(rendered: Render) -> Path:
    """What a project gets that asks for a deployment."""
    return rendered(deploy="compose").path / "database" / "roles.sql"


def run_roles(roles_sql: Path, url: URL, secrets: Path) -> subprocess.CompletedProcess[str]:
    """Run it as the role in `url`, as the file itself says."""
    psql = template_module("testing.server").find_binaries() / "psql"
    return subprocess.run(
        [psql, "-X", "--file", roles_sql, url.set(drivername="postgresql").render_as_string(False)],
        env=environment(SECRETS=str(secrets)),
        capture_output=True,
        text=True,
        check=False,
    )


def of_role(url: URL, name: str) -> URL:
    """The same database as one of the roles."""
    return url.set(username=f"demo_shop_{name}", password=PASSWORDS[name])


@pytest.fixture
def two_roles(service: Service, roles_sql: Path, tmp_path: Path) -> Generator[Service]:
    """DATABASE_URL is the application's role, MIGRATION_DATABASE_URL the owner's."""
    for name, password in PASSWORDS.items():
        (tmp_path / f"{name}_password").write_text(f"{password}\n", "utf-8")
    admin = service.url
    done = run_roles(roles_sql, admin, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    service.url = of_role(admin, "application")
    owner = of_role(admin, "owner")
    service.variables["MIGRATION_DATABASE_URL"] = owner.render_as_string(hide_password=False)
    yield service
    forget_roles(admin)


def forget_roles(admin: URL) -> None:
    """Drop the roles of the server, and what they own in this database."""
    for role in ROLES:
        execute(admin, f"REASSIGN OWNED BY {role} TO postgres")
        execute(admin, f"DROP OWNED BY {role} CASCADE")
        execute(admin, f"DROP ROLE {role}")


def test_the_owner_migrates_and_the_application_works(two_roles: Service) -> None:
    service = two_roles
    service.add(
        "items",
        'op.execute("CREATE TABLE items (id int GENERATED ALWAYS AS IDENTITY, name text)")',
    )
    done = service.migrate()
    assert done.returncode == 0, done
    service.sql("INSERT INTO items (name) VALUES ('by the application')")
    assert service.sql("SELECT id, name FROM items") == [(1, "by the application")]
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        service.sql("CREATE TABLE mine ()")
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        service.sql("ALTER TABLE items ADD COLUMN x int")
    assert service.sql("SELECT DISTINCT role FROM alembic_history") == [("demo_shop_owner",)]
    owners = "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'"
    assert service.sql(owners) == [("demo_shop_owner",)]
    assert "The database is at head: items" in service.migrate().stdout


def test_the_applications_role_is_told_that_it_cannot_migrate(
    two_roles: Service, guide: Guide
) -> None:
    row = guide["a role that does not own the schema"]
    service = two_roles
    owner = service.variables.pop("MIGRATION_DATABASE_URL")
    assert "Traceback" not in service.migrate("current").stderr
    done = service.migrate()
    row.check(done)
    assert "Error: permission denied for table alembic_version" in done.stderr
    assert "set MIGRATION_DATABASE_URL to a role that owns the schema" in done.stderr
    assert service.migrate(MIGRATION_DATABASE_URL=owner).returncode == 0
    service.add("items", 'op.execute("CREATE TABLE items ()")')
    done = service.migrate()
    assert done.returncode == 5, done
    assert "Error: permission denied for schema public" in done.stderr
    assert service.version() == ["baseline"]


def test_what_another_role_builds_elsewhere_hides_no_leftover(
    two_roles: Service, own_server: URL
) -> None:
    """PostgreSQL tells an ordinary role of a build, but not of which index."""
    service = two_roles
    service.add("items", 'op.execute("CREATE TABLE items (id int)")')
    assert service.migrate().returncode == 0
    owner = make_url(service.variables["MIGRATION_DATABASE_URL"])
    execute(owner, "INSERT INTO items VALUES (1), (1)")
    with pytest.raises(psycopg2.errors.UniqueViolation):
        execute(owner, "CREATE UNIQUE INDEX CONCURRENTLY ix ON items (id)")
    elsewhere = own_server.set(database="elsewhere")
    execute(own_server, "CREATE DATABASE elsewhere")
    execute(elsewhere, "CREATE TABLE other (id int)")
    with psycopg2.connect(elsewhere.render_as_string(hide_password=False)) as writer:
        writer.cursor().execute("INSERT INTO other VALUES (1)")  # the build waits for its end
        build = Thread(
            target=execute, args=[elsewhere, "CREATE INDEX CONCURRENTLY ON other (id)"], daemon=True
        )
        build.start()
        while not execute(own_server, "SELECT 1 FROM pg_stat_progress_create_index"):
            time.sleep(0.02)
        done = service.migrate()
    writer.close()
    build.join()
    execute(own_server, "DROP DATABASE elsewhere")
    assert done.returncode == 10, done
    assert "index ix is invalid" in done.stderr


FORBIDDEN = {
    "application": [
        *("CREATE TABLE mine ()", "CREATE TEMP TABLE mine ()", "CREATE SCHEMA mine"),
        *("ALTER TABLE items ADD x int", "DROP TABLE items", "CREATE INDEX ON items (name)"),
        *("TRUNCATE items", "CREATE TYPE mine AS ENUM ()", "ALTER TYPE mood ADD VALUE 'x'"),
        "CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        *(
            "INSERT INTO alembic_version VALUES ('x')",
            "UPDATE alembic_version SET version_num = 1",
        ),
        *("DELETE FROM alembic_version", "DELETE FROM alembic_history", "TRUNCATE alembic_history"),
        "INSERT INTO alembic_history (revision, direction, milliseconds, sha256, host)"
        " VALUES ('x', 'upgrade', 1, '', '')",
        *("SET ROLE demo_shop_owner", "CREATE ROLE other", "CREATE DATABASE other"),
        *("COMMENT ON TABLE alembic_history IS 'x'", "SELECT pg_read_file('/etc/passwd')"),
        *("COPY items TO PROGRAM 'id'", "ALTER ROLE demo_shop_read_only PASSWORD 'x'"),
    ],
    "read_only": [
        *(
            "INSERT INTO items (name) VALUES ('x')",
            "UPDATE items SET name = 1",
            "DELETE FROM items",
        ),
        *("CREATE TABLE mine ()", "CREATE TEMP TABLE mine ()", "SELECT nextval('items_id_seq')"),
        *("DELETE FROM alembic_version", "SET ROLE demo_shop_application"),
        "SELECT FROM items FOR UPDATE",
    ],
}
REFUSED = (psycopg2.errors.InsufficientPrivilege, psycopg2.errors.ReadOnlySqlTransaction)
SCHEMA = """
op.execute("CREATE TYPE mood AS ENUM ('ok')")
op.execute("CREATE TABLE items (id int GENERATED ALWAYS AS IDENTITY, name text)")
op.execute("CREATE SCHEMA sales")
op.execute("CREATE TABLE sales.visits (id serial, line text)")
op.execute("CREATE TABLE days (day date) PARTITION BY RANGE (day)")
op.execute("CREATE TABLE day PARTITION OF days DEFAULT")
op.execute("CREATE TYPE pair AS (a int)")
op.execute("CREATE TYPE span AS RANGE (subtype = int)")
op.execute("CREATE FUNCTION one(int DEFAULT 1) RETURNS int LANGUAGE sql AS 'SELECT 1'")
"""


def test_each_role_can_do_its_work_and_nothing_else(two_roles: Service) -> None:
    service = two_roles
    service.add("schema", SCHEMA)
    assert service.migrate().returncode == 0
    urls = {name: of_role(service.url, name) for name in PASSWORDS}
    execute(urls["application"], "INSERT INTO items (name) VALUES ('a')")
    execute(urls["application"], "INSERT INTO sales.visits (line) VALUES ('a')")
    for name, statements in FORBIDDEN.items():
        for statement in statements:
            with pytest.raises(REFUSED):
                execute(urls[name], statement)
        for table in ("items", "sales.visits", "alembic_version", "alembic_history"):
            assert execute(urls[name], f"TABLE {table}")
        waits = [execute(urls[name], f"SHOW {limit}")[0][0] for limit in LIMITS]
        assert waits == LIMITS_OF[name]
    assert execute(urls["owner"], "SHOW statement_timeout") == [("0",)]
    lifted = urls["read_only"].set(query={"options": "-cdefault_transaction_read_only=off"})
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        execute(lifted, "INSERT INTO items (name) VALUES ('a')")
    assert execute(urls["read_only"], "SELECT last_value FROM items_id_seq") == [(1,)]
    execute(urls["application"], "DELETE FROM items")
    outside = urls["application"].set(database="postgres")
    assert execute(outside, "SELECT has_database_privilege('postgres', 'CREATE')") == [(False,)]


LIMITS = ("statement_timeout", "idle_in_transaction_session_timeout")
LIMITS_OF = {"application": ["30s", "1min"], "read_only": ["5min", "1min"]}


def test_the_owner_sees_what_the_application_does(two_roles: Service) -> None:
    """And how far standbys are behind, for which a backfill waits."""
    service = two_roles
    service.add("items", 'op.execute("CREATE TABLE items (id int)")')
    assert service.migrate().returncode == 0
    service.add("more", 'op.execute("ALTER TABLE items ADD x int")')
    with closing(psycopg2.connect(service.url.render_as_string(hide_password=False))) as holder:
        holder.cursor().execute("DELETE FROM items")
        waits = {"MIGRATION_LOCK_TIMEOUT": "0.5", "MIGRATION_RETRY_WAIT": "1"}
        done = service.migrate(**waits)
    assert done.returncode == 9, done
    assert ": DELETE FROM items" in done.stderr


def test_roles_may_be_made_again_and_take_over_what_is_there(
    service: Service, roles_sql: Path, tmp_path: Path
) -> None:
    """By an administrator that is no superuser, as that of a managed server."""
    admin = service.url
    execute(admin, "CREATE ROLE administrator LOGIN CREATEROLE CREATEDB PASSWORD 'x'")
    execute(admin, f'ALTER DATABASE "{admin.database}" OWNER TO administrator')
    # As a database that began before PostgreSQL 15.
    execute(
        admin, "ALTER SCHEMA public OWNER TO administrator; GRANT ALL ON SCHEMA public TO PUBLIC"
    )
    service.url = managed = admin.set(username="administrator", password="x")
    service.add("schema", SCHEMA)
    assert service.migrate().returncode == 0
    try:
        for _ in range(2):
            done = run_roles(roles_sql, managed, tmp_path)
            assert done.returncode == 0, done.stderr
        for name, password in PASSWORDS.items():
            execute(admin, f"ALTER ROLE demo_shop_{name} PASSWORD %s", password)
        done = run_roles(roles_sql, managed, tmp_path)  # keeps them: there are no files
        assert done.returncode == 0, done.stderr
        owner = of_role(admin, "owner")
        execute(owner, "ALTER TYPE mood ADD VALUE 'sad'; ALTER TABLE items ADD x int")
        execute(owner, "ALTER TABLE days ADD x int; ALTER TYPE pair ADD ATTRIBUTE b int")
        execute(owner, "DROP FUNCTION one(int); DROP TYPE span")
        execute(of_role(admin, "application"), "INSERT INTO items (name) VALUES ('a')")
        for statement in ("DELETE FROM alembic_version", "CREATE TABLE mine ()"):
            with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                execute(of_role(admin, "application"), statement)
        service.url = owner
        assert "The database is at head: schema" in service.migrate().stdout
    finally:
        forget_roles(admin)
        execute(admin, "REASSIGN OWNED BY administrator TO postgres")
        execute(admin, "DROP OWNED BY administrator; DROP ROLE administrator")


def test_the_tables_of_migrations_are_those_that_a_migration_makes(
    two_roles: Service, new_service: Callable[[], Service]
) -> None:
    other = new_service()
    for service in (two_roles, other):
        assert service.migrate().returncode == 0
    columns = (
        "SELECT attrelid::regclass::text, attname, atttypid::regtype, atttypmod, attnotnull,"
        " attidentity, pg_get_expr(adbin, adrelid) FROM pg_attribute LEFT JOIN pg_attrdef"
        " ON (adrelid, adnum) = (attrelid, attnum) WHERE attnum > 0 AND attrelid IN"
        " ('alembic_version'::regclass, 'alembic_history'::regclass) UNION ALL"
        " SELECT conrelid::regclass::text, conname, 0, 0, true, '', pg_get_constraintdef(oid)"
        " FROM pg_constraint WHERE conrelid::regclass::text LIKE 'alembic%' ORDER BY 1, 2"
    )
    assert two_roles.sql(columns) == other.sql(columns) != []


def test_the_sql_of_all_revisions_runs_where_the_roles_are(two_roles: Service) -> None:
    """Typed by an administrator, without what DEPLOY.md says to delete."""
    two_roles.add("items", 'op.execute("CREATE TABLE items (id int)")')
    printed = two_roles.migrate("upgrade", "head", "--sql").stdout
    create = r"CREATE TABLE alembic_version \(.*?\);"
    left, count = re.subn(create, "", printed, flags=re.DOTALL)
    assert count == 1
    execute(of_role(two_roles.url, "owner"), left)
    two_roles.variables["MIGRATION_DATABASE_URL"] = ""
    assert two_roles.migrate("current").stdout == "items (head)\n"
    assert two_roles.sql("SELECT count(*) FROM items") == [(0,)]

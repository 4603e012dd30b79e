"""Two roles: one owns the schema and migrates, the application's may only work with it."""
# ruff: noqa: S106

import time
from collections.abc import Generator
from threading import Thread

import psycopg2
import pytest
from sqlalchemy import URL, make_url

from tests._kit.support import execute
from tests.migrate.service import Service
from tests.migrate.table import Guide


@pytest.fixture
def two_roles(service: Service) -> Generator[Service]:
    """DATABASE_URL is the application's role, MIGRATION_DATABASE_URL the owner's."""
    admin = service.url
    for statement in (
        "CREATE ROLE shop_owner LOGIN PASSWORD 'owner-password'",
        "CREATE ROLE shop_app LOGIN PASSWORD 'app-password'",
        f'ALTER DATABASE "{admin.database}" OWNER TO shop_owner',
        "ALTER SCHEMA public OWNER TO shop_owner",
        "GRANT USAGE ON SCHEMA public TO shop_app",
        "ALTER DEFAULT PRIVILEGES FOR ROLE shop_owner IN SCHEMA public"
        " GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO shop_app",
        "ALTER DEFAULT PRIVILEGES FOR ROLE shop_owner IN SCHEMA public"
        " GRANT USAGE ON SEQUENCES TO shop_app",
    ):
        execute(admin, statement)
    service.url = admin.set(username="shop_app", password="app-password")
    owner = admin.set(username="shop_owner", password="owner-password")
    service.variables["MIGRATION_DATABASE_URL"] = owner.render_as_string(hide_password=False)
    yield service
    for role in ("shop_owner", "shop_app"):
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
    assert service.sql("SELECT DISTINCT role FROM alembic_history") == [("shop_owner",)]
    owners = "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'"
    assert service.sql(owners) == [("shop_owner",)]
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
    assert "Error: permission denied for schema public" in done.stderr
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

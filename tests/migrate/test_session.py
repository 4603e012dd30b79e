"""What a revision sets in its session ends with it, and it keeps the migration lock."""

import pytest

from tests._kit.support import execute
from tests.migrate.service import Service
from tests.migrate.table import Guide, sentence

SEEN = """
    bind = op.get_bind()
    for query in (
        "SHOW lock_timeout",
        "SHOW statement_timeout",
        "SHOW client_connection_check_interval",
        "SHOW search_path",
        "SHOW datestyle",
        "SHOW default_transaction_isolation",
        "SELECT current_user || session_user",
        "SELECT coalesce(to_regclass('hidden')::text, 'no such table')",
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()",
        "SELECT count(*) FROM pg_prepared_statements",
        "SELECT count(*) FROM pg_cursors WHERE is_holdable",
        "SELECT count(*) FROM pg_listening_channels()",
    ):
        print("seen:", bind.exec_driver_sql(query).scalar())
    """
DUMP = """
SET statement_timeout = 0;
SET lock_timeout = 0;
SET client_encoding = 'UTF8';
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
CREATE TABLE public.dumped ();
"""
IN_A_TRANSACTION = {
    "the head of a dump": DUMP,
    "lock_timeout": "SET lock_timeout = 0",
    "client_connection_check_interval": "SET client_connection_check_interval = 0",
    "search_path": "CREATE SCHEMA elsewhere; SET search_path TO elsewhere",
    "a role": "SET ROLE pg_monitor",
    "another user": "SET SESSION AUTHORIZATION pg_monitor",
    "isolation": "SET default_transaction_isolation = 'serializable'",
    "a temporary table": "CREATE TEMPORARY TABLE hidden ()",
    "datestyle": "SET datestyle = 'SQL, DMY'",
    "what is prepared": "PREPARE p AS SELECT 1; DECLARE c CURSOR WITH HOLD FOR SELECT 1; LISTEN x",
}
BLOCK = "with op.get_context().autocommit_block():\n    op.execute('SELECT 1')"
RELEASES = ["SELECT pg_advisory_unlock_all()", "DISCARD ALL"]


@pytest.mark.parametrize("block", ["", "autocommit"])
@pytest.mark.parametrize("statement", IN_A_TRANSACTION.values(), ids=IN_A_TRANSACTION)
def test_what_a_revision_sets_ends_with_it(service: Service, statement: str, block: str) -> None:
    service.add("first", f"{SEEN}\n    op.execute('SELECT 1')")
    text = f"op.execute({statement!r})"
    if block:
        text = f"with op.get_context().autocommit_block():\n    {text}"
    service.add("sets", text)
    service.add("second", f"{SEEN}\n    op.execute('CREATE TABLE made ()')")
    done = service.migrate(MIGRATION_LOCK_TIMEOUT="0.7")
    assert done.returncode == 0, done
    seen = [line for line in done.stdout.splitlines() if line.startswith("seen:")]
    assert seen[:2] == ["seen: 700ms", "seen: 0"]
    assert seen[: len(seen) // 2] == seen[len(seen) // 2 :], done
    assert service.version() == ["second"]
    assert service.sql("SELECT to_regclass('public.made')::text") == [("made",)]


@pytest.mark.parametrize("sets", ["autocommit = True", "isolation_level = 3"])
def test_what_a_revision_sets_in_the_driver_ends_with_it(service: Service, sets: str) -> None:
    """Half of a revision that fails would stay."""
    driver = "op.get_bind().connection.driver_connection"
    service.add("sets", f"{driver}.commit()\n{driver}.{sets}")
    show = "op.get_bind().exec_driver_sql('SHOW transaction_isolation').scalar()"
    service.add("fails", f"op.execute('CREATE TABLE half ()')\nraise ValueError({show})")
    done = service.migrate()
    assert "ValueError: read committed" in sentence(done)[0]
    assert service.sql("SELECT to_regclass('half')") == [(None,)]


def test_what_a_failed_attempt_set_does_not_act_on_the_next(service: Service) -> None:
    service.add(
        "once",
        """
        print("seen:", op.get_bind().exec_driver_sql("SHOW lock_timeout").scalar())
        with op.get_context().autocommit_block():
            op.execute("SET lock_timeout = 0")
            op.execute("CREATE SEQUENCE IF NOT EXISTS attempts")
        if op.get_bind().exec_driver_sql("SELECT nextval('attempts')").scalar() < 2:
            op.execute("DO $$ BEGIN RAISE lock_not_available; END $$")
        """,
    )
    done = service.migrate(MIGRATION_LOCK_TIMEOUT="0.7")
    assert done.returncode == 0, done
    assert done.stdout.splitlines() == ["seen: 700ms", "seen: 700ms"]


@pytest.mark.parametrize("statement", RELEASES)
def test_a_revision_that_releases_the_migration_lock_fails(
    service: Service, statement: str, guide: Guide
) -> None:
    row = guide["a revision releases the migration lock"]
    service.add("kept", "op.execute('CREATE TABLE kept ()')")
    service.add(
        "releases",
        f"with op.get_context().autocommit_block():\n    op.execute({statement!r})\n"
        "op.execute('CREATE TABLE half ()')",
    )
    service.add("next", "op.execute('CREATE TABLE next ()')")
    done = service.migrate()
    row.check(done)
    assert sentence(done)[1].startswith("remove that statement from the revision, then run")
    assert service.version() == ["kept"]
    assert service.sql("SELECT to_regclass('half')") == [(None,)]


def test_the_statement_timeout_of_a_role_is_not_for_migrations(service: Service) -> None:
    service.add("slow", "op.execute('SELECT pg_sleep(0.5)')")
    name = service.url.database
    execute(service.url, f'ALTER ROLE postgres IN DATABASE "{name}" SET statement_timeout = 100')
    done = service.migrate()
    assert done.returncode == 0, done
    given = service.url.update_query_dict({"options": "-c statement_timeout=1000"})
    service.add("slower", "op.execute('SELECT pg_sleep(2)')")
    url = given.render_as_string(hide_password=False)
    assert service.migrate(MIGRATION_DATABASE_URL=url).returncode == 10, "a URL has the last word"


@pytest.mark.parametrize(
    "commit",
    [
        "op.get_bind().commit()",
        "op.execute('COMMIT')",
        "op.execute('COMMIT'); op.execute('BEGIN')",
        f"op.get_bind().commit()\n{BLOCK}",
    ],
)
@pytest.mark.parametrize("last", ["", "op.execute('CREATE TABLE second ()')"])
def test_what_a_revision_commits_itself_is_recorded(
    service: Service, commit: str, last: str
) -> None:
    """Alembic by itself exits 0, and rolls back all that came after."""
    service.add("commits", f"op.execute('CREATE TABLE first ()')\n{commit}\n{last}")
    service.add("next", "op.execute('CREATE TABLE third ()')")
    done = service.migrate()
    assert done.returncode == 0, done
    assert service.version() == ["next"]
    rows = service.sql("SELECT revision FROM alembic_history ORDER BY id")
    assert rows == [("baseline",), ("commits",), ("next",)]
    for table in ["first", "third", *["second"] * bool(last)]:
        assert service.sql("SELECT to_regclass(%s)::text", table) == [(table,)]


def test_a_savepoint_may_be_rolled_back(service: Service) -> None:
    upgrade = """
        try:
            with op.get_bind().begin_nested():
                op.execute("SELEC")
        except sa.exc.ProgrammingError:
            op.execute("SAVEPOINT own; CREATE TABLE lost ()")
            op.execute("ROLLBACK TO SAVEPOINT own")
        op.execute("CREATE TABLE kept ()")
        """
    service.add("tries", upgrade)
    done = service.migrate()
    assert done.returncode == 0, done
    assert service.sql("SELECT to_regclass('kept')::text") == [("kept",)]


@pytest.mark.parametrize("sent", ["100 % I", "%I.%I", "%s", "%(name)s", "100%"])
def test_a_percent_sign_of_a_statement_without_parameters_is_sent(
    service: Service, sent: str
) -> None:
    """As asyncpg does; psycopg2 would take it for a parameter."""
    query = f"SELECT $$ {sent} $$"
    service.add("percent", f"print('seen:', op.get_bind().exec_driver_sql({query!r}).scalar())")
    double = "op.get_bind().exec_driver_sql('SELECT $$%%$$').scalar()"
    service.add("doubled", f"print('seen:', {double})")
    done = service.migrate()
    assert done.returncode == 0, done
    assert f"seen:  {sent} \n" in done.stdout
    assert "seen: %\n" in done.stdout
    assert (done.stdout + done.stderr).count("is sent as it is") == 1, done
    assert "_percent_made_by_a_test.py)" in done.stderr


@pytest.mark.parametrize(
    "options", ["schema_translate_map={None: 'elsewhere'}", "stream_results=True", "yield_per=1"]
)
def test_execution_options_end_with_the_revision(service: Service, options: str) -> None:
    service.sql("CREATE SCHEMA elsewhere")
    service.add("sets", f"op.get_bind().execution_options({options})\nop.execute('SELECT 1')")
    service.add("next", "op.create_table('made', sa.Column('id', sa.Integer))")
    done = service.migrate()
    assert done.returncode == 0, done
    assert service.sql("SELECT to_regclass('public.made')::text") == [("made",)]
    assert service.version() == ["next"]

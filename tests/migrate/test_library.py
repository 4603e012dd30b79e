"""Alembic called from Python, and what an upgrade does not import."""

import textwrap
from collections.abc import Callable

from tests.migrate.service import Done, Service
from tests.migrate.table import Guide

CALL = """
import logging, sys, threading
from alembic import command
from alembic.config import Config
from sqlalchemy import make_url

url = make_url(sys.argv[1]).set(drivername="postgresql+psycopg2")

def config():
    config = Config("alembic.ini")
    config.attributes["url"] = url
    return config
"""


def test_a_call_from_python_needs_a_url_and_no_settings(service: Service) -> None:
    service.add("one", 'op.execute("CREATE TABLE one ()")', 'op.execute("DROP TABLE one")')
    url = service.url.render_as_string(hide_password=False)
    calls = {
        "the main thread": 'command.upgrade(config(), "head")',
        "another thread": """
            thread = threading.Thread(target=command.downgrade, args=[config(), "base"])
            thread.start(); thread.join()
            """,
        "an event loop": """
            import asyncio
            async def main():
                await asyncio.to_thread(command.upgrade, config(), "head")
            asyncio.run(main())
            """,
    }
    versions = []
    for name, call in calls.items():
        code = f"{CALL}\nsignals = __import__('signal').getsignal(15)\n{textwrap.dedent(call)}"
        # The caller's logging and signals are its own.
        code += "\nassert not logging.getLogger('alembic.runtime.migration').disabled\n"
        code += "assert logging.getLogger().handlers == []\n"
        code += "assert signals == __import__('signal').getsignal(15)\n"
        done = service.run("-c", code, url, program="python", DATABASE_URL="")
        assert done.returncode == 0, f"{name}: {done}"
        versions.append(service.version())
    assert versions == [["one"], [], ["one"]]
    assert service.sql("SELECT count(*) FROM alembic_history") == [(6,)]


def test_a_call_from_python_gets_the_error_itself(service: Service) -> None:
    service.add("wrong", 'op.execute("SELEC")')
    url = service.url.render_as_string(hide_password=False)
    code = (
        CALL
        + """
from sqlalchemy.exc import ProgrammingError
try:
    command.upgrade(config(), "head")
except ProgrammingError as error:
    from app.migrate.explain import explain
    assert explain(error).exit_code == 10
    sys.exit(77)
"""
    )
    done = service.run("-c", code, url, program="python")
    assert done.returncode == 77, done
    code = (
        CALL
        + """
from sqlalchemy import create_engine
with create_engine(url).connect() as connection:
    c = config()
    c.attributes["connection"] = connection
    command.upgrade(c, "head")
"""
    )
    done = service.run("-c", code, url, program="python")
    assert done.returncode == 1, done
    assert 'give config.attributes["url"], not a connection' in done.stderr


IN_THREADS = (
    CALL
    + """
from app.migrate.errors import MigrationError

urls = [make_url(text).set(drivername="postgresql+psycopg2") for text in sys.argv[1:]]
barrier = threading.Barrier(len(urls))
ended = {}

def migrate(url):
    own = config()
    own.attributes["url"] = url
    barrier.wait()
    try:
        command.upgrade(own, "head")
        ended[url.database] = "done"
    except MigrationError as error:
        ended[url.database] = str(error)

threads = [threading.Thread(target=migrate, args=[url]) for url in urls]
for thread in threads: thread.start()
for thread in threads: thread.join()
for name, end in ended.items(): print(name, end, sep="|", end=";")
"""
)


def test_a_second_call_in_the_process_is_refused_and_the_first_goes_on(
    new_service: Callable[[], Service], guide: Guide
) -> None:
    row = guide["a program calls Alembic in two threads"]
    services = [new_service() for _ in range(3)]
    for service in services[:1]:
        service.add("slow", 'op.execute("SELECT pg_sleep(1)")\nop.execute("CREATE TABLE slow ()")')
    urls = [service.url.render_as_string(hide_password=False) for service in services]
    for _ in range(3):
        done = services[0].run("-c", IN_THREADS, *urls, program="python")
        assert done.returncode == 0, done
        ended = dict(item.split("|") for item in done.stdout.split(";") if item)
        assert len(ended) == len(services), done
        assert "done" in ended.values(), done
        for service in services:
            end = ended[str(service.url.database)]
            assert service.version() == (["slow"] if end == "done" else []), f"{end}\n{done}"
            if end != "done":
                row.check(Done(2, "", end))
            service.sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public")


def test_a_call_that_comes_while_another_runs_changes_nothing_for_it(
    new_service: Callable[[], Service],
) -> None:
    """The first one waits for its lock while the second is refused, and goes on."""
    first, second = new_service(), new_service()
    first.add(
        "late",
        """
        from alembic import context
        assert context.config.attributes["url"].database == op.get_bind().engine.url.database
        """,
    )
    code = (
        CALL
        + """
import time
import psycopg2
from app.migrate.errors import MigrationError

urls = [make_url(text).set(drivername="postgresql+psycopg2") for text in sys.argv[1:]]
holder = psycopg2.connect(sys.argv[1])
holder.autocommit = True
holder.cursor().execute("SELECT pg_advisory_lock(%s)", [int.from_bytes(b"alembic", "big")])
configs = [config(), config()]
for one, url in zip(configs, urls):
    one.attributes["url"] = url
thread = threading.Thread(target=command.upgrade, args=[configs[0], "head"])
thread.start()
cursor, sessions = holder.cursor(), []
while not any({urls[0].database, "migrate"} <= {*map(str, it)} for it in sessions):
    assert thread.is_alive()
    time.sleep(0.02)
    cursor.execute("TABLE pg_stat_activity")
    sessions = cursor.fetchall()
for call in ("upgrade", "current", "upgrade"):
    try:
        getattr(command, call)(configs[1], *["head"][: call == "upgrade"])
    except MigrationError as error:
        print("refused:", error)
holder.close()
thread.join()
command.upgrade(configs[1], "head")
"""
    )
    urls = [service.url.render_as_string(hide_password=False) for service in (first, second)]
    done = first.run("-c", code, *urls, program="python")
    assert done.returncode == 0, done
    assert done.stdout.count("refused: Error: another Alembic command is running") == 3, done
    assert "Traceback" not in done.stderr, done
    assert (first.version(), second.version()) == (["late"], ["late"])


def test_an_upgrade_never_imports_the_models(service: Service) -> None:
    (service.backend / "app" / "models" / "broken.py").write_text("import no_such_module\n")
    service.add("one", 'op.execute("CREATE TABLE one ()")', 'op.execute("DROP TABLE one")')
    for words in (
        ["upgrade", "head"],
        ["downgrade", "-1"],
        ["upgrade", "+1"],
        ["stamp", "head"],
        ["current"],
        ["history"],
        ["log"],
        ["upgrade", "head", "--sql"],
        ["revision", "-m", "empty"],
    ):
        done = service.migrate(*words)
        assert done.returncode == 0, f"{words}: {done}"
    done = service.run("upgrade", "head", program="alembic")
    assert done.returncode == 0, done
    done = service.migrate("check")
    assert done.returncode == 2, done
    assert "No module named 'no_such_module' (app/models/broken.py, line 1)" in done.stderr

"""Alembic called from Python, and what an upgrade does not import."""

import textwrap

from tests.migrate.service import Service

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

"""From a driver's error to a sentence: the same for psycopg2 and asyncpg, on a real server."""
# ruff: noqa: ARG001, S105, S106

import json
import re
import socket
import threading
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from typing import Any

import psycopg2
import pytest
from sqlalchemy import URL

from tests.migrate.faults import KeptServer
from tests.migrate.service import Service

PASSWORD = "s3cr3t-but-wrong"  # must never be seen

# Runs in the project: both drivers meet the same fault, and `explain` says what it is.
ASK = """
import asyncio, json, sys
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.ext.asyncio import create_async_engine
from app.core.config import for_driver
from app.migrate.explain import explain

found = []

def sync(url, statement):
    with create_engine(url).connect() as connection:
        connection.execute(text(statement))
        connection.commit()

async def asynchronous(url, statement):
    engine = create_async_engine(for_driver(url, "postgresql+asyncpg"))
    try:
        async with engine.connect() as connection:
            await connection.execute(text(statement))
            await connection.commit()
    finally:
        await engine.dispose()

for url, statement in json.loads(sys.argv[1]):
    url = make_url(url)
    for attempt in (sync, lambda *words: asyncio.run(asynchronous(*words))):
        try:
            attempt(url, statement)
            found.append(None)
        except Exception as error:
            problem = explain(error)
            found.append(
                [int(problem.exit_code), problem.transient, problem.cause, problem.remedy]
                if problem else ["no problem", repr(error)]
            )
print(json.dumps(found))
"""


Question = tuple[URL, str, int, str, bool]  # where, statement, exit code, cause, transient


def ask(service: Service, *questions: Question) -> None:
    """Both drivers' answers have that exit code and that cause, and say a next step."""
    words = [
        (url.set(drivername="postgresql+psycopg2").render_as_string(hide_password=False), statement)
        for url, statement, *_ in questions
    ]
    done = service.run("-c", ASK, json.dumps(words), program="python")
    assert done.returncode == 0, done
    assert PASSWORD not in done.stdout + done.stderr, done
    answers: list[Any] = json.loads(done.stdout)
    for number, (_, _, exit_code, cause, transient) in enumerate(questions):
        for driver, answer in enumerate(answers[2 * number : 2 * number + 2]):
            print(("psycopg2", "asyncpg")[driver], *answer)
            assert len(answer) == 4, answer
            assert answer[:2] == [exit_code, transient], answer
            assert re.search(cause, answer[2]), answer
            assert answer[3]


@pytest.fixture(scope="module")
def roles(own_server: URL) -> Generator[None]:
    """Roles that may not do everything."""
    admin = Service(None, own_server)  # type: ignore[arg-type]
    admin.sql("CREATE ROLE no_login NOLOGIN PASSWORD 'x'")
    admin.sql(f"CREATE ROLE guest LOGIN PASSWORD '{PASSWORD}'")
    admin.sql(f"CREATE ROLE lonely LOGIN PASSWORD '{PASSWORD}' CONNECTION LIMIT 1")
    admin.sql("CREATE DATABASE closed")
    admin.sql("REVOKE CONNECT ON DATABASE closed FROM PUBLIC")
    yield
    admin.sql("DROP DATABASE closed")
    admin.sql("DROP OWNED BY guest")
    admin.sql("DROP ROLE no_login, guest, lonely")


SELECT = "SELECT 1"
READ_ONLY = "DO $$ BEGIN SET LOCAL transaction_read_only = on; CREATE TABLE t (); END $$"


def test_what_the_server_refuses(service: Service, roles: None) -> None:
    url = service.url
    guest = url.set(username="guest", password=PASSWORD)
    ghost = url.set(username="ghost", password=PASSWORD)
    ask(
        service,
        (url.set(password=PASSWORD), SELECT, 5, 'refused the password of user "?postgres', False),
        (ghost, SELECT, 5, "refused the password of user ghost", False),
        (url.set(database="nowhere"), SELECT, 5, "has no database nowhere", False),
        (url.set(username="no_login", password="x"), SELECT, 5, "no_login", False),
        (guest.set(database="closed"), SELECT, 5, "closed", False),
        (url.set(database="template0"), SELECT, 5, "template0", False),
        (url.set(query={"sslmode": "require"}), SELECT, 5, "no secure connection.*SSL", False),
        (guest, "CREATE TABLE mine ()", 5, "permission denied", False),
        (url, READ_ONLY, 5, "read-only", False),
    )


def test_what_may_pass(service: Service, roles: None) -> None:
    url = service.url
    lonely = url.set(username="lonely", password=PASSWORD)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    kill = "SELECT pg_terminate_backend(pg_backend_pid())"
    with ExitStack() as stack:
        starting, stopping, recovering = (
            stack.enter_context(answering(f"the database system is {state}", "57P03"))
            for state in ("starting up", "shutting down", "in recovery mode")
        )
        stack.enter_context(connected(lonely))
        ask(
            service,
            (url.set(port=port), SELECT, 4, "nothing answers", True),
            (url.set(host="no-such-host.invalid"), SELECT, 4, "host name", True),
            (lonely, SELECT, 4, "no connection left", True),
            (url, kill, 4, "failed or broke off", True),
            (url.set(port=starting), SELECT, 4, "not ready .starting up", True),
            (url.set(port=stopping), SELECT, 4, "not ready .shutting down", True),
            (url.set(port=recovering), SELECT, 4, "not ready .recovery mode", True),
        )
    with ExitStack() as stack:  # the message of a full server differs from that of a full role
        try:
            while True:
                stack.enter_context(connected(url))
        except psycopg2.OperationalError:
            ask(service, (url, SELECT, 4, "no connection left", True))


def test_what_a_statement_meets(service: Service) -> None:
    service.sql("CREATE TABLE t (id int PRIMARY KEY CHECK (id < 10), name varchar(3) NOT NULL)")
    wait = "DO $$ BEGIN SET LOCAL lock_timeout = 50; LOCK TABLE locked; END $$"
    questions: list[Question] = [
        (service.url, statement, 10, cause, False)
        for statement, cause in [
            ("SELEC 1", "syntax error"),
            ("SELECT * FROM nothing", 'relation "nothing" does not exist'),
            ("SELECT missing FROM t", 'column "missing" does not exist'),
            ("INSERT INTO t SELECT 1, 'a' FROM generate_series(1, 2)", "duplicate key"),
            ("INSERT INTO t VALUES (99, 'a')", "check constraint"),
            ("INSERT INTO t (id) VALUES (1)", "not-null constraint"),
            ("INSERT INTO t VALUES (1, 'abcd')", "too long"),
            ("SELECT 1 / 0", "division by zero"),
            ("SELECT 'x'::int", "invalid input syntax"),
        ]
    ]
    service.sql("CREATE TABLE locked ()")
    with connected(service.url) as connection, connection.cursor() as cursor:
        cursor.execute("LOCK TABLE locked")
        ask(service, *questions, (service.url, wait, 9, "other sessions held", True))


def test_who_the_server_does_not_know(service: Service, postgres: Any) -> None:
    with KeptServer(postgres) as server:
        server.allow("host template1 all 127.0.0.1/32 scram-sha-256\n")
        known = server.url.set(database="template1")
        ask(
            service,
            (server.url, SELECT, 5, "does not let this user in: host .127.0.0.1.", False),
            (known, "SELECT 1 / 0", 10, "division by zero", False),
        )


@contextmanager
def connected(url: URL) -> Generator[Any]:
    """A session."""
    connection = psycopg2.connect(url.render_as_string(hide_password=False))
    try:
        yield connection
    finally:
        connection.close()


@contextmanager
def answering(message: str, state: str) -> Generator[int]:
    """A port at which every connection is refused with this error, as PostgreSQL sends it."""
    fields = b"".join(
        kind + value.encode() + b"\0"
        for kind, value in [(b"S", "FATAL"), (b"V", "FATAL"), (b"C", state), (b"M", message)]
    )
    packet = b"E" + (len(fields) + 5).to_bytes(4, "big") + fields + b"\0"
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            while True:
                try:
                    client, _ = server.accept()
                except OSError:
                    return
                with client:
                    while request := client.recv(4096):
                        if int.from_bytes(request[4:8], "big") in (80877103, 80877104):
                            client.sendall(b"N")  # no TLS, no GSS
                            continue
                        client.sendall(packet)
                        break

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
    thread.join()

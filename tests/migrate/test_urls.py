"""URLs as hosts hand them out: what migrations accept, the application accepts, and the reverse."""

import json
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL

from tests._kit.report import cannot_run
from tests._kit.support import execute
from tests.migrate.service import Service, copy

APPLICATION = """
import asyncio, json, sys
from sqlalchemy import text
from app.core.database import get_engine
from app.migrate.explain import explain

ASK = (
    "SELECT current_setting('application_name'), current_setting('work_mem'), "
    "current_database(), current_user, pg_backend_pid()"
)

async def main():
    async with get_engine().connect() as connection:
        return list((await connection.execute(text(ASK))).one())

try:
    print(json.dumps(asyncio.run(main())))
except Exception as error:
    print(explain(error) or repr(error), file=sys.stderr)
    sys.exit(3)
"""


@pytest.fixture(scope="module")
def shared(
    own_server: URL, backend: Path, tmp_path_factory: pytest.TempPathFactory
) -> Generator[Service]:
    """A service whose application can be asked."""
    execute(own_server, "CREATE DATABASE urls TEMPLATE template0")
    service = copy(backend, tmp_path_factory.mktemp("urls"), own_server.set(database="urls"))
    (service.backend / "use.py").write_text(APPLICATION)
    assert service.migrate().returncode == 0
    yield service
    execute(own_server, "DROP DATABASE urls WITH (FORCE)")


@pytest.fixture
def shop(shared: Service) -> Service:
    """The same, without variables of another test."""
    shared.variables.clear()
    return shared


Ask = Callable[..., list[Any]]


@pytest.fixture
def both(shop: Service) -> Callable[[str], list[Any]]:
    """What the application sees with a URL; that migrations go the same way was seen before."""

    def ask(url: str) -> list[Any]:
        for words in ([], ["current"]):  # by the fast path, and by Alembic
            done = shop.migrate(*words, DATABASE_URL=url)
            assert done.returncode == 0, f"{url}: {done}"
        used = shop.forks.run("use", [], shop.backend, shop.environment(DATABASE_URL=url))
        assert used.returncode == 0, f"{url}: {used}"
        answer: list[Any] = json.loads(used.stdout)
        return answer

    return ask


def refusals(shop: Service, url: str, **variables: str) -> list[str]:
    """What each program says to a URL that it refuses."""
    migration = shop.migrate("current", DATABASE_URL=url, **variables)
    assert migration.returncode == 2, migration
    proof = shop.migrate(DATABASE_URL=url, **variables)
    assert proof.returncode == 2, proof
    where = shop.environment(DATABASE_URL=url, **variables)
    used = shop.forks.run("use", [], shop.backend, where)
    assert used.returncode == 3, used
    return [migration.stderr, proof.stderr, used.stderr]


def text(url: URL, query: str = "") -> str:
    return url.render_as_string(hide_password=False) + (f"?{query}" if query else "")


@pytest.mark.in_turn(2)
@pytest.mark.parametrize(
    "query",
    [
        "connect_timeout=10",
        "keepalives=1&keepalives_idle=30&keepalives_interval=10&keepalives_count=5",
        "tcp_user_timeout=10000",
        "gssencmode=disable",
        "gssencmode=prefer",
        "client_encoding=utf8",
        "sslnegotiation=postgres",
        "target_session_attrs=read-write",
        "target_session_attrs=any&sslmode=prefer&channel_binding=prefer",
        "sslmode=disable&sslrootcert=/nowhere.crt&sslcert=/nowhere&sslkey=/nowhere",
        "sslsni=1&sslcompression=0",
        "ssl_min_protocol_version=TLSv1.2",
        "ssl_min_protocol_version=TLSv1.2&ssl_max_protocol_version=TLSv1.3&gsslib=gssapi",
        "passfile=/nowhere",
        "fallback_application_name=shop",
        "prepared_statement_cache_size=0",
        "prepared_statement_cache_size=0&application_name=shop",
    ],
)
def test_what_hosts_put_into_their_urls_fits_both_drivers(
    shop: Service, both: Ask, query: str
) -> None:
    assert both(text(shop.url, query))[2] == "urls"


def test_the_server_gets_what_is_meant_for_it(shop: Service, both: Ask) -> None:
    query = "application_name=web%20shop&options=-c%20work_mem%3D7MB&connect_timeout=3"
    assert both(text(shop.url, query))[:2] == ["web shop", "7MB"]


def test_who_connects_may_stand_in_the_query(shop: Service, both: Ask) -> None:
    url, password = shop.url, shop.url.password
    query = f"user={url.username}&password={password}&host={url.host}&port={url.port}"
    assert both(f"postgresql:///urls?{query}")[3] == url.username
    assert both(f"postgresql://nobody:wrong@{url.host}:{url.port}/urls?{query}&dbname=urls")
    shown = shop.python(
        "from app.core.config import Settings; s = Settings(); print(s.database_url, s)",
        DATABASE_URL=f"postgresql:///urls?{query}",
    )
    assert shown.returncode == 0, shown
    assert str(password) not in shown.stdout


def test_several_hosts_are_tried_in_turn(shop: Service, both: Ask) -> None:
    who = f"{shop.url.username}:{shop.url.password}"
    hosts = f"127.0.0.1:1,{shop.url.host}:{shop.url.port}"
    assert both(f"postgresql://{who}@{hosts}/urls?target_session_attrs=read-write")[2] == "urls"
    one, two = hosts.split(",")
    assert both(f"postgresql://{who}@/urls?host={one}&host={two}")[2] == "urls"
    for query in (
        f"host=127.0.0.1,127.0.0.1&port=1,{shop.url.port}",
        f"host=127.0.0.1,127.0.0.2&port={shop.url.port}",  # libpq: of each host
        f"host=[::1]:1&host={two}",
        f"host=::1,{two}&port=1,{shop.url.port}",
    ):
        assert both(f"postgresql://{who}@/urls?{query}")[2] == "urls", query
    assert both(f"postgresql://{who}@[::1]:1,{two}/urls")[2] == "urls"
    assert both(f"postgresql://{who}@{hosts}?dbname=urls")[2] == "urls"


@pytest.mark.parametrize(
    ("place", "query"),
    [
        *(("", "?host={}"), ("", "?host={}&port=5432"), ("{}", ""), ("{}:5432", "")),
        ("", "?host={}/.s.PGSQL.5432"),  # asyncpg's own way
    ],
)
def test_a_socket_is_a_host(shop: Service, both: Ask, place: str, query: str) -> None:
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{folder}/.s.PGSQL.5432")
        with Relay(listener, shop.url):
            who = f"{shop.url.username}:{shop.url.password}"
            host = place.format(folder.replace("/", "%2F"))
            assert both(f"postgresql://{who}@{host}/urls{query.format(folder)}")[2] == "urls"


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("pgbouncer=true", "pgbouncer"),
        ("schema=public", "schema"),
        ("schema=public&connection_limit=5&pool_timeout=2", "schema, connection_limit"),
        ("gssencmode=require", "gssencmode"),
        ("requirepeer=postgres", "requirepeer"),
        ("nonsense=1", "nonsense"),
        ("sslpassword=hidden", "sslpassword"),  # any log of the URL would show it
        ("connect_timeout=soon", "connect_timeout"),
        ("prepared_statement_cache_size=none", "prepared_statement_cache_size"),
        ("sslcert=/nowhere.crt", "sslcert"),
        ("sslmode=verify-full&sslrootcert=/nowhere.crt", "sslrootcert"),
        ("sslmode=require&SSLMODE=disable", "SSLMODE"),
        # What one of them takes for something else, or does not look at.
        ("sslmode=verify_full", "sslmode"),
        ("gssencmode=bogus", "gssencmode"),
        ("channel_binding=bogus", "channel_binding"),
        ("client_encoding=sql_ascii", "client_encoding"),
        ("gsslib=bogus", "gsslib"),
        ("keepalives_idle=soon", "keepalives_idle"),
        ("tcp_user_timeout=30s", "tcp_user_timeout"),
        ("prepared_statement_cache_size=-1", "prepared_statement_cache_size"),
        ("ssl_min_protocol_version=tlsv1.2", "ssl_min_protocol_version"),
        ("ssl_max_protocol_version=TLSv1.1", "ssl_max_protocol_version"),
        ("service=shop", "service"),
        ("sslrootcert=/etc/hostname", "sslrootcert, which requires sslmode"),
        ("sslmode=prefer&sslcert=/etc/hostname", "sslcert, which requires sslmode"),
        ("sslmode=require&sslrootcert=system", "sslrootcert, which requires sslmode=verify-full"),
        ("sslmode=disable&sslrootcert=system", "sslrootcert, which requires sslmode=verify-full"),
        ("password=one&password=two", "password"),
        # Two that contradict each other: asyncpg binds no channel, and takes a path without TLS.
        ("channel_binding=require", "channel_binding, which requires sslmode"),
        ("sslmode=disable&channel_binding=require", "channel_binding, which requires sslmode"),
        ("sslnegotiation=direct&sslmode=prefer", "sslnegotiation, which requires sslmode"),
    ],
)
def test_what_one_program_cannot_do_both_refuse_by_name(
    shop: Service, query: str, name: str
) -> None:
    for said in refusals(shop, text(shop.url, query)):
        assert f"invalid settings: DATABASE_URL has {name}" in said, said
        assert str(shop.url.password) not in said


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PGSERVICE", "shop"),
        ("PGREQUIREAUTH", "none"),
        ("PGSSLCERTMODE", "require"),
        ("PGGSSENCMODE", "require"),
        ("PGSSLROOTCERT", "/etc/hostname"),
        ("PGGSSLIB", "bogus"),
        ("PGHOSTADDR", "127.0.0.1"),
        ("PGTZ", "Europe/Berlin"),
        ("PGDATESTYLE", "German"),
        ("PGCHANNELBINDING", "require"),
    ],
)
def test_what_libpq_reads_from_the_environment_is_refused_by_name(
    shop: Service, variable: str, value: str
) -> None:
    for said in refusals(shop, text(shop.url), **{variable: value}):
        assert f"invalid settings: DATABASE_URL or the environment has {variable}, " in said, said


def test_both_follow_what_libpq_reads_from_the_environment(shop: Service, both: Ask) -> None:
    shop.variables["PGOPTIONS"] = "-c work_mem=7MB"
    assert both(text(shop.url))[1] == "7MB"
    assert both(text(shop.url, "options=-c%20work_mem%3D8MB"))[1] == "8MB"


@pytest.mark.parametrize(
    "query",
    [
        *("target_session_attrs=bogus", "sslmode=bogus", "sslnegotiation=bogus", "port=bogus"),
        *("options=endpoint%3Dx", "options=--work_mem"),
        "host=one,",
    ],
)
def test_a_value_that_cannot_be_is_a_setting(shop: Service, query: str) -> None:
    for said in refusals(shop, text(shop.url, query)):
        assert said.startswith("Error: invalid settings: "), said


class Relay:
    """Passes connections on to a server; inside TLS where there is a context."""

    def __init__(
        self, listener: socket.socket, url: URL, tls: ssl.SSLContext | None = None
    ) -> None:
        self.listener, self.url, self.tls = listener, url, tls

    def __enter__(self) -> None:
        self.listener.listen()
        threading.Thread(target=self.accept, daemon=True).start()

    def __exit__(self, *_: object) -> None:
        self.listener.close()

    def accept(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=[client], daemon=True).start()

    def serve(self, client: socket.socket) -> None:
        server = socket.create_connection((str(self.url.host), self.url.port or 0))
        try:
            if self.tls:
                first = client.recv(8)
                if first != b"\x00\x00\x00\x08\x04\xd2\x16\x2f":  # SSLRequest
                    return
                client.sendall(b"S")
                client = self.tls.wrap_socket(client, server_side=True)
            back = threading.Thread(target=pump, args=[server, client], daemon=True)
            back.start()
            pump(client, server)
            back.join()
        except OSError:
            pass  # the client refused the certificate
        finally:
            client.close()
            server.close()


def pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for localhost, which signs itself, and another of the same name."""
    if not shutil.which("openssl"):
        cannot_run("no openssl command", "apt-get install openssl")
    folder = tmp_path_factory.mktemp("certificates")
    for name in ("server", "other"):
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
             "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
             "-keyout", folder / f"{name}.key", "-out", folder / f"{name}.crt"],
            check=True, capture_output=True,
        )  # fmt: skip
    return folder


def test_both_verify_the_certificate(shop: Service, both: Ask, certificates: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.crt", certificates / "server.key")
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    with Relay(listener, shop.url, context):
        url = text(shop.url.set(host="localhost", port=port))
        for query in (
            "sslmode=require",
            f"sslmode=verify-full&sslrootcert={certificates}/server.crt",
            f"sslmode=verify-ca&sslrootcert={certificates}/server.crt&sslnegotiation=postgres",
            f"ssl=verify-full&sslrootcert={certificates}/server.crt&application_name=a",
        ):
            assert both(f"{url}?{query}")[2] == "urls"
        for query in (
            f"sslmode=verify-full&sslrootcert={certificates}/other.crt",
            "sslmode=verify-full",
        ):
            migration = shop.migrate(DATABASE_URL=f"{url}?{query}")
            assert migration.returncode == 5, migration
            where = shop.environment(DATABASE_URL=f"{url}?{query}")
            used = shop.forks.run("use", [], shop.backend, where)
            assert used.returncode == 3, used
            for said in (migration.stderr, used.stderr):
                assert "the TLS connection failed" in said, said

"""Any password, through `.env`, the environment and a URL, for both drivers, here and there.

Each password is that of a role of its own on one server. The template's own code connects as each,
in one process on the host and in one container; the tests then look at what came of it.
"""

import json
import sys
from collections.abc import Callable, Generator
from typing import Any
from urllib.parse import quote

import pytest

from tests._kit.support import in_env_file
from tests.docker.conftest import NewService, Service

PASSWORDS = [
    "pa%ss", "pa@ss", "pa:ss", "pa/ss", "pa?ss", "pa#ss", "pa+ss", "pa&ss", "pa=ss", "pa$ss",
    "pa\\ss", "pa'ss", 'pa"ss', "pa[ss", "pa]ss", "pa ss", "pässword", "pa€…",
    "p@ss:w/rd?#", "100%41%%(x)s", "a'b\"c", "$HOME", "${HOME", "it's $HOME", "`id`",
    " #spaces around ", "'\"'", "\\", "\\\\'\\n\"", "-$$x{}|;<>*!~^,()",
]  # fmt: skip
FIRST_BOOT = ['it\'s p@ss:w/rd?#[&]=+%41 "ä€…" $HOME', " \\\"back'slash\\"]
WRONG = -1  # a control: the server does ask for a password

PROBE = """
import asyncio, json, os, pathlib, sys
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool
from app.core.config import Settings

WHO = text("SELECT current_user")

def psycopg2():
    with create_engine(Settings().database_url_sync, poolclass=NullPool).connect() as connection:
        return connection.scalar(WHO)

async def asyncpg():
    engine = create_async_engine(Settings().database_url, poolclass=NullPool)
    async with engine.connect() as connection:
        return await connection.scalar(WHO)

results = []
for case in json.load(sys.stdin):
    for name in ("POSTGRES_PASSWORD", "DATABASE_URL"):
        os.environ.pop(name, None)
    os.environ |= case["set"] | {name: os.environ[old] for name, old in case["copy"].items()}
    for path, content in case["write"].items():
        pathlib.Path(path).write_text(content, encoding="utf-8")
    for driver, connect in [("psycopg2", psycopg2), ("asyncpg", lambda: asyncio.run(asyncpg()))]:
        try:
            answer = connect()
        except Exception as error:
            answer = f"{type(error).__name__}: {error}"
        results.append([case["number"], case["way"], driver, answer])
json.dump(results, sys.stdout)
"""
Results = dict[int, dict[str, str]]  # number of the password -> way and driver -> answer


def in_url(service: Service, number: int, host: str, password: str) -> str:
    """The whole DATABASE_URL."""
    return f"postgresql://role_{number}:{quote(password, safe='')}@{host}/{service.database}"


def case(number: int, way: str, **options: dict[str, str]) -> dict[str, Any]:
    """One thing to try, for the probe."""
    user = {"POSTGRES_USER": f"role_{number}"}
    defaults: dict[str, Any] = {"set": {}, "copy": {}, "write": {}} | options
    return defaults | {"number": number, "way": way, "set": user | defaults["set"]}


def collected(output: str) -> Results:
    """What the probe printed."""
    results: Results = {}
    for number, way, driver, answer in json.loads(output):
        results.setdefault(number, {})[f"{way}, {driver}"] = answer
    return results


def expected(number: int) -> dict[str, str]:
    """Both drivers came in as the right role, whichever way the password went."""
    ways = [".env", "environment", "URL"]
    return {f"{way}, {driver}": f"role_{number}" for way in ways for driver in DRIVERS}


DRIVERS = ["psycopg2", "asyncpg"]


@pytest.fixture(scope="module")
def shop(new_service: NewService) -> Generator[Service]:
    """A server with a role for each password."""
    with new_service() as service:
        service.compose("up", "--wait", "postgres")
        for number, password in enumerate(PASSWORDS):
            service.rows(f"CREATE ROLE role_{number} LOGIN PASSWORD %s", password)
        yield service


@pytest.fixture(scope="module")
def on_host(shop: Service) -> Results:
    """What came of each password on the host."""
    env_file = str(shop.path / ".env")
    cases = [case(0, "wrong", set={"POSTGRES_PASSWORD": "wrong"}) | {"number": WRONG}]
    for number, password in enumerate(PASSWORDS):
        url = in_url(shop, number, f"127.0.0.1:{shop.port}", password)
        cases += [
            case(number, "environment", set={"POSTGRES_PASSWORD": password}),
            case(number, "URL", set={"DATABASE_URL": url}),
            case(
                number,
                ".env",
                write={env_file: f"POSTGRES_PASSWORD={in_env_file(password)}\n"},
            ),
        ]
    done = shop.execute(
        sys.executable, "-c", PROBE,
        cwd=shop.project.backend,
        env={"POSTGRES_HOST": "127.0.0.1", "POSTGRES_DB": shop.database},
        input=json.dumps(cases),
        stdin=None,
    )  # fmt: skip
    (shop.path / ".env").unlink()
    assert done.returncode == 0, done.stderr
    return collected(done.stdout)


@pytest.fixture(scope="module")
def in_container(shop: Service) -> Results:
    """What came of each password in a container, as Compose handed it over."""
    env_file, environment, names = [], {}, []
    cases = [case(0, "wrong", set={"POSTGRES_PASSWORD": "wrong"}) | {"number": WRONG}]
    for number, password in enumerate(PASSWORDS):
        file, outside, url = (f"{way}_{number}" for way in ("FILE", "OUTSIDE", "URL"))
        names += [file, outside, url]
        env_file.append(f"{file}={in_env_file(password)}\n")
        env_file.append(f"{url}={in_url(shop, number, 'postgres:5432', password)}\n")
        environment[outside] = password
        cases += [
            case(number, ".env", copy={"POSTGRES_PASSWORD": file}),
            case(number, "environment", copy={"POSTGRES_PASSWORD": outside}),
            case(number, "URL", copy={"DATABASE_URL": url}),
        ]
    # As the password itself comes in docker-compose.yml: POSTGRES_PASSWORD: ${POSTGRES_PASSWORD}
    lines = "".join(f"      {name}: ${{{name}}}\n" for name in names)
    override = shop.write(
        "docker-compose.override.yml", f"services:\n  test:\n    environment:\n{lines}"
    )
    shop.write(".env", "".join(env_file))
    done = shop.compose(
        "run", "--rm", "-T", "--no-deps", "test", "python", "-c", PROBE,
        env=environment, input=json.dumps(cases), stdin=None,
    )  # fmt: skip
    override.unlink()
    (shop.path / ".env").unlink()
    return collected(done.stdout)


@pytest.mark.parametrize("number", range(len(PASSWORDS)), ids=PASSWORDS)
def test_a_password_of_any_characters_opens_the_door_on_the_host(
    number: int, on_host: Results
) -> None:
    assert on_host[number] == expected(number)


@pytest.mark.parametrize("number", range(len(PASSWORDS)), ids=PASSWORDS)
def test_a_password_of_any_characters_opens_the_door_in_a_container(
    number: int, in_container: Results
) -> None:
    assert in_container[number] == expected(number)


def test_a_wrong_password_does_not(on_host: Results, in_container: Results) -> None:
    for results in (on_host, in_container):
        assert results[WRONG].keys() == {f"wrong, {driver}" for driver in DRIVERS}
        for answer in results[WRONG].values():
            assert "password authentication failed" in answer


@pytest.mark.in_turn(2)
@pytest.mark.parametrize("password", FIRST_BOOT)
def test_a_server_begins_with_the_password_of_the_env_file(
    password: str, service: Callable[..., Service]
) -> None:
    shop = service()
    shop.write(".env", f"POSTGRES_PASSWORD={in_env_file(password)}\n")
    shop.migrate()
    shop.password = password
    assert shop.version() == ["baseline"]
    here = {
        "POSTGRES_HOST": "127.0.0.1",
        "POSTGRES_USER": shop.user,
        "POSTGRES_DB": shop.database,
    }
    words = [sys.executable, "-m", "app.migrate", "current"]
    done = shop.execute(*words, cwd=shop.project.backend, env=here)
    assert (done.returncode, done.stdout) == (0, "baseline (head)\n"), done.stderr

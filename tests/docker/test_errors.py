"""What is wrong, what to type next, and an exit code: in containers, as a user meets them."""

import os
import pty
import re
import select
import shlex
import socket
import subprocess
from collections.abc import Callable, Generator

import pytest

from tests.docker.conftest import PATIENCE, NewService, Service

USAGE, UNREACHABLE, REFUSED = 2, 4, 5  # alembic/README.md promises these exit codes
SECRET = "nobody-may-see-this"  # noqa: S105 (and of nothing)


@pytest.fixture(scope="module")
def shop(new_service: NewService) -> Generator[Service]:
    """A service whose PostgreSQL runs, with an empty database."""
    with new_service() as service:
        service.compose("up", "--wait", "postgres")
        yield service


def complaint(done: subprocess.CompletedProcess[str]) -> tuple[str, str]:
    """The cause and the remedy of a failed command, which shows nothing else and no secret."""
    output = done.stdout + done.stderr
    assert "Traceback" not in output
    assert SECRET not in output
    assert done.stdout == ""
    found = re.search(r"^Error: (.+)\nNext:  (.+)\n+\Z", done.stderr, re.MULTILINE)
    assert found, done.stderr
    assert output.count("Error: ") == 1
    return found[1], found[2]


@pytest.mark.parametrize(
    ("variables", "status", "cause", "remedy"),
    [
        pytest.param(
            {"POSTGRES_PASSWORD": SECRET},
            REFUSED,
            "the server refused the password of user {user}",
            "check POSTGRES_PASSWORD",
            id="wrong password",
        ),
        pytest.param(
            {"POSTGRES_DB": "elsewhere"},
            REFUSED,
            "the server has no database elsewhere",
            "check POSTGRES_DB",
            id="unknown database",
        ),
        pytest.param(
            {"DATABASE_URL": f"postgresql://me:{SECRET}@nowhere.invalid/shop"},
            UNREACHABLE,
            "the host name nowhere.invalid is not known",
            "check POSTGRES_HOST (or DATABASE_URL)",
            id="unknown host",
        ),
        pytest.param(
            {"DATABASE_URL": f"postgresql://me:{SECRET}@postgres:1/shop"},
            UNREACHABLE,
            "nothing answers at that address",
            "docker compose up --wait postgres",
            id="nothing listens",
        ),
        pytest.param(
            {"POSTGRES_PASSWORD": ""},
            USAGE,
            "POSTGRES_PASSWORD not set",
            ".env",
            id="nothing set",
        ),
    ],
)
def test_a_wrong_setting_is_named(
    shop: Service, variables: dict[str, str], status: int, cause: str, remedy: str
) -> None:
    words = ["--env=MIGRATION_CONNECT_WAIT=1"]
    words += [f"--env={name}={value}" for name, value in variables.items()]
    done = shop.compose("run", "--rm", *words, "migrate", status=status)
    said = complaint(done)
    assert cause.format(user=shop.user) in said[0]
    assert remedy in said[1]
    assert shop.rows("SELECT to_regclass('alembic_version')") == [(None,)]


def test_a_changed_password_meets_the_old_volume_and_the_way_out_works(
    service: Callable[..., Service],
) -> None:
    shop = service()
    shop.migrate()
    shop.write(".env", f"POSTGRES_PASSWORD={SECRET}\n")
    cause, remedy = complaint(shop.migrate(status=REFUSED))
    assert "refused the password" in cause
    assert "volume keeps the first one" in remedy
    command = re.search(r"docker compose exec .*'$", remedy)
    assert command, remedy
    output = type_in(shop, command[0], [("Enter new password", SECRET), ("Enter it again", SECRET)])
    assert SECRET not in output
    assert "head" in shop.migrate("current").stdout
    shop.password = SECRET
    assert shop.version() == ["baseline"]


def type_in(service: Service, command: str, dialogue: list[tuple[str, str]]) -> str:
    """Run a command in a terminal and answer its questions; returns what the terminal showed."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        shlex.split(command), stdin=theirs, stdout=theirs, stderr=theirs, **service.caller
    )
    os.close(theirs)
    output, answers = "", list(dialogue)
    try:
        while select.select([ours], [], [], PATIENCE)[0]:
            try:
                output += os.read(ours, 4096).decode()
            except OSError:  # the other end is closed
                break
            if answers and answers[0][0] in output:
                os.write(ours, f"{answers.pop(0)[1]}\n".encode())
    finally:
        os.close(ours)
        process.wait(PATIENCE)
    assert process.returncode == 0, output
    assert not answers, output
    return output


def test_a_port_in_use_is_named(service: Callable[..., Service]) -> None:
    shop = service()
    with socket.create_server(("127.0.0.1", shop.port)):
        done = shop.migrate(status=None)
        assert done.returncode != 0
        assert f"127.0.0.1:{shop.port}" in done.stderr
        assert "in use" in done.stderr
    shop.migrate()  # when it is free again, or with another POSTGRES_PORT, nothing is in the way

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

from tests._kit.support import free_port
from tests.docker.conftest import PATIENCE, NewService, Service
from tests.migrate.service import Done
from tests.migrate.table import PASSWORD, Guide, read, sentence

URL = f"postgresql://me:{PASSWORD}@"


@pytest.fixture(scope="module")
def shop(new_service: NewService) -> Generator[Service]:
    """A service whose PostgreSQL runs, with an empty database."""
    with new_service() as service:
        service.compose("up", "--wait", "postgres")
        yield service


def explained(service: Service, row: str, *args: str) -> list[str]:
    """`compose run --rm <args>` fails as that row of the guide says; the cause and the remedy."""
    guide: Guide = read(service.project.backend / "alembic" / "README.md")
    done = service.compose("run", "--rm", *args, status=guide[row].exit_code)
    assert done.stdout == ""
    guide[row].check(Done(done.returncode, done.stdout, done.stderr.strip()), whole=False)
    return sentence(Done(done.returncode, done.stdout, done.stderr.strip()))


@pytest.mark.in_turn(3)
@pytest.mark.parametrize(
    ("row", "remedy", "variable"),
    [
        ("a wrong password", "check POSTGRES_PASSWORD", f"POSTGRES_PASSWORD={PASSWORD}"),
        ("an unknown database", "check POSTGRES_DB", "POSTGRES_DB=elsewhere"),
        ("an unknown host name", "check POSTGRES_HOST", f"DATABASE_URL={URL}nowhere.invalid/shop"),
        ("the server does not run", "postgres$", f"DATABASE_URL={URL}postgres:1/shop"),
        ("a setting is missing or wrong", r"\.env", "POSTGRES_PASSWORD="),
    ],
)
def test_a_wrong_setting_is_named(shop: Service, row: str, remedy: str, variable: str) -> None:
    said = explained(shop, row, "--env=MIGRATION_CONNECT_WAIT=1", f"--env={variable}", "migrate")
    assert re.search(remedy, said[1])
    assert shop.rows("SELECT to_regclass('alembic_version')") == [(None,)]


def test_a_changed_password_meets_the_old_volume_and_the_way_out_works(
    service: Callable[..., Service],
) -> None:
    shop = service()
    shop.migrate()
    shop.write(".env", f"POSTGRES_PASSWORD={PASSWORD}\n")
    remedy = explained(shop, "a wrong password", "migrate")[1]
    assert "volume keeps the first one" in remedy
    command = re.search(r"docker compose exec .*", remedy)
    assert command, remedy
    answers = [("Enter new password", PASSWORD), ("Enter it again", PASSWORD)]
    assert PASSWORD not in type_in(shop, command[0], answers)
    assert "head" in shop.migrate("current").stdout
    shop.password = PASSWORD
    assert shop.version() == ["baseline"]


def test_a_revision_that_cannot_be_written_says_so(shop: Service) -> None:
    guide: Guide = read(shop.project.backend / "alembic" / "README.md")
    words = ["run", "--rm", "--user=12345:12345", "migrate", "revision", "-m", "x"]
    done = shop.compose(*words, status=2)
    said = Done(done.returncode, "", done.stderr.strip())
    guide["`revision` in the production image, or in a folder of another user"].check(said)


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


def test_a_port_in_use_is_named_and_another_one_helps(service: Callable[..., Service]) -> None:
    shop = service()
    guide: Guide = read(shop.project.backend / "alembic" / "README.md")
    row = guide["another program has the port"]
    with socket.create_server(("127.0.0.1", shop.port)):
        done = shop.compose("up", "--detach", "--wait", "postgres", status=1)
        assert f"127.0.0.1:{shop.port}" in done.stderr
        row.check(Done(done.returncode, done.stdout, done.stderr))
        assert "`POSTGRES_PORT=" in row.what_to_do
        shop.port = free_port()
        shop.compose("up", "--detach", "--wait", "postgres")
    assert shop.rows("SELECT 1") == [(1,)]

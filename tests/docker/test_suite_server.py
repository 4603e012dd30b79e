"""The rendered project's tests take their server from the project's own image."""

import re
import secrets
import signal
import subprocess
import sys
import time

import docker
import pytest

from tests._kit.support import environment
from tests.conftest import Render

SLOW = """\
import time

from sqlalchemy import URL


def test_that_takes_long(database: URL) -> None:
    print("READY", flush=True)
    time.sleep(600)
"""


def servers(engine: docker.DockerClient, user: str) -> list[str]:
    """The names of the servers that suites of one project have started."""
    ours: dict[str, str | list[str] | bool] = {"name": "test-postgres-"}
    found = engine.containers.list(all=True, filters=ours, ignore_removed=True)
    given = f"POSTGRES_USER={user}"
    return [str(it.name) for it in found if given in it.attrs["Config"]["Env"]]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_container_serves_the_tests_and_ends_with_them(
    engine: docker.DockerClient, render: Render, number: signal.Signals
) -> None:
    slug = f"suite{secrets.token_hex(4)}"  # others run suites at the same time
    project, user = render(project_slug=slug), f"{slug}_user"
    (project.backend / "tests" / "test_slow.py").write_text(SLOW)
    words = [sys.executable, "-m", "pytest", "-s", "-p", "no:cacheprovider", "tests/test_slow.py"]
    process = subprocess.Popen(
        words, cwd=project.backend, env=environment(), stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout
        output = ""
        for line in process.stdout:
            output += line
            if "READY" in line:
                break
        assert re.search(r"PostgreSQL: PostgreSQL 18\S*, a container of postgres:18", output), (
            output
        )
        assert len(servers(engine, user)) == 1
    finally:
        process.send_signal(number)
        process.wait(60)
        process.stdout.close() if process.stdout else None
    deadline = time.monotonic() + 60
    while servers(engine, user) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not servers(engine, user)

"""The rendered project's tests take their server from the project's own image."""

import re
import signal
import subprocess
import sys
import time

import pytest

from tests.conftest import Render
from tests.support import environment

SLOW = """\
import time

from sqlalchemy import URL


def test_that_takes_long(database: URL) -> None:
    print("READY", flush=True)
    time.sleep(600)
"""


def containers() -> set[str]:
    """The names of the servers that suites have started."""
    words = ["docker", "ps", "--all", "--filter=name=test-postgres-", "--format={{.Names}}"]
    return set(subprocess.run(words, check=True, capture_output=True, text=True).stdout.split())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_container_serves_the_tests_and_ends_with_them(
    render: Render, number: signal.Signals
) -> None:
    project = render()
    (project.backend / "tests" / "test_slow.py").write_text(SLOW)
    before = containers()
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
        assert len(containers() - before) == 1
    finally:
        process.send_signal(number)
        process.wait(60)
        process.stdout.close() if process.stdout else None
    deadline = time.monotonic() + 60
    while containers() - before and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not containers() - before

"""Ends the tests' server and removes its files, whatever the end of the tests. Run as a script.

Its arguments: `keep` or `remove`, the server's folder, and its process id or 0. Its standard input
says the id once there is one, and ends with the tests. A second copy looks after the first.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path


def clean(action: str, home: Path, server: str) -> None:
    """Stop the server, at once if its data are not kept, and remove them."""
    fast, at_once = signal.SIGINT, getattr(signal, "SIGQUIT", signal.SIGINT)  # Windows: both kill
    with suppress(OSError, IndexError):  # no such file, no such process: it has ended already
        if (home / "pgdata" / "postmaster.pid").read_text("utf-8").split()[0] == server:
            os.kill(int(server), fast if action == "keep" else at_once)
    deadline = time.monotonic() + 30
    while action == "remove" and home.exists() and time.monotonic() < deadline:
        shutil.rmtree(home, ignore_errors=True)  # again, where the server still writes
        time.sleep(0.01)


if __name__ == "__main__":
    action, home, server = sys.argv[1:]
    for line in sys.stdin:
        if line == "stop\n":
            break
        server = line.strip()
        command = [sys.executable, "-I", "-S", __file__, action, home, server]
        second = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
    clean(action, Path(home), server)

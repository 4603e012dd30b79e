"""Stops the tests' server and removes its files, whatever the end of the tests. Run as a script.

It hears of that end by its standard input, and a second copy hears of its own in the same way.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

DEADLINE = 30.0  # seconds for a fast shutdown


def clean(data: Path, folders: list[str]) -> None:
    """Stop the server of `data`, if one runs, and remove the folders."""
    status, deadline = data / "postmaster.pid", time.monotonic() + DEADLINE
    with suppress(OSError, ValueError):  # no such file, no such process: it has ended already
        server = int(status.read_text("utf-8").splitlines()[0])
        os.kill(server, signal.SIGINT)  # a fast shutdown: it does not wait for clients
        while status.exists() and time.monotonic() < deadline and sys.platform != "win32":
            time.sleep(0.01)
        if status.exists() and sys.platform != "win32":  # there, any signal is the end
            os.kill(server, signal.SIGKILL)
    while any(map(os.path.exists, folders)) and time.monotonic() < deadline:
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)  # again, where initdb still writes
        time.sleep(0.01)


if __name__ == "__main__":
    request = sys.stdin.readline()
    if len(sys.argv) == 1:
        command = [sys.executable, "-I", "-S", __file__, "second"]
        second = subprocess.Popen(command, stdin=subprocess.PIPE, text=True, start_new_session=True)
        print(request, end="", file=second.stdin, flush=True)
    sys.stdin.readline()
    data, *folders = json.loads(request)
    clean(Path(data), folders)

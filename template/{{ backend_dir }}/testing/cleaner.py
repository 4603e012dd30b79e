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


def clean(home: Path, pg_ctl: str, folders: list[str]) -> None:
    """Stop the server whose data are in `home`, if one runs, and remove the folders."""
    status, deadline = home / "pgdata" / "postmaster.pid", time.monotonic() + DEADLINE
    if sys.platform == "win32":
        subprocess.run([pg_ctl, "stop", "-m", "fast", "-D", status.parent], check=False)
    else:
        with suppress(OSError, ValueError):  # no such file, no such process: it has ended already
            server = int(status.read_text("utf-8").splitlines()[0])
            os.kill(server, signal.SIGINT)  # a fast shutdown: it does not wait for clients
            while status.exists() and time.monotonic() < deadline:
                time.sleep(0.01)
            if status.exists():
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
    home, *rest = json.loads(request)
    clean(Path(home), *rest)

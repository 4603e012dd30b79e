"""Runs `python -m app.migrate` many times, each in a process of its own, for the price of a fork.

Importing Alembic takes ten times as long as most of the migrations here. This script, started in a
project's backend folder, imports it once; each request is then a forked process with the
environment, the output files and the signals of its own.
"""

import gc
import importlib
import json
import os
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path.cwd()))

for module in (
    *("alembic.autogenerate", "alembic.command", "alembic.config", "psycopg2", "pydantic_settings"),
    "sqlalchemy.dialects.postgresql.psycopg2",
    *("app.migrate.connect", "app.migrate.record", "app.migrate.leftovers", "app.migrate.lock"),
    *(
        "app.migrate.__main__",
        "app.migrate.fastpath",
        "app.migrate.retry",
        "app.migrate.waits",
        "app.migrate.signals",
    ),
):
    importlib.import_module(module)
gc.freeze()  # no fork looks for garbage in what is imported


def child(words: list[str], environment: dict[str, str], output: str) -> None:
    """Become one run of the command; never returns."""
    for number, suffix in ((1, ".out"), (2, ".err")):
        os.dup2(os.open(output + suffix, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    # Before the program has its handlers, Ctrl-C ends a process by this signal.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.environ.clear()
    os.environ.update(environment)
    code: Any = 1
    try:
        code = importlib.import_module("app.migrate.__main__").main(words)
    except SystemExit as end:
        code = end.code
    except BaseException:  # as the interpreter would
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(int(code or 0))


def main() -> None:
    """One request a line: start something, or wait for it."""
    for line in sys.stdin:
        request = json.loads(line)
        if "words" in request:
            pid = os.fork()
            if not pid:
                child(request["words"], request["environment"], request["output"])
            print(pid, flush=True)
            continue
        deadline = time.monotonic() + request["timeout"]
        done, status = 0, 0
        while not done and time.monotonic() < deadline:
            done, status = os.waitpid(request["pid"], os.WNOHANG)
            if not done:
                time.sleep(0.005)
        print(os.waitstatus_to_exitcode(status) if done else "running", flush=True)


if __name__ == "__main__":
    main()

"""SIGTERM and SIGINT end a migration at once, as SIGKILL would.

Python runs its handlers between two of its own instructions, and a running statement is one. The
wake-up descriptor is written to at once, from C; the thread that reads it ends the process. The
server sees within half a second that its client has gone (client_connection_check_interval), rolls
back what was not committed and frees the locks.

Imports next to nothing: it has to be ready before anything that takes time is imported.
"""

import _thread
import os
import signal
import socket
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress

NUMBERS = (signal.SIGINT, signal.SIGTERM)
PATIENCE = 2  # seconds for the sentence: who reads our output may not read any more

_is_installed = _is_over = False


def install() -> socket.socket:
    """From now on a signal prints a sentence and ends the process with 128 + its number.

    For the main thread of a command line: a program that calls Alembic has handlers of its own.
    Without a handler, SIGTERM would not reach the first process of a container at all. Returns
    what a signal writes to.
    """
    global _is_installed, _is_over
    _is_installed, _is_over = True, False
    reader, writer = socket.socketpair()  # on Windows a pipe would not do
    writer.setblocking(False)
    _thread.start_new_thread(_wait, (reader, writer))
    signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    for number in NUMBERS:
        signal.signal(number, lambda *_: None)
    return writer


@contextmanager
def ended_by_signals() -> Generator[None]:
    """The same within the block, unless it is so for the whole process."""
    global _is_installed  # noqa: PLW0603 (the process has one handler for each signal)
    if _is_installed:
        yield
        return
    before = {number: signal.getsignal(number) for number in NUMBERS}
    wakeup = signal.set_wakeup_fd(-1)
    with install():  # its end ends the thread
        try:
            yield
        finally:
            signal.set_wakeup_fd(wakeup)
            for number, handler in before.items():
                signal.signal(number, handler)
            _is_installed = False


def let_it_end() -> None:
    """Signals change nothing any more: the last revision is committed, and that is success."""
    global _is_over  # noqa: PLW0603
    _is_over = True


def _wait(reader: socket.socket, _writer: socket.socket) -> None:  # it keeps the writer open
    while received := reader.recv(1):
        if received[0] in NUMBERS and not _is_over:
            _thread.start_new_thread(_say, (received[0],))
            time.sleep(PATIENCE)
            os._exit(128 + received[0])


def _say(number: int) -> None:
    from app.migrate.errors import AGAIN

    sentence = f"Error: interrupted; the server rolls back what was not committed\nNext:  {AGAIN}\n"
    with suppress(OSError):
        os.write(2, sentence.encode())  # sys.stderr may be locked by what was interrupted
        sys.stdout.flush()
    os._exit(128 + number)

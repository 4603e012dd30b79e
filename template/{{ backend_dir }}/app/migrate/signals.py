"""SIGTERM and SIGINT end a migration at once, and the server's work for it with it.

Python runs its handlers between two of its own instructions, and a running statement is one:
without this, `docker stop` and Ctrl-C would wait for the statement's end. The wake-up descriptor
is written to at once, from C, and the thread that reads it cancels the statement.
"""

import _thread
import signal
import socket
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress

TYPE_CHECKING = False  # nothing heavy is imported: a run with nothing to do has handlers too
if TYPE_CHECKING:
    from sqlalchemy import Connection


class Interrupted(KeyboardInterrupt):
    """By the signal of this number.

    A class of its own: where KeyboardInterrupt itself has passed through `exec` or `eval`, which
    dataclasses and named tuples use, Python ends with SIGINT's exit code, whatever it is given.
    """


@contextmanager
def interrupted_by_signals() -> Generator[None]:
    """Within the block a signal raises Interrupted.

    For the main thread of a command line only: a program has signal handlers of its own. Without
    a handler, SIGTERM would not reach the first process of a container at all.

    Raises:
        Interrupted: by a signal.
    """

    def interrupt(number: int, _frame: object) -> None:
        raise Interrupted(number)

    retries: list[threading.Timer] = []

    def again(lost: "sys.UnraisableHookArgs") -> None:
        """Python lets go of an exception in a destructor, and of one where an import ends."""
        if isinstance(lost.exc_value, Interrupted):  # once more, when that is surely over
            retry = threading.Timer(0.5, _thread.interrupt_main, lost.exc_value.args)
            retry.start()
            retries.append(retry)
        else:
            hook(lost)

    handlers = {n: signal.signal(n, interrupt) for n in (signal.SIGINT, signal.SIGTERM)}
    hook, sys.unraisablehook = sys.unraisablehook, again
    try:
        yield
    except Exception as error:
        if retries:  # it is of the statement that was cancelled
            raise Interrupted(*retries[-1].args) from error
        raise
    finally:
        for retry in retries:
            retry.cancel()
        sys.unraisablehook = hook
        for number, handler in handlers.items():
            signal.signal(number, handler)


@contextmanager
def cancelled_by_signals(connection: "Connection") -> Generator[None]:
    """Within the block a signal cancels the statement that runs on `connection`, too."""
    import psycopg2

    driver = connection.connection.driver_connection
    assert driver is not None
    reader, writer = socket.socketpair()
    writer.setblocking(False)

    def cancel() -> None:
        while reader.recv(1):
            with suppress(psycopg2.Error):  # the server has gone already
                driver.cancel()

    thread = threading.Thread(target=cancel, daemon=True)
    thread.start()
    wakeup = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    try:
        yield
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)  # all is done: let the connection be closed
    finally:
        signal.set_wakeup_fd(wakeup)
        writer.close()  # ends the thread
        thread.join()
        reader.close()

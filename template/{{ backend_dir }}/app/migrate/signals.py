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
    from collections.abc import Callable

    from sqlalchemy import Connection

# Seconds for the server to answer, and to end a cancelled statement; `docker stop` waits for ten.
PATIENCE = 4
# "May I speak TLS?" A server answers before it asks who is there (PostgreSQL, Message Formats).
SSL_REQUEST = (8).to_bytes(4, "big") + (80877103).to_bytes(4, "big")


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

    received: list[int] = []

    def interrupt(number: int, _frame: object) -> None:
        received.append(number)
        raise Interrupted(number)

    retries: list[threading.Timer] = []

    def let_go(error: BaseException | None, otherwise: "Callable[[], None]") -> None:
        """Python lets go of an exception in a destructor, and of one where an import ends.

        psycopg2 prints one that comes while it reads why a connection broke off.
        """
        if isinstance(error, Interrupted):  # once more, when that is surely over
            retry = threading.Timer(0.5, _thread.interrupt_main, error.args)
            retry.start()
            retries.append(retry)
        else:
            otherwise()

    handlers = {n: signal.signal(n, interrupt) for n in (signal.SIGINT, signal.SIGTERM)}
    ignore, show = sys.unraisablehook, sys.excepthook
    sys.unraisablehook = lambda lost: let_go(lost.exc_value, lambda: ignore(lost))
    sys.excepthook = lambda *lost: let_go(lost[1], lambda: show(*lost))
    try:
        yield
    except Exception as error:
        if received:  # it is of the cancelled statement, or of the connection that was shut
            raise Interrupted(received[-1]) from error
        raise
    finally:
        for retry in retries:
            retry.cancel()
        sys.unraisablehook, sys.excepthook = ignore, show
        for number, handler in handlers.items():
            signal.signal(number, handler)


@contextmanager
def cancelled_by_signals(connection: "Connection") -> Generator[None]:
    """Within the block a signal cancels the statement that runs on `connection`, too.

    Where the server or the network hangs, nothing can be cancelled: the connection is shut.
    """
    import psycopg2

    driver = connection.connection.driver_connection
    assert driver is not None
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    line = socket.socket(fileno=socket.dup(driver.fileno()))

    def cancel() -> None:
        with suppress(OSError):  # the connection is no more
            try:
                while reader.recv(1):
                    reader.settimeout(PATIENCE)
                    _wait_for_an_answer(line)
                    driver.cancel()
            except (OSError, psycopg2.Error):
                line.shutdown(socket.SHUT_RDWR)

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
        line.close()


def _wait_for_an_answer(line: socket.socket) -> None:
    """Have the server of a connection say anything; psycopg2's `cancel` waits without end for it.

    Raises:
        OSError: it was not there, or said nothing for PATIENCE seconds.
    """
    with socket.socket(line.family) as probe:
        probe.settimeout(PATIENCE)
        probe.connect(line.getpeername())
        probe.sendall(SSL_REQUEST)
        probe.recv(1)

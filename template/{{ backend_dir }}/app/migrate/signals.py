"""SIGTERM and SIGINT end a migration at once, and the server's work for it with it.

Python runs its handlers between two of its own instructions, and a running statement is one:
without this, `docker stop` and Ctrl-C would wait for the statement's end. The wake-up descriptor
is written to at once, from C, and the thread that reads it cancels the statement.
"""

import signal
import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType

from psycopg2.extensions import connection as DriverConnection  # noqa: N812 (it is a class)
from sqlalchemy import Connection

from app.core.problems import Interrupted


@contextmanager
def cancelled_by_signals(connection: Connection) -> Generator[None]:
    """Within the block a signal cancels the statement that runs on `connection`.

    For the main thread of a command line only: a program has signal handlers of its own.

    Raises:
        Interrupted: by a signal; the transaction is rolled back.
    """

    def interrupt(number: int, _frame: FrameType | None) -> None:
        raise Interrupted(number)

    driver = connection.connection.driver_connection
    assert isinstance(driver, DriverConnection)
    reader, writer = socket.socketpair()
    writer.setblocking(False)

    def cancel() -> None:
        while reader.recv(1):
            driver.cancel()

    thread = threading.Thread(target=cancel, daemon=True)
    thread.start()
    wakeup = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    handlers = {n: signal.signal(n, interrupt) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(wakeup)
        writer.close()  # ends the thread
        thread.join()
        reader.close()

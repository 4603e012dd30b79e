"""A rolling deploy, as an orchestrator does it: requests go to whatever is ready, 200 a second."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Generator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from itertools import count
from typing import Any

from tests._kit.revision import write_revision
from tests._kit.support import free_port, until
from tests.migrate.service import Service

ALL = os.environ.get("ROLLING") == "all"
RATE = int(os.environ.get("ROLLING_RATE", "200" if ALL else "50"))  # requests a second
CLIENTS = RATE // 2  # of which each waits for its answer before it asks again
PATIENCE = 300  # seconds that a client waits for its answer, and we for anything else
SETTLE = RATE // 2  # requests from one event to the next
ROUTES = '''
"""What the test asks for."""

from fastapi import APIRouter
from sqlalchemy import select

from app.api.transaction import Transaction
from app.models.item import Item, new, show

router = APIRouter()


@router.get("/items")
async def read(session: Transaction) -> list[str]:
    """The last five."""
    rows = await session.scalars(select(Item).order_by(Item.id.desc()).limit(5))
    return [show(row) for row in rows]


@router.post("/items")
async def add(session: Transaction) -> None:
    """One more."""
    session.add(new())
'''


MODEL = """
import enum

from sqlalchemy import Enum
from sqlalchemy.orm import Mapped, mapped_column

from app.core.database import Base, Id


class Item(Base):
    __tablename__ = "{table}"

    id: Mapped[Id]
    {columns}


def new() -> Item:
    return Item({new})


def show(row: Item) -> str:
    return {show}
"""


@dataclass
class Release:
    """One version of the application: the bodies of its revisions' upgrade(), and its model."""

    migrations: list[str] = field(default_factory=list)
    columns: str = "name: Mapped[str]"  # on one line
    new: str = "name='x'"
    show: str = "row.name + ''"
    table: str = "items"
    accepts: tuple[str, ...] = ()  # hazards of its last revision


@dataclass
class Instance:
    """A process that serves one release."""

    process: subprocess.Popen[bytes]
    port: int
    is_ready: bool = False
    failures: int = 0  # of its probe, in a row
    open: int = 0  # requests
    is_leaving: bool = False


class Load:
    """Clients: each request goes to the next instance that is ready, and has to succeed.

    They ask by the clock, answered or not: CLIENTS at a time at most.
    """

    def __init__(self, first: Instance) -> None:
        self.instances: list[Instance] = []
        self.first = first
        self.begun = 0
        self.ended: Counter[str] = Counter()
        self.waits: list[float] = []  # seconds until an answer came
        self.began = self.seconds = 0.0
        self._numbers = count()
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._probe)]

    def __enter__(self) -> "Load":
        self._threads[0].start()
        self.add(self.first)
        self.began = time.monotonic()
        self._threads += [threading.Thread(target=self._ask) for _ in range(CLIENTS)]
        for thread in self._threads[1:]:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Wait for the last answers."""
        self.seconds = self.seconds or time.monotonic() - self.began
        self._over.set()
        for thread in self._threads:
            thread.join()

    def add(self, instance: Instance) -> None:
        """Send requests there too, once its readiness probe says so."""
        self.instances.append(instance)
        until(lambda: instance.is_ready or instance.process.poll() is not None)
        assert instance.process.poll() is None, "it ended"

    def _probe(self) -> None:
        """As Kubernetes does, which gives up on an instance after some failures in a row."""
        while not self._over.wait(0.2):
            for instance in [it for it in self.instances if not it.is_leaving]:
                with closing(HTTPConnection("127.0.0.1", instance.port)) as connection:
                    succeeded = ask(connection, "/health/ready") == "200"
                instance.failures = 0 if succeeded else instance.failures + 1
                instance.is_ready = succeeded or (instance.is_ready and instance.failures < 10)

    def _ask(self) -> None:
        """A client, which keeps a connection to each instance."""
        connections: dict[int, HTTPConnection] = {}
        for number in self._numbers:
            at = self.began + number / RATE
            if self._over.wait(max(0, at - time.monotonic())):
                break
            with self._lock:
                self.begun += 1
                able = [it for it in self.instances if it.is_ready and not it.is_leaving]
                chosen = able[number // 2 % len(able)] if able else None
                if chosen:
                    chosen.open += 1
            how = "no instance is ready"
            if chosen:
                kept = HTTPConnection("127.0.0.1", chosen.port, timeout=PATIENCE)
                kept = connections.setdefault(chosen.port, kept)
                how = ask(kept, "/items", "POST" if number % 2 else "GET")
            with self._lock:
                self.ended[how] += 1
                self.waits.append(time.monotonic() - at)
                if chosen:
                    chosen.open -= 1
        for connection in connections.values():
            connection.close()

    def settle(self) -> None:
        """Let clients ask for a while."""
        enough = self.begun + SETTLE  # not those that wait now
        until(lambda: self.ended.total() >= enough)

    @property
    def failed(self) -> dict[str, int]:
        """How many requests did not succeed, by how."""
        return {how: many for how, many in self.ended.items() if how != "200"}


def ask(connection: HTTPConnection, path: str, method: str = "GET") -> str:
    """The status of the answer, or why there was none; only after success is it kept open."""
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        answer.read()
        status = str(answer.status)
    except (OSError, HTTPException) as error:
        status = type(error).__name__
    if status != "200":
        connection.close()
    return status


def write(service: Service, release: Release) -> None:
    """The code and the revisions of a release, on top of those of the one before."""
    for number, body in enumerate(release.migrations, 1):
        is_last = number == len(release.migrations)
        known = len(list(service.versions.glob("*.py")))
        name, more = f"r{known:03}", dict[str, Any]()
        if is_last and release.accepts:
            more["accepted_risks"] = dict.fromkeys(release.accepts, "no release uses it")
        write_revision(service.backend, name, service.head, body, number=known, **more)
        service.head = name
    app = service.backend / "app"
    text = MODEL.format(**vars(release))
    (app / "models" / "item.py").write_text(text)
    (app / "api" / "routes.py").write_text(ROUTES)
    main = (app / "main.py").read_text()
    if "routes" not in main:
        extra = "from app.api import routes\n\napp.include_router(routes.router)\n"
        (app / "main.py").write_text(f"{main}\n{extra}")


@contextmanager
def serving(service: Service) -> Generator[Instance]:
    """The application of this folder, as a process of its own."""
    port = free_port()
    options = ["--port", str(port), "--log-level", "warning", "--timeout-graceful-shutdown", "5"]
    options += ["--timeout-keep-alive", "75"]
    process = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "app.main:app", *options],
        cwd=service.backend,
        env=service.environment(STATEMENT_TIMEOUT="5"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield Instance(process, port)
    finally:
        process.kill()
        process.wait()


def leave(load: Load, instance: Instance) -> None:
    """As Kubernetes does: no new requests, the end of those that are open, SIGTERM."""
    instance.is_leaving = True
    load.settle()
    until(lambda: not instance.open)
    instance.process.send_signal(signal.SIGTERM)
    assert instance.process.wait(PATIENCE) in {0, -signal.SIGTERM}
    load.instances.remove(instance)


def roll(services: list[Service]) -> Load:
    """One release after the other, while clients ask; each is a folder that `write` has filled."""
    with ExitStack() as stack:
        done = services[0].migrate()
        assert done.returncode == 0, done
        first = stack.enter_context(serving(services[0]))
        load = stack.enter_context(Load(first))  # ends before any instance that is left
        for service in services[1:]:
            load.settle()
            done = service.migrate()
            assert done.returncode == 0, done
            load.settle()
            load.add(stack.enter_context(serving(service)))
            load.settle()
            leave(load, load.instances[0])
        load.settle()
        load.stop()
    return load

"""What several test modules share: commands, models and revisions of a project; servers' ports."""

import importlib
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import cache
from itertools import cycle
from pathlib import Path
from typing import Any

import psycopg2
from psycopg2 import sql
from sqlalchemy import URL

BACKEND = Path(__file__).resolve().parents[2] / "template" / "{{ backend_dir }}"
SHAPES = ["backend", ".", "services/api"]
BIN = Path(sys.executable).parent
# What is kept from run to run, as pip's and uv's downloads are.
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "copier-postgres"
PROGRAMS = {
    "alembic": [str(BIN / "alembic")],
    "app.migrate": [sys.executable, "-m", "app.migrate"],
    "python": [sys.executable],
}

# The two models of REQUIREMENTS W4, as a user writes them.
MODELS = {
    "test_model.py": '''\
"""The first acceptance model."""

from datetime import datetime

from sqlalchemy import String, Text, func
from sqlalchemy.orm import Mapped, mapped_column

from app.core.database import Base


class TestModel(Base):
    """A table whose name begins with test_."""

    __tablename__ = "test_models"

    id: Mapped[int] = mapped_column(primary_key=True, index=True)
    title: Mapped[str] = mapped_column(String(255))
    description: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
''',
    "user.py": '''\
"""The second acceptance model."""

from datetime import datetime

from sqlalchemy import String, func, true
from sqlalchemy.orm import Mapped, mapped_column

from app.core.database import Base


class User(Base):
    """A person who may sign in."""

    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(String(255), unique=True, index=True)
    hashed_password: Mapped[str] = mapped_column(String(255))
    is_active: Mapped[bool] = mapped_column(default=True, server_default=true())
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime | None] = mapped_column(onupdate=func.now())
''',
}


def template_module(name: str) -> Any:
    """A module of the template's backend, `testing.schema` or `app.migrate.errors`."""
    if str(BACKEND) not in sys.path:
        sys.path.append(str(BACKEND))  # last: it has a package `tests` too
    return importlib.import_module(name)


def execute(url: URL, statement: str | sql.Composable, *parameters: object) -> list[Any]:
    """Run one statement in a session of its own, committed; returns its rows."""
    connection = psycopg2.connect(
        url.set(drivername="postgresql").render_as_string(hide_password=False)
    )
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement, parameters or None)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()


@cache
def _ports() -> Iterator[int]:
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    first = 20_000 + worker % 24 * 500
    start = secrets.randbelow(500)  # another run may have begun just now
    return cycle(first + (start + n) % 500 for n in range(500))


def in_env_file(password: str) -> str:
    """A password as a value of `.env`, by the rule of .env.example."""
    if "\\" in password:
        return '"' + password.replace("\\", r"\\").replace('"', r"\"") + '"'
    return "'" + password.replace("'", r"\'") + "'"


def free_port() -> int:
    """A port of 127.0.0.1 that stays free until the caller takes it, at once or after a while.

    The system gives ports from 32768 (Linux) or 49152 (macOS, Windows) upwards to whoever asks for
    any and to outgoing connections: one of those would be gone when a server is started again. So
    this one is below, and each worker of pytest-xdist has a part of its own.
    """
    return next(port for port in _ports() if is_free(port))


def is_free(port: int) -> bool:
    """Whether nothing listens there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def until(condition: Callable[[], object]) -> None:
    """Wait for it, however busy the machine is; what never comes is a failure."""
    deadline = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.02)


NewDatabase = Callable[[], URL]


def environment(url: URL | None = None, **variables: str) -> dict[str, str]:
    """Ours without what a project reads, and with what is given."""
    read = ("POSTGRES", "DATABASE", "MIGRAT", "TEST_", "PG", "PYTEST", "ENVIRONMENT")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(read)}
    if url is not None:
        clean["DATABASE_URL"] = url.render_as_string(hide_password=False)
    # A run leaves no caches in the project, which is compared with others.
    return clean | {"MIGRATION_CONNECT_WAIT": "0", "PYTHONDONTWRITEBYTECODE": "1"} | variables


Done = subprocess.CompletedProcess[str]


def run(
    backend: Path,
    *words: str,
    program: str = "alembic",
    url: URL | None = None,
    **variables: str,
) -> Done:
    """Run `alembic <words>`, `python -m app.migrate <words>` or `python <words>` in `backend`."""
    return subprocess.run(
        [*PROGRAMS[program], *words],
        cwd=backend,
        env=environment(url, **variables),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def succeed(done: Done) -> str:
    """What a command printed on its standard output; it has to have exited 0."""
    assert done.returncode == 0, f"{done.args} exited {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout

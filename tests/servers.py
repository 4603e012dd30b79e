"""Fixtures on a PostgreSQL server: for a module that says `pytest_plugins = ["tests.servers"]`."""

from collections.abc import Generator
from itertools import count

import pytest
from sqlalchemy import URL

from tests.conftest import BACKEND, Project, Render
from tests.forks import forks
from tests.report import cannot_run
from tests.support import MODELS, NewDatabase, environment, execute, load, succeed


@pytest.fixture(scope="session")
def server() -> Generator[URL]:
    """A server for all tests of this run, by the launcher that users get."""
    launcher = load(BACKEND / "tests" / "postgres.py")
    try:
        manager = launcher.postgres_server()
        found = manager.__enter__()
    except launcher.NoServerError as error:
        cannot_run(f"no PostgreSQL server ({error})", "scripts/test")
        raise  # not reached
    try:
        yield URL.create(
            "postgresql", found.user, found.password, found.host, found.port, "postgres"
        )
    finally:
        manager.__exit__(None, None, None)


@pytest.fixture(scope="session")
def new_database(server: URL) -> NewDatabase:
    """Makes empty databases; they end with the server."""
    numbers = count()

    def create() -> URL:
        name = f"demo_{next(numbers)}"
        execute(server, f'CREATE DATABASE "{name}" TEMPLATE template0')
        return server.set(database=name)

    return create


@pytest.fixture(scope="session")
def with_models(render: Render, new_database: NewDatabase) -> Project:
    """A project that has the two models of W4, each with a revision by autogenerate."""
    project = render()
    url = new_database()
    for name, text in MODELS.items():
        (project.backend / "app" / "models" / name).write_text(text)
        for words in ["upgrade", "head"], ["revision", "--autogenerate", "-m", f"add {name[:-3]}"]:
            succeed(forks().run("alembic", words, project.backend, environment(url)))
    project.commit("models")
    return project

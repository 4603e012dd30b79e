"""Fixtures on a PostgreSQL server."""

import os
import secrets
from collections.abc import Generator
from contextlib import ExitStack

import pytest
from sqlalchemy import URL, make_url

from tests._kit.forks import forks
from tests._kit.report import cannot_run
from tests._kit.support import (
    MODELS,
    NewDatabase,
    environment,
    execute,
    succeed,
    template_module,
)
from tests.conftest import Project, Render


@pytest.fixture(scope="session")
def own_server() -> Generator[URL]:
    """A server that nobody else uses, by the launcher that users get."""
    launcher = template_module("testing.server")
    with ExitStack() as stack:
        try:
            url, _ = stack.enter_context(launcher.postgres_server())
        except launcher.NoServerError as error:
            cannot_run(f"no PostgreSQL server ({error})", "scripts/test")
        yield url


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest) -> URL:
    """That of TEST_DATABASE_URL, as in docker-compose.yml; without it one of one's own."""
    if given := os.environ.get("TEST_DATABASE_URL"):
        return make_url(given).set(drivername="postgresql", database="postgres")
    url: URL = request.getfixturevalue("own_server")
    return url


@pytest.fixture(scope="session")
def new_database(server: URL) -> Generator[NewDatabase]:
    """Makes empty databases, gone after the tests."""
    names = []

    def create() -> URL:
        names.append(f"demo_{secrets.token_hex(4)}")
        execute(server, f'CREATE DATABASE "{names[-1]}" TEMPLATE template0')
        return server.set(database=names[-1])

    yield create
    if "TEST_DATABASE_URL" in os.environ:  # a server of one's own takes them along
        for name in names:
            execute(server, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


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

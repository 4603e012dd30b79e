"""A server, and services with a database each."""

import compileall
from collections.abc import Callable, Generator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL

from tests._kit.support import execute, template_module
from tests.conftest import Render
from tests.migrate import table
from tests.migrate.service import Service, copy


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of these need a server."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker("server")


@pytest.fixture(scope="session")
def postgres() -> Any:
    """The launcher of servers that users get."""
    return template_module("testing.server")


@pytest.fixture(scope="session")
def backend(rendered: Render) -> Path:
    """A rendered project's backend, compiled; copied by each service."""
    path = rendered().backend
    compileall.compile_dir(path / "app", quiet=2)
    return path


@pytest.fixture(scope="session")
def guide(backend: Path) -> table.Guide:
    """The rows of the rendered guide's table of problems."""
    return table.read(backend / "alembic" / "README.md")


_numbers = count()


@pytest.fixture
def new_service(
    own_server: URL, backend: Path, tmp_path_factory: pytest.TempPathFactory
) -> Generator[Callable[[], Service]]:
    """Makes services, each with an empty database."""
    services = []

    def create(url: URL | None = None) -> Service:
        if url is None:
            url = own_server.set(database=f"service_{next(_numbers)}")
            execute(own_server, f'CREATE DATABASE "{url.database}" TEMPLATE template0')
        services.append(copy(backend, tmp_path_factory.mktemp("service"), url))
        return services[-1]

    yield create
    for service in services:
        if service.url.host == own_server.host and service.url.port == own_server.port:
            name = service.url.database
            execute(own_server, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


@pytest.fixture
def service(new_service: Callable[[], Service]) -> Service:
    """One of them."""
    return new_service()

"""What a migration costs, in counts, which a busy machine does not change.

Seconds are for scripts/bench. A count that is to grow is a decision: change it here, and say why.
"""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import URL

from tests._kit.support import execute
from tests.migrate.service import Service, copy

Cost = Callable[[], tuple[int, int]]


@pytest.fixture(scope="module")
def service(own_server: URL, backend: Path, tmp_path_factory: pytest.TempPathFactory) -> Service:
    """A service on a database whose statements the server logs."""
    execute(own_server, "CREATE DATABASE costs TEMPLATE template0")
    execute(own_server, "ALTER DATABASE costs SET log_statement = 'all'")
    return copy(backend, tmp_path_factory.mktemp("costs"), own_server.set(database="costs"))


@pytest.fixture
def cost(service: Service) -> Cost:
    """Connections and statements of a run of `migrate`, which has to succeed."""
    [[folder]] = execute(service.url, "SHOW data_directory")
    log = Path(folder).with_name("server.log")

    def cost() -> tuple[int, int]:
        before = log.stat().st_size
        done = service.migrate()
        assert done.returncode == 0, done
        with log.open(encoding="utf-8") as lines:
            lines.seek(before)
            text = lines.read()
        sessions = re.findall(r"\[(\d+)\] LOG:  (?:statement|execute [^:]*): ", text)
        return len(set(sessions)), len(sessions)

    return cost


def test_a_run_with_nothing_to_do_is_one_connection_and_two_statements(cost: Cost) -> None:
    cost()
    cost()  # stores the proof
    assert cost() == (1, 2)


def test_each_revision_costs_as_many_statements_as_the_one_before_it(
    service: Service, cost: Cost
) -> None:
    counts = []
    for number in (1, 10, 10):
        for _ in range(number):
            service.add(f"{service.head}x"[-30:], 'op.execute("SELECT 1")')
        counts.append(cost())
    assert [connections for connections, _ in counts] == [2, 2, 2], "a look, and Alembic's"
    (_, one), (_, ten), (_, ten_more) = counts
    assert ten == ten_more, "a revision costs more where more are applied"
    # Its own, the clean session before and after it, two of Alembic's and our records, COMMIT.
    assert (ten - one) / 9 <= 6
    assert ten - 10 * 6 <= 32  # whatever it applies


def test_the_modules_and_files_of_a_run_with_nothing_to_do(service: Service, cost: Cost) -> None:
    cost()
    code = """
        import os, sys
        opened, asked, stat = [], [], os.stat
        os.stat = lambda path, **more: asked.append(path) or stat(path, **more)
        sys.addaudithook(lambda name, given: name == "open" and opened.append(given[0]))
        import psycopg2
        before, files = len(sys.modules), len(opened)
        from app.migrate.__main__ import main
        code = main([])
        of_revisions = [path for path in map(str, asked) if "/versions/" in path]
        print(len(sys.modules) - before, len(opened) - files, len(of_revisions))
        sys.exit(code)
        """
    done = service.python(code)
    assert done.returncode == 0, done
    modules, files, asked = map(int, done.stdout.split()[-3:])
    assert asked == 0, "the folder itself says what is a file"
    assert modules <= 12, done
    assert files - len(list(service.versions.glob("*.py"))) <= 46, done

"""The suite in Compose: on the developer's server, and never on the developer's data."""

from collections.abc import Callable

import pytest

from tests._kit.revision import write_revision
from tests.checks.test_run import MAIN, TABLE, WIPE
from tests.docker.conftest import Service


@pytest.mark.in_turn(2)
@pytest.mark.parametrize("workers", [[], ["-n", "2"]], ids=["one", "two workers"])
def test_settings_read_at_import_are_those_of_the_tests(
    service: Callable[..., Service], workers: list[str]
) -> None:
    shop = service()
    backend = shop.project.backend
    write_revision(backend, "orders", "baseline", TABLE)
    (backend / "app" / "main.py").write_text(MAIN)
    (backend / "tests" / "api").mkdir()
    (backend / "tests" / "api" / "conftest.py").write_text("import app.main\n")
    (backend / "tests" / "api" / "test_wipe.py").write_text(WIPE % ("database", "database"))
    shop.migrate()
    shop.rows("INSERT INTO orders SELECT generate_series(1, 10)")
    before = shop.rows("SELECT datname FROM pg_database ORDER BY 1")
    words = ["pytest", *workers, "tests/api/test_wipe.py"]
    said = shop.compose("run", "--rm", "test", *words).stdout
    assert "2 passed" in said
    assert shop.rows("SELECT count(*) FROM orders") == [(10,)]
    assert shop.rows("SELECT datname FROM pg_database ORDER BY 1") == before
    # Without a fixture there is no database of the run's yet: refused, and nothing touched.
    (backend / "tests" / "api" / "test_wipe.py").write_text(WIPE % ("", ""))
    said = shop.compose("run", "--rm", "test", *words, status=1).stdout
    assert "may only connect to databases of its own run" in said
    assert shop.rows("SELECT count(*) FROM orders") == [(10,)]

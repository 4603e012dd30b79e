"""Nobody loses rows, or reverts a production, without having said so."""

import re
import shlex

import pytest

from tests.migrate.service import Service
from tests.migrate.table import Guide

UP = """
op.execute("CREATE TABLE things (id int, note text, twice int GENERATED ALWAYS AS (2) STORED)")
op.execute("CREATE TABLE empty ()")
"""
LOSSES = {
    "DROP TABLE things": "things (rows: 3)",
    "DROP TABLE empty, things": "things (rows: 3)",
    "ALTER TABLE things DROP note": "things.note (rows: 3)",
    "DELETE FROM things WHERE id > 1": "things (rows: 2)",
    "TRUNCATE things": "things (rows: 3)",
    "DO 'BEGIN DROP TABLE things; END'": "things (rows: 3)",
}
HARMLESS = [
    "DROP TABLE empty",
    "ALTER TABLE things RENAME note TO remark; ALTER TABLE things RENAME TO objects",
    "ALTER TABLE things ADD more int; UPDATE things SET more = 1; INSERT INTO things VALUES (4)",
    "ALTER TABLE things ALTER id TYPE bigint",
    "ALTER TABLE things DROP twice",
]
GONE = "op.execute({!r})"


def with_things(service: Service, downgrade: str) -> None:
    """A database at a revision whose table has three rows."""
    service.add("things", UP, GONE.format(downgrade))
    assert service.migrate().returncode == 0
    service.sql("INSERT INTO things SELECT generate_series(1, 3), 'a note'")


@pytest.mark.parametrize("statement", LOSSES)
def test_a_downgrade_that_loses_rows_asks_first(
    service: Service, guide: Guide, statement: str
) -> None:
    with_things(service, statement)
    done = service.migrate("downgrade", "-1")
    guide["a downgrade drops what has rows"].check(done)
    assert f"would lose rows: {LOSSES[statement]}; nothing was lost" in done.stderr
    assert service.sql("SELECT count(*), count(note) FROM things") == [(3, 3)]
    assert service.version() == ["things"]
    command = re.search(r"app\.migrate (downgrade .*)$", done.stderr, re.MULTILINE)
    assert command
    assert service.migrate(*shlex.split(command[1])).returncode == 0
    assert service.version() == ["baseline"]


@pytest.mark.parametrize("statement", HARMLESS)
def test_one_that_loses_nothing_does_not_ask(service: Service, statement: str) -> None:
    with_things(service, statement)
    done = service.migrate("downgrade", "-1")
    assert done.returncode == 0, done


@pytest.mark.in_turn(3)
@pytest.mark.parametrize("words", ["downgrade -1", "stamp base", "stamp --purge baseline"])
def test_production_asks_always(service: Service, guide: Guide, words: str) -> None:
    service.add("nothing", "pass")
    assert service.migrate().returncode == 0
    production = {"ENVIRONMENT": "production"}
    for program in ("app.migrate", "alembic"):
        done = service.run(*words.split(), program=program, **production)
        guide["`downgrade` or `stamp` in production"].check(done)
    assert service.version() == ["nothing"]
    done = service.run("-x", "yes", *words.split(), program="alembic", **production)
    assert done.returncode == 0, done
    assert service.migrate(**production).returncode == 0
    assert service.migrate(*words.split(), "--yes", **production).returncode == 0

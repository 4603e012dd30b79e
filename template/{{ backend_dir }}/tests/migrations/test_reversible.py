"""Every revision goes up, down and up again, and a downgrade leaves what it found."""

import pytest
from alembic.script import Script, ScriptDirectory
from sqlalchemy import URL

from tests.catalog import catalog, difference
from tests.databases import Alembic

SCRIPTS = ScriptDirectory.from_config(Alembic().config)
REVISIONS = [
    pytest.param(script, id=script.revision)
    for script in reversed(list(SCRIPTS.walk_revisions()))
    if not script.is_merge_point  # a merge does nothing to undo
]


@pytest.mark.parametrize("script", REVISIONS)
def test_downgrade_undoes_upgrade(script: Script, empty_database: URL) -> None:
    alembic = Alembic(empty_database)
    below = script._normalized_down_revisions[0] if script._normalized_down_revisions else "base"
    if below != "base":
        alembic("upgrade", below)
    before = catalog(empty_database)
    alembic("upgrade", script.revision)
    first = catalog(empty_database)
    alembic("downgrade", below)
    undone = difference(before, catalog(empty_database))
    assert not undone, f"{script.path}: downgrade() does not undo upgrade():\n" + "\n".join(undone)
    alembic("upgrade", script.revision)
    again = difference(first, catalog(empty_database))
    assert not again, f"{script.path}: the second upgrade differs from the first:\n" + "\n".join(
        again
    )


def test_all_the_way_down_and_up_is_the_same_schema(committed_database: URL) -> None:
    alembic = Alembic(committed_database)
    before = catalog(committed_database)
    alembic("downgrade", "base")
    alembic("upgrade", "head")
    assert not difference(before, catalog(committed_database))

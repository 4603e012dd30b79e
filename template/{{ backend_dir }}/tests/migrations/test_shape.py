"""The revisions as files: one line of history, with names that sort and say something."""

import ast
import re
from pathlib import Path

import pytest
from alembic.script import Script, ScriptDirectory

from tests.databases import BACKEND, Alembic

SCRIPTS = ScriptDirectory.from_config(Alembic().config)
REVISIONS = [pytest.param(script, id=script.revision) for script in SCRIPTS.walk_revisions()]


def test_there_is_one_head() -> None:
    heads = SCRIPTS.get_heads()
    assert len(heads) == 1, f"heads: {heads}. Join them: alembic merge heads -m 'merge'"


def test_every_file_is_a_revision_of_the_history() -> None:
    files = set((BACKEND / "alembic" / "versions").rglob("[!_]*.py"))
    known = {Path(script.path) for script in SCRIPTS.walk_revisions()}
    assert files == known, "two files with one revision id, or a file that Alembic does not see"


@pytest.mark.parametrize("script", REVISIONS)
def test_a_file_name_is_date_revision_and_slug(script: Script) -> None:
    name = Path(script.path).name
    assert re.fullmatch(rf"\d{{8}}_\d{{4}}_{re.escape(script.revision)}_\w+\.py", name), (
        f"{script.path}: not YYYYMMDD_HHMM_<revision>_<slug>.py; was it made without -m?"
    )


@pytest.mark.parametrize("script", REVISIONS)
def test_a_file_sorts_after_the_one_before_it(script: Script) -> None:
    for before in script._versioned_down_revisions:
        older = SCRIPTS.get_revision(before)
        assert Path(older.path).name[:13] <= Path(script.path).name[:13], (
            f"{script.path}: its date is before that of {older.path}"
        )


@pytest.mark.parametrize("script", REVISIONS)
def test_a_docstring_says_what_it_does(script: Script) -> None:
    assert script.doc.strip(), f"{script.path}: line 1: the docstring is empty"


@pytest.mark.parametrize("script", REVISIONS)
def test_no_revision_imports_the_application(script: Script) -> None:
    """A revision must do the same in a year, when the models have changed."""
    for node in ast.walk(ast.parse(Path(script.path).read_bytes())):
        modules = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = [node.module or ""]
        for module in modules:
            assert module.partition(".")[0] != "app", (
                f"{script.path}, line {node.lineno}: imports {module}; write the table as it is now "
                "into the revision, with sa.table() and sa.column()"
            )

"""How Alembic is set up, seen by what it does. No test here needs a server."""

import ast
import logging
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Generator
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import Column, ForeignKey, Integer, MetaData, Table
from sqlalchemy.schema import CreateTable

from app.core.database import Base
from testing.databases import BACKEND, Alembic

MODELS = BACKEND / "app" / "models"
SCRIPTS = ScriptDirectory.from_config(Alembic().config)


@pytest.fixture(scope="module")
def revision(tmp_path_factory: pytest.TempPathFactory) -> Generator[Path]:
    """A new revision, made in a copy of alembic/ by somebody who is not in UTC."""
    folder = tmp_path_factory.mktemp("backend")
    shutil.copytree(BACKEND / "alembic", folder / "alembic")
    shutil.copy(BACKEND / "pyproject.toml", folder)  # ruff's settings
    before = set(folder.rglob("*.py"))
    with pytest.MonkeyPatch.context() as patch:
        if hasattr(time, "tzset"):
            patch.setenv("TZ", "Pacific/Kiritimati")  # 14 hours ahead
            time.tzset()
        Alembic(script_location=folder / "alembic")("revision", "Add users' e-mail!")
    if hasattr(time, "tzset"):
        time.tzset()
    (made,) = set(folder.rglob("*.py")) - before
    yield made
    shutil.rmtree(folder)


def python(*words: str) -> subprocess.CompletedProcess[str]:
    """Run Python in the backend folder."""
    return subprocess.run(
        [sys.executable, *words], cwd=BACKEND, capture_output=True, text=True, check=False
    )


def test_alembic_finds_its_files() -> None:
    assert Path(SCRIPTS.dir) == BACKEND / "alembic"
    assert Path(SCRIPTS.versions) == BACKEND / "alembic" / "versions"
    for name in ("env.py", "script.py.mako", "README.md", "versions/.gitignore"):
        assert (BACKEND / "alembic" / name).is_file()


def test_alembic_ini_holds_no_url_and_no_secret() -> None:
    assert Alembic().config.get_main_option("sqlalchemy.url") is None
    text = (BACKEND / "alembic.ini").read_text(encoding="utf-8")
    assert "://" not in text
    assert not re.search(r"(?i)^\s*\w*(url|password|secret|token)\w*\s*=", text, re.MULTILINE)


def test_a_new_file_is_named_by_date_id_and_slug(revision: Path) -> None:
    name = re.fullmatch(r"(\d{8}_\d{4})_([0-9a-f]{12})_add_users_e_mail\.py", revision.name)
    assert name
    assert f'\nrevision: str = "{name[2]}"\n' in revision.read_text(encoding="utf-8")


def test_a_new_file_is_dated_in_utc(revision: Path) -> None:
    text = revision.read_text(encoding="utf-8")
    date = re.search(r"^Create Date: (.*)$", text, re.MULTILINE)
    assert date
    created = datetime.fromisoformat(date[1])
    assert created.utcoffset() is not None
    assert abs((datetime.now(UTC) - created).total_seconds()) < 3600
    assert revision.name.startswith(f"{created:%Y%m%d_%H%M}_")
    assert date[1].endswith("+00:00")


def test_a_new_file_follows_the_head(revision: Path) -> None:
    text = revision.read_text(encoding="utf-8")
    assert f'= "{SCRIPTS.get_current_head()}"\n' in text
    assert f"\nRevises: {SCRIPTS.get_current_head()}\n" in text


def test_a_new_file_has_the_two_functions_and_a_message(revision: Path) -> None:
    tree = ast.parse(revision.read_text(encoding="utf-8"))
    functions = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    assert functions == ["upgrade", "downgrade"]
    assert (ast.get_docstring(tree) or "").startswith("Add users' e-mail!\n")


def test_a_new_file_is_formatted_and_passes_the_linter(revision: Path) -> None:
    for words in (["check"], ["format", "--check"]):
        done = python("-m", "ruff", *words, "--no-cache", str(revision))
        assert done.returncode == 0, done.stdout


def test_env_py_needs_no_server_to_print_sql() -> None:
    first = SCRIPTS.get_base()
    up = Alembic()("upgrade", "head", sql=True)
    assert "CREATE TABLE alembic_version" in up
    assert f"'{SCRIPTS.get_current_head()}'" in up
    down = Alembic()("downgrade", "heads:base", sql=True)
    assert f"DELETE FROM alembic_version WHERE alembic_version.version_num = '{first}'" in down


def test_env_py_needs_no_settings_to_print_sql(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "nonsense")
    assert "CREATE TABLE" in Alembic()("upgrade", "head", sql=True)


def test_every_file_in_models_is_imported() -> None:
    import_module("app.models")
    imported = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    for folder, _, names in os.walk(MODELS):
        for file in (Path(folder, name) for name in names if name.endswith(".py")):
            hidden = any(part.startswith(".") for part in file.relative_to(MODELS).parts)
            assert hidden or str(file) in imported, f"{file} is not imported by {MODELS}"


def test_every_constraint_gets_a_name() -> None:
    """One without a name cannot be dropped by a downgrade."""
    table = Table(
        "places",
        MetaData(naming_convention=Base.metadata.naming_convention),
        Column("id", Integer, primary_key=True),
        Column("parent", ForeignKey("places.id"), unique=True),
    )
    assert str(CreateTable(table)).count("CONSTRAINT ") == len(table.constraints) == 3


def test_a_caller_keeps_its_logging() -> None:
    root, mine = logging.getLogger(), logging.getLogger("test_a_caller_keeps_its_logging")
    before = (root.level, list(root.handlers))
    Alembic()("upgrade", "head", sql=True)
    assert (root.level, root.handlers) == before
    assert not mine.disabled


def test_commands_run_from_the_command_line() -> None:
    done = python("-m", "app.migrate", "heads")
    assert done.stdout == f"{SCRIPTS.get_current_head()} (head)\n", done.stderr
    assert done.returncode == 0

"""The checks of every revision, and how Alembic is set up."""

# Delete a line to drop a check; testing/README.md says what each promises.
from testing.shape import test_every_file_in_versions_is_a_revision
from testing.reversible import test_every_revision_can_be_reverted_and_applied_again
from testing.shape import test_file_names_have_date_id_and_message
from testing.shape import test_merged_revisions_are_not_edited
from testing.offline import test_offline_sql_builds_the_same_schema
from testing.safety import test_revisions_are_safe_for_tables_in_use
from testing.shape import test_revisions_do_not_import_the_application
from testing.drift import test_models_and_revisions_make_the_same_schema
from testing.shape import test_there_is_one_head

import re
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

from alembic.script import ScriptDirectory

from testing.databases import BACKEND, Alembic


def test_alembic_ini_names_the_revisions_and_holds_no_url_and_no_secret() -> None:
    config = Alembic().config
    assert ScriptDirectory.from_config(config).versions == str(BACKEND / "alembic" / "versions")
    assert config.get_main_option("sqlalchemy.url") is None
    text = (BACKEND / "alembic.ini").read_text(encoding="utf-8")
    assert not re.search(r"(?im)://|^\s*\w*(password|secret|token)\w*\s*=", text)


def test_a_new_revision_has_date_id_and_message_and_follows_the_head(tmp_path: Path) -> None:
    shutil.copytree(BACKEND / "alembic", tmp_path / "alembic")
    shutil.copy(BACKEND / "pyproject.toml", tmp_path)  # ruff's settings, for the new file
    before = set(tmp_path.rglob("*.py"))
    head = ScriptDirectory.from_config(Alembic().config).get_heads()[0]
    alembic = Alembic()
    alembic.config.set_main_option("script_location", str(tmp_path / "alembic"))
    alembic("revision", "Add users' e-mail!", head=head)
    (made,) = set(tmp_path.rglob("*.py")) - before
    name = re.fullmatch(r"\d{8}_\d{4}_([0-9a-f]{12})_add_users_e_mail\.py", made.name)
    assert name
    text = made.read_text(encoding="utf-8")
    assert f'\nrevision: str = "{name[1]}"\n' in text
    assert f'= "{head}"\n' in text


def test_env_py_prints_sql_without_a_server() -> None:
    # `stamp` runs no revision: one that reads the database has no SQL to print.
    assert "CREATE TABLE alembic_version" in Alembic()("stamp", "heads", sql=True)


def test_alembic_runs_from_the_command_line() -> None:
    assert "(head)" in Alembic()("heads")
    command = [sys.executable, "-m", "app.migrate", "heads"]
    done = subprocess.run(command, cwd=BACKEND, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "(head)" in done.stdout


def test_every_file_in_models_is_imported() -> None:
    import_module("app.models")
    for file in (BACKEND / "app" / "models").rglob("[!.]*.py"):
        name = ".".join(file.relative_to(BACKEND).with_suffix("").parts)
        assert name.removesuffix(".__init__") in sys.modules, f"{file} is not imported"


# Tests of your own data migrations below this line; testing/README.md has one to copy.

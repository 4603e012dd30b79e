"""What a release moved: edits at the old path, imports of it, checks that were dropped, a way back.

0.4.0 moved the template's part of `tests/` and `app/core/` (copier.yml, `moved`).
"""

import re
import shlex
import subprocess
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
import yaml
from copier._main import Worker
from jinja2 import Template
from sqlalchemy import MetaData

from tests._kit.quick import quickened
from tests._kit.support import SHAPES, NewDatabase, run, succeed, template_module
from tests.conftest import ROOT, WORKING_TREE, git
from tests.update.judge import sides
from tests.update.releases import NEXT, recorded, repository, version
from tests.update.text import lines_of
from tests.update.trial import MAY_VANISH, STARTER, Workshop, commit, tree, update

CONFIG: dict[str, Any] = yaml.safe_load((ROOT / "copier.yml").read_text())
MOVED: dict[str, list[str]] = yaml.safe_load(
    Template(CONFIG["moved"]["default"]).render(rendered={})
)
BEFORE = [tag for tag in recorded() if version(tag) < (0, 4, 0)]
FIXTURE = '''

@pytest.fixture
def seven() -> int:
    """Of the user's."""
    return 7
'''


@pytest.fixture(scope="module")
def workshop(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Generator[Workshop]:
    place = tmp_path_factory.mktemp("moves")
    repository(place / "copier-postgres", template)
    with quickened():
        yield Workshop(place / "copier-postgres", place)


def append(path: Path, text: str) -> None:
    path.write_text(path.read_text() + text)


def unmerged(project: Path) -> set[str]:
    return {line.partition("\t")[2] for line in git(project, "ls-files", "--unmerged").splitlines()}


def commands(said: str, after: str) -> list[list[str]]:
    """The indented commands that follow a sentence of the message."""
    _, _, rest = said.partition(after)
    block = re.match(r".*\n\n((?:  .*\n)+)", rest)
    assert block, said
    return [shlex.split(line) for line in block[1].splitlines()]


def test_what_moved_stood_at_the_old_path_and_stands_at_the_new(workshop: Workshop) -> None:
    fresh = tree(workshop.rendered(WORKING_TREE, "."))
    old = {path for tag in BEFORE for path in tree(workshop.rendered(tag, "."))}
    assert MOVED.keys() <= old - fresh.keys()
    assert {path for new in MOVED.values() for path in new} <= fresh.keys()


@pytest.mark.in_turn(3)
@pytest.mark.parametrize("old", BEFORE)
def test_an_edit_in_a_file_that_moved_is_a_conflict(workshop: Workshop, old: str) -> None:
    project = workshop.project(old)
    mine = [f"backend/{path}" for path in [*MOVED, "tests/conftest.py"]]
    for path in mine:
        append(project / path, "# mine\n")
    commit(project)
    update(project, WORKING_TREE)
    assert unmerged(project) == set(mine)
    for path in mine:
        ours, theirs, _ = sides(lines_of((project / path).read_bytes()))
        assert b"# mine" in ours
        assert b"# mine" not in theirs


@pytest.mark.parametrize("old", BEFORE)
def test_only_rooms_of_the_templates_lose_a_file_and_the_message_names_it(
    workshop: Workshop, old: str, capsys: pytest.CaptureFixture[str]
) -> None:
    project = workshop.project(old)
    before = tree(project)
    update(project, WORKING_TREE, quiet=False)
    said = capsys.readouterr().err
    vanished = before.keys() - tree(project).keys()
    for path in vanished:
        assert MAY_VANISH.search(path)
        assert re.search(rf"(\A|\s){re.escape(Path(path).name)}\b", said)
        assert path in git(project, "diff", "--name-only", "--diff-filter=D")


@pytest.mark.parametrize("backend_dir", SHAPES)
def test_without_the_stubs_the_project_is_what_a_new_one_is(
    workshop: Workshop, backend_dir: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The message has the command that removes them, whichever the user had deleted already."""
    project = workshop.project(BEFORE[0], backend_dir)
    (project / backend_dir / "tests" / "rows.py").unlink()
    own = project / backend_dir / "tests" / "audit" / "test_mine.py"
    own.write_text("")
    commit(project)
    update(project, WORKING_TREE, quiet=False)
    commit(project)
    [command] = commands(capsys.readouterr().err, "delete the stubs:")
    git(project, *command[1:])
    own.unlink()
    left, fresh = tree(project), tree(workshop.rendered(WORKING_TREE, backend_dir))
    for found in (left, fresh):
        for path in [path for path in found if STARTER.search(path)]:
            del found[path]
    assert left.keys() == fresh.keys()
    assert {path for path in left if left[path] != fresh[path]} == set()


def test_the_message_about_moves_is_for_who_comes_from_before_them(
    workshop: Workshop, capsys: pytest.CaptureFixture[str]
) -> None:
    update(workshop.project(WORKING_TREE), NEXT, quiet=False)
    said = capsys.readouterr().err
    assert "To go back" in said
    assert "git rm" not in said
    assert "testing/" not in said


def test_a_check_whose_module_was_deleted_is_named_as_an_import(
    workshop: Workshop, capsys: pytest.CaptureFixture[str]
) -> None:
    project = workshop.project(BEFORE[-1])
    (project / "backend/tests/migrations/test_safety.py").unlink()
    commit(project)
    update(project, WORKING_TREE, quiet=False)
    assert not (project / "backend/tests/migrations/test_safety.py").exists()
    said = " ".join(capsys.readouterr().err.split())
    assert "Where you had deleted the module of a check, delete the import" in said
    assert "backend/tests/test_migrations.py" in said


def test_a_dropped_check_stays_dropped_and_a_new_one_arrives(workshop: Workshop) -> None:
    project = workshop.project(WORKING_TREE)
    file = project / "backend" / "tests" / "test_migrations.py"
    dropped = "test_offline_sql_builds_the_same_schema"
    kept = [line for line in file.read_text().splitlines() if dropped not in line]
    mine = "def test_mine() -> None:\n    assert True\n"
    file.write_text("\n".join(kept) + f"\n\n\n{mine}")
    commit(project)
    update(project, NEXT)
    assert unmerged(project) == set()
    text = file.read_text()
    assert dropped not in text
    assert "test_newer" in text
    assert text.endswith(mine)
    assert set(kept) <= set(text.splitlines())


def test_a_naming_convention_where_upgrades_do_not_look_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It merged cleanly from 0.3.0, and new databases got other names than old ones."""
    drift = template_module("testing.drift")
    other = MetaData(naming_convention={"pk": "%(table_name)s_pkey"})
    monkeypatch.setattr(drift.Base, "metadata", other)
    with pytest.raises(pytest.fail.Exception, match=r"Move it to app/core/naming\.py"):
        drift.test_models_and_revisions_make_the_same_schema(None, lambda *_: None)


@pytest.mark.server
def test_own_fixtures_and_imports_go_on_working(
    workshop: Workshop, new_database: NewDatabase
) -> None:
    project = workshop.project(BEFORE[0])
    backend = project / "backend"
    append(backend / "tests" / "conftest.py", FIXTURE)
    (backend / "tests" / "test_mine.py").write_text(
        "from sqlalchemy import URL\n\n"
        "from app.core.problems import ExitCode, MigrationError, Problem, explain\n"
        "from app.core.readiness import schema_problem\n"
        "from tests.databases import Alembic, execute\n\n\n"
        "def test_mine(seven: int, database: URL) -> None:\n"
        '    assert execute(database, "SELECT 7") == [(seven,)]\n'
        '    assert "(head)" in Alembic(database)("current")\n'
        '    error = MigrationError(Problem("why", "what", ExitCode.USAGE))\n'
        "    assert explain(error) is error.problem\n"
        "    assert callable(schema_problem)\n"
    )
    commit(project)
    update(project, WORKING_TREE)
    assert unmerged(project) == {"backend/tests/conftest.py"}
    git(project, "checkout", "--theirs", "backend/tests/conftest.py")
    append(backend / "tests" / "conftest.py", f"\nimport pytest\n{FIXTURE}")
    commit(project)
    given = new_database().render_as_string(hide_password=False)
    found = run(backend, "-m", "pytest", "-q", program="python", TEST_DATABASE_URL=given)
    assert re.search(r"^\d+ passed", succeed(found).splitlines()[-1])
    listed = [
        run(folder, "-m", "pytest", "--collect-only", "-q", program="python")
        for folder in (backend, workshop.rendered(WORKING_TREE, "backend") / "backend")
    ]
    ours, fresh = ({line for line in succeed(done).splitlines() if "::" in line} for done in listed)
    assert ours - fresh == {"tests/test_mine.py::test_mine"}
    assert fresh <= ours
    for words in ("ruff check .", "ruff format --check ."):
        succeed(run(backend, "-m", *words.split(), program="python"))


# --- the way back --------------------------------------------------------------------------------


def in_a_monorepo(workshop: Workshop) -> Path:
    """A project with an edit, below a repository with work in another folder."""
    project = workshop.project(WORKING_TREE)
    repository = project.parent
    subprocess.run(["rm", "-rf", str(project / ".git")], check=True)
    append(project / "README.md", "Mine.\n")
    append(project / "backend" / "app" / "core" / "config.py", "MINE = 1\n")
    (repository / "other").mkdir()
    (repository / "other" / "work.txt").write_text("committed\n")
    git(repository, "init", "--quiet", "-b", "main")
    commit(repository)
    (repository / "other" / "work.txt").write_text("not committed\n")
    (repository / "other" / "new.txt").write_text("not committed\n")
    return project


def go_back(project: Path, said: str) -> None:
    for command in commands(said, "To go back"):
        assert command[0] == "git"
        git(project, *command[1:])


def test_going_back_restores_this_folder_and_touches_no_other(
    workshop: Workshop, capsys: pytest.CaptureFixture[str]
) -> None:
    project = in_a_monorepo(workshop)
    append(project / "backend" / "alembic.ini", "# mine at the end\n")
    git(project, "commit", "--quiet", "--message", "mine", "--", ".")
    before = tree(project.parent)
    update(project, NEXT, quiet=False, context_lines=3)
    assert tree(project) != before
    go_back(project, capsys.readouterr().err)
    assert tree(project.parent) == before
    assert git(project, "status", "--porcelain", "--", ".") == ""


def test_an_interrupted_update_has_a_way_back(
    workshop: Workshop, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C, or no network, after Copier has rendered and before it has brought edits back."""
    update(workshop.project(WORKING_TREE), NEXT, quiet=False)
    said = capsys.readouterr().err
    project = in_a_monorepo(workshop)
    before = tree(project.parent)
    moments = iter(["of the old rendering", "of the new one"])

    usual = Worker._git_initialize_repo

    def interrupted(worker: Worker) -> None:
        if next(moments) == "of the new one":
            raise KeyboardInterrupt
        usual(worker)

    monkeypatch.setattr(Worker, "_git_initialize_repo", interrupted)
    with pytest.raises(KeyboardInterrupt):
        update(project, NEXT)
    assert b"Mine." not in (project / "README.md").read_bytes(), "what the README says is true"
    go_back(project, said)
    assert tree(project.parent) == before

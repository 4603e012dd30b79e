"""Twelve projects as people make them by hand: updated in a branch, their suite is green.

Three of them in CI; with UPDATE_PROJECTS=1000 or more, all.
"""

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from tests._kit.forks import forks
from tests._kit.quick import quickened
from tests._kit.revision import write_revision
from tests._kit.support import MODELS, NewDatabase, environment, succeed
from tests.conftest import WORKING_TREE, git
from tests.update import edits
from tests.update.branch import MERGE, update_in_a_branch
from tests.update.releases import NEXT, repository
from tests.update.trial import Workshop, commit, memory, unmerged


@pytest.fixture(scope="module")
def workshop(template: Path) -> Generator[Workshop]:
    with tempfile.TemporaryDirectory(prefix="projects.", dir=memory()) as folder, quickened():
        repository(Path(folder, "copier-postgres"), template)
        yield Workshop(Path(folder, "copier-postgres"), Path(folder))


def put(path: Path, before: str, text: str) -> None:
    """Put `text` before the only line that has these words."""
    old = path.read_text(encoding="utf-8")
    assert old.count(before) == 1, f"{path}: {before}"
    at = old.rindex("\n", 0, old.index(before)) + 1
    path.write_text(old[:at] + text + old[at:], encoding="utf-8")


def move(project: Path, old: str, new: str) -> None:
    (project / new).parent.mkdir(parents=True, exist_ok=True)
    git(project, "mv", old, new)


def compose_services(project: Path) -> None:
    user = edits.User(project, project / "backend", 1)
    edits.own_compose_service(user)
    edits.own_compose_volume(user)
    edits.own_variable(user)
    edits.another_port(user)


def eighty_eight_columns(project: Path) -> None:
    """All is formatted anew, so that much conflicts."""
    backend = project / "backend"
    text = (backend / "pyproject.toml").read_text()
    text = text.replace("line-length = 100", "line-length = 88")
    (backend / "pyproject.toml").write_text(text.replace('ignore = ["', 'ignore = ["E501", "', 1))
    succeed(forks().run("ruff", ["format", "--no-cache", "."], backend, environment()))


def moved_files(project: Path) -> None:
    move(project, "backend/tests/test_database.py", "backend/tests/integration/test_database.py")
    (project / "backend/tests/integration/__init__.py").touch()
    move(project, "README.md", "docs/README.md")
    move(project, "backend/alembic/README.md", "docs/migrations.md")


def monorepo(project: Path) -> None:
    shutil.rmtree(project / ".git")
    (project.parent / "other").mkdir()
    (project.parent / "other" / "text.md").write_text("Another service's.  \n")
    git(project.parent, "init", "--quiet", "-b", "main")


def web_application(project: Path) -> None:
    """By hand, beside the template's own."""
    app = project / "backend" / "app"
    (app / "web").mkdir()
    (app / "web" / "__init__.py").touch()
    (app / "web" / "main.py").write_text(
        "from sqlalchemy import text\n\nfrom app.core.database import get_engine\n\n\n"
        "async def answer() -> int:\n    async with get_engine().connect() as connection:\n"
        '        return (await connection.execute(text("SELECT 42"))).scalar_one()\n'
    )
    (app.parent / "tests" / "test_web.py").write_text(
        "from sqlalchemy.ext.asyncio import AsyncConnection\n\n"
        "from app.web.main import answer\n\n\n"
        "async def test_answer(connection: AsyncConnection) -> None:\n"
        "    assert await answer() == 42\n"
    )
    dockerfile = app.parent / "Dockerfile"
    dockerfile.write_text(dockerfile.read_text() + 'CMD ["python", "-m", "app.web"]\n')
    edits.own_dependency(edits.User(project, project / "backend", 1))
    edits.own_settings_field(edits.User(project, project / "backend", 1))


def own_env(project: Path) -> None:
    env = project / "backend" / "alembic" / "env.py"
    put(env, "        transaction_per_migration=True,", "        version_table_pk=has_key(),\n")
    put(env, "def run_migrations(", "def has_key() -> bool:\n    return True\n\n\n")


def many_revisions(project: Path) -> None:
    backend, last = project / "backend", "baseline"
    for number in range(1, 151):
        name = f"{number:012x}"
        up, down = f"CREATE TABLE t{number} (id int PRIMARY KEY)", f"DROP TABLE t{number}"
        write_revision(backend, name, last, up, down, number=number)
        last = name
    put(backend / "pyproject.toml", 'released = ""', f'released = "{148:012x}"\n')
    text = (backend / "pyproject.toml").read_text()
    (backend / "pyproject.toml").write_text(text.replace('released = ""\n', ""))
    succeed(forks().run("ruff", ["format", "--no-cache", "."], backend, environment()))
    # Its models are elsewhere: there is nothing to compare with.
    drop_check(backend, "test_models_and_revisions_make_the_same_schema")


def drop_check(backend: Path, name: str) -> None:
    file = backend / "tests" / "test_migrations.py"
    lines = file.read_text().splitlines(keepends=True)
    kept = [line for line in lines if name not in line]
    assert len(kept) == len(lines) - 1
    file.write_text("".join(kept))


def renamed_folder(project: Path) -> None:
    """`backend_dir` cannot be changed, so people do it by hand."""
    git(project, "mv", "backend", "api")
    for name in ("docker-compose.yml", ".github/workflows/ci.yml", "README.md"):
        text = (project / name).read_text()
        (project / name).write_text(re.sub(r"(?<=[ /])backend(?=$|/|:)", "api", text))
    edits.own_settings_field(edits.User(project, project / "api", 1))


def models_of_two_modules(project: Path) -> None:
    for name, text in MODELS.items():
        (project / "backend" / "app" / "models" / name).write_text(text)
    edits.own_model_and_revision(edits.User(project, project / "backend", 1))
    drop_check(project / "backend", "test_models_and_revisions_make_the_same_schema")


def little_left(project: Path) -> None:
    """No workflow, no examples, fewer checks."""
    gone = [".github", "README.md", "backend/tests/test_database.py"]
    git(project, "rm", "--quiet", "-r", *gone, "backend/tests/test_settings.py")
    drop_check(project / "backend", "test_offline_sql_builds_the_same_schema")


def own_tools(project: Path) -> None:
    backend = project / "backend"
    (project / "Makefile").write_text("test:\n\tdocker compose run --rm test\n")
    (project / ".pre-commit-config.yaml").write_text("repos: []\n")
    text = (backend / "pyproject.toml").read_text()
    text = text.replace('asyncio_mode = "auto"\n', 'asyncio_mode = "auto"\nmarkers = ["slow"]\n')
    (backend / "pyproject.toml").write_text(f"{text}\n[tool.coverage.run]\nbranch = true\n")
    edits.own_development_dependency(edits.User(project, backend, 1))


def own_fixtures(project: Path) -> None:
    tests = project / "backend" / "tests"
    conftest = tests / "conftest.py"
    text = conftest.read_text().replace("\n# Your own", "\nimport pytest\n\n# Your own", 1)
    conftest.write_text(f"{text}\n\n@pytest.fixture\ndef seven() -> int:\n    return 7\n")
    (tests / "test_mine.py").write_text(
        "from sqlalchemy import URL\n\nfrom testing.databases import execute\n\n\n"
        "def test_mine(seven: int, database: URL) -> None:\n"
        '    assert execute(database, "SELECT 7") == [(seven,)]\n'
    )


PROJECTS: list[Callable[[Path], None]] = [
    renamed_folder,
    eighty_eight_columns,
    own_env,
    compose_services,
    moved_files,
    monorepo,
    web_application,
    many_revisions,
    models_of_two_modules,
    little_left,
    own_tools,
    own_fixtures,
]
ALL = int(os.environ.get("UPDATE_PROJECTS", "0")) >= 1000
CONFLICT = {eighty_eight_columns}


@pytest.mark.server
@pytest.mark.parametrize("make", PROJECTS if ALL else PROJECTS[:3])
def test_a_project_made_by_hand_is_green_after_an_update(
    workshop: Workshop, new_database: NewDatabase, make: Callable[[Path], None]
) -> None:
    project = workshop.project(WORKING_TREE)
    make(project)
    commit(project)
    ended = update_in_a_branch(project, f"--vcs-ref={NEXT}")
    assert ended.code == 0, ended.said
    assert ended.worktree.exists() == (make in CONFLICT), ended.said
    if ended.worktree.exists():
        conflicts = sorted(unmerged(ended.worktree))
        git(ended.worktree, "checkout", "--theirs", "--", *conflicts)
        backend = ended.worktree / "backend"
        succeed(forks().run("ruff", ["format", "--no-cache", "."], backend, environment()))
        commit(ended.worktree)
    git(project, *MERGE)
    [backend] = [path.parent for path in project.glob("*/alembic.ini")]
    assert (backend / "app" / "core" / "newer.py").exists()
    url = new_database().render_as_string(hide_password=False)
    for words in (["check"], ["format", "--check"]):
        succeed(forks().run("ruff", [*words, "--no-cache", "."], backend, environment()))
    given = environment(TEST_DATABASE_URL=url)
    succeed(forks().run("pytest", ["-q", "-p", "no:cacheprovider"], backend, given))

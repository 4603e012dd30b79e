"""Defects of revision files, and edits of merged ones, are found wherever the suite runs."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests._kit.forks import forks
from tests._kit.revision import write_revision
from tests._kit.support import environment
from tests.conftest import Project, Render, git

BASELINE = "20261122_0000_baseline_empty_schema.py"


def suite(project: Project, **variables: str) -> str:
    """Run the project's checks of files; returns what pytest printed."""
    options = ["-q", "-p", "no:cacheprovider", "testing/shape.py"]
    done = forks().run("pytest", options, project.backend, environment() | variables)
    return done.stdout + done.stderr


def edit(project: Project) -> Path:
    """Change the baseline."""
    baseline = project.backend / "alembic" / "versions" / BASELINE
    baseline.write_text(baseline.read_text() + "\n# edited\n")
    return baseline


def test_two_heads_come_with_the_command_of_the_place_where_it_is_typed(render: Render) -> None:
    project = render()
    for name in ("a", "b"):
        write_revision(project.backend, name, "baseline", "SELECT 1")
    assert "Join them: python -m app.migrate merge heads -m 'merge'" in suite(project)
    compose = yaml.safe_load((project.path / "docker-compose.yml").read_text())
    inside = compose["services"]["test"]["environment"]
    output = suite(project, MIGRATE_COMMAND=inside["MIGRATE_COMMAND"])
    assert "Join them: docker compose run --rm migrate merge heads -m 'merge'" in output


@pytest.mark.parametrize("backend_dir", ["backend", "."])
def test_edits_are_found_without_git_in_the_container(render: Render, backend_dir: str) -> None:
    """The note has the command, and the workflow runs one on the host."""
    project = render(backend_dir=backend_dir)
    edit(project)
    git(project.path, "switch", "--quiet", "-c", "topic")
    project.commit()
    empty = project.path / "empty"
    empty.mkdir()
    output = suite(project, PATH=str(empty))  # no git
    note = "not checked: edits of merged revisions (no git here). Run: "
    assert note in output
    command = output.partition(note)[2].splitlines()[0].replace("origin/main", "main")
    said = subprocess.check_output(["bash", "-c", command], cwd=project.path, text=True)
    assert said.strip().endswith(f"alembic/versions/{BASELINE}")


def test_the_workflow_finds_edits_and_nothing_else(render: Render) -> None:
    """Of a pull request git has its merge with the main branch, and the commit before."""
    project = render()
    workflow = yaml.safe_load((project.path / ".github/workflows/ci.yml").read_text())
    (step,) = (it for it in workflow["jobs"]["test"]["steps"] if "git log" in it.get("run", ""))
    clone = project.path.parent / "clone"

    def run() -> int:
        shutil.rmtree(clone, ignore_errors=True)
        url, depth = f"file://{project.path}", "--depth=2"
        subprocess.run(["git", "clone", "--quiet", depth, url, clone], check=True)
        command = ["bash", "-e", "-c", step["run"]]
        return subprocess.run(command, cwd=clone, check=False, env=os.environ).returncode

    assert run() == 0  # the first commit
    versions = project.backend / "alembic" / "versions"
    git(project.path, "switch", "--quiet", "-c", "topic")
    (versions / "20270101_0000_a_new.py").write_text("")
    project.commit()
    (project.backend / "app" / "models" / "__init__.py").write_text("")
    project.commit()
    git(project.path, "switch", "--quiet", "main")
    git(project.path, "merge", "--quiet", "--no-ff", "topic", "-m", "merge")
    assert run() == 0
    git(project.path, "switch", "--quiet", "topic")
    edit(project)
    project.commit()
    (project.backend / "app" / "models" / "new.py").write_text("")
    project.commit()
    git(project.path, "switch", "--quiet", "main")
    git(project.path, "merge", "--quiet", "--no-ff", "topic", "-m", "merge")
    assert run() == 1

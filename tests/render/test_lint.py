"""What lands passes its own linters, as rendered and where it stands in the template; so do we."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests._kit.report import cannot_run
from tests._kit.support import BACKEND, CACHE, MODELS, environment
from tests.conftest import ROOT, Project, Render

MIXES = [
    {"backend_dir": "backend", "api": "fastapi", "extras": "[history, schema, pictures]"},
    {"backend_dir": ".", "api": "none"},
    {"backend_dir": "services/api", "api": "fastapi", "deploy": "compose"},
]
LINTERS = {
    "ruff check": ["ruff", "check", "--no-cache", "."],
    "ruff format": ["ruff", "format", "--no-cache", "--check", "."],
    "mypy": ["mypy", "--cache-dir"],
}


@pytest.fixture(scope="session")
def mypy_cache() -> Path:
    """Kept from run to run, since most of the time goes into the libraries."""
    return CACHE / "mypy"


def lint(folder: Path, linter: str, mypy_cache: Path, *files: str) -> None:
    """Run one as its users do, in the folder of its configuration; it may find nothing."""
    # One cache for each configuration: another's would be thrown away.
    cache = mypy_cache / ("ours" if folder == ROOT else "theirs")
    words = LINTERS[linter] + ([str(cache)] if linter == "mypy" else [])
    done = subprocess.run(
        [sys.executable, "-m", *words, *files],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env=environment(),
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.in_turn(2)
@pytest.mark.parametrize("answers", MIXES, ids=lambda mix: "-".join(mix.values()))
@pytest.mark.parametrize("linter", LINTERS)
def test_a_rendered_project_passes_its_linters(
    rendered: Render, mypy_cache: Path, answers: dict[str, str], linter: str
) -> None:
    lint(rendered(**answers).backend, linter, mypy_cache)


@pytest.mark.parametrize("linter", LINTERS)
def test_the_template_passes_them_where_it_stands(mypy_cache: Path, linter: str) -> None:
    lint(BACKEND, linter, mypy_cache)


def test_the_linters_do_find_something(render: Render, mypy_cache: Path) -> None:
    """Each in each kind of file: a configuration that checks nothing would be green as well."""
    project = render()
    bad = ["app/bad.py", "tests/bad.py", "alembic/env.py", "alembic/versions/bad.py"]
    for name in bad:
        (project.backend / name).write_text("import os\n\ndef f(x):\n  return  x.y\n")
    for linter in LINTERS:
        with pytest.raises(AssertionError) as found:
            lint(project.backend, linter, mypy_cache)
        for name in bad:
            # A revision is no module, so mypy does not look at it.
            seen = linter != "mypy" or "versions" not in name
            assert (name in str(found.value)) == seen, (linter, name)


@pytest.mark.parametrize("linter", LINTERS)
def test_our_own_scripts_and_tests_pass_them(mypy_cache: Path, linter: str) -> None:
    """The scripts too, whose names do not say that they are Python."""
    files = [path for path in (ROOT / "scripts").iterdir() if path.is_file() and not path.suffix]
    python = [str(path) for path in files if "python" in path.read_text().partition("\n")[0]]
    assert len(python) >= 5
    folders = ["scripts", "tests", "benchmarks"] if linter == "mypy" else []
    lint(ROOT, linter, mypy_cache, *folders, *python)


def test_the_workflow_runs_commands_that_exist(rendered: Render) -> None:
    project = rendered()
    workflow = yaml.safe_load((project.path / ".github/workflows/ci.yml").read_text())
    services = yaml.safe_load((project.path / "docker-compose.yml").read_text())["services"]
    assert workflow[True].keys() == {"push", "pull_request"}  # YAML reads `on` as a boolean
    ran = set()
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"] <= 30
        for step in (step for step in job["steps"] if "run" in step):
            words = step["run"].split()
            if "git" in words:  # played in tests/checks/test_shape.py
                continue
            assert words[:2] == ["docker", "compose"]
            ran.add(" ".join(words[4:]) if words[2] == "run" else " ".join(words[2:]))
            service = words[4] if words[2] == "run" else words[3]
            assert service in services
    assert {"test", "test mypy", "test ruff check .", "test ruff format --check ."} <= ran
    assert "migrate" in ran


def test_the_workflow_and_its_bot_are_hardened(rendered: Render, tmp_path: Path) -> None:
    """Actions by digest, no credentials left in the checkout, no permission that is not needed."""
    github = rendered().path / ".github"
    assert {path.name for path in github.rglob("*.yml")} == {"ci.yml", "dependabot.yml"}
    loose = shutil.copytree(github, tmp_path / ".github")
    workflow = loose / "workflows" / "ci.yml"
    workflow.write_text(re.sub(r"@[0-9a-f]{40}", "@v7", workflow.read_text()))
    hasty = shutil.copytree(github, tmp_path / "hasty" / ".github")
    bot = hasty / "dependabot.yml"
    bot.write_text(re.sub(r"    cooldown: .*\n", "", bot.read_text()))
    for folder, status in ((github, 0), (loose, 14), (hasty, 13)):  # 13: medium, 14: high
        done = subprocess.run(
            [Path(sys.executable).with_name("zizmor"), "--offline", "--no-progress", folder],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == status, done.stdout + done.stderr


@pytest.mark.parametrize("backend_dir", ["backend", ".", "services/api"])
def test_the_bot_looks_where_files_are(rendered: Render, backend_dir: str) -> None:
    project = rendered(backend_dir=backend_dir).path
    updates = yaml.safe_load((project / ".github" / "dependabot.yml").read_text())["updates"]
    files = {"github-actions": ".github/workflows", "docker": "Dockerfile", "pip": "pyproject.toml"}
    assert {it["package-ecosystem"] for it in updates} == files.keys()
    for update in updates:
        folder = project / update["directory"].removeprefix("/")
        assert (folder / files[update["package-ecosystem"]]).exists()


# The options that Renovate's pip-compile manager knows of uv, each with = before its value
# (lib/modules/manager/pip-compile/common.ts, whose release 44.121.2 has read these three locks).
RENOVATE = {"--constraint", "--generate-hashes", "--group", "--output-file", "--universal"}


def test_bots_read_the_locks(rendered: Render) -> None:
    """Renovate by the command in their head, Dependabot by their lines alone."""
    backend = rendered(api="fastapi").backend
    locks = {path.name: path.read_text() for path in backend.glob("requirements*.txt")}
    assert len(locks) == 3
    for name, text in locks.items():
        command = re.match(r"(?:#.*\n)+# {4}(?P<command>uv pip compile .*)\n", text)
        assert command, name
        words = command["command"].split()[3:]
        options = {word.partition("=")[0] for word in words if word.startswith("-")}
        assert options <= RENOVATE
        assert f"--output-file={name}" in words
        files = [word for word in words if not word.startswith("-")]
        files += [word.partition("=")[2] for word in words if word.startswith("--constraint=")]
        assert all((backend / file).exists() for file in files)
        assert "pyproject.toml" in files
        lines = re.sub(r"\\\n|#.*\n", " ", text).splitlines()
        assert lines
        for line in lines:
            assert re.fullmatch(
                r"\s*[\w.-]+(\[[\w,-]+\])?==\S+( ; .+?)?(\s+--hash=sha256:[0-9a-f]{64})+\s*", line
            ), line


@pytest.mark.parametrize("answers", MIXES, ids=lambda mix: "-".join(mix.values()))
def test_compose_accepts_its_file(rendered: Render, answers: dict[str, str]) -> None:
    if not shutil.which("docker"):
        cannot_run("no docker command line", "scripts/lab up")
    done = subprocess.run(
        ["docker", "compose", "--profile", "*", "config", "--quiet"],
        cwd=rendered(**answers).path,
        capture_output=True,
        text=True,
        check=False,
        env=environment(),
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_second_clone_has_a_database_of_its_own(rendered: Render, tmp_path: Path) -> None:
    if not shutil.which("docker"):
        cannot_run("no docker command line", "scripts/lab up")
    volumes = []
    for folder in ("demo-shop", "demo-shop-2"):
        clone = shutil.copytree(rendered().path, tmp_path / folder)
        words = ["docker", "compose", "config", "--format", "json"]
        found = subprocess.check_output(words, cwd=clone, text=True, env=environment())
        volumes += [volume["name"] for volume in json.loads(found)["volumes"].values()]
    assert volumes == ["demo-shop_postgres-18", "demo-shop-2_postgres-18"]


@pytest.mark.server
@pytest.mark.parametrize("linter", ["ruff check", "ruff format"])
def test_generated_revisions_pass_the_linters(
    with_models: Project, mypy_cache: Path, linter: str
) -> None:
    versions = with_models.backend / "alembic" / "versions"
    assert len(list(versions.glob("*.py"))) == 1 + len(MODELS)
    lint(versions, linter, mypy_cache)
    lint(with_models.backend / "app" / "models", linter, mypy_cache)

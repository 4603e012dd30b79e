"""The guides of the rendered project, typed word by word."""

import os
import secrets
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests._kit.guide import follow, shell
from tests._kit.support import CACHE, free_port
from tests.conftest import WORKING_TREE, git
from tests.docker.conftest import Service
from tests.render.test_scripts import typed


def with_copier(environment: dict[str, str]) -> dict[str, str]:
    """With `copier` and uv on PATH, as a reader has them who renders a project."""
    return environment | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}",
    }


def with_caches(here: Service) -> None:
    """Kept from run to run: mypy's, since most of its time goes into the libraries, and uv's."""
    places = {CACHE / "mypy" / "container": "/tmp/mypy", CACHE / "uv": "/tmp/.cache/uv"}  # noqa: S108
    for kept in places:
        kept.mkdir(parents=True, exist_ok=True)
    volumes = [f"{kept}:{place}" for kept, place in places.items()]
    override = here.home / "override.yml"
    override.write_text(f"services: {{dev: {{volumes: {volumes}}}}}\n")
    here.environment["COMPOSE_FILE"] = os.pathsep.join(["docker-compose.yml", str(override)])


def test_a_newcomer_sees_what_the_guides_show(service: Callable[..., Service]) -> None:
    """The README, after the guide's commands; tests/checks/test_recipes.py has its recipes."""
    here = service()
    # On the host, uv takes the Python of this file: let it be one that is here.
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    (here.project.backend / ".python-version").write_text(f"{version}\n")
    here.project.commit()
    with_caches(here)
    guide = (here.project.backend / "alembic" / "README.md").read_text(encoding="utf-8")
    for text in (
        guide.partition("## A data migration")[0],
        (here.path / "README.md").read_text(encoding="utf-8"),
    ):
        run = shell(with_copier(here.caller["env"]))
        assert follow(text, here.path, here.project.backend, run) > 5


@pytest.mark.usefixtures("engine")
def test_a_newcomer_to_this_repository_sees_what_its_readme_shows(
    template: Path, workplace: Path
) -> None:
    clone = workplace / "copier-postgres"
    shutil.copytree(template, clone)
    git(clone, "tag", "--delete", WORKING_TREE)  # a run of the suite makes it anew
    environment = with_copier(
        {
            "PATH": os.environ["PATH"],
            "SCRIPTS_VENV": sys.prefix,  # the same lock: it need not be installed again
            "POSTGRES_PORT": str(free_port()),
            "COMPOSE_PROJECT_NAME": f"demo-{secrets.token_hex(3)}",  # not a `demo` of somebody's
            # The rest runs already.
            "PYTEST_ADDOPTS": "tests/render/test_render.py -k python_version",
        }
    )
    try:
        text = (clone / "README.md").read_text(encoding="utf-8")
        ran = follow(text, clone, clone, shell(environment))
        assert ran == 3
    finally:
        for words in (["compose", "down", "--volumes", "--timeout", "1"], ["rmi", "demo-backend"]):
            command = ["docker", *words]
            typed(workplace / "demo", *command, **environment)

"""scripts/new with a Docker engine, and the maintainers' own docker-compose.yml."""

import os
import re
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import docker
import pytest

from tests.conftest import WORKING_TREE, git
from tests.render.test_scripts import assert_one_sentence, listener, table, typed


@dataclass
class Made:
    """What scripts/new made, and what it said on a port in use, then on a free one."""

    clone: Path
    dest: Path
    name: str  # of the Compose project
    port: int
    refused: subprocess.CompletedProcess[str]
    left: list[str]  # by the first attempt
    done: subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def made(
    engine: docker.DockerClient, template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Made]:
    """A service made with an engine, after a first attempt on a port that was in use."""
    name = f"new-{secrets.token_hex(4)}"
    dest = tmp_path_factory.mktemp("new") / name
    new = ["scripts/new", str(dest), "--data", f"project_slug={name}"]
    ours: dict[str, str | list[str] | bool] = {"label": f"com.docker.compose.project={name}"}
    try:
        with listener() as other:
            port = int(other.getsockname()[1])
            refused = typed(template, *new, POSTGRES_PORT=str(port))
            containers = [str(c.name) for c in engine.containers.list(all=True, filters=ours)]
            networks = [str(network.name) for network in engine.networks.list(filters=ours)]
            [command] = re.findall(r"Next:  .*: (POSTGRES_PORT=.*)", refused.stderr)
            done = typed(template, "sh", "-c", command)
        yield Made(template, dest, name, port + 1, refused, containers + networks, done)
    finally:
        if dest.exists():
            typed(dest, "docker", "compose", "down", "-v", "--rmi", "local", "-t", "1")
            typed(dest, "docker", "image", "rm", "--force", f"{name}-backend")


def test_new_names_the_port_that_is_in_use_and_leaves_no_container(made: Made) -> None:
    sentence = assert_one_sentence(made.refused)
    assert f"port {made.port - 1}\n" in sentence
    assert f"POSTGRES_PORT={made.port} scripts/new {made.dest} --data" in sentence
    assert made.left == []


def test_new_with_an_engine_ends_with_a_migrated_database(made: Made) -> None:
    assert made.done.returncode == 0, made.done.stderr
    said = made.done.stdout
    assert "No Docker" not in said
    user = f"{made.name.replace('-', '_')}_user"
    order = [f"public | alembic_version | table | {user}", "baseline (head)", "Next:"]
    assert sorted(order, key=said.index) == order
    assert "docker compose run --rm test" in said
    assert not (made.dest / ".venv").exists()
    assert "docker compose exec dev bash" in said
    in_dev = typed(made.dest, "docker", "compose", "exec", "-T", "dev", "alembic", "current")
    assert in_dev.stdout == "baseline (head)\n", in_dev.stderr


def test_new_again_keeps_the_data_and_the_port(made: Made) -> None:
    compose = ["docker", "compose", "exec", "-T", "postgres", "sh", "-c"]
    psql = 'psql -U "$POSTGRES_USER" -d "$POSTGRES_DB" -c "CREATE TABLE kept (id int)"'
    kept = typed(made.dest, *compose, psql)
    assert kept.returncode == 0, kept.stderr
    done = typed(made.clone, "scripts/new", made.dest)
    assert done.returncode == 0, done.stderr
    assert "is rendered already" in done.stdout
    assert "public | kept" in done.stdout
    published = typed(made.dest, "docker", "compose", "port", "postgres", "5432")
    assert published.stdout == f"127.0.0.1:{made.port}\n"


@pytest.mark.usefixtures("engine")
@pytest.mark.in_turn(2, of="a whole project again")
def test_the_suite_runs_in_the_maintainers_container(template: Path, workplace: Path) -> None:
    """As the owner of the repository, in which it writes nothing; with the server beside it."""
    clone = workplace / "clone"
    shutil.copytree(template, clone)
    git(clone, "tag", "--delete", WORKING_TREE)  # the suite makes it in a clone of its own
    uid = os.geteuid() or 1000
    for path in (clone, *clone.rglob("*")):
        os.chown(path, uid, uid)
    name = f"suite-{secrets.token_hex(4)}"
    tests = [
        "tests/render/test_scripts.py::test_new_without_dest_says_so",
        "tests/checks/test_rows.py::test_example_rows_that_nobody_can_use_are_named",
    ]
    try:
        words = ["docker", "compose", "run", "--rm", "test", "-n", "0", *tests]
        done = typed(clone, *words, COMPOSE_PROJECT_NAME=name)
        assert done.returncode == 0, done.stdout + done.stderr
        assert table(done)["fast"][:3] == ("3", "0", "0")
        assert table(done)["server"][:3] == ("1", "0", "0"), done.stdout
        trust = ["-c", f"safe.directory={clone}"]
        status = git(clone, *trust, "status", "--short", "--ignored")
        assert not status
        logs = typed(clone, "docker", "compose", "logs", "postgres", COMPOSE_PROJECT_NAME=name)
        assert 'violates check constraint "items_code_check"' in logs.stdout
    finally:
        down = ["docker", "compose", "down", "-v", "--rmi", "local", "-t", "1"]
        typed(clone, *down, COMPOSE_PROJECT_NAME=name)
        shutil.rmtree(clone)

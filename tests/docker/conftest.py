"""Services in real containers: rendered, given a Compose project, a port and a caller of their own.

The docker CLI is called as users call it; the SDK looks inside.
"""

import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker
import psycopg2
import pytest
from docker.errors import DockerException
from docker.models.containers import Container

from tests._kit.report import cannot_run
from tests._kit.support import free_port
from tests.conftest import Project, Render

PATIENCE = 900  # seconds: a cold build on a slow network; a limit, not an expectation
WAY_OUT = "scripts/test --docker"


@pytest.fixture(scope="session")
def engine() -> Generator[docker.DockerClient]:
    """The engine that the docker CLI talks to, 25 or later, with Compose v2."""
    try:
        context = ["docker", "context", "inspect", "--format", "{{.Endpoints.docker.Host}}"]
        host = subprocess.run(context, text=True, capture_output=True, check=True).stdout.strip()
        client = docker.DockerClient(os.environ.get("DOCKER_HOST", host), timeout=120)
    except (OSError, subprocess.CalledProcessError, DockerException):
        cannot_run("no Docker engine answers", WAY_OUT)
        raise  # never: the line above ends the test
    with closing(client):
        version = client.version()["Version"]
        if int(version.split(".")[0]) < 25:
            cannot_run(f"the Docker engine is {version}, and 25 is needed", WAY_OUT)
        compose = ["docker", "compose", "version"]
        if subprocess.run(compose, check=False, capture_output=True).returncode:
            cannot_run("there is no Compose v2", WAY_OUT)
        yield client


@dataclass
class Service:
    """A rendered project in a folder of its own, as one person's docker CLI sees it."""

    engine: docker.DockerClient
    project: Project
    name: str  # of the Compose project
    port: int  # that PostgreSQL is published on
    uid: int
    gid: int
    home: Path
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        slug = self.project.answers["project_slug"].replace("-", "_")
        self.user, self.database, self.password = f"{slug}_user", f"{slug}_db", "development-only"

    @property
    def path(self) -> Path:
        """The folder of docker-compose.yml."""
        return self.project.path

    @property
    def caller(self) -> dict[str, Any]:
        """Arguments of subprocess.run: this person, in this folder, with nothing of the tests."""
        clean = {"HOME": str(self.home)} if self.uid != os.geteuid() else {}
        for name in ("PATH", "HOME", "TERM", "TMPDIR", "DOCKER_HOST", "DOCKER_CONTEXT"):
            if name in os.environ:
                clean.setdefault(name, os.environ[name])
        ours = {"COMPOSE_PROJECT_NAME": self.name, "POSTGRES_PORT": str(self.port)}
        person: dict[str, Any] = {}
        if self.uid != os.geteuid():
            socket_file = Path("/var/run/docker.sock")
            groups = [socket_file.stat().st_gid] if socket_file.exists() else []
            person = {"user": self.uid, "group": self.gid, "extra_groups": groups}
        return person | {"cwd": self.path, "env": clean | ours | self.environment}

    def execute(self, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run any command as this person; its exit code is the caller's business."""
        caller = self.caller
        caller["env"] = caller["env"] | options.pop("env", {})
        options = {"stdin": subprocess.DEVNULL, "timeout": PATIENCE} | caller | options
        return subprocess.run(words, check=False, text=True, capture_output=True, **options)

    def compose(
        self, *words: str, status: int | None = 0, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run `docker compose <words>`; fails unless it exits with `status` (None: whatever)."""
        done = self.execute("docker", "compose", *words, **options)
        if status is not None and done.returncode != status:
            logs = self.execute("docker", "compose", "logs", "--tail", "15")
            pytest.fail(
                f"docker compose {' '.join(words)}: exit code {done.returncode}, not {status}\n"
                f"{done.stdout}{done.stderr}\n--- logs\n{logs.stdout}{logs.stderr}",
                pytrace=False,
            )
        return done

    def migrate(self, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run `docker compose run --rm migrate <words>`."""
        return self.compose("run", "--rm", "migrate", *words, **options)

    def rows(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        """What a statement returns, through the published port."""
        connection = psycopg2.connect(
            host="127.0.0.1",
            port=self.port,
            user=self.user,
            password=self.password,
            dbname=self.database,
        )
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement, parameters or None)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    def version(self) -> list[str]:
        """The revisions in alembic_version."""
        return [str(row[0]) for row in self.rows("SELECT version_num FROM alembic_version")]

    def container(self, service: str) -> Container:
        """The container of a service that is `up`, running or not."""
        labels = [f"com.docker.compose.{key}" for key in ("project", "service")]
        wanted = [f"{labels[0]}={self.name}", f"{labels[1]}={service}"]
        [container] = self.engine.containers.list(all=True, filters={"label": wanted})
        return container

    def write(self, name: str, text: str) -> Path:
        """Write a file of the project, as this person would."""
        path = self.path / name
        path.write_text(text, encoding="utf-8")
        os.chown(path, self.uid, self.gid)
        return path

    def status(self) -> list[str]:
        """What git sees, ignored files included: `?? backend/app/models/user.py`."""
        words = ["git", "status", "--porcelain", "--ignored", "--untracked-files=all"]
        done = self.execute(*words, env={"GIT_CONFIG_GLOBAL": os.devnull})
        assert done.returncode == 0, done.stderr
        return sorted(done.stdout.splitlines())


NewService = Callable[..., AbstractContextManager[Service]]


@pytest.fixture(scope="session")
def workplace() -> Generator[Path]:
    """A folder that every user of this machine can enter, unlike pytest's own."""
    with tempfile.TemporaryDirectory(prefix="copier-postgres-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture(scope="session")
def slug(engine: docker.DockerClient) -> Generator[str]:
    """The slug of all services of this session: they share one image, built by whoever is first."""
    slug = f"demo-shop-{secrets.token_hex(3)}"
    yield slug
    for image in engine.images.list(filters={"reference": f"{slug}-*"}):
        for tag in image.tags:
            engine.images.remove(tag, force=True)


@pytest.fixture(scope="session")
def new_service(
    engine: docker.DockerClient, slug: str, rendered: Render, workplace: Path
) -> NewService:
    """`with new_service(backend_dir="."): ...`, for fixtures; tests take `service`."""

    @contextmanager
    def new_service(
        uid: int | None = None,
        gid: int | None = None,
        folder: str = "demo-shop",
        mask: int = 0o022,
        environment: dict[str, str] | None = None,
        **answers: str,
    ) -> Generator[Service]:
        uid = os.geteuid() if uid is None else uid
        gid = (os.getegid() if uid == os.geteuid() else uid) if gid is None else gid
        if uid != os.geteuid() and os.geteuid() != 0:
            cannot_run("only root can call Docker as another user", f"sudo {WAY_OUT}")
        source = rendered(**{"project_slug": slug} | answers)
        name = f"test-{secrets.token_hex(4)}"
        place = workplace / name
        home = place / "home"
        home.mkdir(parents=True)
        shutil.copytree(source.path, place / folder, symlinks=True)
        for path in (home, place / folder, *(place / folder).rglob("*")):
            path.chmod(path.stat().st_mode & ~mask)
            os.chown(path, uid, gid)
        project = Project(place / folder, source.answers)
        service = Service(engine, project, name, free_port(), uid, gid, home, environment or {})
        try:
            if not engine.images.list(f"{source.answers['project_slug']}-backend"):
                service.compose("build", "migrate")  # else the first `run` would print its progress
            yield service
        finally:
            service.compose("down", "-v", "--remove-orphans", "-t", "1", status=None)
            # Production's is not Compose's; an update may have taken one from docker-compose.yml.
            for volume in engine.volumes.list(filters={"name": f"{name}_"}):
                volume.remove()
            of_project = {"label": f"com.docker.compose.project={name}"}
            engine.images.prune({"dangling": True} | of_project)  # what was built anew
            shutil.rmtree(place)

    return new_service


@pytest.fixture
def service(new_service: NewService) -> Generator[Callable[..., Service]]:
    """`service(uid=1000, backend_dir=".")`: a new one, gone after the test."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(new_service(**options))

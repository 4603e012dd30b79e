"""The images: what is in them, what is not, and how few rights they need."""

import re
import sys
import time
from collections.abc import Callable, Generator
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg2
import pytest
import yaml
from docker.errors import ContainerError

from tests._kit.revision import write_revision
from tests._kit.support import template_module
from tests.conftest import Render
from tests.docker.conftest import NewService, Service
from tests.migrate.service import Done
from tests.migrate.test_kubernetes import play

TOOLS = Path(sys.executable).parent
PYTHON = "registry.example.invalid/python:3.13-slim"
POSTGRES = "registry.example.invalid/postgres:18"
SHAPES = [
    {"backend_dir": "backend", "postgres_version": "18"},
    {"backend_dir": "services/api", "postgres_version": "17"},
    {"backend_dir": ".", "postgres_version": "18"},
    {"python_version": "3.14", "ci": "none", "deploy": "kubernetes"},
]


# What lies about where an image is built, and must be in none.
SECRETS = (
    ".env", ".env.production", "app/.env", "app/.env.local", "id_rsa", "dump.sql", "server.pem",
    "app/core/server.key", "app/__pycache__/old.pyc", ".git/config", "notes/plan.md",
)  # fmt: skip


@pytest.fixture(scope="module")
def shop(new_service: NewService) -> Generator[Service]:
    """A service whose PostgreSQL runs, with an empty database; nobody else may read its files."""
    with new_service(mask=0o077) as service:
        service.password = "not-that-of-development"  # noqa: S105
        service.environment["POSTGRES_PASSWORD"] = service.password
        service.compose("up", "--wait", "postgres")
        yield service


@pytest.fixture(scope="module")
def runtime(shop: Service) -> str:
    """The image that goes to production, built where secrets and caches lie about."""
    for name in SECRETS:
        path = shop.project.backend / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text("secret")
    name = f"{shop.project.answers['project_slug']}-runtime"
    build(shop, "-t", name)
    build(shop, "-t", f"{name}-development", "--target", "development")
    return name


def build(service: Service, *words: str, backend: Path | None = None) -> str:
    """Run `docker build <words>` on a backend; returns its progress."""
    backend = backend or service.project.backend
    done = service.execute("docker", "build", "--progress=plain", *words, str(backend))
    assert done.returncode == 0, done.stderr
    return done.stderr


def without_rights(shop: Service, **variables: str) -> dict[str, Any]:
    """Options of a container that has no right at all."""
    url = f"postgresql://{shop.user}:{shop.password}@postgres/{shop.database}"
    return {
        "cap_drop": ["ALL"],
        "environment": {"DATABASE_URL": url, **variables},
        "network": f"{shop.name}_default",
        "read_only": True,
        "security_opt": ["no-new-privileges:true"],
    }


def confined(
    shop: Service, image: str, *words: str, user: str = "", **variables: str
) -> tuple[int, str]:
    """Run such a container; returns its exit code and what it printed."""
    options = without_rights(shop, **variables) | {"remove": True, "stderr": True, "user": user}
    try:
        output = shop.engine.containers.run(image, list(words) or None, **options)
    except ContainerError as error:
        return error.exit_status, error.stderr.decode()  # type: ignore[union-attr]
    return 0, output.decode()


def test_the_image_migrates_without_any_right(shop: Service, runtime: str) -> None:
    status, output = confined(shop, runtime)
    assert status == 0, output
    assert shop.version() == ["baseline"]
    look = "import app.models, app.core.database"
    for user in ("", "1000650000:0"):  # OpenShift runs it as any user, in group 0
        status, output = confined(shop, runtime, "python", "-c", look, user=user)
        assert status == 0, output
        status, output = confined(shop, runtime, user=user)
        assert status == 0, output


def test_nobody_is_root_in_an_image(shop: Service, runtime: str) -> None:
    for image in (runtime, f"{shop.project.answers['project_slug']}-backend"):
        # By number: an orchestrator that wants "not root" cannot know what a name stands for.
        assert int(shop.engine.images.get(image).attrs["Config"]["User"]) > 0
        assert confined(shop, image, "id", "-u") == (0, "10001\n")


def test_the_image_holds_what_a_migration_needs_and_no_more(shop: Service, runtime: str) -> None:
    look = f"""
import importlib.util, os, pathlib, shutil
print(sorted(path.name for path in pathlib.Path.cwd().iterdir()))
secrets = {[Path(name).name for name in SECRETS]}
print([str(path) for path in pathlib.Path.cwd().rglob("*") if path.name in secrets])
print([name for name in ("cc", "gcc", "g++", "ld", "make", "pip", "pip3") if shutil.which(name)])
print([name for name in ("pip", "pytest", "mypy", "ruff") if importlib.util.find_spec(name)])
print(os.environ.get("ENVIRONMENT"))
"""
    privileged = "find / -xdev -perm /6000 -type f 2>/dev/null; true"  # some folders are root's
    assert confined(shop, runtime, "sh", "-c", privileged) == (0, "")
    status, output = confined(shop, runtime, "/usr/local/bin/python", "-m", "pip", "--version")
    assert status == 1
    assert "No module named pip" in output
    status, output = confined(shop, runtime, "python", "-B", "-c", look)
    assert status == 0, output
    assert output.splitlines() == [
        *("['alembic', 'alembic.ini', 'app']", "[]", "[]", "[]", "production")
    ]
    status, output = confined(shop, f"{runtime}-development", "python", "-B", "-c", look)
    files, secrets, *_ = output.splitlines()
    assert "'testing', 'tests'" in files
    assert secrets == "[]"


def test_no_start_compiles_python(shop: Service, runtime: str) -> None:
    """A container that cannot write would compile again and again; -v says what is compiled."""
    for words in (
        ["upgrade", "head"],
        ["downgrade", "base", "--yes"],
        ["upgrade", "head"],
        ["current"],
    ):
        status, output = confined(shop, runtime, "python", "-v", "-m", "app.migrate", *words)
        assert status == 0, output
        assert re.findall(r"^# code object from '?\S+\.pyc'?$", output, re.MULTILINE)
        assert re.findall(r"^# code object from '?(\S+\.py)'?$", output, re.MULTILINE) == []


# Python and the libraries that it needs: no shell, no package manager, no user but root.
BARE = """\
FROM python:3.13-slim AS python
RUN mkdir /bare && mkdir -m 1777 /bare/tmp && cp -a /lib* /bare && \\
    cp -a --parents /usr/lib* /usr/local $(readlink -f $(command -v python)) /bare && \\
    cp -a --parents /etc/ld.so.cache /bare && \\
    rm -r /bare/usr/local/lib/python3*/site-packages/pip* /bare/usr/local/bin/pip*
FROM scratch
COPY --from=python /bare /
ENV PATH=/usr/local/bin
ENTRYPOINT ["/usr/local/bin/python"]
"""
READY = """
import asyncio
from app.core.database import get_session_factory
from app.migrate.readiness import schema_problem
async def main():
    async with get_session_factory()() as session:
        print(await schema_problem(session))
asyncio.run(main())
"""


def test_a_release_may_have_a_base_without_a_shell(
    shop: Service, runtime: str, rendered: Render
) -> None:
    name = f"{shop.project.answers['project_slug']}-bare"
    try:
        done = shop.execute("docker", "build", "-t", f"{name}-base", "-", input=BARE, stdin=None)
        assert done.returncode == 0, done.stderr
        backend = rendered(deploy="kubernetes").backend
        given = ["--build-arg", f"RELEASE={runtime}", "--build-arg", f"BASE={name}-base"]
        build(
            shop, "-t", name, "-f", str(backend / "Dockerfile.distroless"), *given, backend=backend
        )
        assert int(shop.engine.images.get(name).attrs["Config"]["User"]) > 0
        for program in ("sh", "/bin/sh", "bash", "pip", "apt-get", "dpkg"):
            assert shop.execute("docker", "run", "--rm", name, program).returncode == 127
        status, output = confined(shop, name)
        assert status == 0, output
        assert shop.version() == ["baseline"]
        assert confined(shop, name, "python", "-c", READY) == (0, "None\n")
        assert confined(shop, name, "python", "-m", "pip")[0] == 1
    finally:
        shop.execute("docker", "image", "rm", "--force", name, f"{name}-base")


def test_a_release_may_start_again_after_the_next_one_has_migrated(
    shop: Service, runtime: str
) -> None:
    """As an init container does when a node goes, or a release that comes back."""
    following = f"{runtime}-next"
    path = write_revision(
        shop.project.backend, "next", "baseline", "CREATE TABLE items (id int)", "DROP TABLE items"
    )
    try:
        build(shop, "-t", following)
        assert confined(shop, runtime)[0] == 0
        assert confined(shop, following)[0] == 0
        status, output = confined(shop, runtime)
        assert status == 0, output
        assert "The database is ahead of this code: at next, which a newer release has" in output
        assert shop.version() == ["next"]
        assert confined(shop, runtime, "python", "-c", READY) == (0, "None\n")
    finally:
        confined(shop, following, "python", "-m", "app.migrate", "downgrade", "-1", "--yes")
        shop.execute("docker", "image", "rm", "--force", following)
        path.unlink()


def test_the_jobs_policy_meets_the_exit_codes_of_containers(
    shop: Service, runtime: str, rendered: Render
) -> None:
    """podFailurePolicy, applied to what containers of the image really end with."""
    base = rendered(deploy="kubernetes").path / "kubernetes"
    job: dict[str, Any] = yaml.safe_load((base / "migrate.yaml").read_text())["spec"]

    def attempts(**first: str) -> Callable[[int], Done]:
        return lambda number: Done(*confined(shop, runtime, **({} if number else first)), "")

    nowhere = {"DATABASE_URL": "postgresql://a:b@postgres:1/c", "MIGRATION_CONNECT_WAIT": "0"}
    assert play(job, attempts(**nowhere)) == ("Complete", [4, 0])
    wrong = {"DATABASE_URL": f"postgresql://{shop.user}:wrong@postgres/{shop.database}"}
    assert play(job, attempts(**wrong)) == ("PodFailurePolicy", [5])
    url = f"postgresql://{shop.user}:{shop.password}@127.0.0.1:{shop.port}/{shop.database}"
    for code, number in ((137, "SIGKILL"), (143, "SIGTERM")):

        def interrupted(attempt: int, number: str = number) -> Done:
            if attempt:
                return Done(*confined(shop, runtime), "")
            with closing(psycopg2.connect(url)) as other:  # another migration
                other.cursor().execute(template_module("app.migrate.queries").SQL["try_lock"])
                first = shop.engine.containers.run(runtime, detach=True, **without_rights(shop))
                while b"Waiting for another migration" not in first.logs():
                    time.sleep(0.1)
                first.kill(number)
                ended = first.wait()["StatusCode"]
                first.remove()
            return Done(ended, "", "")

        assert play(job, interrupted) == ("Complete", [code, 0])


def test_base_images_come_from_where_the_environment_says(
    service: Callable[..., Service],
) -> None:
    shop = service()
    shop.write(".env", f"PYTHON_IMAGE={PYTHON}\nPOSTGRES_IMAGE={POSTGRES}\n")
    shop.write(
        "docker-compose.override.yml",  # the stage that begins with the base image is enough
        f"services: {{migrate: {{image: {shop.name}, build: {{target: base}}}}}}\n",
    )
    aliases = {PYTHON: "python:3.13-slim", POSTGRES: "postgres:18"}
    try:
        for alias, image in aliases.items():
            recipe = f"FROM {image}\nLABEL private=yes\n"
            shop.execute("docker", "build", "-t", alias, "-", input=recipe, stdin=None)
        shop.compose("build", "migrate")
        shop.compose("up", "--wait", "postgres")
        assert shop.engine.images.get(shop.name).labels["private"] == "yes"
        assert shop.container("postgres").labels["private"] == "yes"
    finally:
        shop.compose("down", "-v", "-t", "1")
        for name in (shop.name, *aliases):
            shop.execute("docker", "image", "rm", "--force", name)


def test_a_change_of_code_does_not_install_dependencies_again(shop: Service) -> None:
    no_image = ["--output", "type=cacheonly"]
    config = shop.project.backend / "app" / "core" / "config.py"
    # Never the same text twice: an earlier run's builds are in the engine's cache as well.
    config.write_text(f"{config.read_text()}\n# changed {uuid4()}\n")
    for target in ("runtime", "development"):
        build(shop, "--target", target, *no_image)
        config.write_text(f"{config.read_text()}# and again {uuid4()}\n")
        progress = build(shop, "--target", target, *no_image)
        steps = dict(re.findall(r"^#(\d+) \[.*?\] ((?:RUN|COPY) .*)$", progress, re.MULTILINE))
        installs = [number for number, text in steps.items() if "pip " in text]
        copies = [number for number, text in steps.items() if re.match(r"COPY (app/|\. )", text)]
        cached = set(re.findall(r"^#(\d+) CACHED$", progress, re.MULTILINE))
        assert installs
        assert set(installs) <= cached, progress
        assert copies
        assert not set(copies) & cached, progress


@pytest.mark.parametrize("answers", SHAPES, ids=lambda answers: "-".join(answers.values()))
def test_linters_have_nothing_to_say(
    answers: dict[str, str], service: Callable[..., Service]
) -> None:
    shop = service(**answers)
    dockerfiles = [str(path) for path in shop.project.backend.glob("Dockerfile*")]
    assert len(dockerfiles) == 1 + ("deploy" in answers)
    for words in (
        [str(TOOLS / "hadolint"), *dockerfiles],
        ["docker", "compose", "config", "--quiet"],
        ["docker", "compose", "--profile", "*", "config", "--quiet"],
    ):
        done = shop.execute(*words)
        assert (done.returncode, done.stdout + done.stderr) == (0, ""), words
    if answers.get("python_version") != "3.14":  # --check wants the base image at hand
        done = shop.execute("docker", "build", "--check", str(shop.project.backend))
        assert "no warnings found" in done.stdout + done.stderr

"""The migrate command against what no such command can do without.

Two claims: a run with nothing to do takes at most 1.5 times as long as a Python that connects and
selects one row, and 2.5 times where a file has to be read to find the database; 100 revisions take
at most 0.7 s longer than psql with the same SQL. Both on the host and in the built image. Every run
is a process of its own; the two sides alternate, so that what else the machine does meets both.
"""

import compileall
import os
import secrets
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import copier
from copier import Settings
from sqlalchemy import URL

from tests._kit.revision import write_revision
from tests._kit.support import environment, execute, template_module
from tests.conftest import ROOT

PAIRS = int(os.environ.get("BENCH_PAIRS", "15"))
FLOOR = """
import os, psycopg2
connection = psycopg2.connect(os.environ["DATABASE_URL"])
cursor = connection.cursor()
cursor.execute("SELECT version_num FROM alembic_version")
print(cursor.fetchone())
"""
ALTERNATE = f"""
import subprocess, sys, time
commands = [[sys.executable, "-m", "app.migrate"], [sys.executable, "-c", {FLOOR!r}]]
for turn in range(int(sys.argv[1]) + 1):
    for command in commands:
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        if turn:  # the first warms up
            print(time.perf_counter() - start)
"""
UPGRADE = """
import os, subprocess, sys, time
import psycopg2
connection = psycopg2.connect(os.environ["DATABASE_URL"])
connection.autocommit = True
connection.cursor().execute(f"CREATE DATABASE {sys.argv[1]} TEMPLATE template0")
os.environ["DATABASE_URL"] = os.environ["DATABASE_URL"].rpartition("/")[0] + "/" + sys.argv[1]
start = time.perf_counter()
subprocess.run([sys.executable, "-m", "app.migrate"], check=True, capture_output=True)
print(time.perf_counter() - start)
"""
PSQL = """
createdb -U "$POSTGRES_USER" -T template0 $1
export PGPASSWORD=$POSTGRES_PASSWORD TIMEFORMAT=%R
set -- psql -qX -v ON_ERROR_STOP=1 -h 127.0.0.1 -U "$POSTGRES_USER" -d $1 -f /tmp/all.sql
{ time "$@" >&2; } 2>&1
"""
TABLE = """\
op.create_table(
    "t{n}",
    sa.Column("id", sa.Integer(), primary_key=True),
    sa.Column("name", sa.String(255), nullable=False),
    sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()")),
)
op.create_index("ix_t{n}_name", "t{n}", ["name"])
"""


def seconds(command: list[str], backend: Path, url: URL, **variables: str) -> float:
    """How long a command takes, to its end; it has to succeed."""
    given = environment(url, **variables)
    given.pop("PYTHONDONTWRITEBYTECODE")
    start = time.perf_counter()
    done = subprocess.run(
        command, cwd=backend, env=given, capture_output=True, text=True, check=False
    )
    taken = time.perf_counter() - start
    if done.returncode:
        sys.exit(f"{command} failed:\n{done.stdout}{done.stderr}")
    return taken


def nothing_to_do(backend: Path, url: URL) -> None:
    """The first claim, for every way of giving the database, and for files that were edited."""
    revisions = len(list((backend / "alembic" / "versions").glob("*.py")))
    five = {
        "POSTGRES_HOST": url.host or "",
        "POSTGRES_PORT": str(url.port),
        "POSTGRES_USER": url.username or "",
        "POSTGRES_PASSWORD": url.password or "",
        "POSTGRES_DB": url.database or "",
    }
    measure(f"{revisions} revisions, DATABASE_URL", 1.5, backend, url)
    if revisions > 1:
        return
    plain = environment(url)["DATABASE_URL"]
    escaped = {"DATABASE_URL": plain.replace("//p", "//%70", 1)}  # of the user postgres
    measure("a URL with percent-escapes", 1.5, backend, url, **escaped)
    measure("five variables", 1.5, backend, url, DATABASE_URL="", **five)
    secret = backend.parent / "password"
    secret.write_text(five["POSTGRES_PASSWORD"])
    in_file = five | {"POSTGRES_PASSWORD": "", "POSTGRES_PASSWORD_FILE": str(secret)}
    measure("a password file", 2.5, backend, url, DATABASE_URL="", **in_file)
    env_file = backend.parent / ".env"
    env_file.write_text("".join(f"{name}={value}\n" for name, value in five.items()))
    measure(".env", 2.5, backend, url, DATABASE_URL="")
    env_file.unlink()
    for file in ("app/core/config.py", "alembic/env.py"):
        path = backend / file
        text = path.read_text()
        path.write_text(text + "\n# edited\n")
        measure(f"{file} edited", None, backend, url)
        path.write_text(text)


def measure(what: str, claim: float | None, backend: Path, url: URL, **variables: str) -> None:
    """One of them; the other side always has DATABASE_URL."""
    migrate, floor = [sys.executable, "-m", "app.migrate"], [sys.executable, "-c", FLOOR]
    for _ in range(2):  # the first stores the proof
        seconds(migrate, backend, url, **variables)
    seconds(floor, backend, url)
    pairs = [
        (seconds(migrate, backend, url, **variables), seconds(floor, backend, url))
        for _ in range(PAIRS)
    ]
    show_ratio(what, pairs, claim)


def show_ratio(where: str, pairs: list[tuple[float, float]], claim: float | None = 1.5) -> None:
    """Print the first claim's figures, from pairs of (ours, the floor's) seconds."""
    ours, theirs = (statistics.median(side) for side in zip(*pairs, strict=True))
    ratio = statistics.median(a / b for a, b in pairs)
    limit = f"claim: {claim}" if claim else "no claim"
    print(
        f"nothing to do, {where}: {ours * 1000:4.0f} ms; connecting with psycopg2: "
        f"{theirs * 1000:4.0f} ms; ratio {ratio:.2f} ({limit}), median of {len(pairs)} pairs"
    )


def in_the_image(project: Path) -> None:
    """Both claims, in the image that goes to production."""
    name = f"bench-{secrets.token_hex(4)}"
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = str(probe.getsockname()[1])
    variables = environment(COMPOSE_PROJECT_NAME=name, POSTGRES_PORT=port)

    def docker(*words: str, script: str = "") -> str:
        done = subprocess.run(
            ["docker", *words],
            cwd=project,
            env=variables,
            input=script,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            sys.exit(f"docker {' '.join(words)} failed:\n{done.stdout}{done.stderr}")
        return done.stdout

    if (
        shutil.which("docker") is None
        or subprocess.run(["docker", "version"], check=False, capture_output=True).returncode
    ):
        print("in the built image: not measured, since no Docker engine answers")
        return
    url = "DATABASE_URL=postgresql://demo_user:development-only@postgres/demo_db"
    run = ["run", "--rm", "--interactive", f"--network={name}_default", f"--env={url}", name]
    try:
        docker("build", "--quiet", f"--tag={name}", "backend")
        docker("compose", "up", "--wait", "postgres")
        docker(*run)
        printed = docker(*run, "python", "-", str(PAIRS), script=ALTERNATE).split()
        times = [float(line) for line in printed]
        show_ratio("in the built image", list(zip(times[::2], times[1::2], strict=True)))
        docker("compose", "cp", "backend/all.sql", "postgres:/tmp/all.sql")
        by_psql = ["compose", "exec", "--no-TTY", "postgres", "bash", "-c", PSQL, "-"]
        pairs = []
        for n in range(max(PAIRS // 3, 3)):
            ours = docker(*run, "python", "-", f"ours_{n}", script=UPGRADE)
            pairs.append((float(ours), float(docker(*by_psql, f"psql_{n}").split()[-1])))
        show_difference("100 revisions in the built image", pairs)
    finally:
        docker("compose", "down", "--volumes", "--timeout=1")
        docker("rmi", "--force", name)


def hundred_revisions(backend: Path, server: URL, psql: str) -> None:
    """The second claim."""
    down = "baseline"
    for n in range(1, 101):
        up, after = TABLE.format(n=n), f"{n:012d}"
        write_revision(backend, after, down, up, f'op.drop_table("t{n}")', number=n)
        down = after
    compileall.compile_dir(backend, quiet=2)
    script = backend / "all.sql"
    script.write_text(
        subprocess.run(
            [sys.executable, "-m", "app.migrate", "upgrade", "head", "--sql"],
            cwd=backend,
            env=environment(server),
            check=True,
            capture_output=True,
            text=True,
        ).stdout
    )
    migrate = [sys.executable, "-m", "app.migrate"]
    pairs = []
    for n in range(max(PAIRS // 3, 3)):
        urls = []
        for side in "ab":
            execute(server, f'CREATE DATABASE "bench_{n}{side}" TEMPLATE template0')
            urls.append(server.set(database=f"bench_{n}{side}"))
        address = urls[1].render_as_string(hide_password=False)
        by_psql = [psql, "-qX", "-v", "ON_ERROR_STOP=1", "-f", str(script), address]
        pairs.append((seconds(migrate, backend, urls[0]), seconds(by_psql, backend, urls[1])))
    show_difference("100 revisions", pairs)
    nothing_to_do(backend, urls[0])


def show_difference(what: str, pairs: list[tuple[float, float]]) -> None:
    """Print the second claim's figures, from pairs of (ours, psql's) seconds."""
    ours, theirs = (statistics.median(side) for side in zip(*pairs, strict=True))
    more = statistics.median(a - b for a, b in pairs)
    print(
        f"{what}: {ours:.2f} s; psql with the same SQL: {theirs:.2f} s; "
        f"{more:.2f} s more (claim: 0.7), median of {len(pairs)} pairs"
    )


def main() -> None:
    """Render a project, start a server, measure, print."""
    launcher = template_module("testing.server")
    with tempfile.TemporaryDirectory() as folder, launcher.postgres_server() as (server, source):
        copy = Path(folder) / "template"
        ignored = shutil.ignore_patterns(".git", ".venv", ".*_cache", "__pycache__")
        shutil.copytree(ROOT, copy, ignore=ignored)
        project = Path(folder) / "demo"
        copier.run_copy(str(copy), project, defaults=True, quiet=True, settings=Settings())
        backend = project / "backend"
        compileall.compile_dir(backend, quiet=2)
        execute(server, 'CREATE DATABASE "bench" TEMPLATE template0')
        url = server.set(database="bench")
        print(f"{source}; load average {os.getloadavg()[0]:.1f}")
        seconds([sys.executable, "-m", "app.migrate"], backend, url)
        nothing_to_do(backend, url)
        psql = shutil.which(
            "psql", path=f"{launcher.find_binaries()}{os.pathsep}{os.environ['PATH']}"
        )
        if psql is None:
            print("100 revisions: not measured, since there is no psql here")
        else:
            hundred_revisions(backend, server, psql)
            in_the_image(project)


if __name__ == "__main__":
    main()

"""What the rendered project's test suite costs.

The least of three runs, on the embedded server. Beside each figure the limit that we set, and its
ratio to something that everybody knows. CPU seconds count the children: on a busy machine they say
more than the clock.
"""

import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests._kit.revision import write_revision

BACKEND = Path(__file__).resolve().parents[1] / "template" / "{{ backend_dir }}"
TESTS = {
    "empty": "async def test(n: int) -> None:\n    pass\n",
    "session": "async def test(session: object, n: int) -> None:\n    pass\n",
    "commit": (
        "async def test(session: AsyncSession, n: int) -> None:\n"
        '    await session.execute(text("INSERT INTO benchmark VALUES (1)"))\n'
        "    await session.commit()\n"
    ),
}
CLONE = """
import time
from sqlalchemy import URL
from testing.databases import Alembic, create_database, drop_database

def test_clone(server: URL, template: str) -> None:
    for n in range(9):
        start = time.perf_counter()
        url = create_database(server, f"{template}_{n}", template)
        print(f"clone {time.perf_counter() - start:.6f}")
        drop_database(server, url.database)
    for n in range(3):
        url = create_database(server, f"{template}_{n}")
        start = time.perf_counter()
        Alembic(url)("upgrade", "head")
        print(f"upgrade {time.perf_counter() - start:.6f}")
        drop_database(server, url.database)
"""


def write_step(project: Path, number: int) -> None:
    """One of a hundred: a table with an index and a foreign key, or a column and its rows."""
    table = f"t{number - number % 2:03}"
    if number % 2:
        up = f'op.add_column("{table}", sa.Column("more", sa.Integer()))'
        down = f'op.drop_column("{table}", "more")'
    else:
        other = f'sa.Integer(), sa.ForeignKey("t{number - 2:03}.id")' if number else "sa.Integer()"
        up = (
            f'op.create_table("{table}", sa.Column("id", sa.Integer(), primary_key=True), '
            f'sa.Column("name", sa.String(50), nullable=False, unique=True), '
            f'sa.Column("other", {other}), sa.Column("at", sa.DateTime(timezone=True), '
            "server_default=sa.func.now()))\n"
            f'op.create_index("ix_{table}_at", "{table}", ["at"])'
        )
        down = f'op.drop_index("ix_{table}_at")\nop.drop_table("{table}")'
    before = f"r{number - 1:03}" if number else "baseline"
    write_revision(project, f"r{number:03}", before, up, down, number=number, message="step")


def pytest(project: Path, *words: str, cores: int = 2) -> tuple[float, float, str]:
    """Seconds by the clock and of the processors, and what was printed."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("TEST_", "PG"))}
    environment["DOCKER_HOST"] = "unix:///nonexistent"  # the embedded server
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *words]
    if cores == 1 and shutil.which("taskset"):
        command = ["taskset", "-c", "0", *command]
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        command, cwd=project, env=environment, capture_output=True, text=True, check=False
    )
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu, done.stdout


def least(runs: int, measure: Callable[[], tuple[float, float, str]]) -> tuple[float, float, str]:
    """The quickest of several."""
    return min(measure() for _ in range(runs))


def show(what: str, value: float, unit: str, limit: str, ratio: str = "") -> None:
    """One line of the table."""
    print(f"{what:58}{value:9.2f} {unit:3} {limit:12}{ratio}", flush=True)


def isolation(project: Path, runs: int) -> None:
    """What a test costs, by the difference between 400 with and 400 without."""
    number = 400
    seconds = {}
    fixture = "CREATE TABLE IF NOT EXISTS benchmark (n int)"
    for name, body in TESTS.items():
        file = project / "tests" / f"test_benchmark_{name}.py"
        file.write_text(
            "import pytest\nfrom sqlalchemy import URL, text\n"
            "from sqlalchemy.ext.asyncio import AsyncSession\n"
            "from testing.databases import execute\n\n"
            '@pytest.fixture(scope="session", autouse=True)\n'
            f'def table(database: URL) -> None:\n    execute(database, "{fixture}")\n\n'
            f'@pytest.mark.parametrize("n", range({number}))\n{body}'
        )
        seconds[name] = least(runs, lambda file=file: pytest(project, str(file)))[1]  # type: ignore[misc]
        file.unlink()
    empty = seconds["empty"] / number * 1000
    for name in ("session", "commit"):
        own = (seconds[name] - seconds["empty"]) / number * 1000
        show(
            f"a test with {name}, of its own (CPU)", own, "ms", "limit 3", f"empty: {empty:.2f} ms"
        )


def main() -> None:
    """Measure and show."""
    runs = 3
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder) / "backend"
        ignored = shutil.ignore_patterns("*.jinja", "__pycache__", ".*_cache")
        shutil.copytree(BACKEND, project, ignore=ignored)
        wall, cpu, _ = least(runs, lambda: pytest(project))
        show("a fresh project's suite", wall, "s", "limit 6", f"CPU {cpu:.2f} s")
        isolation(project, runs)
        for number in range(100):
            write_step(project, number)
        file = project / "tests" / "test_clone.py"
        file.write_text(CLONE)
        _, _, output = pytest(project, "-s", str(file))
        file.unlink()
        clone, upgrade = (
            min(float(value) for value in re.findall(rf"{name} ([\d.]+)", output))
            for name in ("clone", "upgrade")
        )
        ratio = f"1/{upgrade / clone:.0f} of upgrade head ({upgrade * 1000:.0f} ms)"
        show("a worker's clone, 50 tables", clone * 1000, "ms", "limit 40", ratio)
        checks = [f"testing/{name}.py" for name in ("reversible", "offline", "shape", "safety")]
        total = 0.0
        for check in checks:
            wall, cpu, _ = least(1, lambda check=check: pytest(project, check, cores=1))  # type: ignore[misc]
            total += wall
            ratio = f"{wall / upgrade:.0f} times upgrade head; CPU of pytest {cpu:.1f} s"
            show(f"100 revisions, one core: {check.rpartition('/')[2]}", wall, "s", "", ratio)
        show("100 revisions, all checks of each", total, "s", "limit 25")


if __name__ == "__main__":
    main()

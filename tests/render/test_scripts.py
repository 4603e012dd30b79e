"""The scripts of this repository, typed as people type them: what works, and how it fails."""

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.machinery import SourceFileLoader
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

import pytest

from tests._kit.support import free_port, is_free
from tests.conftest import ROOT, WORKING_TREE, Render, git

NO_ENGINE = {"DOCKER_HOST": "unix:///nonexistent"}
SCRIPTS = sorted(path for path in (ROOT / "scripts").iterdir() if os.access(path, os.X_OK))
SCRIPTS = [path for path in SCRIPTS if path.is_file()]
TINY = {
    "tests/__init__.py": "",
    "tests/_kit/__init__.py": "",
    "tests/conftest.py": "from tests._kit.report import *",
    "tests/docker/__init__.py": "",
    "tests/docker/test_containers.py": """
        from tests._kit.report import cannot_run

        def test_one(): cannot_run("no engine answers", "scripts/test --docker")
        def test_two(): cannot_run("no engine answers", "scripts/test --docker")
        def test_three(): pass
    """,
    "tests/test_broken.py": """
        import pytest

        @pytest.fixture
        def no_setup(): raise OSError
        @pytest.fixture
        def no_teardown():
            yield
            raise OSError

        def test_error_before(no_setup): pass
        def test_error_after(no_teardown): pass
        def test_failure(no_teardown): raise OSError
    """,
    "tests/test_databases.py": """
        import pytest

        @pytest.mark.server
        def test_server(): pass
        def test_fast(): pass
    """,
    "tests/test_pages.py": """
        def test_fast(): pass
    """,
    "tests/migrate/soak.py": """
        import sys

        print("soak", *sys.argv[1:])
    """,
    "scripts/lab": """
        #!/bin/sh
        echo "lab $1"
        exit ${LAB:-0}
    """,
}


NOT_BROKEN = ["--deselect", "tests/test_broken.py"]


def typed(folder: Path, *words: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Type a command, with the virtual environment of this run as that of the scripts."""
    ours = ("POSTGRES_", "PYTEST", "CI", "DATABASE_URL", "MIGRAT", "TEST_")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return subprocess.run(
        words,
        cwd=folder,
        env=clean | {"SCRIPTS_VENV": sys.prefix} | variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


def assert_one_sentence(done: subprocess.CompletedProcess[str]) -> str:
    """It failed with a cause and a next command, and nothing else; returns both."""
    assert done.returncode not in (0, -1)
    assert re.fullmatch(r"Error: .+\nNext:  .+\n", done.stderr), done.stderr
    return done.stderr


# ---- every script ----
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_help_needs_nothing_and_does_nothing(script: Path, tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    done = typed(tmp_path, script, "--help", SCRIPTS_VENV=str(venv), **NO_ENGINE)
    assert done.returncode == 0
    assert f"scripts/{script.name}" in done.stdout
    assert not done.stderr
    assert not venv.exists()


def test_shell_scripts_pass_shellcheck() -> None:
    files = [ROOT / ".ci" / "run", *SCRIPTS, *(ROOT / "scripts" / "lab.d").glob("*.sh")]
    shell = [path for path in files if b"bash" in path.read_bytes().partition(b"\n")[0]]
    assert len(shell) >= 3
    done = typed(ROOT, Path(sys.executable).parent / "shellcheck", *shell)
    assert done.returncode == 0, done.stdout


# ---- scripts/new ----
@dataclass
class Made:
    """What scripts/new made without an engine, and what it said."""

    clone: Path
    dest: Path
    port: int
    refused: subprocess.CompletedProcess[str]
    done: subprocess.CompletedProcess[str]

    def again(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Type it again."""
        return typed(self.clone, "scripts/new", self.dest, *words, **NO_ENGINE, **variables)

    def python(self, *words: str) -> subprocess.CompletedProcess[str]:
        """`python -m <words>` in the project's backend, as it told us to do."""
        return typed(self.dest / "backend", self.dest / ".venv/bin/python", "-m", *words)


def path_with_docker(folder: Path, engine: str = "28.5.2", compose: str = "2.40.3") -> str:
    """A PATH on which `docker` knows nothing but its versions."""
    docker = folder / "bin" / "docker"
    docker.parent.mkdir()
    docker.write_text(
        "#!/bin/sh\n"
        f'case "$*" in version*) echo {engine} ;;\n'
        f'"compose version"*) echo "{compose}" | grep . ;; *) exit 1 ;; esac\n'
    )
    docker.chmod(0o755)
    return f"{docker.parent}{os.pathsep}{os.environ['PATH']}"


def listener() -> socket.socket:
    """Another program on a port whose next one is free, and stays so."""
    port, following = free_port(), free_port()
    while following != port + 1:
        port, following = following, free_port()
    return socket.create_server(("127.0.0.1", port))


@pytest.fixture(scope="module")
def made(template: Path) -> Iterator[Made]:
    """A service made without an engine, after a first attempt on a port that was in use."""
    # pytest's own folders are closed to others, and PostgreSQL does not run as root.
    with TemporaryDirectory(prefix="copier-postgres-") as folder, listener() as other:
        Path(folder).chmod(0o755)
        dest = Path(folder) / "demo-shop"
        port = int(other.getsockname()[1])
        new = ["scripts/new", str(dest), "--data", "project_name=Demo Shop"]
        refused = typed(template, *new, POSTGRES_PORT=str(port), **NO_ENGINE)
        [command] = re.findall(r"Next:  .*: (POSTGRES_PORT=.*)", refused.stderr)
        done = typed(template, "sh", "-c", command, **NO_ENGINE)
        yield Made(template, dest, port + 1, refused, done)


@pytest.mark.server
def test_new_names_the_port_that_is_in_use_and_the_way_around(made: Made) -> None:
    sentence = assert_one_sentence(made.refused)
    assert f"port {made.port - 1}\n" in sentence
    assert f"POSTGRES_PORT={made.port} scripts/new {made.dest} --data" in sentence
    assert f"POSTGRES_PORT={made.port}\n" in (made.dest / ".env").read_text()


@pytest.mark.server
def test_new_ends_with_a_migrated_database_and_the_next_commands(made: Made) -> None:
    assert made.done.returncode == 0, made.done.stderr
    said = made.done.stdout
    assert len(re.findall("No Docker.*", said)) == 1
    order = ["public | alembic_version | table | demo_shop_user", "baseline (head)", "Next:"]
    assert sorted(order, key=said.index) == order
    assert f"cd {made.dest}\n  git init" in said
    assert is_free(made.port), "the server still runs"


@pytest.mark.server
def test_new_renders_what_plain_copier_renders(made: Made, rendered: Render) -> None:
    git(made.dest, "init", "--quiet")
    listed = git(made.dest, "ls-files", "--others", "--exclude-standard", "-z")
    files = {name: (made.dest / name).read_bytes() for name in listed.split("\0") if name}
    assert files == rendered().files()


@pytest.mark.server
def test_new_goes_on_after_a_failed_migration_and_keeps_the_files_and_the_data(made: Made) -> None:
    readme = made.dest / "README.md"
    readme.write_text("mine")
    kept = made.python("testing", "psql", "-c", "CREATE TABLE kept (id int)")
    assert kept.returncode == 0, kept.stderr
    revision = made.dest / "backend/alembic/versions/20270101_0000_wrong.py"
    revision.write_text(
        "from alembic import op\n"
        "revision, down_revision, branch_labels, depends_on = 'wrong', 'baseline', None, None\n"
        "def upgrade():\n    op.execute('SELECT 1 FROM nowhere')\n"
        "def downgrade():\n    pass\n"
    )
    failed = made.again()
    assert failed.returncode != 0
    assert '"nowhere" does not exist' in failed.stderr
    assert f"{made.dest}/backend stays as it is" in failed.stderr
    assert f"scripts/new {made.dest} goes on from there" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert is_free(made.port), "the server still runs"
    revision.unlink()
    done = made.again("--data", "ci=none")
    assert done.returncode == 0, done.stderr
    assert "is rendered already; not used: --data ci=none" in done.stdout
    assert "public | kept" in done.stdout
    assert readme.read_text() == "mine"
    assert (made.dest / ".github").exists()


@pytest.mark.server
def test_the_development_server_runs_until_it_is_stopped(made: Made) -> None:
    with subprocess.Popen(
        [made.dest / ".venv/bin/python", "-m", "testing"],
        cwd=made.dest / "backend",
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        try:
            assert server.stdout
            assert f":***@localhost:{made.port}/demo_shop_db" in server.stdout.readline()
            for words in [("alembic", "current"), ("testing", "alembic", "current")]:
                current = made.python(*words)
                assert current.stdout == "baseline (head)\n", current.stderr
            again = made.python("testing")
            assert (again.returncode, again.stderr) == (0, "")
            assert "runs already" in again.stdout
            command = (made.dest / ".venv/bin/python", "-m", "testing", "alembic", "current")
            for name, value in ("POSTGRES_PASSWORD", "other"), ("POSTGRES_PORT", str(free_port())):
                refused = typed(made.dest / "backend", *command, **{name: value})
                assert refused.returncode, "two servers on one folder"
            assert made.python("alembic", "current").returncode == 0, "it runs on"
        finally:
            server.terminate()  # as Ctrl-C, which a shell's background job ignores
        assert server.stdout.read() == "stopped\n"
    assert server.returncode == 0
    assert is_free(made.port)


@pytest.mark.server
@pytest.mark.parametrize(
    ("variables", "cause"),
    [
        ({"POSTGRES_HOST": "elsewhere"}, "another server"),
        ({"POSTGRES_PASSWORD": "other"}, "password authentication failed for user demo_shop_user"),
        ({"POSTGRES_PORT": "none"}, "POSTGRES_PORT"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_the_development_server_explains_what_stops_it(
    variables: dict[str, str], cause: str, made: Made
) -> None:
    words = (made.dest / ".venv/bin/python", "-m", "testing", "psql")
    assert cause in assert_one_sentence(typed(made.dest / "backend", *words, **variables))


@pytest.mark.server
def test_the_development_server_names_a_port_that_is_in_use(made: Made) -> None:
    with socket.create_server(("127.0.0.1", made.port)):
        sentence = assert_one_sentence(made.python("testing"))
    assert f"port {made.port}\n" in sentence
    assert f"POSTGRES_PORT={made.port + 1}" in sentence


def test_new_takes_a_free_port_and_says_where_updates_come_from(
    template: Path, tmp_path: Path
) -> None:
    """From a clone whose remote has the release; typed again, it knows the project."""
    clone, demo, path = tmp_path / "clone", tmp_path / "demo", path_with_docker(tmp_path)
    git(tmp_path, "clone", "--quiet", f"file://{template}", str(clone))
    with ExitStack() as stack:
        if is_free(5432):
            stack.enter_context(socket.create_server(("127.0.0.1", 5432)))
        done = typed(clone, "scripts/new", demo, PATH=path)
    [port] = re.findall(r"(?m)^POSTGRES_PORT=(\d+)$", (demo / ".env").read_text())
    assert int(port) > 5432
    assert f"Another program has port 5432: POSTGRES_PORT={port}, in .env\n" in done.stdout
    assert f"Updates come from git+file://{template}." in done.stdout
    answers = (demo / ".copier-answers.yml").read_text()
    assert f"\n_src_path: git+file://{template}\n" in answers
    done = typed(clone, "scripts/new", demo, PATH=path)
    assert "is rendered already" in done.stdout
    assert f"POSTGRES_PORT={port}\n" in (demo / ".env").read_text()


@pytest.fixture
def new(monkeypatch: pytest.MonkeyPatch) -> Any:
    """scripts/new as a module."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    loader = SourceFileLoader("new", str(ROOT / "scripts" / "new"))
    module = ModuleType("new")
    loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("remote", "pushed", "recorded", "said"),
    [
        ("https://me:secret@example.com/x", True, "git+https://example.com/x", "from git+https://"),
        ("git@example.com:us/x", True, "git@example.com:us/x", "from git@example.com:us/x"),
        ("git@example.com:us/x", False, None, "v999.0.0 is not pushed to git@example.com"),
        ("/srv/x.git", True, None, "it has no remote with a URL; a colleague needs a URL"),
        ("", False, None, "it has no remote with a URL; a colleague needs a URL"),
    ],
)
def test_new_records_a_remote_that_has_the_release(
    new: Any,
    remote: str,
    pushed: bool,
    recorded: str | None,
    said: str,
    template: Path,
    tmp_path: Path,
) -> None:
    git(tmp_path, "clone", "--quiet", str(template), "clone")
    new.ROOT = tmp_path / "clone"
    git(new.ROOT, "remote", "remove", "origin")
    if remote:
        git(new.ROOT, "remote", "add", "origin", remote)
    if pushed:
        git(new.ROOT, "update-ref", "refs/remotes/origin/main", "HEAD")
    answers = tmp_path / ".copier-answers.yml"
    before = f"_commit: {WORKING_TREE}\n_src_path: {new.ROOT}\n"
    answers.write_text(before)
    assert said in new.record_source(tmp_path, WORKING_TREE)
    assert answers.read_text() == before.replace(str(new.ROOT), recorded or str(new.ROOT))


def test_new_shares_no_database_with_a_folder_of_the_same_name(
    new: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Compose names volumes after the folder: a `demo` elsewhere would be this one."""
    docker = tmp_path / "bin" / "docker"
    docker.parent.mkdir()
    docker.write_text(
        "#!/bin/sh\n"
        """case "$*" in "compose config"*) echo '{"name": "demo"}' ;;\n"""
        '"volume ls"*=demo) echo demo_postgres-18 ;; "ps"*=demo-2) echo 0ff ;; esac\n'
    )
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", str(docker.parent), prepend=os.pathsep)
    (tmp_path / ".env").write_text("POSTGRES_PORT=5432\n")
    new.take_free_name(tmp_path)
    assert (tmp_path / ".env").read_text().endswith("\nCOMPOSE_PROJECT_NAME=demo-3\n")
    assert "COMPOSE_PROJECT_NAME=demo-3, in .env" in capsys.readouterr().out
    docker.write_text(docker.read_text().replace('"name": "demo"', '"name": "other"'))
    (tmp_path / ".env").write_text("POSTGRES_PORT=5432\n")
    new.take_free_name(tmp_path)
    assert (tmp_path / ".env").read_text() == "POSTGRES_PORT=5432\n"


@pytest.mark.parametrize("commit", ["", "v999.0.0-1-g1234567"])
def test_new_says_that_uncommitted_work_and_a_plain_folder_are_no_release(
    new: Any, commit: str, template: Path, tmp_path: Path
) -> None:
    new.ROOT = template if commit else tmp_path
    said = new.record_source(tmp_path, commit)
    assert f"No update can find its release in {new.ROOT}: " in said
    assert ("not committed" if commit else "no clone") in said


def test_defaults_may_be_asked_for_without_a_terminal(template: Path, tmp_path: Path) -> None:
    dest = tmp_path / "demo"
    done = typed(template, "scripts/new", dest, "--defaults", "--pretend", **NO_ENGINE)
    assert (done.returncode, done.stderr) == (0, "")
    assert not dest.exists()


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        ("project_name=  ", "The project name needs at least one letter"),
        ("backend_dir=../x", "The backend folder is"),
        ("python_version=3.9", "'3.9' is not in ['3.11'"),
        ('db_name="x"', "The database name has up to 63"),
    ],
)
def test_a_bad_answer_is_one_sentence_and_leaves_nothing(
    answer: str, cause: str, template: Path, tmp_path: Path
) -> None:
    """One of each kind; test_render.py has all of them."""
    done = typed(template, "scripts/new", tmp_path / "a/b", "--data", answer, **NO_ENGINE)
    assert cause in assert_one_sentence(done)
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("words", [[], ["--defaults"], ["--data", "ci=none", "x"]])
def test_new_without_dest_says_so(words: list[str], template: Path) -> None:
    sentence = assert_one_sentence(typed(template, "scripts/new", *words, **NO_ENGINE))
    assert "DEST" in sentence
    assert not git(template, "status", "--porcelain")


@pytest.mark.parametrize("options", [[], ["--overwrite"], ["--force"]])
def test_new_touches_no_folder_that_is_not_its_own(
    options: list[str], template: Path, tmp_path: Path
) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "README.md").write_text("theirs")
    for dest in (theirs, theirs / "README.md"):
        done = typed(template, "scripts/new", dest, *options, **NO_ENGINE)
        assert f"{dest} is not empty" in assert_one_sentence(done)
    assert [path.name for path in theirs.iterdir()] == ["README.md"]
    assert (theirs / "README.md").read_text() == "theirs"


@pytest.mark.parametrize(
    ("engine", "compose", "cause"),
    [
        ("20.10.24", "2.40.3", "the Docker engine is 20.10.24, and 25 or later is needed"),
        ("28.5.2", "", "Docker has no Compose plugin, and 2.24 or later is needed"),
        ("28.5.2", "v2.17.0-desktop.1", "Docker has Compose v2.17.0-desktop.1, and 2.24"),
    ],
)
def test_an_engine_that_is_too_old_is_named_with_the_ways_out(
    engine: str, compose: str, cause: str, template: Path, tmp_path: Path
) -> None:
    path = path_with_docker(tmp_path, engine, compose)
    done = typed(template, "scripts/new", tmp_path / "demo", PATH=path)
    sentence = assert_one_sentence(done)
    assert cause in sentence
    assert f"upgrade it, or type scripts/new {tmp_path / 'demo'} --no-docker" in sentence
    assert not (tmp_path / "demo").exists()


# ---- scripts/test ----
@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The script, and our table, on a handful of tests that end in each way."""
    root = tmp_path_factory.mktemp("tiny")
    for name in ("pyproject.toml", "requirements.txt", "tests/_kit/report.py"):
        (root / name).parent.mkdir(exist_ok=True, parents=True)
        shutil.copy(ROOT / name, root / name)
    (root / "scripts").mkdir()
    for name in ("test", "_environment.py"):
        shutil.copy(ROOT / "scripts" / name, root / "scripts" / name)
    for name, text in TINY.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(re.sub("(?m)^ {8}", "", text).lstrip())
    (root / "scripts" / "lab").chmod(0o755)
    return root


def table(done: subprocess.CompletedProcess[str]) -> dict[str, tuple[str, ...]]:
    """kind -> passed, failed, could not run, why."""
    row = re.compile(r"^(fast|server|docker) +(\d+) +(\d+) +(\d+) *(.*)$", re.MULTILINE)
    return {kind: tuple(rest) for kind, *rest in row.findall(done.stdout)}


@pytest.mark.parametrize("workers", [[], ["-n", "0"]], ids=["with workers", "without"])
def test_every_test_is_counted_once(workers: list[str], tiny: Path) -> None:
    done = typed(tiny, "scripts/test", *workers)
    assert table(done) == {
        "fast": ("2", "3", "0", ""),
        "server": ("1", "0", "0", ""),
        "docker": ("1", "0", "2", "no engine answers: scripts/test --docker"),
    }
    assert done.returncode == 1
    assert "lab" not in done.stdout


def test_files_run_in_the_order_of_their_kinds(tiny: Path) -> None:
    done = typed(tiny, "scripts/test", "-n", "1", "-v", *NOT_BROKEN)
    assert re.findall(r"PASSED (\S+)", done.stdout) == [
        "tests/test_databases.py::test_fast",
        "tests/test_databases.py::test_server",
        "tests/test_pages.py::test_fast",
        "tests/docker/test_containers.py::test_three",
    ]


def test_what_could_not_run_is_no_failure_on_a_laptop(tiny: Path) -> None:
    done = typed(tiny, "scripts/test", "-n", "0", "tests/docker")
    assert done.returncode == 0, done.stdout


def test_fast_runs_the_fast_ones_only(tiny: Path) -> None:
    done = typed(tiny, "scripts/test", "--fast", "-n", "0", *NOT_BROKEN, CI="true")
    assert table(done)["fast"] == ("2", "0", "0", "")
    assert table(done)["server"][0] == table(done)["docker"][0] == "0"
    assert done.returncode == 0
    assert "lab" not in done.stdout


def test_docker_brings_the_lab_up_first(tiny: Path) -> None:
    done = typed(tiny, "scripts/test", "--docker", "-n", "0", "tests/docker")
    assert done.stdout.startswith("lab up\n")
    assert done.returncode == 0
    done = typed(tiny, "scripts/test", "--docker", "tests/docker", LAB="1")
    assert done.stdout == "lab up\n"
    assert done.returncode == 1


def test_a_soak_has_minutes_and_words_of_pytest(tiny: Path) -> None:
    done = typed(tiny, "scripts/test", "--soak", "0.5", "-k", "killed", "--docker")
    assert done.stdout == "lab up\nsoak 0.5 -k killed\n", done.stderr


@pytest.mark.parametrize("minutes", [[], ["soon"], ["0"], ["-k"]])
def test_a_soak_without_minutes_says_so(minutes: list[str], tiny: Path) -> None:
    sentence = assert_one_sentence(typed(tiny, "scripts/test", "--soak", *minutes))
    assert f"--soak needs minutes, and has {'none' if not minutes else minutes[0]}\n" in sentence


def test_in_ci_a_skip_of_any_kind_is_a_failure(tiny: Path) -> None:
    file = tiny / "tests" / "test_skip.py"
    file.write_text("import pytest\ndef test_skip():\n    pytest.skip('whatever')\n")
    try:
        on_a_laptop = typed(tiny, "scripts/test", "-n", "0", str(file))
        in_ci = typed(tiny, "scripts/test", "-n", "0", str(file), CI="true")
        announced = typed(tiny, "scripts/test", "-n", "0", "tests/docker", CI="true")
    finally:
        file.unlink()
    assert (on_a_laptop.returncode, in_ci.returncode, announced.returncode) == (0, 1, 1)
    assert in_ci.stdout.startswith("lab up\n")
    assert table(in_ci)["fast"] == ("0", "0", "1", "whatever")
    assert table(announced)["docker"][:3] == ("1", "2", "0")

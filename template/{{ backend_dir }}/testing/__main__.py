"""`python -m testing [command]`: the development server, where there is no Docker."""

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import psycopg2
from psycopg2 import sql

from app.core.config import get_settings
from app.migrate.explain import explain
from testing.databases import BACKEND, execute
from testing.server import NoServerError, find_binaries, postgres_server


def main(arguments: list[str]) -> int:
    """A server with user, password, database and port of the settings, which keeps its data.

    It runs until Ctrl-C, or for as long as the command takes, such as `psql` or `alembic current`.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    os.environ.setdefault("PGCONNECT_TIMEOUT", "5")  # whatever has the port may say nothing
    try:
        with ExitStack() as stack:
            started, where = _development_server(stack)
            if arguments:
                if not shutil.which(arguments[0]):
                    sys.exit(f"Error: there is no command {arguments[0]}\nNext:  check its name")
                return subprocess.run(arguments, check=False).returncode
            print(where, flush=True)
            while started:
                time.sleep(3600)
    except KeyboardInterrupt:
        print("stopped")
    except NoServerError as error:
        sys.exit(f"Error: {error}")
    except Exception as error:
        if not (problem := explain(error)):
            raise
        print(problem, file=sys.stderr)
        return problem.exit_code
    return 0


def _development_server(stack: ExitStack) -> tuple[bool, str]:
    """The one that runs already, or one for this stack; psql's environment names its database.

    Returns whether it was started here, and its address.
    """
    url = get_settings().database_url
    data, port = _development_data(), url.port or 5432
    if url.host not in {"localhost", "127.0.0.1"} or not (url.username and url.password):
        sys.exit("Error: the settings name another server\nNext:  set POSTGRES_HOST=localhost")
    postgres = url.set(database="postgres", host="127.0.0.1", port=port)
    where, started = "runs already", True
    with suppress(psycopg2.OperationalError):
        started = execute(postgres, "SHOW data_directory") != [(str(data / "pgdata"),)]
    if started:
        manager = postgres_server(data, port=port, user=url.username, password=url.password)
        try:
            where = f"{stack.enter_context(manager).source}, until Ctrl-C, data in {data}"
        except NoServerError as error:
            if "could not bind" not in str(error):
                raise
            sys.exit(
                f"Error: another program has port {port}\n"
                f"Next:  stop it, or set POSTGRES_PORT={port + 1} in .env"
            )
    name = url.database or ""
    if not execute(postgres, "SELECT 1 FROM pg_database WHERE datname = %s", name):
        execute(postgres, sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    # This environment's own programs, whether it is activated or not, and psql.
    path = [str(Path(sys.executable).parent), str(find_binaries()), os.environ.get("PATH", "")]
    os.environ |= {"PGHOST": "127.0.0.1", "PGPORT": str(port), "PGDATABASE": name}
    os.environ |= {"PGUSER": url.username, "PGPASSWORD": str(url.password)}
    os.environ["PATH"] = os.pathsep.join(path)
    return started, f"{where}: {url.set(drivername='postgresql')}"


def _development_data() -> Path:
    """`.postgres` in the backend folder.

    Not for root where others cannot come in, such as /root: PostgreSQL does not run as root.
    """
    if sys.platform != "win32" and os.geteuid() == 0:
        above = [folder.stat() for folder in (BACKEND, *BACKEND.parents)]
        if any(folder.st_uid == 0 and not folder.st_mode & 0o001 for folder in above):
            return Path("/var/lib", "-".join(["postgres", *BACKEND.parts[1:]]))
    return BACKEND / ".postgres"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

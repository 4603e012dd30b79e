"""`python -m testing [command]`: the development server, where there is no Docker."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from psycopg2 import sql

from app.core.config import get_settings
from app.migrate.explain import explain
from testing.databases import BACKEND, execute
from testing.server import ROOT, NoServerError, find_binaries, postgres_server

# For root it is not in a folder that others may not enter: PostgreSQL runs as one of them.
CLOSED = ROOT and any(not path.stat().st_mode & 0o001 for path in (BACKEND, *BACKEND.parents))
ELSEWHERE = Path("/var/lib", "-".join(["postgres", *BACKEND.parts[1:]]))
DATA = ELSEWHERE if CLOSED else BACKEND / ".postgres"


def main(arguments: list[str]) -> int:
    """A server with user, password, database and port of the settings, which keeps its data.

    It runs until Ctrl-C, or for as long as the command takes, such as `psql` or `alembic current`.
    """
    url = get_settings().database_url
    port, name, where = url.port or 5432, url.database or "", "runs already"
    if url.host not in {"localhost", "127.0.0.1"} or not (url.username and url.password):
        sys.exit("Error: the settings name another server\nNext:  set POSTGRES_HOST=localhost")
    with socket.socket() as probe:
        running = probe.connect_ex(("127.0.0.1", port)) == 0
    if running and not (DATA / "pgdata" / "postmaster.pid").exists():
        way_out = f"stop it, or set POSTGRES_PORT={port + 1} in .env"
        sys.exit(f"Error: another program has port {port}\nNext:  {way_out}")
    with ExitStack() as stack:
        if not running:
            manager = postgres_server(DATA, port=port, user=url.username, password=url.password)
            where = f"{stack.enter_context(manager)[1]}, until Ctrl-C, data in {DATA}"
        postgres = url.set(database="postgres", host="127.0.0.1", port=port)
        if not execute(postgres, "SELECT 1 FROM pg_database WHERE datname = %s", name):
            execute(postgres, sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        if not arguments:
            print(f"{where}: {url.set(drivername='postgresql')}", flush=True)
            while not running:
                time.sleep(3600)
            return 0
        # This environment's own programs, whether it is activated or not, and psql.
        path = [str(Path(sys.executable).parent), str(find_binaries()), os.environ.get("PATH", "")]
        os.environ |= {"PATH": os.pathsep.join(path), "PGHOST": "127.0.0.1", "PGPORT": str(port)}
        os.environ |= {"PGDATABASE": name, "PGUSER": url.username, "PGPASSWORD": str(url.password)}
        if not shutil.which(arguments[0]):
            sys.exit(f"Error: there is no command {arguments[0]}\nNext:  check its name")
        return subprocess.run(arguments, check=False).returncode


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    os.environ.setdefault("PGCONNECT_TIMEOUT", "5")  # whatever has the port may say nothing
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        print("stopped")
    except NoServerError as error:
        sys.exit(f"Error: {error}")
    except Exception as error:
        if not (problem := explain(error)):
            raise
        print(problem, file=sys.stderr)
        sys.exit(problem.exit_code)

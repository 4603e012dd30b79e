"""`python -m testing [command]`: the development server, where there is no Docker."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg2

from app.core.config import get_settings
from app.migrate.explain import explain
from testing.databases import create_database, execute
from testing.server import NoServerError, find_binaries, postgres_server


def main(words: list[str]) -> int:
    """`python -m testing [command]`: the development server, where there is no Docker.

    It takes user, password, database and port from the settings, and keeps its data. It runs until
    Ctrl-C, or for as long as the command takes, such as `psql` or `alembic current`.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    os.environ.setdefault("PGCONNECT_TIMEOUT", "5")  # whatever has the port may say nothing
    try:
        with _development_server() as (started, where, variables):
            if words:
                os.environ |= variables
                if not shutil.which(words[0]):
                    sys.exit(f"Error: there is no command {words[0]}\nNext:  check its name")
                return subprocess.run(words, check=False).returncode
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


@contextmanager
def _development_server() -> Generator[tuple[bool, str, dict[str, str]]]:
    """The one that runs already, or one for this block, with the database of the settings.

    Yields whether it was started here, its address, and that address for psql's environment.
    """
    url = get_settings().database_url
    data, port = _development_data(), url.port or 5432
    if url.host not in {"localhost", "127.0.0.1"} or not (url.username and url.password):
        sys.exit("Error: the settings name another server\nNext:  set POSTGRES_HOST=localhost")
    postgres = url.set(database="postgres", host="127.0.0.1", port=port)
    with ExitStack() as stack:
        try:
            started = execute(postgres, "SHOW data_directory") != [(str(data / "pgdata"),)]
        except psycopg2.OperationalError:
            started = True
        where = "runs already"
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
            create_database(postgres, name)
        variables = {"PGHOST": "127.0.0.1", "PGPORT": str(port), "PGDATABASE": name}
        variables |= {"PGUSER": url.username, "PGPASSWORD": str(url.password)}
        # This environment's own programs, whether it is activated or not, and psql.
        path = [str(Path(sys.executable).parent), str(find_binaries()), os.environ.get("PATH", "")]
        variables["PATH"] = os.pathsep.join(path)
        yield started, f"{where}: {url.set(drivername='postgresql')}", variables


def _development_data() -> Path:
    """`.postgres` in the backend folder.

    Not for root where others cannot come in, such as /root: PostgreSQL does not run as root.
    """
    backend = Path(__file__).resolve().parents[1]
    if sys.platform != "win32" and os.geteuid() == 0:
        above = [folder.stat() for folder in (backend, *backend.parents)]
        if any(folder.st_uid == 0 and not folder.st_mode & 0o001 for folder in above):
            return Path("/var/lib", "-".join(["postgres", *backend.parts[1:]]))
    return backend / ".postgres"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

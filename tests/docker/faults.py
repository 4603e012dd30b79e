"""Containers that migrate: five revisions in an image, a server, and a database for each run."""

import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

from docker.models.containers import Container
from sqlalchemy import URL, make_url

from tests._kit import forks
from tests._kit.forks import Forks
from tests.docker.conftest import Service as Shop
from tests.migrate.faults import MENDING, Expected, Report, empty, judge
from tests.migrate.service import Done, Running, Service

# As strict operators have it; every run here is one.
CONFINED: dict[str, Any] = {
    "cap_drop": ["ALL"],
    "read_only": True,
    "security_opt": ["no-new-privileges:true"],
}
# Instead of the half minute that app/migrate/connect.py gives a silent network, two seconds.
_KEEPALIVES = {"keepalives_idle": "1", "keepalives_interval": "1", "keepalives_count": "1"}
_USER_TIMEOUT = {"tcp_user_timeout": "2000"}
_SERVER = {f"tcp_{name}": value for name, value in _KEEPALIVES.items()} | _USER_TIMEOUT
IMPATIENT = {
    **_KEEPALIVES,
    **_USER_TIMEOUT,
    "options": " ".join(f"-c {name}={value}" for name, value in _SERVER.items()),
}
_numbers = count()


class InnerForks(Forks):
    """Forks in a container of the image: processes there, quicker to start than a container each.

    A hang is a failure, and its process stays.
    """

    def __init__(self, shop: Shop, image: str, backend: Path) -> None:
        self.container = f"{shop.name}-forks-{next(_numbers)}"
        words = ["docker", "run", "--interactive", "--rm", f"--name={self.container}"]
        words += [f"--network={shop.name}_default", f"--user={shop.uid}:{shop.gid}"]
        words += ["--cap-drop=ALL", "--read-only", "--security-opt=no-new-privileges:true"]
        words += [f"--volume={forks.__file__}:/forks.py:ro"]
        words += [f"--volume={backend}:{backend}"]  # what runs print goes there
        super().__init__(*words, image, "python", "/forks.py", **shop.caller)

    def wait(self, pid: int, timeout: float) -> int | None:
        """Its exit code."""
        code = super().wait(pid, timeout)
        assert code is not None, f"still running: {pid}"
        return code


@dataclass
class Lab:
    """What a fault needs to happen to."""

    shop: Shop
    image: str
    forks: InnerForks
    backend: Path
    catalogs: Any  # testing/schema.py of the rendered project
    expected: Expected = field(init=False)

    def database(self) -> Service:
        """An empty one, and the migrate command for it in the container of the forks."""
        name = f"fault_{next(_numbers)}"
        self.shop.rows(f"CREATE DATABASE {name} TEMPLATE template0")
        user, password = self.shop.user, self.shop.password
        url = URL.create("postgresql", user, password, "127.0.0.1", self.shop.port, name)
        inside = url.set(host="postgres", port=5432)
        variables = {"DATABASE_URL": inside.render_as_string(hide_password=False)}
        database = Service(
            self.backend, url, variables=variables, forks=self.forks, folder=Path("/srv")
        )
        empty(database)  # the schema is as any other one's, no longer initdb's
        return database

    @contextmanager
    def container(self, *words: str, **options: Any) -> Generator[Container]:
        """A container of the image, started, for as long as the block lasts."""
        defaults = {"detach": True, "network": f"{self.shop.name}_default"}
        options = CONFINED | defaults | options
        container = self.shop.engine.containers.run(self.image, list(words) or None, **options)
        try:
            yield container
        finally:
            container.remove(force=True)

    def start_spread(
        self, parts: list[float], query: dict[str, str] | None = None, **variables: str
    ) -> list[tuple[float, Service, Running]]:
        """For each part of a run one in a database of its own; on return each is just there.

        Args:
            parts: from 0 to 1.
            query: for the URL that they get.
            variables: that they get.
        """
        runs = [(part, self.database()) for part in sorted(parts, reverse=True)]
        seconds = 0.8 * self.expected.seconds  # since the fault itself takes a moment
        at_start, started = time.monotonic(), []
        for part, database in runs:
            passed = time.monotonic() - at_start
            time.sleep(max(0, (runs[0][0] - part) * seconds - passed))
            url = make_url(database.variables["DATABASE_URL"]).update_query_dict(query or {})
            given = variables | {"DATABASE_URL": url.render_as_string(hide_password=False)}
            started.append((part, database, database.start(**given)))
        time.sleep(runs[-1][0] * seconds)
        return started

    def mend(
        self,
        cut: list[tuple[float, Service, Done]],
        report: Report,
        accepted: set[int],
        there: InnerForks | None = None,
    ) -> None:
        """One more run for each, all at once, in which nothing may be missing.

        Where the fault came too late for most, the next ones come sooner; where it came before
        they had connected, and they waited for the server, later: the machine is busier or less.
        """
        compare = (self.catalogs.catalog, self.catalogs.difference)
        others = [replace(item[1], forks=there or self.forks) for item in cut]
        mending = [database.start(**MENDING) for database in others]
        mended = [running.wait() for running in mending]
        for (part, database, done), after in zip(cut, mended, strict=True):
            judge(database, self.expected, compare, done, after, part, report, accepted)
        unharmed = [done for _, _, done in cut if done.returncode == 0]
        early = sum("trying again" in done.stderr for done in unharmed)
        if early > len(cut) / 2:
            self.expected.seconds *= 1.5
        elif len(unharmed) - early > len(cut) / 2:
            self.expected.seconds *= 0.75


def ended(container: Container) -> Done:
    """How it ended; a hang is a failure."""
    code = container.wait(timeout=300)["StatusCode"]
    return Done(code, "", container.logs().decode())

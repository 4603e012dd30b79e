"""Migrations in containers: five at once, stopped, without their server, without their network."""

import itertools
import json
import os
import secrets
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import psycopg2
import pytest
from sqlalchemy import make_url

from tests._kit.support import template_module
from tests.conftest import Render
from tests.docker.conftest import NewService
from tests.docker.conftest import Service as Shop
from tests.docker.faults import IMPATIENT, InnerForks, Lab, ended
from tests.migrate.faults import STEPS, Report, moments, prepare, undisturbed
from tests.migrate.service import Done, Service, copy
from tests.migrate.test_lock import STEPS as COUNTED  # each can be seen to have run twice

SEED = int(os.environ.get("FAULT_SEED") or secrets.randbelow(10**6))
CONTAINERS = 5
LOCK_KEY = int.from_bytes(b"alembic", "big")  # of app/migrate/queries.sql
NOWHERE = make_url("postgresql://")


@pytest.fixture(scope="module")
def shop(new_service: NewService) -> Generator[Shop]:
    """A service with revisions, whose PostgreSQL runs, and does not wait for the disk."""
    with new_service() as shop:
        quick = "services: {postgres: {command: [-c, fsync=off]}}\n"
        shop.write("docker-compose.override.yml", quick)
        shop.password = "not-that-of-development"  # noqa: S105 (production refuses that one)
        shop.environment["POSTGRES_PASSWORD"] = shop.password
        service = Service(shop.project.backend, NOWHERE)
        for name, body in COUNTED.items():
            service.add(name, body)
        shop.compose("up", "--wait", "postgres")
        yield shop


@pytest.fixture(scope="module")
def lab(shop: Shop, rendered: Render, slug: str) -> Generator[Lab]:
    """The same server, and the image for production with the five revisions of the fault tests."""
    source = rendered(project_slug=slug).backend
    service = copy(source, shop.path.parent / "faults", NOWHERE)
    prepare(service)
    image = f"{shop.name}-runtime"
    done = shop.execute("docker", "build", "-t", image, str(service.backend))
    assert done.returncode == 0, done.stderr
    inner = InnerForks(shop, image, service.backend)
    catalogs = template_module("testing.schema")
    lab = Lab(shop, image, inner, service.backend, catalogs)
    try:
        lab.expected = undisturbed(lab.database(), catalogs.catalog)
        for _ in range(3):  # the first was slow, and another may meet a busy machine
            start, database = time.monotonic(), lab.database()
            assert database.migrate().returncode == 0
            lab.expected.seconds = min(lab.expected.seconds, time.monotonic() - start)
        yield lab
    finally:
        inner.close()
        shop.engine.images.remove(image, force=True)


@pytest.fixture(scope="module")
def elsewhere(lab: Lab) -> Generator[InnerForks]:
    """Another container that can run migrations."""
    inner = InnerForks(lab.shop, lab.image, lab.backend)
    yield inner
    inner.close()


Tell = Callable[[str, Report], None]


@pytest.fixture
def tell(record_property: Callable[[str, object], None]) -> Tell:
    """Print what was done, and have its numbers at the end of the whole run."""

    def tell(what: str, report: Report) -> None:
        print(what, report)
        record_property("line", report.line(what))

    return tell


@pytest.mark.in_turn(2)
@pytest.mark.parametrize("older", [None, "plain"], ids=["empty", "older"])
def test_five_containers_take_each_step_once(
    shop: Shop, older: str | None, record_property: Callable[[str, object], None]
) -> None:
    shop.rows("DROP SCHEMA public CASCADE")
    shop.rows("CREATE SCHEMA public")
    if older:
        shop.migrate("upgrade", older)
    address = f"host=127.0.0.1 port={shop.port} dbname={shop.database}"
    with ThreadPoolExecutor(CONTAINERS) as pool:
        with closing(psycopg2.connect(address, user=shop.user, password=shop.password)) as holder:
            # Nobody has the lock until all want it, however slowly they start.
            holder.cursor().execute("SELECT pg_advisory_lock(%s)", [LOCK_KEY])
            runs = [pool.submit(shop.migrate, status=None) for _ in range(CONTAINERS)]
            there = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'migrate'"
            while shop.rows(there) != [(CONTAINERS,)] and not any(run.done() for run in runs):
                time.sleep(0.1)
        done = [run.result() for run in runs]
    said = "\n".join(run.stderr for run in done)
    assert [run.returncode for run in done] == [0] * CONTAINERS, said
    assert shop.version() == ["last"]
    ran = shop.rows("SELECT step, count(*) FROM ran GROUP BY step ORDER BY step")
    assert ran == [(name, 1) for name in sorted(COUNTED)]
    assert shop.rows("SELECT size, count(*) FROM items GROUP BY size") == [(1, 5000)]
    valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'ix_items_name'::regclass"
    assert shop.rows(valid) == [(True,)]
    recorded = shop.rows("SELECT revision FROM alembic_history ORDER BY id")
    assert [row[0] for row in recorded] == ["baseline", *COUNTED]
    waited = said.count("Waiting for another migration: ")
    assert waited, "none met another: the test proves nothing"
    line = f"{CONTAINERS} containers from {older or 'empty'}: {waited} waited, each step once"
    print(line)
    record_property("line", line)


@pytest.mark.in_turn(3, of="any moment")
def test_a_container_is_stopped_at_any_moment(lab: Lab, tell: Tell) -> None:
    report = Report(SEED, seconds=lab.expected.seconds)
    # In revisions: 1.5 is in the middle of the second; -0.5 is half a second before it connects.
    parts = [part * (len(STEPS) + 1) - 1 for part in moments(SEED)]
    databases = [lab.database() for _ in parts]
    inits = itertools.cycle([True, False])  # Compose gives its containers one, others may not
    with ThreadPoolExecutor(3) as pool:
        cut = list(pool.map(stopped, itertools.repeat(lab), databases, parts, inits))
    lab.mend(list(zip(parts, databases, cut, strict=True)), report, {143})
    tell("a container is stopped", report)
    # Eight or nine of ten; those before it connects, and in its first steps, cannot miss.
    assert report.codes[143] >= 0.3 * len(parts), report
    for part, done in zip(parts, cut, strict=True):
        if part >= 0 and done.returncode == 143 and "-> checked," not in done.stderr:
            assert "Error: interrupted" in done.stderr, done


def stopped(lab: Lab, database: Service, part: float, init: bool) -> Done:
    """A container that is stopped at that moment."""
    with lab.container(environment=database.variables, init=init) as container:
        lines = container.logs(stream=True)
        if part < 0:
            time.sleep(-part)
        else:
            begins = f"-> {list(STEPS)[int(part)]},"
            for line in lines:
                if begins in line.decode():
                    break
            time.sleep(part % 1 * lab.expected.seconds / len(STEPS))
        container.stop(timeout=60)  # after a minute it would be killed: exit code 137
        list(lines)  # the SDK closes what is read to the end
        return ended(container)


def test_a_container_that_lost_its_network_is_stopped_before_it_is_killed(lab: Lab) -> None:
    """Docker gives it ten seconds."""
    database = lab.database()
    network = lab.shop.engine.networks.get(f"{lab.shop.name}_default")
    with closing(psycopg2.connect(database.url.render_as_string(hide_password=False))) as holder:
        holder.cursor().execute("SELECT pg_advisory_lock(%s)", [LOCK_KEY])
        with lab.container(environment=database.variables, init=True) as container:
            lines = container.logs(stream=True)
            next(line for line in lines if b"Waiting for another" in line)
            network.disconnect(container)
            time.sleep(2.5)  # it asks for the lock every two seconds at least
            container.stop()
            list(lines)  # the SDK closes what is read to the end
            done = ended(container)
    assert done.returncode == 143, done
    assert "Error: interrupted" in done.stderr
    assert "Traceback" not in done.stderr


def spread(seed: int, groups: int = 4) -> list[list[float]]:
    """Twenty moments, in groups that have early and late ones."""
    parts = moments(seed, 20)
    return [parts[n::groups] for n in range(groups)]


@pytest.mark.in_turn(3, of="any moment")
def test_a_server_is_killed_and_started_at_any_moment(lab: Lab, tell: Tell) -> None:
    report = Report(SEED, seconds=lab.expected.seconds)
    server = lab.shop.container("postgres")
    for group, parts in enumerate(spread(SEED + 1) + spread(SEED + 3) + spread(SEED + 4)):
        if group >= 4 and report.codes[4] >= 6:
            break
        running = lab.start_spread(parts, MIGRATION_CONNECT_WAIT="30")
        server.kill()
        server.start()
        cut = [(part, database, run.wait()) for part, database, run in running]
        lab.mend(cut, report, {4})
    tell("the server is killed and started", report)
    assert report.codes[4] >= 6, report


@pytest.mark.in_turn(3, of="any moment")
def test_a_network_is_cut_at_any_moment(lab: Lab, elsewhere: InnerForks, tell: Tell) -> None:
    report = Report(SEED, seconds=lab.expected.seconds)
    network = lab.shop.engine.networks.get(f"{lab.shop.name}_default")
    client = lab.shop.engine.containers.get(lab.forks.container)
    server = lab.shop.container("postgres")
    ways = [
        (client, "back while they wait"),
        (client, "back when another has mended all"),
        (server, "back while they wait"),
        (server, "back when they have ended"),
    ]
    for (end, back), parts in zip(ways, spread(SEED + 2), strict=True):
        aliases = ["postgres"] if end is server else []
        running = lab.start_spread(parts, IMPATIENT, MIGRATION_CONNECT_WAIT="1")
        network.disconnect(end)
        start = time.monotonic()
        if "wait" in back:
            time.sleep(0.5)
            network.connect(end, aliases=aliases)
        cut = [(part, database, run.wait()) for part, database, run in running]
        seconds = time.monotonic() - start
        if "another" in back:  # only the server can know that nobody is there any more
            lab.mend(cut, report, {4}, elsewhere)
        if "wait" not in back:
            network.connect(end, aliases=aliases)
        if "another" not in back:
            lab.mend(cut, report, {4})
        codes = [done.returncode for _, _, done in cut]
        print(f"{end.name} cut off, {back}: all ended after {seconds:.1f} s with {codes}", end=", ")
        print(f"and were mended {time.monotonic() - start - seconds:.1f} s later")
    tell("the network is cut", report)
    assert report.codes[4], report  # ten of twenty; it is enough that not all had ended


LOOK = """
import json, socket, sys
from app.core.config import get_settings
from app.migrate.connect import connect

with connect(get_settings().database_url_sync, 30) as connection:
    connection.exec_driver_sql(sys.argv[1])
    ours = socket.socket(fileno=connection.connection.driver_connection.fileno())
    names = ["KEEPIDLE", "KEEPINTVL", "KEEPCNT", "USER_TIMEOUT"]
    client = [ours.getsockopt(socket.IPPROTO_TCP, getattr(socket, f"TCP_{n}")) for n in names]
    on = ours.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    ours.detach()
    names = ["keepalives_idle", "keepalives_interval", "keepalives_count", "user_timeout"]
    server = [int(connection.exec_driver_sql(f"SHOW tcp_{n}").scalar()) for n in names]
    print(json.dumps([on, client, server]))
"""


def test_both_ends_give_a_silent_network_half_a_minute_and_a_statement_any_time(lab: Lab) -> None:
    database = lab.database()
    url = make_url(database.variables["DATABASE_URL"]).update_query_dict(IMPATIENT)
    impatient = {"DATABASE_URL": url.render_as_string(hide_password=False)}
    quick = ["python", "-c", LOOK, "SELECT 1"]
    slow = ["python", "-c", LOOK, "SELECT pg_sleep(4)"]  # twice as long as those limits
    with (
        lab.container(*quick, environment=database.variables) as usual,
        lab.container(*slow, environment=impatient) as unusual,
    ):
        for container, limits in (usual, [10, 5, 4, 30_000]), (unusual, [1, 1, 1, 2000]):
            done = ended(container)
            assert done.returncode == 0, done
            assert json.loads(done.stderr.splitlines()[-1]) == [1, limits, limits]


def test_a_name_that_cannot_be_found_is_named(lab: Lab) -> None:
    database = lab.database()
    url = make_url(database.variables["DATABASE_URL"]).set(host="db.nowhere.example")
    wait = {"MIGRATION_CONNECT_WAIT": "1"}
    unknown = wait | {"DATABASE_URL": url.render_as_string(hide_password=False)}
    with (
        lab.container(environment=unknown, dns=["127.0.0.1"]) as nameless,
        lab.container(environment=wait | database.variables, network="none") as alone,
        lab.container(environment=database.variables) as complete,
    ):
        for container, host in (nameless, url.host), (alone, "postgres"):
            done = ended(container)
            assert done.returncode == 4, done
            assert f"Error: could not translate host name {host} (PostgreSQL)\nNext:" in done.stderr
            assert "Traceback" not in done.stderr
        done = ended(complete)
        assert done.returncode == 0, done
    assert database.version() == ["checked"]

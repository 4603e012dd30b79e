"""compose.production.yaml, booted once: each line of its hardening is looked at from the inside.

BACKUP_ROWS=10000000 scripts/test tests/docker/test_production.py -k round_trip -n 0 -s takes ten
million rows; on the lab's engine, whose volumes are in memory, with POSTGRES_MEMORY=14g.
"""

import json
import os
import re
import shutil
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.request import HTTPRedirectHandler, Request, build_opener, urlopen

import pytest

from tests._kit.guide import follow, shell
from tests._kit.revision import write_revision
from tests._kit.support import free_port
from tests.docker.conftest import PATIENCE, NewService, Service

PASSWORDS = {
    "postgres": "p'ss\\ \"w$ord",
    "owner": "%41; DROP :'owner' --",
    "application": "`id` $HOME é/@:?#",
    "read_only": " spaces ",
}
ROWS = int(os.environ.get("BACKUP_ROWS", "10000"))
DATA = f"""
CREATE ROLE reader NOLOGIN;
CREATE EXTENSION pg_trgm;
CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE TABLE goods (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text, feels mood);
INSERT INTO goods (name, feels) SELECT md5(n::text), 'ok' FROM generate_series(1, {ROWS}) n;
CREATE INDEX ON goods USING gin (name gin_trgm_ops);
GRANT SELECT ON goods TO reader;
CREATE VIEW totals AS SELECT feels, count(*) FROM goods GROUP BY feels;
ALTER VIEW totals OWNER TO reader;
SELECT lo_from_bytea(4711, decode(repeat('00ff', 100000), 'hex'));
"""  # noqa: S608
SLOW = """
CREATE OR REPLACE FUNCTION is_slow(int) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
IF current_database() = 'cut_incomplete' THEN PERFORM pg_sleep(600); END IF; RETURN true;
END $$;
CREATE TABLE slow_to_restore (x int CHECK (is_slow(x)));
INSERT INTO slow_to_restore VALUES (1)
"""
FACTS = (
    "SELECT count(*), sum(hashtext(goods::text)::bigint) FROM goods",
    "SELECT last_value FROM goods_id_seq",
    "SELECT md5(lo_get(4711))",
    "SELECT extname, extversion FROM pg_extension ORDER BY 1",
    # The order of privileges within a table is the server's own.
    "SELECT relname, relowner::regrole, (SELECT string_agg(acl::text, ' ' ORDER BY acl::text)"
    " FROM unnest(relacl) AS acl) FROM pg_class WHERE relnamespace = 'public'::regnamespace"
    " ORDER BY 1",
    "SELECT version_num FROM alembic_version",
    "SELECT revision, role FROM alembic_history",
    "SELECT datdba::regrole, datacl FROM pg_database WHERE datname = current_database()",
    "SELECT setrole::regrole, setconfig FROM pg_db_role_setting JOIN pg_database"
    " ON pg_database.oid = setdatabase WHERE datname = current_database() ORDER BY 1",
)
LOOK = r"""
import json, os, pathlib, socket
def attempt(action):
    try:
        action()
    except OSError as error:
        return type(error).__name__ + " " + str(error.errno)
    return "done"
status = dict(line.split(":", 1) for line in open("/proc/self/status") if ":" in line)
with open("/proc/1/environ", "rb") as file:
    first = file.read().decode()
found = {
    "uid": os.getuid(),
    "capabilities": {status[name].strip() for name in ("CapPrm", "CapEff", "CapBnd")},
    "no_new_privileges": status["NoNewPrivs"].strip(),
    "seccomp": status["Seccomp"].strip(),
    "writes": [attempt(pathlib.Path(f"{place}/x").touch) for place in ("", "/srv", "/var/tmp")],
    "tmp": attempt(pathlib.Path("/tmp/x").touch),
    "chown": attempt(lambda: os.chown("/tmp/x", 0, 0)),
    "setuid": attempt(lambda: os.setuid(0)),
    "secrets": sorted(os.listdir("/run/secrets")),
    "docker": os.path.exists("/var/run/docker.sock"),
    "init": open("/proc/1/comm").read().strip(),
    "environment": first,
    "outside": attempt(lambda: socket.create_connection(("postgres", 5432), 5).close()),
}
found["capabilities"] = sorted(found["capabilities"])
print(json.dumps(found))
"""


def write_secrets(shop: Service) -> None:
    """Others than those of the guide, which have no odd character."""
    for name, password in PASSWORDS.items():
        file = shop.path / "secrets" / f"{name}_password"
        assert len(file.read_text()) == 49, "the guide has made one"
        file.write_text(f"{password}\n", "utf-8")


def type_guide(shop: Service, begin: str, end: str) -> int:
    """Type DEPLOY.md, from the words `begin` to the words `end`."""
    text = (shop.path / "DEPLOY.md").read_text("utf-8")
    text = text.partition(begin)[2].partition(end)[0]
    environment = shop.caller["env"]
    count = follow(text, shop.path, shop.project.backend, shell(environment))
    shop.environment |= {name: environment[name] for name in shop.environment}
    return count


@pytest.fixture(scope="module")
def shop(new_service: NewService, slug: str) -> Generator[Service]:
    """An application in production."""
    environment = {
        "COMPOSE_FILE": "compose.production.yaml",
        "IMAGE": f"{slug}-production",
        "VERSION": "0.9.0",
        "MIGRATION_BACKUP": "0",
        "REVISION": "0123abc",
        "API_PORT": str(free_port()),
        "POSTGRES_MEMORY": os.environ.get("POSTGRES_MEMORY", "2g"),
    }
    answers = {"api": "fastapi", "deploy": "compose", "project_slug": f"{slug}-api"}
    with new_service(environment=environment, **answers) as service:
        type_guide(service, "## One machine", "A password for")
        refused = service.compose("up", "--wait", "--detach", "postgres", status=1)
        assert "secrets" in refused.stderr, "it starts without passwords"
        roles = service.path / "database" / "roles.sql"
        roles.chmod(0o600)  # as a clone by somebody with umask 077 has it
        type_guide(service, "A password for", "The server takes")
        write_secrets(service)
        type_guide(service, "The server takes", "Each release")
        yield service
        service.compose("down", "--volumes", "--timeout", "1")
        service.engine.volumes.get(f"{service.name}_postgres-18")  # it is there
        images = [f"{slug}-production:{version}" for version in ("1.0.0", "1.0.1")]
        service.execute("docker", "image", "rm", "--force", *images)


def inside(shop: Service, service: str, *words: str) -> str:
    """What a command prints in its container."""
    return shop.compose("exec", "-T", service, *words).stdout


def host_config(shop: Service, service: str) -> dict[str, Any]:
    """What the engine was told."""
    config: dict[str, Any] = shop.container(service).attrs["HostConfig"]
    return config


def health(shop: Service) -> int:
    """The application's answer."""
    with urlopen(f"http://127.0.0.1:{shop.environment['API_PORT']}/health/ready") as response:
        return int(response.status)


def psql(shop: Service, statement: str, database: str = "") -> str:
    """By the administrator, in the server's container."""
    words = ["psql", "-XAt", "-U", "postgres", "-d", database or shop.database, "-c", statement]
    return inside(shop, "postgres", *words)


def facts(shop: Service, database: str = "") -> list[str]:
    """What a copy must have too."""
    found = [psql(shop, statement, database) for statement in FACTS]
    assert all(found)
    return found


def test_the_application_has_no_right_that_it_does_not_need(shop: Service) -> None:
    assert health(shop) == 200
    found = json.loads(inside(shop, "api", "python", "-c", LOOK))
    assert found["uid"] == 10001
    assert found["capabilities"] == ["0" * 16]
    assert (found["no_new_privileges"], found["seccomp"]) == ("1", "2")
    assert found["writes"] == ["OSError 30"] * 3  # a read-only file system
    assert found["tmp"] == "done"
    assert found["chown"] == found["setuid"] == "PermissionError 1"
    assert found["secrets"] == ["application_password"]
    assert not found["docker"]
    assert found["init"] in {"docker-init", "tini"}
    assert found["outside"] == "done"
    for password in PASSWORDS.values():
        assert password not in found["environment"]


@pytest.mark.parametrize("service", ["api", "migrate", "postgres", "backup-first"])
def test_every_container_is_confined(shop: Service, service: str) -> None:
    config = host_config(shop, service)
    assert config["ReadonlyRootfs"]
    assert config["CapDrop"] == ["ALL"]
    becomes_owner = ["KILL", "SETGID", "SETUID"] if service == "backup-first" else []
    assert [it.removeprefix("CAP_") for it in config["CapAdd"] or []] == becomes_owner
    assert config["SecurityOpt"] == ["no-new-privileges:true"]
    assert not config["Privileged"]
    assert 0 < config["PidsLimit"] <= 1024
    assert 0 < config["Memory"] <= 2 * 1024**3
    assert config["PidMode"] == ""
    assert config["IpcMode"] == "private"
    assert config["Init"]
    assert config["LogConfig"]["Config"] == {"max-size": "10m", "max-file": "5"}
    stays = service in {"api", "postgres"}
    assert config["RestartPolicy"]["Name"] == ("unless-stopped" if stays else "no")
    mounts = shop.container(service).attrs["Mounts"]
    bound = {mount["Destination"]: mount["RW"] for mount in mounts if mount["Type"] == "bind"}
    secret = {
        "api": {"application"},
        "migrate": {"owner"},
        "postgres": PASSWORDS.keys(),
        "backup-first": {"postgres"},
    }[service]
    expected = {f"/run/secrets/{name}_password": False for name in secret}
    if service == "backup-first":
        expected["/srv/backups"] = True
    if service == "postgres":
        expected["/docker-entrypoint-initdb.d/roles.sql"] = False
    assert bound == expected


def test_the_server_is_nobodys_but_the_networks(shop: Service) -> None:
    assert not host_config(shop, "postgres")["PortBindings"]
    assert inside(shop, "postgres", "id", "-un") == "postgres\n"
    assert "CapEff:\t0000000000000000" in inside(shop, "postgres", "cat", "/proc/self/status")
    [(port, [published])] = host_config(shop, "api")["PortBindings"].items()
    assert (port, published["HostIp"]) == ("8000/tcp", "127.0.0.1")
    networks = shop.container("postgres").attrs["NetworkSettings"]["Networks"]
    assert set(networks) == {f"{shop.name}_database"}
    assert shop.engine.networks.get(f"{shop.name}_database").attrs["Internal"]
    image = shop.container("api").attrs["Image"]
    elsewhere = shop.execute(
        "docker", "run", "--rm", "--network", f"{shop.name}_default", image, "python", "-c",
        "import socket; socket.create_connection(('postgres', 5432), 3)",
    )  # fmt: skip
    assert "gaierror" in elsewhere.stderr


def test_the_roles_are_split(shop: Service) -> None:
    health(shop)
    role = f"{shop.project.answers['project_slug']}_".replace("-", "_")
    who = "SELECT DISTINCT usename FROM pg_stat_activity WHERE client_addr IS NOT NULL"
    assert psql(shop, who) == f"{role}application\n"
    assert psql(shop, "SELECT DISTINCT role FROM alembic_history") == f"{role}owner\n"
    owner = "SELECT tableowner FROM pg_tables WHERE tablename = 'alembic_version'"
    assert psql(shop, owner) == f"{role}owner\n"
    for name in ("owner", "application", "read_only"):
        connect = "import psycopg2, os; psycopg2.connect(host='postgres', password=os.environ['X'],"
        connect += f" user='{role}{name}', dbname='{shop.database}')"
        for password, works in ((PASSWORDS[name], True), ("development-only", False)):
            words = ["exec", "-T", "-e", f"X={password}", "api", "python", "-c", connect]
            done = shop.compose(*words, status=None)
            assert (done.returncode == 0) == works, done.stderr
            assert works or "password authentication failed" in done.stderr


def test_the_way_out_of_a_wrong_password_is_in_the_message(shop: Service) -> None:
    file = shop.path / "secrets" / "owner_password"
    file.write_text("another\n", "utf-8")
    done = shop.compose("run", "--rm", "migrate", env={"MIGRATION_BACKUP": "0"}, status=5)
    command = done.stderr.strip().rpartition(": ")[2]
    assert shop.execute("sh", "-c", command).returncode == 0, command
    shop.compose("run", "--rm", "migrate", env={"MIGRATION_BACKUP": "0"})
    file.write_text(f"{PASSWORDS['owner']}\n", "utf-8")
    assert shop.execute("sh", "-c", command).returncode == 0


def test_a_revision_is_made_where_one_develops(shop: Service) -> None:
    done = shop.compose("run", "--rm", "migrate", "revision", "-m", "x", status=2)
    assert "Error: cannot write the revision: [Errno 30] Read-only file system" in done.stderr
    assert "Next:  type it where you develop" in done.stderr


def test_no_secret_is_in_an_image_a_log_or_an_inspection(shop: Service) -> None:
    image = f"{shop.environment['IMAGE']}:1.0.0"
    texts = [
        json.dumps(shop.engine.images.get(image).attrs),
        json.dumps(shop.engine.images.get(image).history()),
        shop.compose("config").stdout,
        shop.compose("logs").stdout,
        *(json.dumps(shop.container(name).attrs) for name in ("api", "migrate", "postgres")),
    ]
    for text in texts:
        assert len(text) > 100
        for password in PASSWORDS.values():
            assert password.strip() not in text
            assert json.dumps(password)[1:-1] not in text
    labels = shop.engine.images.get(image).labels
    assert labels["org.opencontainers.image.version"] == "1.0.0"
    assert labels["org.opencontainers.image.revision"] == "0123abc"
    assert labels["org.opencontainers.image.title"] == shop.project.answers["project_slug"]


def test_it_shares_nothing_with_development_in_the_same_folder(shop: Service) -> None:
    """The development's `docker compose down --volumes` would delete production's database."""
    folder = shop.path.parent / shop.project.answers["project_slug"]
    folder.mkdir()
    names = []
    for file in ("docker-compose.yml", "compose.production.yaml"):
        shutil.copy(shop.path / file, folder)
        environment = {"COMPOSE_PROJECT_NAME": "", "COMPOSE_FILE": file}
        done = shop.compose("config", "--format", "json", env=environment, cwd=folder)
        names.append(json.loads(done.stdout)["name"])
    assert names[0] == folder.name
    assert names[1] != folder.name


def test_it_knows_what_the_proxy_says(shop: Service) -> None:
    class Stay(HTTPRedirectHandler):
        def http_error_307(self, _request: Any, answer: Any, *_: Any) -> Any:
            return answer

    address = f"http://127.0.0.1:{shop.environment['API_PORT']}/health/live/"
    request = Request(address, headers={"X-Forwarded-Proto": "https"})
    with build_opener(Stay).open(request) as answer:
        assert answer.headers["location"].startswith("https://")


def test_no_server_of_another_major_version_begins_empty(shop: Service) -> None:
    text = (shop.path / "compose.production.yaml").read_text("utf-8")
    shop.write("next.yaml", text.replace("postgres-18", "postgres-19"))
    next_release = {"COMPOSE_FILE": "next.yaml"}
    for words in (["run", "--rm", "migrate"], ["up", "--detach", "--wait"]):
        done = shop.compose(*words, env=next_release, status=None)
        assert done.returncode
        assert f'external volume "{shop.name}_postgres-19" not found' in done.stderr
    assert health(shop) == 200
    assert psql(shop, "SELECT version_num FROM alembic_version") == "baseline\n"


def test_a_server_of_another_image_finds_the_data_and_refuses_them(shop: Service) -> None:
    words = ["run", "--rm", "--no-deps", "postgres", "postgres", "-C", "data_directory"]
    done = shop.compose(*words, env={"POSTGRES_IMAGE": "postgres:17"}, status=None)
    assert done.returncode
    assert "/var/lib/postgresql/18/docker/postgresql.conf" in done.stderr + done.stdout
    assert health(shop) == 200


def test_a_release_whose_image_is_gone_is_not_built_from_other_code(shop: Service) -> None:
    for words in (["run", "--rm", "migrate"], ["up", "--detach", "--wait"]):
        done = shop.compose(*words, env={"VERSION": "9.9.9", "MIGRATION_BACKUP": "0"}, status=None)
        assert done.returncode
        assert f"No such image: {shop.environment['IMAGE']}:9.9.9" in done.stderr
        assert not shop.engine.images.list(f"{shop.environment['IMAGE']}:9.9.9")
    assert health(shop) == 200


def test_it_asks_for_a_version(shop: Service) -> None:
    done = shop.compose("config", env={"VERSION": ""}, status=1)
    assert "set VERSION to the release" in done.stderr


def test_it_comes_back_by_itself(shop: Service) -> None:
    shop.compose("exec", "-T", "api", "sh", "-c", "kill -9 -1", status=None)
    deadline = time.monotonic() + PATIENCE
    while not shop.container("api").attrs["RestartCount"]:
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_a_round_trip_keeps_data_owners_privileges_settings_extensions_and_large_objects(
    shop: Service, record_property: Callable[[str, object], None]
) -> None:
    folder = shop.path / "backups"
    was = folder.stat()
    os.chown(folder, 1000, 1001)
    psql(shop, DATA)
    psql(shop, f'ALTER DATABASE {shop.database} SET search_path = shop, public, "it\'s"')
    psql(shop, f"ALTER ROLE reader IN DATABASE {shop.database} SET work_mem = '8MB'")
    said = f"ALTER DATABASE {shop.database} SET work_mem = 4444;"  # a text's, no statement
    psql(shop, f"CREATE FUNCTION said() RETURNS text LANGUAGE sql AS $$ SELECT '\n{said}\n' $$")
    backup = shop.compose("run", "--rm", "backup", "first").stdout
    assert re.fullmatch(r"backups/first\.dump: \S+, \d+ s\n", backup)
    info = (folder / "first.dump").stat()
    assert (info.st_uid, info.st_gid, info.st_mode & 0o777) == (1000, 1001, 0o600)
    restore = shop.compose("run", "--rm", "restore", "backups/first.dump").stdout
    told = re.fullmatch(r"database (\w+): (\d+ [kMG]B), \d+ s\n", restore)
    assert told
    assert told[1].startswith(f"{shop.database}_2")
    assert facts(shop, told[1]) == facts(shop)
    record_property("line", f"backup of {ROWS:,} rows: {' '.join((backup + restore).split())}")
    os.chown(folder, was.st_uid, was.st_gid)


def test_nothing_is_overwritten(shop: Service) -> None:
    mine = shop.write("backups/mine.dump", "mine")
    done = shop.compose("run", "--rm", "backup", "mine", status=2)
    assert "Error: backups/mine.dump exists" in done.stderr
    assert mine.read_text() == "mine"
    before = psql(shop, "SELECT count(*) FROM pg_class")
    done = shop.compose("run", "--rm", "restore", "backups/mine.dump", shop.database, status=2)
    assert f"Error: database {shop.database} exists" in done.stderr
    assert psql(shop, "SELECT count(*) FROM pg_class") == before
    done = shop.compose("run", "--rm", "restore", "backups/other.dump", status=2)
    assert "Error: no file backups/other.dump" in done.stderr
    mine.unlink()


def test_a_restored_database_takes_the_place_of_one_or_nothing_happens(shop: Service) -> None:
    """Its name may be mistyped."""
    guide = (shop.path / "DEPLOY.md").read_text("utf-8")
    [rename] = re.findall(r"(?m)^\$ (docker compose exec .* RENAME .*)", guide)
    shop.compose("stop", "api")
    assert "not exist" in shop.execute("sh", "-c", rename).stderr  # the database `restored`
    shop.compose("up", "--detach", "--wait")
    assert health(shop) == 200


def test_passwords_in_use_are_not_made_again(shop: Service) -> None:
    """By a step that is typed twice."""
    made = re.findall(r"(?m)^\$ (mkdir .*)", (shop.path / "DEPLOY.md").read_text("utf-8"))
    assert "secrets" in made[-1]
    for words in made:
        assert shop.execute("sh", "-c", words).returncode
    for name, password in PASSWORDS.items():
        file = shop.path / "secrets" / f"{name}_password"
        assert file.read_text("utf-8") == f"{password}\n"


def test_two_backups_of_one_name_make_one(shop: Service) -> None:
    backups = shop.path / "backups"
    taken = (backups / "before-1.0.0.dump").rename(backups / "taken.dump")
    shop.compose("run", "--rm", "migrate", env={"VERSION": "1.0.0", "MIGRATION_BACKUP": "2"})
    states = shop.compose("ps", "--all", "--format", "{{.ExitCode}}", "backup-first").stdout
    assert states == "0\n0\n", shop.compose("logs", "backup-first").stdout
    assert not [*backups.glob("*.part")]
    taken.rename(backups / "before-1.0.0.dump")
    shop.compose("run", "--rm", "migrate")


def test_a_restore_that_fails_leaves_no_database(shop: Service) -> None:
    broken = shop.write("backups/broken.dump", "PGDMP nonsense")
    done = shop.compose("run", "--rm", "restore", "backups/broken.dump", "broken", status=1)
    assert "pg_restore: error" in done.stderr
    assert psql(shop, "SELECT 1 FROM pg_database WHERE datname LIKE 'broken%'") == ""
    broken.unlink()


@pytest.mark.parametrize("number", ["SIGTERM", "the server"])
def test_a_backup_that_is_cut_off_leaves_nothing(shop: Service, number: str) -> None:
    """While it waits for a table."""
    waits = "application_name = 'pg_dump' AND wait_event_type = 'Lock'"
    end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE "
    psql(shop, "CREATE TABLE locked ()")
    hold = "BEGIN; LOCK locked; SELECT pg_sleep(600)"
    with ThreadPoolExecutor() as pool:
        pool.submit(psql, shop, hold)
        try:
            while "locked" not in psql(shop, "SELECT relation::regclass FROM pg_locks"):
                time.sleep(0.1)
            words = ["run", "--rm", "--name", shop.name, "backup", "cut"]
            run = pool.submit(shop.compose, *words, status=None)
            look = f"SELECT count(*) FROM pg_stat_activity WHERE {waits}"  # noqa: S608
            while psql(shop, look) == "0\n":
                assert not run.done(), run.result()
                time.sleep(0.1)
            if number == "the server":
                psql(shop, end + waits)
            else:
                shop.engine.containers.get(shop.name).kill(number)
            assert run.result().returncode
        finally:
            psql(shop, f"{end} query = '{hold}'")
    assert [it.name for it in (shop.path / "backups").iterdir() if "cut" in it.name] == []
    psql(shop, "DROP TABLE locked")


@pytest.mark.parametrize("number", ["SIGTERM", "SIGKILL"])
def test_a_restore_that_is_cut_off_leaves_nothing_of_that_name(shop: Service, number: str) -> None:
    """While it copies rows, into a table whose CHECK takes its time."""
    psql(shop, "CREATE TABLE quick ()")
    shop.compose("run", "--rm", "backup", "quick")
    psql(shop, SLOW)
    shop.compose("run", "--rm", "backup", "slow")
    names = "SELECT datname FROM pg_database WHERE datname LIKE 'cut%'"
    sleeps = "FROM pg_stat_activity WHERE datname LIKE 'cut%' AND wait_event = 'PgSleep'"
    with ThreadPoolExecutor() as pool:
        words = ["run", "--rm", "--name", shop.name, "restore", "backups/slow.dump", "cut"]
        run = pool.submit(shop.compose, *words, status=None)
        while psql(shop, f"SELECT count(*) {sleeps}") == "0\n":
            assert not run.done(), run.result()
            time.sleep(0.1)
        shop.engine.containers.get(shop.name).kill(number)
        assert run.result().returncode
    psql(shop, f"SELECT pg_terminate_backend(pid, 60000) {sleeps}")
    assert psql(shop, names) == ("" if number == "SIGTERM" else "cut_incomplete\n")
    shop.compose("run", "--rm", "restore", "backups/quick.dump", "cut")
    assert psql(shop, names) == "cut\n"
    for name in ("quick", "slow"):
        (shop.path / "backups" / f"{name}.dump").unlink()
    psql(shop, "DROP TABLE slow_to_restore, quick")
    inside(shop, "postgres", "dropdb", "-U", "postgres", "cut")


def test_the_next_release_and_a_restore_are_as_the_guide_says(shop: Service) -> None:
    psql(shop, "CREATE TABLE kept AS SELECT 1")
    upgrade = 'op.execute("CREATE TABLE items (id int)")'
    write_revision(shop.project.backend, "next", "baseline", upgrade)
    backups = shop.path / "backups"
    (backups / "first.dump").unlink(missing_ok=True)
    obstacle = backups / "before-1.0.1.dump.part"
    obstacle.mkdir()
    refused = shop.compose("run", "--rm", "migrate", env={"VERSION": "1.0.1"}, status=None)
    assert refused.returncode
    assert "backup-first" in refused.stderr
    assert psql(shop, "SELECT version_num FROM alembic_version") == "baseline\n"
    obstacle.rmdir()
    assert type_guide(shop, "Each release", "With a registry") == 3
    assert health(shop) == 200
    assert psql(shop, "SELECT version_num FROM alembic_version") == "next\n"
    first = (backups / "before-1.0.1.dump").stat().st_ino
    obstacle.mkdir()  # in the way of another backup of this version
    shop.compose("run", "--rm", "migrate")
    obstacle.rmdir()
    assert "kept backups/before-1.0.1.dump, of 20" in shop.compose("logs", "backup-first").stdout
    assert {path.name for path in backups.iterdir()} == {"before-1.0.0.dump", "before-1.0.1.dump"}
    assert (backups / "before-1.0.1.dump").stat().st_ino == first
    assert type_guide(shop, "To go back to", "To restore") == 2
    assert health(shop) == 200
    assert shop.container("api").attrs["Config"]["Image"].endswith(":1.0.0")
    assert psql(shop, "SELECT version_num FROM alembic_version") == "next\n"
    psql(shop, "DROP TABLE kept")
    roles = shop.path / "database" / "roles.sql"
    roles.rename(roles.with_suffix(".previous"))  # as `git pull` replaces it
    said = "COMMENT ON DATABASE :\"database\" IS 'restored';\n"
    shop.write("database/roles.sql", roles.with_suffix(".previous").read_text() + said)
    assert type_guide(shop, "To restore", "To change a password") == 5
    assert health(shop) == 200
    assert psql(shop, "SELECT count(*) FROM kept") == "1\n"
    comment = "SELECT shobj_description(oid, 'pg_database') FROM pg_database"
    assert psql(shop, f"{comment} WHERE datname = current_database()") == "restored\n"
    assert type_guide(shop, "To change a password", "Copy `backups/`") == 3
    assert health(shop) == 200

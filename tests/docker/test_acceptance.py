"""From a copy to a migrated database with two models and back, in the shapes that we support."""

import re
import stat
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests.docker.conftest import Service

SOMEBODY = {"uid": 1000, "gid": 1001}
PRIVATE = {"mask": 0o077, "folder": "My Projects/demo shop"}  # a umask, and a space in the path
SHAPES = [
    SOMEBODY | PRIVATE | {"backend_dir": "services/api", "postgres_version": "17"},
    {"uid": 0, "backend_dir": "backend", "postgres_version": "18"},
]

MODELS = {
    "test_models": '''"""A model in SQLAlchemy's older style."""

from sqlalchemy import Column, DateTime, Integer, String, Text, func

from app.core.database import Base


class TestModel(Base):
    """Something with a title."""

    __tablename__ = "test_models"

    id = Column(Integer, primary_key=True, index=True)
    title = Column(String(255), nullable=False)
    description = Column(Text, nullable=True)
    created_at = Column(DateTime(timezone=True), server_default=func.now(), nullable=False)
''',
    "users": '''"""A model in SQLAlchemy's typed style."""

from datetime import datetime

from sqlalchemy import String, func, true
from sqlalchemy.orm import Mapped, mapped_column

from app.core.database import Base


class User(Base):
    """Who logs in."""

    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(String(255), unique=True, index=True)
    hashed_password: Mapped[str] = mapped_column(String(255))
    is_active: Mapped[bool] = mapped_column(server_default=true())
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime | None] = mapped_column(onupdate=func.now())
''',
}
NOW = "timestamp with time zone not null default now()"
TEST_MODELS = {
    "table test_models": "",
    "test_models.id": "integer not null default nextval('test_models_id_seq'::regclass)",
    "test_models.title": "character varying(255) not null",
    "test_models.description": "text",
    "test_models.created_at": NOW,
    "pk_test_models": "PRIMARY KEY (id)",
    "index pk_test_models": "UNIQUE INDEX USING btree (id)",
    "index ix_test_models_id": "INDEX USING btree (id)",
}
USERS = {
    "table users": "",
    "users.id": "integer not null default nextval('users_id_seq'::regclass)",
    "users.email": "character varying(255) not null",
    "users.hashed_password": "character varying(255) not null",
    "users.is_active": "boolean not null default true",
    "users.created_at": NOW,
    "users.updated_at": "timestamp with time zone",
    "pk_users": "PRIMARY KEY (id)",
    "index pk_users": "UNIQUE INDEX USING btree (id)",
    "index ix_users_email": "UNIQUE INDEX USING btree (email)",
}
SCHEMA = r"""
WITH tables AS (
    SELECT oid, relname FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relname !~ '^alembic_'
)
SELECT relname || '.' || attname,
       format_type(atttypid, atttypmod) || CASE WHEN attnotnull THEN ' not null' ELSE '' END
       || coalesce(' default ' || pg_get_expr(adbin, adrelid), '')
FROM tables JOIN pg_attribute a ON attrelid = tables.oid
LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
WHERE attnum > 0 AND NOT attisdropped
UNION ALL SELECT conname, pg_get_constraintdef(c.oid)
FROM pg_constraint c JOIN tables ON conrelid = tables.oid
WHERE contype <> 'n' -- 18 has NOT NULL here too
UNION ALL SELECT 'index ' || indexname,
                 regexp_replace(indexdef, '^CREATE (.*INDEX) \S+ ON \S+', '\1')
FROM pg_indexes JOIN tables ON relname = tablename
UNION ALL SELECT 'table ' || relname, '' FROM tables
"""


def schema(service: Service) -> dict[str, str]:
    """Every table, column, constraint and index but for Alembic's own, by name."""
    return {str(name): str(definition) for name, definition in service.rows(SCHEMA)}


def name_of(shape: dict[str, Any]) -> str:
    """For pytest's ids: `backend-18-uid0`."""
    return f"{shape['backend_dir']}-{shape['postgres_version']}-uid{shape['uid']}"


def write_model(service: Service, table: str) -> str:
    """The file of a model, as git status shows it."""
    path = service.project.backend / "app" / "models" / f"{table}.py"
    service.write(str(path.relative_to(service.path)), MODELS[table])
    return shown(service, path)


def shown(service: Service, path: Path) -> str:
    """A new file, as git status shows it."""
    name = path.relative_to(service.path).as_posix()
    return f'?? "{name}"' if " " in name else f"?? {name}"


def new_revision(service: Service, *words: str) -> Path:
    """The file that `migrate revision <words>` makes."""
    versions = service.project.backend / "alembic" / "versions"
    before = set(versions.iterdir())
    service.migrate("revision", *words)
    [made] = set(versions.iterdir()) - before
    return made


@pytest.mark.in_turn(2)
@pytest.mark.parametrize("shape", SHAPES, ids=name_of)
def test_two_models_go_up_and_down_and_up_again(
    shape: dict[str, Any], service: Callable[..., Service]
) -> None:
    shop = service(**shape)
    shop.migrate()
    listing = shop.compose(
        "exec", "postgres", "psql", "-U", shop.user, "-d", shop.database, "-c", r"\dt"
    ).stdout
    assert re.search(rf"public \| alembic_version \| table \| {shop.user}\n", listing)
    assert shop.version() == ["baseline"]
    assert schema(shop) == {}

    files = []
    for table in MODELS:
        files.append(write_model(shop, table))
        revision = new_revision(shop, "--autogenerate", "-m", f"add {table}")
        assert re.fullmatch(rf"\d{{8}}_\d{{4}}_[0-9a-f]{{12}}_add_{table}\.py", revision.name)
        info = revision.stat()
        assert (info.st_uid, info.st_gid) == (shop.uid, shop.gid)
        assert stat.S_IMODE(info.st_mode) & 0o700 == 0o600
        files.append(shown(shop, revision))
        assert shop.status() == sorted(files)
        shop.migrate("upgrade", "head")
    assert schema(shop) == TEST_MODELS | USERS

    shop.migrate("downgrade", "-1")
    assert schema(shop) == TEST_MODELS
    shop.migrate("downgrade", "base")
    assert schema(shop) == {}
    assert shop.version() == []
    shop.migrate("upgrade", "head")
    assert schema(shop) == TEST_MODELS | USERS

    if shape["backend_dir"] != "backend":  # a reader of the README runs that one's
        the_suite_is_green(shop)
        assert schema(shop) == TEST_MODELS | USERS  # the suite has its own databases
    the_caller_owns_everything(shop, files)


@pytest.mark.in_turn(2, of="a whole project again")
def test_the_code_may_stand_at_the_top(service: Callable[..., Service]) -> None:
    shop = service(**SOMEBODY, backend_dir=".")
    shop.migrate()
    files = [write_model(shop, table) for table in MODELS]
    files.append(shown(shop, new_revision(shop, "--autogenerate", "-m", "add both")))
    the_suite_is_green(shop)
    the_caller_owns_everything(shop, files)


WHO = """
import os, pathlib
here = pathlib.Path(__file__).parent
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
cgroup = pathlib.Path("/sys/fs/cgroup")
limits = [
    next(path.read_text().strip() for path in map(cgroup.joinpath, names) if path.exists())
    for names in [("pids.max", "pids/pids.max"), ("memory.max", "memory/memory.limit_in_bytes")]
]
with open(here / "who", "a") as who:
    home = os.access(os.path.expanduser("~/.postgresql"), os.F_OK) or os.access(
        os.path.expanduser("~"), os.X_OK
    )
    print(
        f"{os.getuid()}:{os.getgid()} home={home} capabilities={int(status['CapEff'], 16)} "
        f"no-new-privileges={status['NoNewPrivs'].strip()} pids={limits[0]} "
        f"bounded-memory={limits[1].isdigit() and int(limits[1]) < 2**40} "
        f"secret={os.environ.get('OF_THE_APPLICATION')}",
        file=who,
    )
"""


def test_code_of_the_mounted_tree_runs_as_its_owner_and_may_do_no_more(
    service: Callable[..., Service],
) -> None:
    shop = service(**SOMEBODY)
    shop.write(f"{shop.project.answers.get('backend_dir', 'backend')}/sitecustomize.py", WHO)
    shop.write(".env", "OF_THE_APPLICATION=secret\n")
    shop.migrate()
    shop.migrate("revision", "-m", "empty")
    shop.compose("run", "--rm", "test", "true")
    shop.compose("run", "--rm", "test", "python", "-c", "pass")
    shop.compose("up", "--detach", "--wait")
    shop.compose("exec", "dev", "python", "-c", "pass")
    seen = (shop.project.backend / "who").read_text().splitlines()
    assert set(seen) == {
        f"{shop.uid}:{shop.gid} home=True capabilities=0 no-new-privileges=1 pids=512 "
        "bounded-memory=True secret=None"
    }


def the_suite_is_green(shop: Service) -> None:
    """Every test of the rendered project passes in a container, none is left out."""
    suite = shop.compose("run", "--rm", "test").stdout
    assert "not checked: edits of merged revisions" in suite  # it has no git, and says so
    green = r"^=+ \d+ passed(, \d+ subtests passed)? in [^,]+ =+$"
    assert re.search(green, suite, re.MULTILINE), suite


def the_caller_owns_everything(shop: Service, files: list[str]) -> None:
    """Nothing new but `files`, caches included, and nothing of root or of the container's user."""
    assert shop.status() == sorted(files)
    for path in (shop.path, *shop.path.rglob("*")):
        info = path.lstat()
        assert (info.st_uid, info.st_gid) == (shop.uid, shop.gid), f"{path} is not the caller's"


def test_a_container_prints_the_sql_and_passes_exit_codes_on(
    service: Callable[..., Service],
) -> None:
    """The guides type all words of Alembic; here is what they leave out."""
    shop = service()
    revision = new_revision(shop, "-m", "add notes")
    text = revision.read_text()
    head = "def upgrade() -> None:\n    "
    assert f"{head}pass" in text
    revision.write_text(
        text.replace(f"{head}pass", f'{head}op.execute("CREATE TABLE notes (id int)")')
    )
    shop.migrate("upgrade", "+1")
    shop.migrate("check", status=6)  # a revision is pending
    offline = shop.migrate("upgrade", "head", "--sql").stdout
    assert shop.version() == ["baseline"]  # nothing was run
    shop.rows("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    shop.rows(offline)
    assert shop.version() == [revision.name.split("_")[2]]
    assert shop.rows("SELECT to_regclass('notes') IS NOT NULL") == [(True,)]
    shop.migrate()  # nothing to do, and no harm
    shop.migrate("downgrade", "baseline")
    assert shop.version() == ["baseline"]


def test_a_server_in_its_first_boot_is_not_yet_healthy(service: Callable[..., Service]) -> None:
    """While the init scripts run, the image's temporary server answers on its socket."""
    shop = service()
    shop.write("slow.sh", "sleep 2\n")
    mount = "./slow.sh:/docker-entrypoint-initdb.d/slow.sh:ro"
    shop.write("docker-compose.override.yml", f"services: {{postgres: {{volumes: ['{mount}']}}}}\n")
    mine = {"event": "health_status", "label": f"com.docker.compose.project={shop.name}"}
    stream = shop.engine.events(filters=mine, decode=True)
    healthy: list[int] = []
    # As they happen: the engine remembers a few hundred events, all containers' together.
    listener = Thread(target=lambda: healthy.extend(event["timeNano"] for event in stream))
    listener.start()
    try:
        shop.migrate()
    finally:
        stream.close()
        listener.join()
    assert shop.version() == ["baseline"]
    logs = shop.container("postgres").logs(timestamps=True).decode()
    [complete] = re.findall(r"^(\S+) PostgreSQL init process complete", logs, re.MULTILINE)
    assert len(healthy) == 1
    assert healthy[0] / 1e9 > datetime.fromisoformat(complete).timestamp()


def test_data_outlive_the_container_and_the_server_is_published_on_this_machine_only(
    service: Callable[..., Service],
) -> None:
    shop = service(postgres_version="17")
    shop.compose("up", "--wait", "postgres")
    shop.rows("CREATE TABLE kept AS SELECT 42 AS answer")
    [volume] = [mount["Name"] for mount in shop.container("postgres").attrs["Mounts"]]
    assert volume == f"{shop.name}_postgres-17"
    shop.compose("down", "-t", "1")
    shop.compose("up", "--wait", "postgres")
    assert shop.rows("SELECT answer FROM kept") == [(42,)]
    ports = shop.container("postgres").ports
    assert ports == {"5432/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(shop.port)}]}


def test_up_succeeds_at_head_and_never_after_a_broken_revision(
    service: Callable[..., Service],
) -> None:
    """Without a service that stays, Compose said either, at random."""
    shop = service(**SOMEBODY)
    up = ("up", "--detach", "--wait")
    shop.compose(*up)
    migrate, dev = shop.container("migrate"), shop.container("dev")
    assert migrate.attrs["State"]["FinishedAt"] < dev.attrs["State"]["StartedAt"]
    for _ in range(3):
        shop.compose(*up)
    revision = new_revision(shop, "-m", "add nothing")
    good = revision.read_text()
    broken = f"{good}\n\ndef upgrade() -> None:\n    raise RuntimeError\n"
    for stop in ([], ["stop", "--timeout", "1"], ["down", "--timeout", "1"]):
        if stop:
            shop.compose(*stop)
        shop.write(str(revision.relative_to(shop.path)), broken)
        assert shop.compose(*up, status=None).returncode != 0, stop
        assert shop.container("migrate").attrs["State"]["ExitCode"] == 10
    assert shop.container("dev").status == "created"
    shop.write(str(revision.relative_to(shop.path)), good)
    shop.compose(*up)
    assert shop.version() == [revision.name.split("_")[2]]


def test_a_shell_and_one_test_are_the_owners(service: Callable[..., Service]) -> None:
    shop = service(**SOMEBODY)
    shop.compose("up", "--detach", "--wait")
    mine = f"uid={shop.uid}(owner) gid={shop.gid} groups={shop.gid}\n"
    assert shop.compose("exec", "dev", "id").stdout == mine
    shop.compose("restart", "--no-deps", "--timeout", "1", "dev")
    assert shop.compose("exec", "dev", "id").stdout == mine
    assert shop.compose("run", "--rm", "--no-deps", "dev", "id").stdout == mine
    one = ["-k", "test_no_password_is_shown"]
    for words in (["exec", "dev", "pytest", *one], ["run", "--rm", "test", *one]):
        assert "1 passed" in shop.compose(*words).stdout
    shop.compose("exec", "dev", "uv", "add", "six")
    shop.compose("stop", "dev")
    assert shop.container("dev").attrs["State"]["ExitCode"] == 143, "SIGTERM came through"
    the_caller_owns_everything(shop, [" M backend/pyproject.toml"])

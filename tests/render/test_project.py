"""The rendered project on a real server: its own suite, every command, and use as a library."""

import ast
import os
import re
import shutil
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Generator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any

import pytest
from sqlalchemy import URL, Column, ForeignKey, Integer, MetaData, Table
from sqlalchemy.schema import CreateTable

from tests._kit.forks import forks
from tests._kit.report import cannot_run
from tests._kit.support import (
    MODELS,
    Done,
    NewDatabase,
    environment,
    execute,
    run,
    succeed,
    template_module,
)
from tests.conftest import Project, Render, git

pytestmark = pytest.mark.server


def suite(backend: Path, *words: str, python: list[str] | None = None, **variables: str) -> str:
    """Run the project's own tests; returns what pytest said."""
    done = subprocess.run(
        [*(python or [sys.executable]), "-m", "pytest", "-v", "-p", "no:cacheprovider", *words],
        cwd=backend,
        env=environment(None, **variables),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr
    all_ran = r"=+ \d+ passed(, \d+ subtests passed)? in .*"
    assert re.fullmatch(all_ran, done.stdout.splitlines()[-1])
    return str(done.stdout)


def ordinary_python() -> list[str]:
    """The command of a Python with our packages that runs as `nobody`."""
    becoming = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
    reading = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    packages = sysconfig.get_path("purelib")
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    commands = [
        [*becoming, sys.executable],
        # Where root's own Python is closed to others: the system's, if it is of the same version,
        [*becoming, "env", f"PYTHONPATH={packages}", f"/usr/bin/python{version}"],
        # or root's after all, by a right to read and no other.
        [*becoming, *reading, sys.executable],
    ]
    if os.geteuid() != 0:
        return [sys.executable]
    for command in commands:
        test = [*command, "-c", "import pytest, psycopg2, pydantic_core"]
        with suppress(FileNotFoundError):
            if not subprocess.run(test, check=False, capture_output=True, cwd="/").returncode:
                return command
    cannot_run("`nobody` cannot run this Python", "setpriv, of util-linux, makes it possible")
    raise AssertionError


@contextmanager
def developers_server() -> Generator[tuple[int, list[bytes]]]:
    """A port where somebody's database would be; yields it, and what anybody said to it."""
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def listen() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    heard.append(connection.recv(1024))

        listener = Thread(target=listen, daemon=True)
        listener.start()
        yield server.getsockname()[1], heard
        server.shutdown(socket.SHUT_RDWR)
    listener.join()


# --- its own suite -------------------------------------------------------------------------------


# What FastAPI's own guide shows; its import warns of httpx.
TEST_CLIENT = """
from fastapi.testclient import TestClient

from app.main import app


def test_alive():
    assert TestClient(app).get("/health/live").status_code == 200
"""


def test_its_suite_passes_with_no_server_given_and_leaves_the_developers_alone(
    render: Render,
) -> None:
    """`.env` names a developer's server; so does the environment."""
    project = render(backend_dir=".", api="fastapi")
    (project.backend / "tests" / "api" / "test_by_test_client.py").write_text(TEST_CLIENT)
    with developers_server() as (port, heard):
        (project.path / ".env").write_text(
            f"POSTGRES_HOST=127.0.0.1\nPOSTGRES_PORT={port}\nPOSTGRES_USER=me\n"
            "POSTGRES_PASSWORD=mine\nPOSTGRES_DB=mine\nENVIRONMENT=production\n"
        )
        theirs = f"postgresql://me:mine@127.0.0.1:{port}/mine"
        said = suite(project.backend, DATABASE_URL=theirs, MIGRATION_DATABASE_URL=theirs)
        # The trap does spring: a migration with the same settings goes there.
        assert run(project.backend, "current").returncode != 0
    assert len(heard) == 1, f"the suite connected {len(heard) - 1} times"
    assert "PostgreSQL: embedded PostgreSQL" in said
    assert not list(project.path.glob("**/.postgres"))


def test_its_suite_passes_for_an_ordinary_user_and_two_workers(
    rendered: Render,
) -> None:
    """In a project that this user may only read."""
    python = ordinary_python()
    with TemporaryDirectory() as folder:
        project = Path(folder, "project")
        shutil.copytree(rendered(backend_dir="services/api").path, project)
        home = Path(folder, "home")
        home.mkdir()
        if os.geteuid() == 0:
            Path(folder).chmod(0o755)
            shutil.chown(home, "nobody")
        suite(project / "services/api", "-n", "2", python=python, HOME=str(home), TMPDIR=str(home))
        assert git(project, "status", "--porcelain", "--ignored") == ""


def test_its_suite_passes_with_models_on_a_given_server_and_changes_nothing_there(
    with_models: Project, own_server: URL
) -> None:
    server, mine = own_server, own_server.set(database="mine")
    execute(server, "CREATE DATABASE mine")
    execute(mine, "CREATE TABLE users (id int PRIMARY KEY, name text)")
    execute(mine, "INSERT INTO users SELECT n, 'user ' || n FROM generate_series(1, 100) n")

    def state() -> list[Any]:
        return [
            execute(server, "SELECT oid, datname, datacl FROM pg_database ORDER BY oid"),
            execute(server, "SELECT * FROM pg_roles ORDER BY oid"),
            execute(server, "SELECT * FROM pg_db_role_setting"),
            execute(mine, "SELECT oid, relname, relfilenode FROM pg_class ORDER BY oid"),
            execute(mine, "SELECT ctid::text, xmin::text, * FROM users ORDER BY id"),
        ]

    before = state()
    given = mine.render_as_string(hide_password=False)
    said = suite(with_models.backend, TEST_DATABASE_URL=given, DATABASE_URL=given)
    assert "PostgreSQL: that of TEST_DATABASE_URL" in said
    for name in MODELS:
        (file,) = (with_models.backend / "alembic" / "versions").glob(f"*_add_{name}")
        revision = file.name.split("_")[2]
        assert f"[{revision}]" in said, "no test looked at it"
    assert state() == before


# --- every command, and the two acceptance models ------------------------------------------------

COLUMNS = """
    SELECT c.relname || '.' || a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
           pg_get_expr(d.adbin, d.adrelid)
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
    LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND a.attnum > 0
      AND NOT a.attisdropped AND c.relname NOT LIKE 'alembic%'
"""
INDEXES = """
    SELECT indexname, indexdef FROM pg_indexes
    WHERE schemaname = 'public' AND tablename NOT LIKE 'alembic%'
"""
CONSTRAINTS = """
    SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint
    WHERE connamespace = 'public'::regnamespace AND contype <> 'n' AND conname NOT LIKE 'alembic%'
"""

TEST_MODELS = {
    "test_models.id": ("integer", True, "nextval('test_models_id_seq'::regclass)"),
    "test_models.title": ("character varying(255)", True, None),
    "test_models.description": ("text", False, None),
    "test_models.created_at": ("timestamp with time zone", True, "now()"),
}
USERS = {
    "users.id": ("integer", True, "nextval('users_id_seq'::regclass)"),
    "users.email": ("character varying(255)", True, None),
    "users.hashed_password": ("character varying(255)", True, None),
    "users.is_active": ("boolean", True, "true"),
    "users.created_at": ("timestamp with time zone", True, "now()"),
    "users.updated_at": ("timestamp with time zone", False, None),
}
BOTH_INDEXES = {
    "ix_test_models_id": "CREATE INDEX ix_test_models_id ON public.test_models USING btree (id)",
    "ix_users_email": "CREATE UNIQUE INDEX ix_users_email ON public.users USING btree (email)",
    "pk_test_models": "CREATE UNIQUE INDEX pk_test_models ON public.test_models USING btree (id)",
    "pk_users": "CREATE UNIQUE INDEX pk_users ON public.users USING btree (id)",
}
BOTH_CONSTRAINTS = {
    "pk_test_models": "PRIMARY KEY (id)",
    "pk_users": "PRIMARY KEY (id)",
}


def columns(url: URL) -> dict[str, tuple[Any, ...]]:
    """Of every table but Alembic's, as another connection sees them."""
    return {name: tuple(definition) for name, *definition in execute(url, COLUMNS)}


def version(url: URL) -> list[str]:
    """What alembic_version says."""
    return [row[0] for row in execute(url, "SELECT version_num FROM alembic_version")]


@pytest.mark.in_turn(2)
@pytest.mark.parametrize("program", ["alembic", "app.migrate"])
def test_every_command_works_with_the_two_acceptance_models(
    render: Render, new_database: NewDatabase, program: str
) -> None:
    project, url = render(), new_database()
    versions = project.backend / "alembic" / "versions"

    def command(*words: str) -> str:
        return succeed(forks().run(program, [*words], project.backend, environment(url)))

    def new_revision(*words: str) -> str:
        before = set(versions.glob("*.py"))
        command("revision", *words)
        (made,) = set(versions.glob("*.py")) - before
        return made.name.split("_")[2]

    assert command("current") == ""
    command("upgrade", "head")
    assert command("current") == "baseline (head)\n"
    assert version(url) == ["baseline"]

    models = project.backend / "app" / "models"
    (models / "test_model.py").write_text(MODELS["test_model.py"])
    first = new_revision("--autogenerate", "-m", "add test_models")
    command("upgrade", "+1")
    assert columns(url) == TEST_MODELS, "seen by a second connection: it is committed"
    (models / "user.py").write_text(MODELS["user.py"])
    second = new_revision("--autogenerate", "-m", "add users")
    command("upgrade", "head")

    def everything() -> None:
        assert columns(url) == TEST_MODELS | USERS
        assert dict(execute(url, INDEXES)) == BOTH_INDEXES
        assert dict(execute(url, CONSTRAINTS)) == BOTH_CONSTRAINTS

    everything()
    assert "No new upgrade operations detected" in command("check")
    last = new_revision("-m", "by hand")
    command("upgrade", "+1")
    assert version(url) == [last]
    heading = [line.partition(",")[0] for line in command("history").splitlines()]
    assert heading == [
        f"{second} -> {last} (head)",
        f"{first} -> {second}",
        f"baseline -> {first}",
        "<base> -> baseline",
    ]
    assert command("heads") == f"{last} (head)\n"

    command("downgrade", "-1")
    assert version(url) == [second]
    command("downgrade", first)
    assert version(url) == [first]
    assert columns(url) == TEST_MODELS
    command("downgrade", "base")
    assert version(url) == []
    assert columns(url) == {}
    command("upgrade", "head")
    everything()

    script = command("upgrade", "head", "--sql")
    url = new_database()
    execute(url, script)
    everything()
    assert version(url) == [last]
    assert command("current", "--check-heads") == f"{last} (head)\n"


def test_a_new_revision_is_dated_in_utc_and_formatted_wherever_its_author_is(
    render: Render,
) -> None:
    project = render()
    words = ["revision", "-m", "Add users' e-mail!"]
    succeed(run(project.backend, *words, TZ="Pacific/Kiritimati"))  # 14 hours ahead
    (made,) = (project.backend / "alembic" / "versions").glob("*_add_users_e_mail.py")
    text = made.read_text()
    (date,) = re.findall(r"^Create Date: (.*\+00:00)$", text, re.MULTILINE)
    created = datetime.fromisoformat(date)
    assert abs((datetime.now(UTC) - created).total_seconds()) < 3600
    assert re.fullmatch(rf"{created:%Y%m%d_%H%M}_[0-9a-f]{{12}}_add_users_e_mail\.py", made.name)
    tree = ast.parse(text)
    functions = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    assert functions == ["upgrade", "downgrade"]
    assert (ast.get_docstring(tree) or "").startswith("Add users' e-mail!\n")
    for linter in (["check"], ["format", "--check"]):
        command = ["-m", "ruff", *linter, "--no-cache", str(made)]
        succeed(run(project.backend, *command, program="python"))


def test_sql_is_printed_without_settings_and_without_a_server(rendered: Render) -> None:
    """Up and down."""
    backend = rendered().backend
    up = succeed(run(backend, "upgrade", "head", "--sql", DATABASE_URL="nonsense"))
    assert "CREATE TABLE alembic_version" in up
    down = succeed(run(backend, "downgrade", "head:base", "--sql", DATABASE_URL="nonsense"))
    assert "DELETE FROM alembic_version WHERE" in down


def test_every_constraint_gets_a_name() -> None:
    """One without a name cannot be dropped by a downgrade."""
    table = Table(
        "places",
        MetaData(naming_convention=template_module("app.core.naming").NAMING_CONVENTION),
        Column("id", Integer, primary_key=True),
        Column("parent", ForeignKey("places.id"), unique=True),
    )
    assert str(CreateTable(table)).count("CONSTRAINT ") == len(table.constraints) == 3


def test_a_bare_app_migrate_upgrades_to_the_head(
    rendered: Render, new_database: NewDatabase
) -> None:
    url = new_database()
    succeed(run(rendered().backend, program="app.migrate", url=url))
    assert version(url) == ["baseline"]


DEFAULTS = r"""
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.core.database import Base


class Thing(Base):
    __tablename__ = "things"

    id: Mapped[int] = mapped_column(primary_key=True)
    size: Mapped[int] = mapped_column(server_default="1")
    name: Mapped[str] = mapped_column(sa.String(20), server_default="it's")
    share: Mapped[str | None] = mapped_column(server_default=sa.text("'all'"))
    made: Mapped[datetime] = mapped_column(server_default=sa.func.now())
    plain: Mapped[dict] = mapped_column(sa.JSON, server_default='{"a": 1}')
    text: Mapped[dict] = mapped_column(sa.JSON, server_default=sa.text("'{}'"))
    binary: Mapped[dict] = mapped_column(JSONB, server_default='{"a": "it\'s 5%"}')
    binary_text: Mapped[dict] = mapped_column(JSONB, server_default=sa.text("'{}'"))
    binary_call: Mapped[dict] = mapped_column(JSONB, server_default=sa.func.jsonb_build_array())
    nothing: Mapped[dict | None] = mapped_column(JSONB, server_default=sa.text("'null'"))
"""
CHANGES = [
    (
        "Mapped[int] = mapped_column(server_default",
        "Mapped[int | None] = mapped_column(server_default",
    ),
    ('server_default="1"', 'server_default="2"'),
    ("sa.String(20)", "sa.String(30)"),
    ("it's", "it's another"),
    ("'all'", "'half'"),
    ("'{\"a\": 1}'", "'{\"a\": 2}'"),
    ("sa.text(\"'{}'\"))\n    binary:", "sa.text(\"'[]'\"))\n    binary:"),
    ("5%", "6%"),
    ("sa.text(\"'{}'\"))\n    binary_call", "sa.text(\"'[]'\"))\n    binary_call"),
    ("jsonb_build_array", "jsonb_build_object"),
    (", server_default=sa.text(\"'null'\")", ""),
]


def test_autogenerate_sees_each_change_of_a_column_and_nothing_else(
    render: Render, new_database: NewDatabase
) -> None:
    backend, env = render().backend, environment(new_database())
    model = backend / "app" / "models" / "thing.py"

    def command(*words: str) -> Done:
        return forks().run("app.migrate", list(words), backend, env)

    def upgrade() -> None:
        succeed(command("revision", "--autogenerate", "-m", "things"))
        succeed(command())
        assert "No new upgrade operations detected" in succeed(command("check"))

    model.write_text(DEFAULTS)
    succeed(command())
    upgrade()
    for old, new in CHANGES:
        before = model.read_text()
        assert before.count(old) == 1, old
        model.write_text(before.replace(old, new))
        done = command("check")
        assert done.returncode == 7, f"{old} -> {new}: {done}"
        what = r'modify_nullable things\.\w+|execute ALTER TABLE things ALTER "?\w+"? .+'
        assert re.search(f": ({what})\n", done.stderr), done.stderr
        model.write_text(before)
    for old, new in CHANGES:
        model.write_text(model.read_text().replace(old, new))
    upgrade()


def test_a_model_may_have_a_schema(render: Render, new_database: NewDatabase) -> None:
    backend, url = render().backend, new_database()
    text = MODELS["user.py"].replace('"users"', '"users"\n    __table_args__ = {"schema": "shop"}')
    (backend / "app" / "models" / "user.py").write_text(text)
    execute(url, "CREATE SCHEMA somebodys")
    execute(url, "CREATE TABLE somebodys.thing (id int)")
    for words in ("upgrade head", "revision --autogenerate -m users"):
        succeed(forks().run("app.migrate", words.split(), backend, environment(url)))
    for words in ("upgrade head", "check"):
        said = succeed(forks().run("app.migrate", words.split(), backend, environment(url)))
    assert "No new upgrade operations detected" in said


def test_a_model_is_found_wherever_it_stands_in_the_folder(
    render: Render, new_database: NewDatabase
) -> None:
    backend, env = render().backend, environment(new_database())
    models = backend / "app" / "models"
    files = ["shop/__init__.py", "no_package/two.py", "deep/er/three.py", "_four.py"]
    for number, name in enumerate(files):
        (models / name).parent.mkdir(exist_ok=True, parents=True)
        text = MODELS["user.py"].replace("users", f"users_{number}").replace("User", f"U{number}")
        (models / name).write_text(text)
    (models / ".#user.py").symlink_to("somebody@somewhere.1234")  # Emacs edits user.py
    (models / ".ipynb_checkpoints").mkdir()
    (models / ".ipynb_checkpoints" / "old.py").write_text("raise RuntimeError\n")
    succeed(forks().run("app.migrate", [], backend, env))
    done = forks().run("app.migrate", ["check"], backend, env)
    assert done.returncode == 7, done.stderr
    assert set(re.findall(r"add_table (\w+)", done.stderr)) == {
        f"users_{number}" for number in range(len(files))
    }


# --- as a library, and without the models --------------------------------------------------------

LIBRARY = """
import logging, sys
from alembic import command
from alembic.config import Config

logging.basicConfig(level=logging.ERROR, format="mine %(message)s")
mine = logging.getLogger("mine")
config = Config(sys.argv[1])
config.attributes["url"] = sys.argv[2]
command.upgrade(config, "head")
command.downgrade(config, "base")
command.upgrade(config, "head")
assert "app.models" not in sys.modules, "an upgrade imports the models"
assert not mine.disabled
assert logging.getLogger().level == logging.ERROR and len(logging.getLogger().handlers) == 1
mine.error("still here")
"""


def test_it_works_as_a_library_from_any_folder(
    with_models: Project, new_database: NewDatabase, tmp_path: Path
) -> None:
    url = new_database()
    ini = str(with_models.backend / "alembic.ini")
    given = url.render_as_string(hide_password=False).replace("postgresql:", "postgresql+psycopg2:")
    done = run(tmp_path, "-c", LIBRARY, ini, given, program="python")
    assert succeed(done) == ""
    assert done.stderr == "mine still here\n"
    assert columns(url) == TEST_MODELS | USERS
    assert list(tmp_path.iterdir()) == []


def test_the_cli_works_from_any_folder(
    with_models: Project, new_database: NewDatabase, tmp_path: Path
) -> None:
    url = new_database()
    ini = str(with_models.backend / "alembic.ini")
    succeed(run(tmp_path, "-c", ini, "upgrade", "head", url=url))
    assert columns(url) == TEST_MODELS | USERS


@pytest.mark.parametrize("program", ["alembic", "app.migrate"])
def test_a_broken_model_stops_no_upgrade_and_no_downgrade(
    render: Render, new_database: NewDatabase, program: str
) -> None:
    backend, env = render().backend, environment(new_database())
    (backend / "app" / "models" / "broken.py").write_text("raise RuntimeError('broken')\n")
    for words in ("upgrade head", "current", "downgrade base", "upgrade +1"):
        succeed(forks().run(program, words.split(), backend, env))
    done = forks().run(program, ["check"], backend, env)
    assert done.returncode != 0
    assert "broken" in done.stderr, "`check` does look at the models"

"""A project, or a database, that was not born here moves in, as the guide says."""

import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Generator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from sqlalchemy import URL

from tests._kit.forks import forks
from tests._kit.support import BIN, execute, template_module, until
from tests.conftest import Project, Render
from tests.migrate.service import Done, Service

# What most histories are: no naming convention, and names of files and ids as they came.
OLD = {
    "0001_init.py": """
        op.create_table(
            "users",
            sa.Column("id", sa.Integer, primary_key=True),
            sa.Column("email", sa.String(80), unique=True),
            sa.Column("kind", sa.Enum("a", "b", name="kind")),
            sa.CheckConstraint("id > 0"),
            sa.CheckConstraint("length(email) > 2", name="email_is_long"),
        )
        """,
    "orders.py": """
        op.create_table(
            "orders",
            sa.Column("id", sa.Integer, primary_key=True),
            sa.Column("user_id", sa.Integer, sa.ForeignKey("users.id"), index=True),
            # It exists: Alembic knows that within one run, and only there.
            sa.Column("kind", sa.Enum("a", "b", name="kind")),
        )
        op.create_unique_constraint(None, "orders", ["id", "user_id"])
        """,
    "0003-rows.py": """
        op.execute("INSERT INTO users (email) VALUES ('somebody')")
        """,
    "4_last.py": """
        op.drop_constraint("users_email_key", "users")
        op.create_check_constraint("positive", "orders", "user_id > 0")
        """,
}
MODELS = """\
\"\"\"The old ones, and a new one.\"\"\"

from enum import StrEnum

from sqlalchemy import CheckConstraint, ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.core.database import Base, Id


class Kind(StrEnum):
    \"\"\"Of users.\"\"\"

    a = "a"
    b = "b"


class User(Base):
    \"\"\"Old.\"\"\"

    __tablename__ = "users"
    __table_args__ = (
        CheckConstraint("id > 0"),
        CheckConstraint("length(email) > 2", name="email_is_long"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str | None] = mapped_column(String(80))
    kind: Mapped[Kind | None]


class Order(Base):
    \"\"\"Old.\"\"\"

    __tablename__ = "orders"
    __table_args__ = (
        UniqueConstraint("id", "user_id"),
        CheckConstraint("user_id > 0", name="positive"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"), index=True)
    kind: Mapped[Kind | None]


class Thing(Base):
    \"\"\"New.\"\"\"

    __tablename__ = "things"

    id: Mapped[Id]
    name: Mapped[str] = mapped_column(unique=True)
"""
PLAIN = """
import os
from alembic import context
from sqlalchemy import create_engine

with create_engine(os.environ["DATABASE_URL"]).connect() as connection:
    context.configure(connection=connection, target_metadata=None, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()
"""


def write_history(folder: Path) -> None:
    """Each after the one before; the ids are the names up to their first mark."""
    folder.mkdir(parents=True)
    before = None
    for name, upgrade in OLD.items():
        revision = re.split(r"\W|_", name)[0]
        body = textwrap.indent(textwrap.dedent(upgrade), "    ")
        text = 'import warnings\n\nwarnings.warn("this is old", DeprecationWarning)\n'
        text += f"from alembic import op\nimport sqlalchemy as sa\n\nrevision = {revision!r}\n"
        text += f"down_revision = {before!r}\n\ndef upgrade():\n{body}\n\ndef downgrade(): pass\n"
        (folder / name).write_text(text)
        before = revision


@pytest.fixture(scope="module")
def old(own_server: URL, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The old project, and what it is made of: databases at each revision, by Alembic alone."""
    folder = tmp_path_factory.mktemp("projects") / "old"
    write_history(folder / "migrations" / "versions")
    (folder / "migrations" / "env.py").write_text(PLAIN)
    (folder / "alembic.ini").write_text("[alembic]\nscript_location = %(here)s/migrations\n")
    for revision in ("0001", "orders", "0003", "4"):
        name = f"old_{revision}"
        execute(own_server, f'CREATE DATABASE "{name}" TEMPLATE template0')
        url = own_server.set(drivername="postgresql+psycopg2", database=name)
        environment = {"DATABASE_URL": url.render_as_string(hide_password=False)}
        command = [str(BIN / "alembic"), "upgrade", revision]
        subprocess.run(command, cwd=folder, env=environment, check=True)
    return folder


New = Callable[[], tuple[Project, Service]]


@pytest.fixture
def new(own_server: URL, render: Render) -> Generator[New]:
    """Fresh projects, each with an empty database."""
    names = list[str]()

    def create() -> tuple[Project, Service]:
        project = render(extras="[history]")
        names.append(f"new_{len(names)}")
        execute(own_server, f"CREATE DATABASE {names[-1]} TEMPLATE template0")
        return project, Service(project.backend, own_server.set(database=names[-1]))

    yield create
    for name in names:
        execute(own_server, f"DROP DATABASE {name} WITH (FORCE)")


def run(service: Service, module: str, *words: str, url: URL | None = None) -> Done:
    """`python -m <module> <words>`, with another database where one is given."""
    environment = Service(service.backend, url or service.url).environment()
    done = forks().run(module, list(words), service.backend, environment)
    return Done(done.returncode, done.stdout, done.stderr)


def adopt(service: Service, *words: str, url: URL | None = None) -> Done:
    """The same of testing.adopt."""
    return run(service, "testing.adopt", *words, url=url)


def schema(url: URL) -> Any:
    """All that a database has."""
    return template_module("testing.schema").catalog(url)


def section(project: Project, title: str) -> list[str]:
    """The commands of a section of the guide."""
    guide = (project.backend / "testing" / "HISTORY.md").read_text("utf-8")
    text = guide.partition(f"## {title}\n")[2].partition("\n## ")[0]
    return "".join(re.findall(r"```sh\n(.*?)```", text, re.DOTALL)).splitlines()


def type_in(service: Service, line: str) -> Done:
    """On the host, where `python` stands for a container's."""
    words = shlex.split(line)
    assert words[:4] == ["docker", "compose", "run", "--rm"]
    if words[4:] == ["migrate"]:
        return service.migrate()
    python = words.index("python")
    assert words[python : python + 2] == ["python", "-m"]
    return run(service, *words[python + 2 :])


def copy_history(old: Path, service: Service) -> None:
    """By hand."""
    shutil.copytree(old / "migrations" / "versions", service.versions, dirs_exist_ok=True)


def test_a_history_moves_in_as_the_guide_says(old: Path, new: New, own_server: URL) -> None:
    project, service = new()
    copy_history(old, service)
    commands = section(project, "An existing project")
    assert len(commands) == 3
    for line in commands:  # the last one is about a database, and this one has the schema by now
        done = type_in(service, line)
        assert done.returncode == 0, f"{line}\n{done}"
        assert "this is old" not in done.stderr
    assert service.version() == ["4"]
    assert "has the schema of 4." in done.stdout
    names = template_module("testing.schema").difference(
        schema(own_server.set(database="old_4")), schema(service.url)
    )
    assert names == [], "production's names"
    settings = (project.backend / "pyproject.toml").read_text("utf-8")
    assert '\nreleased = "4"\n' in settings
    # The models, a new revision on top, and the suite.
    (project.backend / "app" / "models" / "all.py").write_text(MODELS)
    done = service.migrate("revision", "--autogenerate", "-m", "add things")
    assert done.returncode == 0, done
    [made] = service.versions.glob("*_add_things.py")
    assert "users" not in made.read_text()
    for words in ([], ["downgrade", "-1"], []):
        assert service.migrate(*words).returncode == 0
    project.commit()
    url = own_server.render_as_string(hide_password=False)
    done = service.run("-m", "pytest", "-q", program="python", TEST_DATABASE_URL=url)
    assert done.returncode == 0, done
    for words in (["check", "."], ["format", "--check", "."]):
        command = [sys.executable, "-m", "ruff", *words, "--exclude", "alembic/versions"]
        subprocess.run(command, cwd=project.backend, check=True)


def test_the_naming_convention_of_the_old_models_is_found(new: New) -> None:
    _, service = new()
    text = (
        'revision, down_revision = "one", None\nimport sqlalchemy as sa\nfrom alembic import op\n'
    )
    column = "sa.Column('name', sa.Text, unique=True)"
    text += f"def upgrade():\n    op.create_table('items', {column})\n"
    text += "    op.execute('ALTER TABLE items DROP CONSTRAINT items_pk')\ndef downgrade(): pass\n"
    text = text.replace(column, f"sa.Column('id', sa.Integer, primary_key=True), {column}")
    for statement in ("ALTER TABLE items ADD n int", "SELECT uuid_generate_v4()"):
        of_env = re.sub("op.create_table.*", f"op.execute('{statement}')", text)
        (service.versions / "one.py").write_text(of_env)
        assert "testing/HISTORY.md\nNext:" in adopt(service).stderr
    (service.versions / "one.py").write_text(text)
    others = service.backend / "node_modules" / "gyp"  # a package of others
    others.mkdir(parents=True)
    (others / "names.py").write_text('N = {"uq": "others_%(table_name)s"}\n')
    done = adopt(service)
    assert done.returncode == 1
    assert "No naming convention in this project's code" in done.stdout
    assert 'constraint "items_pk" of relation "items" does not exist' in done.stderr
    (service.backend / "old_app").mkdir()
    code = "NAMES = {'fk': 'fk', 'uq': 'uq_%(words)s', 'words': str}\n"
    (service.backend / "old_app" / "models.py").write_text(code)
    done = adopt(service)
    assert "old_app/models.py, line 1: a naming convention that is code\nNext:" in done.stderr
    convention = 'NAMES = {"uq": "only_one_%(table_name)s", "pk": "%(table_name)s_pk"}\n'
    convention += "OTHERS = {**NAMES}, {'fk': 1}, {(): 1}\n"
    (service.backend / "old_app" / "models.py").write_text(convention)
    (service.backend / "old_app" / "newer.py").write_text("for a later Python")
    done = adopt(service)  # the same command again, with the models
    assert done.returncode == 0, done
    assert "only_one_%(table_name)s" in done.stdout
    assert service.migrate().returncode == 0
    query = "SELECT conname FROM pg_constraint WHERE conname LIKE '%_items'"
    assert service.sql(query) == [("only_one_items",)]


def test_a_database_says_which_revision_it_is_at(old: Path, new: New, own_server: URL) -> None:
    _, service = new()
    copy_history(old, service)
    database = own_server.set(database="old_4")
    execute(database, "DROP TABLE alembic_version")  # nobody knows
    done = adopt(service, "--database", url=database)
    assert done.returncode == 0, done
    assert "old_4 has the schema of 4.\n" in done.stdout
    known = Service(service.backend, database)
    assert known.version() == [], "only --yes records it"
    execute(database, "CREATE TABLE alembic_version AS VALUES ('0001'), ('nowhere')")
    execute(database, "ALTER TABLE alembic_version RENAME column1 TO version_num")
    done = adopt(service, "--database", "--yes", url=database)
    assert done.returncode == 0, done
    assert known.version() == ["4"], "whatever was recorded"
    done = known.migrate()
    assert (done.returncode, done.stdout) == (0, "The database is at head: 4\n"), done
    done = adopt(service, "--database", "--yes", url=own_server.set(database="old_orders"))
    assert "old_orders has the schema of each of orders, 0003" in done.stdout, done
    assert done.returncode == 1, "nothing is recorded"
    database = own_server.set(database="old_0001")
    execute(database, "ALTER TABLE users ADD by_hand int")
    done = adopt(service, "--database", url=database)
    assert done.returncode == 1, done
    assert "old_0001 is none of them. What differs from 0001, the nearest:" in done.stdout
    assert "users.by_hand\nLost is what old_0001 lacks, left over what only it has" in done.stderr
    assert "python -m app.migrate stamp --purge 0001\n" in done.stderr
    left = execute(own_server, "SELECT datname FROM pg_database WHERE datname ~ '^adopt_'")
    assert left == []


SCHEMA = r"""
CREATE EXTENSION hstore;
CREATE SCHEMA sales;
CREATE TYPE sales.kind AS ENUM ('a', 'b''c');
CREATE TABLE sales.items (id serial, kind sales.kind DEFAULT 'a', at text DEFAULT '10:30%s');
CREATE VIEW shown AS SELECT id, at::varchar(5) AS short FROM sales.items WHERE at LIKE '%:x\_%';
CREATE MATERIALIZED VIEW kept AS SELECT * FROM shown;
CREATE MATERIALIZED VIEW unkept AS SELECT * FROM kept WITH NO DATA;
CREATE FUNCTION twice(a int[]) RETURNS int[] LANGUAGE sql AS $$ SELECT a[1:2] || a -- it's 100%
$$;
"""


def test_a_schema_without_revisions_becomes_the_first_one(new: New) -> None:
    project, service = new()
    done = adopt(service, "--database")
    assert f"Error: {service.url.database} is empty\nNext:  " in done.stderr
    service.sql(SCHEMA)
    done = adopt(service, "--database", "--yes")
    assert done.returncode == 0, done
    assert f"{service.url.database} has the schema of schema: recorded." in done.stdout
    [path] = service.versions.glob("*.py")
    assert "sales.items" in path.read_text()
    assert "COMMENT ON EXTENSION" not in path.read_text(), "which only its owner may"
    assert service.version() == ["schema"]
    assert '\nreleased = "schema"\n' in (project.backend / "pyproject.toml").read_text("utf-8")


def test_what_cannot_move_in_is_said(new: New) -> None:
    _, service = new()
    done = adopt(service)
    assert done.returncode == 1
    said = "no revision but the baseline, or has some in folders\nNext:  copy yours there"
    assert said in done.stderr
    assert service.migrate("upgrade", "head").returncode == 0, "nothing has changed"
    (service.versions / "old").mkdir()
    (service.versions / "old" / "one.py").write_text("revision, down_revision = 'one', None\n")
    assert said in adopt(service).stderr
    several = "revision, down_revision = 'two', None\ndef upgrade(engine_name): pass\n"
    (service.versions / "two.py").write_text(several)
    assert said in adopt(service).stderr, "a branch of its own"
    shutil.rmtree(service.versions / "old")
    assert "testing.adopt [--database [--yes]]" in adopt(service, "--help").stderr
    for name in ("one", "two"):
        (service.versions / f"{name}.py").write_text("revision, down_revision = 'one', None\n")
    assert "Revision one is present more than once\nNext:" in adopt(service).stderr
    for name in ("one", "two"):
        (service.versions / f"{name}.py").unlink()
    (service.versions / "lost.py").write_text("import nowhere\nfrom old_app.models import User\n")
    done = adopt(service)
    assert done.returncode == 1
    lines = ["nowhere (alembic/versions/lost.py, line 1)", "old_app.models (alembic/versions/"]
    assert "\n  ".join(["the revisions import what is not here:", *lines]) in done.stderr
    (service.backend / "old_app.py").write_text("")
    assert "\n  old_app.models (" in adopt(service).stderr
    (service.versions / "lost.py").unlink()
    service.add("own", "op.execute('SELEC')")
    done = adopt(service)
    assert done.returncode == 1
    assert "_own_made_by_a_test.py:15: upgrade() fails: syntax error" in done.stderr
    assert list(service.versions.glob("*_baseline_*")), "this project began here"
    _, service = new()
    (service.versions / "two.py").write_text(f"{several}def downgrade(engine_name): pass\n")
    error, remedy = adopt(service).stderr.splitlines()[-2:]
    assert re.match(r"Error: two.py: upgrade\(\) missing .*'engine_name'", error), error
    assert remedy.startswith("Next:  fix that file")


def test_two_heads_are_recorded_both(new: New) -> None:
    _, service = new()
    assert service.migrate().returncode == 0, "before it is known that there is a history"
    for name, before in (("one", None), ("east", "one"), ("west", "one")):
        text = "from alembic import op\n\ndef downgrade(): pass\n\ndef upgrade():\n"
        text += f"    op.execute('CREATE TABLE {name} ()')\n"
        text += f"\nrevision, down_revision = {name!r}, {before!r}\n"
        (service.versions / f"{name}.py").write_text(text)
        service.sql(f"CREATE TABLE {name} ()")
    done = adopt(service, "--database", "--yes")
    assert done.returncode == 0, done
    assert "has the schema of east west: recorded." in done.stdout
    assert sorted(service.version()) == ["east", "west"]
    assert service.migrate("stamp", "--purge", "base").returncode == 0, "as it says"
    assert service.version() == []


def test_a_look_touches_no_other_database_and_makes_a_role_once(new: New) -> None:
    _, service = new()
    url = service.url.set(drivername="postgresql+psycopg2")
    own = f"sa.create_engine({url.render_as_string(hide_password=False)!r}).begin()"
    text = "import sqlalchemy as sa\nfrom alembic import op\nrevision = 'one'\n"
    text += "down_revision = None\ndef downgrade(): pass\ndef upgrade():\n"
    text += "    op.execute('CREATE ROLE of_old')\n"
    more = f"    with {own} as own: own.exec_driver_sql('CREATE TABLE leaked ()')\n"
    (service.versions / "one.py").write_text(text + more)
    done = adopt(service)
    assert f"a revision connects to {url.database} by itself, not by op.get_bind()" in done.stderr
    assert not service.sql("SELECT 1 FROM pg_tables WHERE tablename = 'leaked'")
    (service.versions / "one.py").write_text(text)
    for _ in range(2):
        done = adopt(service)
        assert done.returncode == 0, done
    service.sql("DROP ROLE of_old")


@pytest.mark.parametrize("statement", ["CREATE DATABASE", "SELECT pg_sleep", "DROP DATABASE"])
def test_an_interruption_leaves_no_database(new: New, own_server: URL, statement: str) -> None:
    _, service = new()
    text = "from alembic import op\nrevision, down_revision = 'one', None\n"
    text += "def upgrade(): op.execute('SELECT pg_sleep(2)')\ndef downgrade(): pass\n"
    (service.versions / "one.py").write_text(text)
    names = "SELECT datname FROM pg_database WHERE datname ~ '^adopt_'"

    def runs(text: str) -> object:
        active = "SELECT 1 FROM pg_stat_activity WHERE starts_with(query, %s)"
        return execute(own_server, active, text) or process.poll() is not None

    with ExitStack() as stack:
        dsn = own_server.render_as_string(hide_password=False)
        other = stack.enter_context(closing(psycopg2.connect(dsn))).cursor()
        if statement.startswith("CREATE"):
            other.execute("COMMENT ON DATABASE template0 IS 'until this ends, it is not copied'")
        process = stack.enter_context(service.process("-m", "testing.adopt", program="python"))
        until(lambda: runs("SELECT pg_sleep" if statement.startswith("DROP") else statement))
        if statement.startswith("DROP"):
            [(name,)] = execute(own_server, names)
            other.execute(f"COMMENT ON DATABASE {name} IS 'until this ends, it is not dropped'")
            process.terminate()
            until(lambda: runs(statement))
        process.terminate()
        other.connection.rollback()
        assert process.communicate(timeout=30)[1].startswith("Error: interrupted")
    assert not execute(own_server, names)

"""Autogenerate over a corpus of models and of their changes: each through the whole loop."""

import json
import os
import random
import re
import subprocess
import sys
import tomllib
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from sqlalchemy import URL

from tests._kit.forks import forks
from tests._kit.report import part_of, seed_of
from tests._kit.revision import PLANTED, write_revision
from tests._kit.support import Done, NewDatabase, environment, execute, succeed
from tests.checks.test_suite_catches import (
    DRIFTS,
    ENDED,
    MODELS_OF_DRIFT,
    NO_DRIFT,
    changed_models,
)
from tests.conftest import Project, Render

pytestmark = pytest.mark.server

LOOP = Path(__file__).parents[1] / "_kit" / "loop.py"
COLUMNS = """
class Thing(Base):
    __tablename__ = "things"
    id: Mapped[int] = mapped_column(primary_key=True)
"""


def corpus() -> dict[str, dict[str, Any]]:
    """Each case by its name; columns alone become a model."""
    cases = {}
    planted = tomllib.loads((PLANTED / "models.toml").read_text("utf-8"))
    for kind, named in planted.items():
        for name, fields in named.items():
            for key in {"models", "then"} & fields.keys():
                if "(Base)" not in fields[key]:
                    lines = fields[key].strip().splitlines()
                    fields[key] = COLUMNS + "".join(f"    {line}\n" for line in lines)
            cases[f"{kind}: {name}"] = fields
    for name, case in DRIFTS.items():  # whose models have changed, or the database
        cases[f"drift: {name}"] = {
            "base": MODELS_OF_DRIFT,
            "before": case.before,
            "models": changed_models(case),
            "by_hand": f"{re.escape(case.expect)}|cannot be created",
        }
    statements = [case.before for case in NO_DRIFT.values()]  # as the drift check has them
    for name, some in {"all": statements[:-1], "the order of columns": statements[-1:]}.items():
        models = {"base": MODELS_OF_DRIFT, "models": MODELS_OF_DRIFT}
        cases[f"no drift: {name}"] = {**models, "after": "; ".join([ENDED, *some])}
    return cases


def run(project: Project, server: URL, cases: Any, folder: Path, *words: str) -> dict[str, Any]:
    """The verdict and the report of each case."""
    done = subprocess.run(
        [sys.executable, LOOP, server.render_as_string(hide_password=False), folder, *words],
        cwd=project.backend,
        input=json.dumps(cases),
        env=environment(PYTHONPATH=str(PLANTED), MIGRATION_RETRY_WAIT="1"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    verdicts: dict[str, Any] = json.loads(done.stdout)
    return verdicts


def test_autogenerate_is_right_the_first_time(render: Render, server: URL) -> None:
    project = render()
    versions = project.backend / "alembic" / "versions"
    words = os.environ.get("AUTOGENERATE", "").split()  # plain: Alembic's generic env.py
    cases = dict(list(corpus().items())[part_of(16)])
    verdicts = run(project, server, cases, versions, *words)
    print(score(verdicts))
    wrong = {name: why for name, (verdict, why) in verdicts.items() if verdict == "wrong"}
    assert not wrong, "\n".join(f"{name}: {why}" for name, why in wrong.items())
    ruff = [
        sys.executable,
        "-m",
        "ruff",
        "check",
        "--quiet",
        "--fix",
        str(versions),
    ]  # as alembic.ini
    done = subprocess.run(ruff, cwd=project.backend, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def score(verdicts: dict[str, Any]) -> str:
    """A line for each kind, and one for all."""
    rows: dict[str, Counter[str]] = {}
    for name, (verdict, _) in verdicts.items():
        rows.setdefault(name.partition(":")[0], Counter())[verdict] += 1
    rows["all"] = sum(rows.values(), Counter())
    heads = ["written", "by hand", "wrong"]
    lines = [f"{'models and changes':20}" + "".join(f"{head:>10}" for head in heads)]
    lines += [f"{k:20}" + "".join(f"{row[h]:>10}" for h in heads) for k, row in rows.items()]
    return "\n".join(lines)


# Types, and a default of each as SQL.
TYPES = {
    "Text": "'it''s 5%'", "String(20)": "''", "Integer": "-1", "BigInteger": "2 + 2",
    "SmallInteger": "0", "Boolean": "false", "Numeric(10, 2)": "0.5", "Double": "'NaN'",
    "Date": "CURRENT_DATE", "DateTime(timezone=True)": "now()", "Time": "'08:30'",
    "Interval": "'1 day'", "Uuid": "gen_random_uuid()", "LargeBinary": "'\\\\x00'",
    "pg.JSONB": "'{\"a\": 1}'", "pg.ARRAY(Text)": "'{a,b}'", "pg.ARRAY(Integer)": "ARRAY[1, 2]",
    "pg.INET": "'10.0.0.1'", "pg.CIDR": "'10.0.0.0/8'", "pg.MACADDR": "'08:00:2b:01:02:03'",
    "pg.INT4RANGE": "'[1,5)'", "pg.TSTZRANGE": "'empty'", "pg.BIT(3)": "'101'",
    "pg.TSVECTOR": "to_tsvector('simple', 'a')", "sa.Enum(Urgency)": "'low'",
}  # fmt: skip


def random_models(seed: int) -> dict[str, Any]:
    """A table of random columns, and the same with some of them changed, dropped and added."""
    chance = random.Random(seed)  # noqa: S311 (no secret)

    def column(name: str, type_: str) -> str:
        words = [type_, f"nullable={chance.random() < 0.5}"]
        words += [f"server_default=sa.text({TYPES[type_]!r})"] * (chance.random() < 0.5)
        words += chance.choice([[], [], ["index=True"], ["unique=True"]])
        return f"{name}: Mapped[Any] = mapped_column({', '.join(words)})"

    types = [(f"c{n}", chance.choice(list(TYPES))) for n in range(9)]
    models = [column(*it) for it in types[:7]]
    changed = [column(*it) for it in types[:7]]
    then = [chance.choice(both) for both in zip(models, changed, strict=True)]
    then = [line for line in then if chance.random() < 0.8] + [column(*it) for it in types[7:]]
    return {"models": "\n".join(models), "then": "\n".join(then)}


@pytest.mark.in_turn(2, of="models")
def test_random_columns_go_through_the_loop(render: Render, server: URL) -> None:
    """Types, nullability, defaults and indexes; AUTOGENERATE_SEED is the first of them."""
    number = int(os.environ.get("AUTOGENERATE_MODELS", "8"))
    first = seed_of("AUTOGENERATE_SEED")
    cases = {f"AUTOGENERATE_SEED={n}": random_models(n) for n in range(first, first + number)}
    for case in cases.values():
        for key in ("models", "then"):
            case[key] = COLUMNS + "".join(f"    {line}\n" for line in case[key].splitlines())
    project = render()
    verdicts = run(project, server, cases, project.backend / "alembic" / "versions")
    wrong = {name: why for name, (verdict, why) in verdicts.items() if verdict == "wrong"}
    assert not wrong, "\n".join(f"{name}: {why}" for name, why in wrong.items())


SHOP = """
import enum
from decimal import Decimal
from typing import Any

from sqlalchemy import CheckConstraint, Column, ForeignKey, Numeric, Table
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.core.database import Base, Id


class Urgency(enum.Enum):
    low = 1
    high = 2


links = Table(
    "order_tags",
    Base.metadata,
    Column("order_id", ForeignKey("orders.id", ondelete="CASCADE"), primary_key=True),
    Column("tag_id", ForeignKey("tags.id", ondelete="CASCADE"), primary_key=True),
)


class Tag(Base):
    __tablename__ = "tags"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)


class Customer(Base):
    __tablename__ = "customers"

    id: Mapped[Id]


class Order(Base):
    __tablename__ = "orders"
    __table_args__ = (CheckConstraint("price >= 0", name="price"),)

    id: Mapped[Id]
    customer_id: Mapped[int] = mapped_column(ForeignKey("customers.id"), index=True)
    urgency: Mapped[Urgency] = mapped_column(server_default="low")
    price: Mapped[Decimal] = mapped_column(Numeric(12, 2))
    details: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")
    tags: Mapped[list[Tag]] = relationship(secondary=links)
"""
# Each is a change of what is there, with rows in it.
LATER = [
    ("low = 1\n", "low = 1\n    mid = 3\n"),
    ("price >= 0", "price >= 0 AND price < 1000000"),
    ("id: Mapped[int] = mapped_column(primary_key=True)", "id: Mapped[Id]"),
    ("Numeric(12, 2))", "Numeric(14, 3), server_default='1')"),
    ("class Customer(Base):", "class Buyer(Base):"),
    ("    mid = 3\n", ""),
]


@pytest.mark.in_turn(2, of="models")
def test_the_sequence_of_the_readme_with_an_enum(
    render: Render, new_database: NewDatabase, server: URL
) -> None:
    """From an empty project to a green suite; then changes, one revision each, to another."""
    project, url = render(), new_database()
    text = server.render_as_string(hide_password=False)

    def migrate(*words: str) -> str:
        return succeed(forks().run("app.migrate", [*words], project.backend, environment(url)))

    def suite() -> None:
        given = environment(TEST_DATABASE_URL=text)
        succeed(forks().run("pytest", ["-q", "-p", "no:cacheprovider"], project.backend, given))

    model = project.backend / "app" / "models" / "order.py"
    model.write_text(SHOP)
    migrate()
    migrate("revision", "--autogenerate", "-m", "add orders")
    migrate()
    migrate("check")
    suite()
    migrate("downgrade", "-1")
    migrate()
    for number, (old, new) in enumerate(LATER):
        assert old in model.read_text()
        model.write_text(model.read_text().replace(old, new))
        migrate("revision", "--autogenerate", "-m", f"later {number}")
        migrate()
        migrate("check")
    suite()


def test_what_autogenerate_cannot_know_is_said_at_the_end(
    render: Render, new_database: NewDatabase
) -> None:
    project, url = render(), new_database()
    model = project.backend / "app" / "models" / "order.py"

    def migrate(*words: str) -> Done:
        return forks().run("app.migrate", [*words], project.backend, environment(url))

    model.write_text(SHOP)
    migrate("upgrade", "head")
    message = 'a "quoted" \\u and """ more"'
    succeed(migrate("revision", "--autogenerate", "-m", message))
    succeed(migrate("upgrade", "head"))
    assert "quoted" in succeed(migrate("history"))
    model.write_text(SHOP.replace("details: Mapped[dict", "more: Mapped[dict"))
    said = succeed(migrate("revision", "--autogenerate", "-m", "rename")).splitlines()
    code = "op.alter_column('orders', 'details', new_column_name='more')"
    assert said[-1].startswith("drops column details and adds column more: if")
    assert said[-1].endswith(code)
    execute(url, "CREATE VIEW prices AS SELECT price FROM orders")
    model.write_text(SHOP.replace("Numeric(12, 2)", "Numeric(14, 3)"))
    for path in (project.backend / "alembic" / "versions").glob("*_rename.py"):
        path.unlink()
    printed = succeed(migrate("revision", "--autogenerate", "-m", "price"))
    assert "by hand: orders.price: cannot alter type" in printed
    done = migrate("upgrade", "head")
    assert done.returncode not in (0, 1), done.stderr
    assert "completed by hand, and this line deleted: orders.price" in done.stderr
    assert "Traceback" not in done.stderr
    for path in (project.backend / "alembic" / "versions").glob("*_price.py"):
        path.unlink()
    long = "class Tag(Base):\n    __table_args__ = (Index('ix_" + "x" * 70 + "', 'name'),)\n"
    model.write_text("from sqlalchemy import Index\n" + SHOP.replace("class Tag(Base):\n", long))
    done = migrate("check")
    assert (done.returncode, "63 characters" in done.stderr) == (2, True), done.stderr
    ours = project.backend / "app" / "migrate" / "comparison.py"
    broken = 'raise KeyError("ours")\n    return name.replace'
    ours.write_text(ours.read_text().replace("return name.replace", broken))
    model.write_text(SHOP)
    done = migrate("check")
    assert done.returncode == 1, done.stderr
    assert "KeyError: 'ours' (app/migrate/comparison.py, line" in done.stderr
    assert "an error in the template" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_role_that_may_create_nothing_is_told_so(
    render: Render, new_database: NewDatabase
) -> None:
    project, url = render(), new_database()
    name = str(url.database)
    execute(url, f"CREATE ROLE {name} LOGIN PASSWORD '{url.password}'")
    succeed(forks().run("app.migrate", [], project.backend, environment(url)))
    execute(url, f"GRANT SELECT ON alembic_version TO {name}")
    given = environment(url.set(username=name))
    done = forks().run("app.migrate", ["check"], project.backend, given)
    execute(url, f"DROP OWNED BY {name}; DROP ROLE {name}")
    assert done.returncode == 5, done.stderr
    assert f"permission denied for database {name}" in done.stderr


def test_what_you_leave_out_is_left_out_by_check_and_by_the_suite(
    render: Render, new_database: NewDatabase, server: URL
) -> None:
    project, url = render(), new_database()
    upgrade = 'op.execute("CREATE TABLE legacy_visits (id bigint PRIMARY KEY)")'
    downgrade = 'op.execute("DROP TABLE legacy_visits")'
    write_revision(project.backend, "legacy", "baseline", upgrade, downgrade)

    def check() -> int:
        return forks().run("app.migrate", ["check"], project.backend, environment(url)).returncode

    def suite() -> int:
        given = environment(TEST_DATABASE_URL=server.render_as_string(hide_password=False))
        words = ["-q", "-p", "no:cacheprovider", "testing/drift.py"]
        return forks().run("pytest", words, project.backend, given).returncode

    succeed(forks().run("app.migrate", [], project.backend, environment(url)))
    assert (check(), suite()) == (7, 1)
    yours = project.backend / "app" / "core" / "autogenerate.py"
    hidden = 'return not (_name or "").startswith("legacy_")'
    yours.write_text(yours.read_text().replace("return True", hidden))
    assert (check(), suite()) == (0, 0)


def test_a_revision_that_cannot_be_tried_is_written_and_a_hook_may_remove_it(
    render: Render, new_database: NewDatabase
) -> None:
    project, url = render(), new_database()
    model = project.backend / "app" / "models" / "order.py"
    versions = project.backend / "alembic" / "versions"

    def migrate(*words: str) -> str:
        return succeed(forks().run("app.migrate", [*words], project.backend, environment(url)))

    model.write_text(SHOP)
    migrate("upgrade", "head")
    migrate("revision", "--autogenerate", "-m", "add orders")
    migrate("upgrade", "head")
    model.write_text(SHOP.replace("Numeric(12, 2)", "Numeric(14, 3)"))
    with closing(psycopg2.connect(url.render_as_string(hide_password=False))) as session:
        session.cursor().execute("SELECT FROM orders")  # and no commit
        said = migrate("revision", "--autogenerate", "-m", "price").splitlines()
    assert said[-1] == "could not be tried on the server: canceling statement due to lock timeout"
    migrate("upgrade", "head")
    migrate("check")
    yours = project.backend / "app" / "core" / "autogenerate.py"
    hook = "lambda _context, _rev, scripts: scripts[0].upgrade_ops.is_empty() and scripts.clear()"
    options = f"OPTIONS: dict[str, Any] = {{'process_revision_directives': {hook}}}  #"
    yours.write_text(yours.read_text().replace("OPTIONS: dict[str, Any] = {}", options))
    before = {*versions.iterdir()}
    migrate("revision", "--autogenerate", "-m", "nothing")
    assert {*versions.iterdir()} == before

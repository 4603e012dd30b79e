"""The rendered project's suite, over planted defects and over good revisions.

Each defect is a revision of one long history, with objects of its own; the suite has to fail for
each, and name the object. Good revisions, as many, have to pass. The score is printed by class.
"""

import json
import re
import secrets
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from sqlalchemy import URL

from tests._kit.forks import forks
from tests._kit.revision import Case, body, planted, revision, write_revision
from tests._kit.support import NewDatabase, environment, execute, succeed, template_module
from tests.conftest import Project, Render, git

pytestmark = pytest.mark.server


# Of the first revision, for those who look at the last downgrade too.
CLEAR = """
DO $$ DECLARE r record; BEGIN
    FOR r IN SELECT oid::regclass AS n FROM pg_class WHERE relnamespace = 'public'::regnamespace
        AND relkind IN ('r', 'p') AND NOT relispartition AND relname !~ '^alembic'
    LOOP EXECUTE format('DROP TABLE IF EXISTS %s CASCADE', r.n); END LOOP;
    FOR r IN SELECT oid::regprocedure AS n FROM pg_proc
        WHERE pronamespace = 'public'::regnamespace
    LOOP EXECUTE format('DROP FUNCTION %s CASCADE', r.n); END LOOP;
    FOR r IN SELECT oid::regtype AS n FROM pg_type
        WHERE typnamespace = 'public'::regnamespace AND typtype = 'e'
    LOOP EXECUTE format('DROP TYPE %s CASCADE', r.n); END LOOP;
END $$"""


def write(project: Project, cases: dict[str, Case]) -> None:
    """One long history: first all that the cases need, then each case."""
    needed = [case.before for case in cases.values() if case.before]
    setup = "\n".join(body(statement).strip() for statement in needed)
    write_revision(project.backend, "setup", "baseline", setup, CLEAR, message="setup")
    after = "setup"
    for number, (name, case) in enumerate(cases.items(), 1):
        write_revision(
            project.backend,
            name,
            after,
            case.upgrade,
            case.downgrade,
            number=number,
            message="planted",
            **case.declares,
        )
        after = name


def reports(output: str) -> dict[str, str]:
    """What pytest printed about each subtest that failed, by its name."""
    parts = re.split(r"(?m)^_+ \S.* \[(\w+)\] _+$", output)
    texts: dict[str, str] = {}
    for name, text in zip(parts[1::2], parts[2::2], strict=True):
        ended = re.split(r"(?m)^(?:_+ .* _+|=+ .* =+)$", text)[0]
        texts[name] = texts.get(name, "") + ended
    return texts


def suite(project: Project, server: URL, *words: str, **variables: str) -> tuple[int, str]:
    """Run the project's own tests on our server."""
    variables["TEST_DATABASE_URL"] = server.render_as_string(hide_password=False)
    given = environment(None, **variables)
    options = ["-q", "-p", "no:cacheprovider"]
    done = forks().run("pytest", [*options, *words], project.backend, given)
    return done.returncode, done.stdout + done.stderr


BROKEN = planted("broken_downgrades.toml")
GOOD = planted("good_downgrades.toml")
DRIFTS = planted("drifts.toml")
NO_DRIFT = planted("no_drifts.toml")
ENDED = "CREATE FUNCTION ended() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'"  # of them


def test_good_revisions_pass(render: Render, server: URL) -> None:
    project = render()
    write(project, GOOD)
    code, output = suite(
        project, server, "testing/reversible.py", "testing/offline.py", "testing/shape.py"
    )
    assert code == 0, output
    print(output)


def test_broken_downgrades_are_caught_and_named(render: Render, server: URL) -> None:
    """In several histories, since the suite begins anew after each that leaves something behind."""
    names, found = list(BROKEN), dict[str, str]()
    for some in (names[n : n + 24] for n in range(0, len(names), 24)):
        project = render()
        write(project, {name: BROKEN[name] for name in some})
        code, output = suite(project, server, "testing/reversible.py")
        assert code == 1, output
        found |= reports(output)
    score(BROKEN, found)


def score(cases: dict[str, Case], found: dict[str, str]) -> None:
    """Print it by class; fail with what was missed."""
    caught = {
        name: case.expect in found.get(name, "")
        and re.search(rf"_{name}_planted\.py:\d+", found[name]) is not None
        for name, case in cases.items()
    }
    of = Counter(case.kind for case in cases.values())
    hit = Counter(cases[name].kind for name in cases if caught[name])
    for kind, number in [*of.items(), ("all", of.total())]:
        print(f"{kind:40}{hit[kind] if kind != 'all' else hit.total():4} of {number}")
    missed = [f"{name}: {cases[name]}\n{found.get(name)}" for name in cases if not caught[name]]
    assert not missed, "\n".join(missed)


# Models, as a user writes them. `python -m planted` compares them, changed, with a database that
# has them as they are.
MODELS_OF_DRIFT = """
import enum
from datetime import datetime
from decimal import Decimal

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.orm import Mapped, mapped_column

from app.core.database import Base


class Color(enum.Enum):
    red = 1
    blue = 2


steps = sa.Sequence("steps", start=10, increment=5, metadata=Base.metadata)
positive = pg.DOMAIN("positive", sa.Integer(), check="VALUE > 0")


class Place(Base):
    __tablename__ = "places"
    __table_args__ = (
        sa.UniqueConstraint("name", "code", name="uq_places_name_code"),
        sa.UniqueConstraint("rank", name="uq_places_rank", deferrable=True),
        sa.CheckConstraint("rank > 0", name="rank_positive"),
        pg.ExcludeConstraint(("during", "&&"), name="ex_places_during"),
        sa.Index("ix_places_code", "code", postgresql_where=sa.text("rank > 3")),
        sa.Index("ix_places_lower", sa.text("lower(name)")),
        sa.Index("ix_places_tags", "tags", postgresql_using="gin"),
        sa.Index("ix_places_more", "name", postgresql_include=["rank"]),
        sa.Index("ix_places_pattern", "name", postgresql_ops={"name": "text_pattern_ops"}),
        sa.Index("ix_places_desc", sa.text("rank DESC")),
        {"comment": "where", "postgresql_with": {"fillfactor": 80}},
    )

    id: Mapped[int] = mapped_column(sa.BigInteger, sa.Identity(start=5), primary_key=True)
    name: Mapped[str] = mapped_column(sa.String(100), comment="of it")
    code: Mapped[str] = mapped_column(sa.String(10), server_default="x")
    rank: Mapped[int] = mapped_column(server_default=sa.text("1"))
    price: Mapped[Decimal] = mapped_column(sa.Numeric(10, 2))
    color: Mapped[Color] = mapped_column(sa.Enum(Color, name="color"))
    tags: Mapped[list[str]] = mapped_column(pg.ARRAY(sa.Text))
    during: Mapped[object] = mapped_column(pg.INT4RANGE)
    twice: Mapped[int] = mapped_column(sa.Computed("rank * 2", persisted=True))
    sorted_name: Mapped[str | None] = mapped_column(sa.Text(collation="C"))
    made_at: Mapped[datetime] = mapped_column(server_default=sa.func.now())
    level: Mapped[int | None] = mapped_column(positive)
    step: Mapped[int] = mapped_column(sa.Integer, steps, server_default=steps.next_value())
    data: Mapped[dict[str, int] | None] = mapped_column(pg.JSONB)


class Visit(Base):
    __tablename__ = "visits"
    __table_args__ = ({"postgresql_partition_by": "RANGE (day)"},)

    id: Mapped[int] = mapped_column(primary_key=True)
    day: Mapped[int] = mapped_column(primary_key=True)
    place_id: Mapped[int] = mapped_column(
        sa.ForeignKey("places.id", ondelete="CASCADE"), index=True
    )


class Log(Base):
    __tablename__ = "logs"

    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str]
"""
COMPARE = """
import json, sys
from sqlalchemy import create_engine, make_url, MetaData
from sqlalchemy.orm import DeclarativeBase
from testing.databases import create_database, drop_database, execute
from testing.drift import drift
import app.core.database

server, base, cases = make_url(sys.argv[1]), *json.load(sys.stdin)


def metadata(source):
    class Base(DeclarativeBase):
        metadata = MetaData(naming_convention=app.core.database.NAMING_CONVENTION)
        type_annotation_map = app.core.database.Base.type_annotation_map
    app.core.database.Base = Base
    exec(compile(source, "models", "exec"), {"__name__": "models"})
    return Base.metadata


url = create_database(server, "drift_base")
engine = create_engine(url.set(drivername="postgresql+psycopg2"))
metadata(base).create_all(engine)
engine.dispose()
found = []
for statement, source in cases:
    head = create_database(server, "drift_head", "drift_base") if statement else url
    if statement:
        execute(head, statement)
    try:
        found.append(drift(head, metadata(source)))
    except Exception as error:
        found.append(([f"ERROR {error!r}"], []))
    if statement:
        drop_database(server, "drift_head")
drop_database(server, "drift_base")
print(json.dumps(found))
"""


def compared(project: Project, server: URL, cases: list[tuple[str, str]]) -> list[Any]:
    """For each (statement, models): the differences and the notes."""
    done = subprocess.run(
        [sys.executable, "-c", COMPARE, server.render_as_string(hide_password=False)],
        cwd=project.backend,
        input=json.dumps([MODELS_OF_DRIFT, cases]),
        env=environment(server),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: list[Any] = json.loads(done.stdout)
    return found


def changed_models(case: Case) -> str:
    """The models, with the change of this case."""
    assert case.old in MODELS_OF_DRIFT, case.old
    source = MODELS_OF_DRIFT.replace(case.old, case.new, 1) if case.old else MODELS_OF_DRIFT
    if "*[" in case.new:  # close what was opened
        line = next(line for line in source.splitlines() if "*[" in line)
        source = source.replace(line, re.sub(r"\)(,?)$", r"])\1", line))
    return source


def test_the_tables_are_judged_once_however_many_no_model_has() -> None:
    """In counts, which a busy machine does not change: each time takes as long as the schema is."""
    drift = template_module("testing.drift")
    found = {("table", f"t{number}"): "owner me" for number in range(50)}
    with patch.object(drift, "judged_tables", wraps=drift.judged_tables) as judged:
        lines, _ = drift.compare(found, {})
    assert len(lines) == 50
    assert judged.call_count == 1


def test_drifts_are_caught_and_named(rendered: Render, server: URL) -> None:
    cases = [(case.before, changed_models(case)) for case in DRIFTS.values()]
    found = compared(rendered(), server, cases)
    missed = [
        f"{case}: {lines}"
        for case, (lines, _) in zip(DRIFTS.values(), found, strict=True)
        if not any(case.expect in line and "ERROR" not in line for line in lines)
    ]
    print(f"drifts caught and named: {len(DRIFTS) - len(missed)} of {len(DRIFTS)}")
    assert not missed, "\n".join(missed)


def test_what_only_revisions_make_is_no_drift(rendered: Render, server: URL) -> None:
    """All in one database, since silence is expected; the last, columns in another order, alone."""
    statements = [case.before for case in NO_DRIFT.values()]
    some = "; ".join([ENDED, *statements[:-1]]), statements[-1]
    cases = [(statement, MODELS_OF_DRIFT) for statement in some]
    (lines, notes), (more, order) = compared(rendered(), server, cases)
    print(f"false alarms: {len(lines + more)} for {len(NO_DRIFT)} statements")
    assert not lines + more + notes, "\n".join(lines + more + notes)
    assert order == ["columns of logs: text, id; in the model id, text"]


BEHIND_MODELS = """
import warnings
from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, String, func
from sqlalchemy.orm import Mapped, mapped_column

from app.core.database import Base

warnings.warn("use something else", DeprecationWarning)


class Place(Base):
    __tablename__ = "places"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(80), unique=True)
    since: Mapped[datetime] = mapped_column(server_default=func.now(), index=True)
    note: Mapped[str | None] = mapped_column(comment="what a visitor should know")
    last_visit_id: Mapped[int | None] = mapped_column(ForeignKey("visits.id"))


class Visit(Base):
    __tablename__ = "visits"
    __table_args__ = (CheckConstraint("days > 0", name="days"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    place_id: Mapped[int] = mapped_column(ForeignKey("places.id"), index=True)
    days: Mapped[int]
"""
BEHIND = (
    "CREATE TABLE places (id serial CONSTRAINT pk_places PRIMARY KEY, name varchar(40), old int)"
)


def test_the_command_that_a_drift_names_fixes_it(
    render: Render, new_database: NewDatabase, server: URL
) -> None:
    """A table, columns, a type, a default, an index, a comment and constraints; and models warn."""
    project = render()
    (project.backend / "app" / "models" / "place.py").write_text(BEHIND_MODELS)
    write_revision(project.backend, "behind", "baseline", BEHIND, "DROP TABLE places")
    drift = "testing/drift.py"
    code, output = suite(project, server, drift, MIGRATE_COMMAND="docker compose run --rm migrate")
    assert code == 1
    assert 'docker compose run --rm migrate revision --autogenerate -m "what changed"' in output
    given = environment(new_database())
    for words in ([], ["revision", "--autogenerate", "-m", "what changed"]):
        succeed(forks().run("app.migrate", words, project.backend, given))
    code, output = suite(project, server, drift)
    assert code == 0, output


OWN_COMPILER = """
from sqlalchemy import DateTime
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.sql.expression import FunctionElement

from app.core.database import Base


class utcnow(FunctionElement):
    type = DateTime()
    inherit_cache = True


@compiles(utcnow, "postgresql")
def of_postgresql(*_, **__):
    return "timezone('utc', CURRENT_TIMESTAMP)"


class Place(Base):
    __tablename__ = "places"

    id: Mapped[int] = mapped_column(primary_key=True)
    made = mapped_column(DateTime, server_default=utcnow())
"""


def test_an_sql_function_with_its_own_compiler_is_worded(render: Render, server: URL) -> None:
    """As SQLAlchemy's documentation recommends for utcnow()."""
    project = render()
    (project.backend / "app" / "models" / "place.py").write_text(OWN_COMPILER)
    code, output = suite(project, server, "testing/drift.py")
    assert code == 1
    assert "only in the models: table places" in output


def test_branches_merges_bases_and_dependencies_pass(render: Render, server: URL) -> None:
    project = render()
    table = ("CREATE TABLE @ (id int)", "DROP TABLE @")
    column = ("ALTER TABLE a ADD @ int", "ALTER TABLE a DROP @")
    steps: list[tuple[str, Any, tuple[str, str], str | None]] = [
        ("a", "baseline", table, None),
        ("b", "a", column, None),
        ("c", "a", column, None),
        ("d", "c", table, None),
        ("joined", ("b", "d"), ("", ""), None),
        ("other", None, table, None),  # a second base
        ("more", "other", column, "d"),  # needs a, and not only its own branch
        ("last", ("joined", "more"), column, None),
        ("finish", "last", table, None),
    ]
    for number, (name, after, (up, down), needs) in enumerate(steps):
        up, down = up.replace("@", name), down.replace("@", name)  # noqa: PLW2901
        write_revision(project.backend, name, after, up, down, number=number, depends_on=needs)
    checks = [f"testing/{name}.py" for name in ("reversible", "offline", "shape")]
    code, output = suite(project, server, *checks, "tests/test_database.py")
    assert code == 0, output
    # The same, with one downgrade broken behind a branch.
    broken = project.backend / "alembic" / "versions" / "20270101_0006_more_made_by_a_test.py"
    broken.write_text(broken.read_text().replace("ALTER TABLE a DROP more", "SELECT 1"))
    code, output = suite(project, server, "testing/reversible.py")
    assert code == 1
    assert list(reports(output)) == ["more"], output
    assert "left over: column a.more" in output


def test_offline_differences_are_caught_and_named(render: Render, server: URL) -> None:
    project = render()
    cases = planted("offline.toml")
    write(project, cases)
    code, output = suite(project, server, "testing/offline.py")
    assert code == 1, output
    found = reports(output)
    assert found.keys() == {name for name, case in cases.items() if case.expect}
    score({name: case for name, case in cases.items() if case.expect}, found)


def test_one_failing_downgrade_has_few_looked_at_alone(render: Render, own_server: URL) -> None:
    """In counts, which a busy machine does not change: the schema is read twice a look, in both."""
    project, last = render(), "baseline"
    for number in range(40):
        down = "SELECT 1/0" if number == 30 else f"DROP TABLE t{number}"
        name = f"r{number:02}"
        write_revision(
            project.backend, name, last, f"CREATE TABLE t{number} (i int)", down, number=number
        )
        last = name
    [[folder]] = execute(own_server, "SHOW data_directory")
    log = Path(folder).with_name("server.log")
    before = log.stat().st_size
    logged = own_server.update_query_dict({"options": "-c log_statement=all"})
    code, output = suite(project, logged, "testing/offline.py")
    assert code == 0, output  # that it fails is another test's to say
    with log.open(encoding="utf-8") as lines:
        lines.seek(before)
        reads = lines.read().count("EXECUTE catalog")
    assert 4 <= reads <= 30


def test_what_is_released_is_applied_and_judged_by_none(render: Render, server: URL) -> None:
    """Two broken downgrades, which only SQL without --sql can do: the first is released."""
    project = render()
    broken = (
        "op.get_bind().execute(sa.text('SELECT 1')).all()\nop.execute('CREATE TABLE @ (i int)')"
    )
    for number, (name, after) in enumerate((("a", "baseline"), ("b", "a"), ("c", "b"))):
        up = broken.replace("@", name)
        write_revision(project.backend, name, after, up, number=number)
    settings = project.backend / "pyproject.toml"
    text = settings.read_text()
    words = [f"testing/{name}.py" for name in ("reversible", "offline", "safety")]
    for released, judged in (("", "abc"), ("a", "bc"), ("c", "")):
        settings.write_text(text.replace('released = ""', f'released = "{released}"'))
        code, output = suite(project, server, *words)
        found = set(re.findall(r"(?m)^SUBFAILED\[(\w)\] testing/(?:reversible|offline)", output))
        assert found == set(judged), output
        assert code == bool(judged), output
    settings.write_text(text.replace('released = ""', 'released = "lost"'))
    code, output = suite(project, server, "testing/reversible.py")
    assert code == 1
    assert "pyproject.toml: [tool.migrations] released: no revision lost" in output


def test_shapes_are_caught_and_named(render: Render, server: URL) -> None:
    project = render()
    versions = project.backend / "alembic" / "versions"
    baseline = next(versions.glob("*_baseline_*.py"))
    baseline = baseline.rename(versions / "20261122_0000_baseline_größe.py")  # git may quote it
    git(project.path, "add", "--all")
    git(project.path, "commit", "--quiet", "--message", "Renamed")
    baseline.write_text(baseline.read_text() + "\n# edited\n")
    texts = {
        "20270101_0000_a_adds_a.py": revision("a", "baseline", "SELECT 1"),
        "20260101_0000_b_is_older.py": revision("b", "a", "SELECT 1"),
        "20270102_0000_c_.py": revision("c", "b", "SELECT 1"),
        "20270103_0000_d_imports.py": "from app.models import x\n" + revision("d", "c", "SELECT 1"),
        "20270104_0000_e_says_nothing.py": revision("e", "d", "SELECT 1", title=""),
        "20270105_0000_f_second_head.py": revision("f", "d", "SELECT 1"),
        "g.py": revision("g", "e", "SELECT 1"),
    }
    (project.backend / "app" / "models" / "x.py").write_text("")
    for name, text in texts.items():
        (versions / name).write_text(text)
    code, output = suite(project, server, "testing/shape.py")
    assert code == 1
    for expected in (
        "python -m app.migrate merge heads",
        f"{baseline.name}: edited or deleted after it was merged",
        r"_b_is_older\.py: its date is before that of 20270101_0000_a_adds_a\.py",
        r"_c_\.py: its name does not say what it does",
        r"_d_imports\.py:\d+: imports app\.models",
        r"_e_says_nothing\.py:1: its docstring",
        r"versions/g\.py: not YYYYMMDD_HHMM",
    ):
        assert re.search(expected, output), (expected, output)


def test_what_belongs_to_the_whole_server_is_named_and_not_run(render: Render, server: URL) -> None:
    """A role that a developer made before is not dropped, nor changed, by revisions under test."""
    role = f"reporting_{secrets.token_hex(4)}"
    others = f"others_{secrets.token_hex(4)}"
    execute(server, f"CREATE ROLE {role}; CREATE ROLE {others}")
    facts = (
        "SELECT r::text, setconfig::text FROM pg_roles r LEFT JOIN pg_db_role_setting s"
        " ON setrole = r.oid WHERE rolname !~ '^pg_' UNION ALL"
        " SELECT name, setting FROM pg_file_settings UNION ALL"
        " SELECT roleid::regrole::text, member::regrole::text FROM pg_auth_members ORDER BY 1, 2"
    )
    before = execute(server, facts)
    up = f"""\
op.execute(
    "DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') "
    "THEN CREATE ROLE {role}; END IF; END $$"
)
op.execute("ALTER ROLE {role} SET statement_timeout = '3s'")
with op.get_context().autocommit_block():
    op.execute("ALTER SYSTEM SET work_mem = '5MB'")
op.execute("GRANT {others} TO {role}")
op.execute("CREATE TABLE reports (id int); GRANT SELECT ON reports TO {role}")"""
    down = f"op.drop_table('reports')\nop.execute('DROP OWNED BY {role}; drop role {role}')"
    project = render()
    write_revision(project.backend, "r1", "baseline", up, down, number=1)
    try:
        words = ["tests/test_migrations.py", "-k", "revert or offline or safe"]
        code, output = suite(project, server, *words)
        assert execute(server, facts) == before
        assert code == 0, output
        notes = output.partition(" notes ")[2]
        for statement in (f"ALTER ROLE {role}", "ALTER SYSTEM", f"drop role {role}"):
            assert re.search(rf"_r1_made_by_a_test\.py:\d+: not run .*{statement}", notes), output
        execute(server, f"DROP ROLE {role}")
        code, output = suite(project, server, *words)
        assert code == 1
        assert f'role "{role}" does not exist' in output
        assert "On the server of TEST_DATABASE_URL the tests create no role" in output
    finally:
        execute(server, "ALTER SYSTEM RESET work_mem")
        execute(server, f"DROP ROLE {others}")
        execute(server, f"DROP ROLE IF EXISTS {role}")


def test_an_owner_may_have_no_privilege_on_its_sequence(render: Render, server: URL) -> None:
    """Which says how far it has come to those alone who may read it; a superuser always may."""
    role = f"tester_{secrets.token_hex(4)}"
    execute(server, f"CREATE ROLE {role} LOGIN CREATEDB PASSWORD 'known-by-me'")
    project = render()
    revoke = "REVOKE ALL ON SEQUENCE t_id_seq FROM CURRENT_USER"
    up = f"op.execute('CREATE TABLE t (id serial); {revoke}')"
    write_revision(project.backend, "r1", "baseline", up, "op.drop_table('t')", number=1)
    try:
        owner = server.set(username=role, password="known-by-me")  # noqa: S106
        words = ["tests/test_migrations.py", "-k", "revert or offline or safe"]
        code, output = suite(project, owner, *words)
        assert code == 0, output
    finally:
        execute(server, f"DROP ROLE {role}")


INNOCENT = planted("innocent.toml")
GUILTY = planted("guilty.toml")
CHECKS = [f"testing/{name}.py" for name in ("offline", "reversible", "safety", "shape")]


def test_revisions_in_the_shape_of_real_ones_are_not_accused(render: Render, server: URL) -> None:
    project = render()
    write(project, INNOCENT)
    code, output = suite(project, server, *CHECKS)
    assert code == 0, output
    for name in ("json_loads", "filled_from_json", "two_booleans", "parents_deleted"):
        assert re.search(rf"in the way: .*_{name}_planted\.py:\d+: .*example_rows", output)
    assert "DeprecationWarning: use something else" in output


def test_each_fault_is_one_alarm_and_the_walk_goes_on(render: Render, server: URL) -> None:
    project = render()
    write(project, GUILTY)
    [path] = project.backend.glob("alembic/versions/*_without_a_downgrade_planted.py")
    path.write_text(path.read_text().partition("def downgrade")[0])
    code, output = suite(project, server, *CHECKS)
    assert code == 1
    failures = re.split(" (notes|short test summary) ", output.partition(" FAILURES ")[2])[0]
    for name, case in GUILTY.items():
        assert re.search(rf"(?m)_{name}_planted\.{case.expect}", failures), (name, output)
        places = re.findall(rf"(?m)^(?:with --sql: )?\S*_{name}_planted\.py:\d+: .*", failures)
        assert len(places) == case.expect.count("py:"), (places, output)
    assert "as they are in the way" not in output  # where any rows are in the way
    assert "It changes no schema" not in output  # an alarm has said it already


def test_a_policy_stands_in_the_settings(render: Render, server: URL) -> None:
    """For one revision, which may be released or merged already, or for all."""
    project = render()
    cases = {name: case for name, case in INNOCENT.items() if case.kind == "a policy"}
    write(project, {name: replace(case, declares={}) for name, case in cases.items()})
    settings = project.backend / "pyproject.toml"
    text = settings.read_text()
    words = ["testing/reversible.py", "testing/offline.py"]
    guilty = {name for name, case in cases.items() if case.declares}
    code, output = suite(project, server, *words)
    assert set(re.findall(r"(?m)^SUBFAILED\[(\w+)\]", output)) == guilty
    lines = ["[tool.migrations.revisions]"]
    for name in guilty:
        said = ", ".join(f'{word} = "why"' for word in cases[name].declares)
        lines.append(f"{name} = {{ {said} }}")
    settings.write_text("\n".join([text, *lines]))
    code, output = suite(project, server, *words)
    assert code == 0, output
    of_all = (
        'released = ""\nirreversible = "never"\nonline_only = "no"\naccepted_risks = {drops = "so"}'
    )
    settings.write_text(text.replace('released = ""', of_all))
    code, output = suite(project, server, *words, "testing/safety.py")
    assert code == 0, output
    settings.write_text(f"{text}\n[tool.migrations.revisions.nobody]\n")
    assert "[tool.migrations] revisions: no revision nobody" in suite(project, server, *words)[1]


def test_a_revision_that_does_not_end_is_told_so(render: Render, server: URL) -> None:
    """By its statements, as a loop over rows of the suite's making, or in one of them."""
    project = render()
    module = project.backend / "testing" / "whole_server.py"
    module.write_text(module.read_text().replace("LONGEST = 120", "LONGEST = 1"))
    rows = 'op.get_bind().scalar(sa.text("SELECT count(*) FROM loops"))'
    write_revision(
        project.backend, "first", "baseline", "CREATE TABLE loops (id int)", "DROP TABLE loops"
    )
    write_revision(project.backend, "loops", "first", f"while {rows}:\n    pass", number=1)
    write_revision(project.backend, "sleeps", "loops", "", "SELECT pg_sleep(999)", number=2)
    code, output = suite(project, server, "testing/reversible.py", "testing/safety.py")
    assert code == 1
    assert re.search(r"in the way: .*_loops_\S+:15: upgrade\(\) fails: TimeoutError", output)
    assert re.search(r"_sleeps_\S+:19: downgrade\(\) fails: canceling statement", output)
    assert re.findall(r"(?m)^SUBFAILED\[(\w+)\]", output) == ["sleeps"]

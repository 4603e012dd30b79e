"""Planted hazards are found and named, and good revisions pass, in one run of a project's suite.

Each case is a revision of one project. Before it stands one that takes everything away and makes
the tables anew, so that all of them run in a row, on one database, as a user's would.
"""

import re
import tomllib
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import URL

from tests._kit.forks import forks
from tests._kit.support import environment
from tests.conftest import Project, Render

pytestmark = pytest.mark.server

TABLES = """
DO $$
DECLARE command text;
BEGIN
    FOR command IN
        SELECT format('DROP %s %s CASCADE', CASE relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN
               'MATERIALIZED VIEW' WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, oid::regclass)
        FROM pg_class WHERE relnamespace = 'public'::regnamespace AND NOT relispartition
          AND relkind IN ('r', 'p', 'v', 'm') AND relname NOT LIKE 'alembic%'
        UNION ALL
        SELECT format('DROP TYPE %s CASCADE', oid::regtype) FROM pg_type
        WHERE typnamespace = 'public'::regnamespace AND typtype IN ('e', 'd')
        UNION ALL
        SELECT format('DROP FUNCTION %s CASCADE', oid::regprocedure) FROM pg_proc
        WHERE pronamespace = 'public'::regnamespace
        UNION ALL
        SELECT 'DROP SCHEMA IF EXISTS legacy CASCADE' UNION ALL
        SELECT 'DROP SCHEMA IF EXISTS old_legacy CASCADE'
        UNION ALL
        SELECT format('DROP SEQUENCE IF EXISTS %I CASCADE', relname)
        FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'S'
          AND relname NOT LIKE 'alembic%'
    LOOP
        BEGIN
            EXECUTE command;
        EXCEPTION WHEN undefined_table OR undefined_object OR undefined_function THEN
            NULL; -- with another one
        END;
    END LOOP;
END $$;
CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE DOMAIN code AS text;
CREATE SEQUENCE tickets;
CREATE SCHEMA legacy;
CREATE TABLE legacy.logs (id bigint PRIMARY KEY, line text);
CREATE TABLE teams (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL UNIQUE);
CREATE TABLE users (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    email varchar(255) NOT NULL,
    name text,
    age integer,
    feels mood NOT NULL DEFAULT 'ok',
    active boolean NOT NULL DEFAULT true,
    team_id bigint,
    seen timestamp,
    price numeric(10, 2),
    during daterange
);
CREATE INDEX ix_users_email ON users (email);
CREATE TABLE orders (
    id serial PRIMARY KEY,
    user_id bigint CONSTRAINT fk_orders_user REFERENCES users,
    total numeric(10, 2) NOT NULL,
    note varchar(20),
    code code
);
CREATE TABLE keyless (id integer NOT NULL, line text);
CREATE TABLE events (at timestamptz NOT NULL, line text) PARTITION BY RANGE (at);
CREATE TABLE events_2024 PARTITION OF events FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE TABLE events_2025 (at timestamptz NOT NULL, line text);
CREATE TABLE events_2026 (
    at timestamptz NOT NULL CHECK (at >= '2026-01-01' AND at < '2027-01-01'), line text
);
CREATE VIEW active_users AS SELECT id, email FROM users WHERE active;
CREATE MATERIALIZED VIEW totals AS SELECT user_id, sum(total) FROM orders GROUP BY user_id;
CREATE UNIQUE INDEX ix_totals ON totals (user_id);
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN new; END $$;
CREATE FUNCTION twice(n integer) RETURNS integer LANGUAGE sql AS 'SELECT 2 * n';
"""


@dataclass(frozen=True)
class Case:
    """A revision; `hazard` is what has to be found in it, None for a good one."""

    kind: str
    upgrade: str
    hazard: str | None = None
    before: str = ""


def read(name: str) -> dict[str, Case]:
    """The cases of a file beside this one."""
    kinds = tomllib.loads((Path(__file__).parents[1] / "planted" / name).read_text())
    cases = {key: Case(kind, **it) for kind, named in kinds.items() for key, it in named.items()}
    assert len(cases) == sum(len(named) for named in kinds.values()), "a name comes twice"
    return cases


HAZARDS = read("hazards.toml")
GOOD = read("good_revisions.toml")

REVISION = '''"""{name}."""

import sqlalchemy as sa
from alembic import op

revision = "{revision}"
down_revision = "{before}"
branch_labels = None
depends_on = None
{risks}

def upgrade() -> None:
{body}


def downgrade() -> None:
    pass
'''


def write(
    versions: Path, number: int, name: str, before: str, body: str, risks: object = None
) -> str:
    """A revision file; returns the revision's name."""
    revision = f"r{number:04}"
    (versions / f"20270101_{number:04}_{revision}_{name}.py").write_text(
        REVISION.format(
            name=name,
            revision=revision,
            before=before,
            body="\n".join(f"    {line}" for line in body.splitlines()),
            risks=f"accepted_risks = {risks!r}\n" if risks else "",
        )
    )
    return revision


def plant(project: Project, cases: dict[str, Case]) -> None:
    """One revision for each case, and one before each that makes the tables anew."""
    versions = project.backend / "alembic" / "versions"
    for path in versions.glob("2027*"):
        path.unlink()
    hazards = re.findall(
        r'^    "([a-z-]+)": "',
        (project.backend / "testing" / "audit" / "hazards.py").read_text(),
        re.MULTILINE,
    )
    anything = dict.fromkeys(hazards, "a test")
    last = "baseline"
    for number, (name, case) in enumerate(cases.items()):
        last = write(versions, 3 * number, "tables", last, f"op.execute({TABLES!r})", anything)
        if case.before:
            body = f"op.execute({case.before!r})"
            last = write(versions, 3 * number + 1, "more", last, body, anything)
        risks = {"not-concurrent": "a small table"} if case.kind == "accepted" else None
        last = write(versions, 3 * number + 2, f"case_{name}", last, case.upgrade, risks)


def suite(project: Project, server: URL, *words: str) -> str:
    """Run the project's own test of safety; returns what it printed."""
    test = "testing/safety.py"
    given = environment(TEST_DATABASE_URL=server.render_as_string(hide_password=False))
    options = ["-q", "-p", "no:cacheprovider"]
    done = forks().run("pytest", [*options, test, *words], project.backend, given)
    return done.stdout + done.stderr


def found(output: str) -> dict[str, set[str]]:
    """What the suite said: case -> hazards, or "fails"."""
    said = defaultdict(set)
    pattern = r"^\S*_case_(\w+)\.py:\d+: (?:upgrade\(\) (fails)|([a-z-]+)):"
    for name, fails, hazard in re.findall(pattern, output, re.MULTILINE):
        said[name].add(fails or hazard)
    return said


@pytest.fixture(scope="module")
def output(render: Render, server: URL) -> str:
    """What the suite says of a project with every case in it."""
    project = render()
    assert not HAZARDS.keys() & GOOD.keys()
    plant(project, HAZARDS | GOOD)
    return suite(project, server)


def test_every_hazard_is_found_and_named(output: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = found(output)
    score: dict[str, list[bool]] = defaultdict(list)
    for name, case in HAZARDS.items():
        for kind in (case.kind, "all"):
            score[kind].append(case.hazard in said[name])
    with capsys.disabled():
        print("\nhazards found, by class:")
        for kind in sorted(score, key=lambda kind: kind == "all"):
            print(f"  {kind:14}{sum(score[kind]):4} of {len(score[kind])}")
    assert {name: {case.hazard} for name, case in HAZARDS.items()} == {
        name: said[name] for name in HAZARDS
    }


def test_good_revisions_pass(output: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = found(output)
    alarms = {name: said[name] for name in GOOD if said[name]}
    with capsys.disabled():
        print(f"\nfalse alarms on good revisions: {len(alarms)} of {len(GOOD)}")
    assert alarms == {}
    assert len(re.findall(r"^SUBFAILED", output, re.MULTILINE)) == len(HAZARDS)


def test_a_message_says_where_why_and_what_instead(output: str) -> None:
    assert (
        "case_int_to_bigint.py:13: rewrites-table: it writes all of users anew, and nobody can read"
        " it meanwhile\n"
        "  the statement: ALTER TABLE users ALTER COLUMN age TYPE BIGINT\n"
        "  instead: add a new column" in output
    )


def test_a_new_value_of_an_enum_is_not_used_where_it_is_added(render: Render, server: URL) -> None:
    project = render()
    body = """\
op.execute("ALTER TYPE mood ADD VALUE 'new'")
op.execute("UPDATE users SET feels = 'new' WHERE id = 1")"""
    plant(project, {"enum": Case("enum", body)})
    assert found(suite(project, server)) == {"enum": {"uses-new-enum-value"}}


def test_a_revision_that_cannot_be_run_is_named(render: Render, server: URL) -> None:
    project = render()
    broken = Case("", 'op.execute("ALTER TABLE users ALTER nothing TYPE bigint")')
    plant(project, {"index": HAZARDS["index"], "broken": broken, "after": Case("", "pass")})
    output = suite(project, server)
    assert found(output) == {"index": {"not-concurrent"}, "broken": {"fails"}}
    assert 'column "nothing" of relation "users" does not exist' in output
    assert "Traceback" not in output


def test_what_is_released_is_not_judged_again(render: Render, server: URL) -> None:
    project = render()
    plant(project, {"old": HAZARDS["index"], "new": HAZARDS["drop_index"]})
    settings = project.backend / "pyproject.toml"
    text = settings.read_text()
    assert 'released = ""' in text
    settings.write_text(text.replace('released = ""', 'released = "r0002"'))
    assert found(suite(project, server)) == {"new": {"not-concurrent"}}
    settings.write_text(text.replace('released = ""', 'released = ["r0005"]'))
    assert "1 passed" in suite(project, server)


def test_an_accepted_risk_has_a_known_name_and_a_reason(render: Render, server: URL) -> None:
    project = render()
    risks = {
        "right": "{'not-concurrent': 'three rows'}",
        "other": "{'rewrites-table': 'three rows'}",
        "empty": "{'not-concurrent': ' '}",
        "unknown": "{'unconcurrent': 'three rows'}",
    }
    plant(project, dict.fromkeys(risks, HAZARDS["index"]))
    for path in (project.backend / "alembic" / "versions").glob("*_case_*.py"):
        name = path.stem.rpartition("_")[2]
        path.write_text(f"{path.read_text()}\n\naccepted_risks = {risks[name]}\n")
    output = suite(project, server)
    assert "case_right" not in output
    assert found(output)["other"] == {"not-concurrent"}
    assert re.search(r"case_empty\.py:20: not-concurrent: say why", output)
    assert re.search(r"case_unknown\.py:20: unconcurrent is no hazard; there are adds-t", output)


@pytest.mark.parametrize(("backend_dir", "words"), [("backend", []), (".", ["-n", "2"])])
def test_a_fresh_project_passes(
    rendered: Render, server: URL, backend_dir: str, words: list[str]
) -> None:
    output = suite(rendered(backend_dir=backend_dir), server, *words)
    assert "1 passed" in output
    assert "1 subtests passed" in output  # the baseline

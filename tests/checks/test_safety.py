"""Planted hazards are found and named, and good revisions pass, in one run of a project's suite.

Each case is a revision of one project. Before it stands one that takes everything away and makes
the tables anew, so that all of them run in a row, on one database, as a user's would.
"""

import json
import re
import textwrap
from collections import defaultdict
from dataclasses import replace

import pytest
from sqlalchemy import URL

from tests._kit.forks import forks
from tests._kit.revision import Case, planted, write_revision
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
        WHERE typnamespace = 'public'::regnamespace AND (typtype IN ('e', 'd')
            OR typrelid IN (SELECT oid FROM pg_class WHERE relkind = 'c'))
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
        EXCEPTION WHEN undefined_table OR undefined_object OR undefined_function
                OR syntax_error THEN
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


HAZARDS = planted("hazards.toml")
GOOD = planted("good_revisions.toml")


def release(project: Project, *revisions: str) -> None:
    """Set what is released, in pyproject.toml; nothing at first."""
    settings = project.backend / "pyproject.toml"
    line = f"released = {json.dumps(revisions)}"
    text, number = re.subn(r"(?m)^released = .*$", line, settings.read_text())
    assert number == 1
    settings.write_text(text)


def plant(project: Project, cases: dict[str, Case]) -> None:
    """One revision for each case, and one before each that makes the tables anew."""
    for path in (project.backend / "alembic" / "versions").glob("2027*"):
        path.unlink()
    release(project, "baseline")
    last, number = "baseline", 0

    def add(message: str, upgrade: str, **declares: object) -> None:
        nonlocal last, number
        name = f"r{number:04}"
        write_revision(
            project.backend, name, last, upgrade, number=number, message=message, **declares
        )
        last, number = name, number + 1

    for name, case in cases.items():
        if case.kind != "next":
            add("tables", f"op.execute({TABLES!r})")
            if case.before:
                add("more", f"op.execute({case.before!r})")
        add(f"case_{name}", case.upgrade, **case.declares)


def suite(project: Project, server: URL, *words: str) -> str:
    """Run the project's own test of safety; returns what it printed."""
    test = [] if "testing/safety.py" in words else ["testing/safety.py"]
    given = environment(TEST_DATABASE_URL=server.render_as_string(hide_password=False))
    options = ["-q", "-p", "no:cacheprovider"]
    done = forks().run("pytest", [*options, *test, *words], project.backend, given)
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
    # One failure for each revision.
    failures = re.findall(r"(?m)^SUBFAILED.*\[(\w+)\]", output)
    assert len(failures) == len(set(failures)) >= len(HAZARDS)
    assert f"\n{len(failures)} failed, " in output


def test_a_message_has_hazard_effect_and_code_to_paste(output: str) -> None:
    assert (
        "case_index.py:15: not-concurrent: Blocks writes to users while the index is built.\n"
        "  Statement: CREATE INDEX ix_age ON users (age)\n"
        "  Instead, build it concurrently, in a revision of its own:\n"
        "    with op.get_context().autocommit_block():\n"
        '        op.execute("DROP INDEX CONCURRENTLY IF EXISTS ix_age")' in output
    )


def test_what_goes_along_is_not_named_beside_it(output: str) -> None:
    failures = output.partition(" short test summary ")[0]  # which in CI says all of it again
    said = re.findall(
        r"case_(\w+_of_partitions|drop_unique)\.py:15: drops: .* it uses (.*)\.", failures
    )
    assert said == [
        ("table_of_partitions", "m"),
        ("column_of_partitions", "n.a"),
        ("drop_unique", "teams_name_key of teams (ON CONFLICT or GROUP BY may need it)"),
    ]


def test_a_new_value_of_an_enum_is_not_used_where_it_is_added(render: Render, server: URL) -> None:
    project = render()
    body = """\
op.execute("ALTER TYPE mood ADD VALUE 'new'")
op.execute("UPDATE users SET feels = 'new' WHERE id = 1")"""
    plant(project, {"enum": Case("enum", body)})
    output = suite(project, server)
    assert found(output) == {"enum": {"fails"}}
    assert "New enum values must be committed before they can be used" in output


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
    release(project, "r0001")
    assert found(suite(project, server)) == {"new": {"not-concurrent"}}
    release(project, "r0003")
    assert "1 passed" in suite(project, server)


def accepting(case: Case, **risks: str) -> Case:
    """The same revision with `accepted_risks`."""
    reasons = {hazard.replace("_", "-"): reason for hazard, reason in risks.items()}
    return replace(case, declares={"accepted_risks": reasons})


def test_an_accepted_risk_has_a_known_name_and_a_reason_and_is_needed(
    render: Render, server: URL
) -> None:
    project, index = render(), HAZARDS["index"]
    cases = {
        "right": accepting(index, not_concurrent="three rows"),
        "other": accepting(index, rewrites_table="three rows"),
        "empty": accepting(index, not_concurrent=" "),
        "unknown": accepting(index, unconcurrent="three rows"),
    }
    plant(project, cases)
    output = suite(project, server)
    assert "case_right" not in output
    assert found(output)["other"] == {"not-concurrent", "rewrites-table"}
    assert re.search(r"case_other\.py:12: rewrites-table: this revision has no such", output)
    assert re.search(r"case_empty\.py:12: not-concurrent: say why", output)
    assert re.search(r"case_unknown\.py:12: unconcurrent: no such hazard; there are b", output)


def test_an_accepted_risk_hides_no_other(render: Render, server: URL) -> None:
    project = render()
    two = """\
op.execute("ALTER TABLE orders ADD a text")
op.execute("ALTER TABLE users ALTER age TYPE bigint")"""
    cases = {"one": HAZARDS["int_to_bigint"], "two": Case("", two)}
    plant(project, {name: accepting(it, rewrites_table="small") for name, it in cases.items()})
    assert found(suite(project, server)) == {
        "one": {"changes-type"},
        "two": {"changes-type", "locks-several-tables"},
    }


def test_before_the_first_release_hazards_to_what_runs_are_notes(
    render: Render, server: URL
) -> None:
    project = render()
    plant(project, {"index": HAZARDS["index"]})
    release(project)
    output = suite(project, server)
    assert "1 passed" in output
    notes = output.partition("= notes =")[2]
    assert "case_index.py:15: not-concurrent: Blocks writes to users" in notes
    assert "`released` in pyproject.toml" in notes
    plant(project, {"long": HAZARDS["long_name"]})
    release(project)
    output = suite(project, server)
    assert "1 failed" in output
    assert "case_long" not in output.partition("= notes =")[2]
    assert found(output)["long"] == {"identifier-too-long"}


def test_a_table_without_rows_is_named(render: Render, server: URL) -> None:
    project = render()
    pattern = "CREATE TABLE odd (code text NOT NULL CHECK (md5(code) = repeat('0', 32)), a int)"
    plant(project, {"odd": Case("", 'op.execute("ALTER TABLE odd ADD b text")', before=pattern)})
    release(project, "r0001")
    output = suite(project, server)
    assert re.search(r"case_odd\.py:\d+: table odd had no rows", output.partition("= notes =")[2])


# Of a partitioned table, whose indexes take more than a statement.
NOT_TO_PASTE = {"partitioned_index"}


def test_the_code_of_a_message_is_a_good_revision(render: Render, server: URL, output: str) -> None:
    """As pasted, with the index that a killed run of it left behind."""
    before = {
        "index": "CREATE INDEX ix_age ON users (age); "
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'ix_age'::regclass",
        # The statement before.
        "reference": "ALTER TABLE orders ADD team_id bigint",
        "validated_at_once": "ALTER TABLE users ADD CONSTRAINT adult CHECK (age > -5) NOT VALID",
        "foreign_key_validated_at_once": "ALTER TABLE users ADD CONSTRAINT of"
        " FOREIGN KEY (team_id) REFERENCES teams NOT VALID",
    }
    pasted: dict[str, Case] = {}
    for name, case in HAZARDS.items():
        said = rf"_case_{name}\.py:\d+: {case.hazard}: .*\n  Statement: .*\n  Instead, .*:\n"
        message = re.search(rf"{said}((    .*\n)+)", output)
        if not message or "..." in message[1] or name in NOT_TO_PASTE:
            continue
        parts = re.split(r"# In the next revision:\n", textwrap.dedent(message[1]))
        for number, part in enumerate(filter(str.strip, parts)):
            kind, first = "next" if number else "", before.get(name, case.before)
            pasted[f"{name}_{number}"] = Case(kind, part, before=first)
        if name == "index":
            valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'ix_age'::regclass"
            alarm = (
                f'if not op.get_bind().scalar(sa.text("{valid}")):\n    op.execute("LOCK users")'
            )
            pasted["index_is_valid"] = Case("next", alarm)
    assert {"index_0", "check_1", "unique_1", "not_null_1", "volatile_default_0"} <= pasted.keys()
    project = render()
    print(sorted(pasted))
    plant(project, pasted)
    # What the previous release writes, no code can tell.
    alarms = found(suite(project, server))
    assert {name: it for name, it in alarms.items() if it != {"rejects-rows"}} == {}


@pytest.mark.parametrize(
    "words", [[], ["-n", "3", "--maxschedchunk", "1"]], ids=["", "side by side"]
)
def test_a_revision_that_cannot_be_run_fails_one_test(
    render: Render, server: URL, words: list[str]
) -> None:
    project = render()
    body = """\
op.execute("ALTER TYPE mood ADD VALUE 'new'")
op.execute("UPDATE users SET feels = 'new' WHERE id = 1")"""
    plant(project, {"broken": Case("", body)})
    output = suite(project, server, "testing/reversible.py", "testing/offline.py", *words)
    assert re.search(r"(?m)^SKIPPED .*case_broken\.py:16: upgrade\(\) fails", output)
    assert len(re.findall(r"(?m)^FAILED", output)) == 1
    assert "Traceback" not in output


@pytest.mark.parametrize("first", ["reversible", "safety"])
def test_a_revision_that_fails_in_the_audit_alone_is_a_failure(
    render: Render, server: URL, first: str
) -> None:
    project = render()
    alone = "IF current_database() ~ 'audit' THEN RAISE 'not here'; END IF"
    plant(project, {"alone": Case("", f'op.execute("DO $$ BEGIN {alone}; END $$")')})
    files = sorted(["testing/reversible.py", "testing/safety.py"], reverse=first == "safety")
    output = suite(project, server, *files)
    assert re.findall(r"(?m)^FAILED testing/(\w+)", output) == ["safety"]
    assert found(output)["alone"] == {"fails"}
    assert "SKIPPED" not in output


@pytest.mark.parametrize(("backend_dir", "words"), [("backend", []), (".", ["-n", "2"])])
def test_a_fresh_project_passes(
    rendered: Render, server: URL, backend_dir: str, words: list[str]
) -> None:
    output = suite(rendered(backend_dir=backend_dir), server, *words)
    assert "1 passed" in output

"""What the checks of revisions pass fails no request of a rolling deploy; what they refuse does.

ROLLING=all scripts/test tests/migrate/test_rolling.py -n 0 plays all kinds, and asks the checks;
CI plays one of each sort, at a quarter of the rate.
"""

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import URL

from tests._kit.forks import forks
from tests._kit.support import NewDatabase, environment
from tests.conftest import Render
from tests.migrate.rolling import ALL, Release, roll, write
from tests.migrate.service import Service

TABLE = """
op.execute("CREATE TABLE items (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY)")
op.execute("ALTER TABLE items ADD name text NOT NULL, ADD note text")
op.execute("INSERT INTO items (name, note) SELECT n, n FROM generate_series(1, 2000) n")
"""
NOTE = "name: Mapped[str]; note: Mapped[str | None]"
TITLE = "name: Mapped[str]; title: Mapped[str | None]"
CONCURRENTLY = """
with op.get_context().autocommit_block():
    op.execute("CREATE INDEX CONCURRENTLY ix ON items (name)")
"""
BACKFILL = """
from app.migrate.backfill import backfill
with op.get_context().autocommit_block():
    backfill(op.get_bind(), "items", "{0} = name", "{0} IS NULL")
"""
ENUM = "name: Mapped[str]; feels: Mapped[str] = mapped_column(Enum({}, name='mood'))"


def sql(*statements: str) -> str:
    """The body of upgrade()."""
    return "\n".join(f"op.execute({statement!r})" for statement in statements)


FEELS = "ALTER TABLE items ADD feels mood NOT NULL DEFAULT 'ok'"
REFERENCES = "ADD CONSTRAINT fk FOREIGN KEY (owner_id) REFERENCES owners NOT VALID"
SLOW = "CREATE FUNCTION slow(t text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT t FROM {} $$"
HAS_EMAIL = "ALTER TABLE items ADD CONSTRAINT ck CHECK (email IS NOT NULL) NOT VALID"
LATER = "COMMENT ON CONSTRAINT ck ON items IS 'not valid: the next release validates it'"
REFUSE = """CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN IF new.name = 'x' THEN RAISE 'no'; END IF; RETURN new; END $$"""
TRIGGER = "CREATE TRIGGER refuse BEFORE INSERT ON items FOR EACH ROW EXECUTE FUNCTION refuse()"


PASSES: dict[str, list[Release]] = {
    "a nullable column": [
        Release(),
        Release([sql("ALTER TABLE items ADD x text")], "name: Mapped[str]; x: Mapped[str | None]"),
    ],
    "a column with a default": [
        Release(),
        Release(
            [sql("ALTER TABLE items ADD kind text NOT NULL DEFAULT 'a'")],
            "name: Mapped[str]; kind: Mapped[str] = mapped_column(server_default='a')",
            show="row.name + row.kind",
        ),
    ],
    "a rename, in steps": [
        Release(),
        Release(
            [sql("ALTER TABLE items ADD title text")],
            TITLE,
            "name='x', title='x'",
            "row.title or row.name",
        ),
        Release([BACKFILL.format("title")], TITLE, "name='x', title='x'", "row.title + ''"),
        Release(
            [sql("ALTER TABLE items ALTER name DROP NOT NULL")],
            "title: Mapped[str]",
            "title='x'",
            "row.title + ''",
            accepts=("loosens",),
        ),
        Release(
            [sql("ALTER TABLE items DROP name")],
            "title: Mapped[str]",
            "title='x'",
            "row.title + ''",
            accepts=("drops",),
        ),
    ],
    "NOT NULL, in steps": [
        Release(),
        Release(
            [sql("ALTER TABLE items ADD email text")],
            "name: Mapped[str]; email: Mapped[str | None]",
            "name='x', email='x'",
        ),
        Release(
            [
                BACKFILL.format("email"),
                sql(HAS_EMAIL, LATER),
            ],
            "name: Mapped[str]; email: Mapped[str | None]",
            "name='x', email='x'",
            accepts=("rejects-rows",),
        ),
        Release(
            [
                sql(
                    "ALTER TABLE items VALIDATE CONSTRAINT ck",
                    "ALTER TABLE items ALTER email SET NOT NULL",
                    "ALTER TABLE items DROP CONSTRAINT ck",
                ),
            ],
            "name: Mapped[str]; email: Mapped[str]",
            "name='x', email='x'",
            "row.email + ''",
        ),
    ],
    "an index, concurrently": [Release(), Release([CONCURRENTLY])],
    "a foreign key, validated later": [
        Release(),
        Release(
            [
                sql("CREATE TABLE owners (id bigint PRIMARY KEY)"),
                sql("ALTER TABLE items ADD owner_id bigint", f"ALTER TABLE items {REFERENCES}"),
                sql("ALTER TABLE items VALIDATE CONSTRAINT fk"),
            ],
            "name: Mapped[str]; owner_id: Mapped[int | None]",
        ),
    ],
    "an enum value, used one release later": [
        Release(
            [sql("CREATE TYPE mood AS ENUM ('ok')", FEELS)],
            ENUM.format("'ok'"),
            "name='x', feels='ok'",
            "row.feels + ''",
        ),
        Release(
            [sql("ALTER TYPE mood ADD VALUE 'sad'")],
            ENUM.format("'ok', 'sad'"),
            "name='x', feels='ok'",
            "row.feels + ''",
        ),
        Release([], ENUM.format("'ok', 'sad'"), "name='x', feels='sad'", "row.feels + ''"),
    ],
    "a longer varchar": [
        Release([sql("ALTER TABLE items ALTER note TYPE varchar(20)")], NOTE, "name='x', note='x'"),
        Release([sql("ALTER TABLE items ALTER note TYPE varchar(30)")], NOTE, "name='x', note='x'"),
    ],
    "a column that no release uses is dropped": [
        Release([], NOTE, "name='x', note='x'"),
        Release(),
        Release([sql("ALTER TABLE items DROP note")], accepts=("drops",)),
    ],
}
REFUSED: dict[str, tuple[str, list[Release]]] = {
    "a column in use is dropped": (
        "drops",
        [Release([], NOTE, "name='x', note='x'"), Release([sql("ALTER TABLE items DROP note")])],
    ),
    "a column in use is renamed": (
        "renames",
        [
            Release(),
            Release(
                [sql("ALTER TABLE items RENAME name TO title")],
                "title: Mapped[str]",
                "title='x'",
                "row.title",
            ),
        ],
    ),
    "a table in use is renamed": (
        "renames",
        [Release(), Release([sql("ALTER TABLE items RENAME TO things")], table="things")],
    ),
    "a column that needs a value": (
        "requires-value",
        [
            Release(),
            Release(
                [
                    sql(
                        "ALTER TABLE items ADD kind text NOT NULL DEFAULT 'a'",
                        "ALTER TABLE items ALTER kind DROP DEFAULT",
                    )
                ],
                "name: Mapped[str]; kind: Mapped[str]",
                "name='x', kind='b'",
            ),
        ],
    ),
    "NULL where the previous release knows none": (
        "loosens",
        [
            Release(),
            Release(
                [sql("ALTER TABLE items ALTER name DROP NOT NULL")],
                "name: Mapped[str | None]",
                "name=None",
                "row.name or ''",
            ),
        ],
    ),
    "another type": (
        "rewrites-table",
        [
            Release([], NOTE, "name='x', note='1'"),
            Release(
                [sql("ALTER TABLE items ALTER note TYPE int USING note::int")],
                "name: Mapped[str]; note: Mapped[int | None]",
                "name='x', note=1",
            ),
        ],
    ),
    "an index that blocks writes": (
        "not-concurrent",
        [
            Release([sql(SLOW.format("pg_sleep(0.004)"))]),
            Release([sql("CREATE INDEX ix ON items (slow(name))")]),
        ],
    ),
    "a CHECK that it violates": (
        "rejects-rows",
        [
            Release(),
            Release(
                [sql("ALTER TABLE items ADD CONSTRAINT ck CHECK (name <> 'x') NOT VALID", LATER)],
                new="name='y'",
            ),
        ],
    ),
    "NOT NULL, a release too early": (
        "rejects-rows",
        [
            Release([sql("ALTER TABLE items ADD email text")]),
            Release(
                [
                    BACKFILL.format("email"),
                    sql(HAS_EMAIL, LATER),
                ],
                "name: Mapped[str]; email: Mapped[str]",
                "name='x', email='x'",
            ),
        ],
    ),
    "a trigger that rejects": (
        "adds-trigger",
        [
            Release(),
            Release(
                [
                    sql(REFUSE, TRIGGER),
                ],
                new="name='y'",
            ),
        ],
    ),
}
KINDS = [*PASSES, *REFUSED] if ALL else ["a longer varchar", "a column in use is dropped"]


def releases(kind: str, backend: Path, url: URL, place: Path) -> list[Service]:
    """A folder for each release of a kind, with its code and all revisions until then."""
    services: list[Service] = []
    chosen = PASSES[kind] if kind in PASSES else REFUSED[kind][1]
    for number, release in enumerate(chosen):
        source = services[-1].backend if services else backend
        folder = shutil.copytree(source, place / str(number) / "backend")
        services.append(Service(folder, url, services[-1].head if services else "baseline"))
        first = [] if number else [TABLE]
        write(services[-1], replace(release, migrations=[*first, *release.migrations]))
    return services


def hazards(first: Service, last: Service, server: URL) -> set[str]:
    """What the project's own checks say of the revisions after the first release."""
    settings = last.backend / "pyproject.toml"
    text = re.sub(r"(?m)^released = .*$", f'released = "{first.head}"', settings.read_text())
    settings.write_text(text)
    given = environment(TEST_DATABASE_URL=server.render_as_string(hide_password=False))
    options = ["-q", "-p", "no:cacheprovider", "testing/safety.py"]
    done = forks().run("pytest", options, last.backend, given)
    found = set(re.findall(r"(?m)^\S+\.py:\d+: ([a-z-]+|upgrade\(\) fails):", done.stdout))
    assert (done.returncode == 0) == (not found), done.stdout + done.stderr
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_the_checks_tell_what_a_rolling_deploy_does(
    kind: str,
    rendered: Render,
    server: URL,
    new_database: NewDatabase,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    services = releases(kind, rendered(api="fastapi").backend, new_database(), tmp_path)
    expected = {REFUSED[kind][0]} if kind in REFUSED else set[str]()
    found = hazards(services[0], services[-1], server) if ALL else expected
    load = roll(services)
    total = load.ended.total()
    said = ", ".join(f"{many} {how}" for how, many in sorted(load.failed.items())) or "0 failed"
    names = ", ".join(sorted(found)) or "passed"
    rate, waits = round(total / load.seconds), sorted(load.waits)
    slow = f"{waits[total * 99 // 100] * 1000:.0f} ms"
    line = f"rolling deploy | {kind} | {names} | {total:,} | {rate} | {slow} | {said}"
    record_property("line", line)
    assert total > 20
    assert bool(load.failed) == bool(expected)
    assert expected <= found
    assert bool(found) == bool(expected)

"""The rows that the rendered project's tests put into tables that nobody has seen before."""

import re
from contextlib import closing
from typing import Any

import pytest
from sqlalchemy import URL

from tests._kit.forks import forks
from tests._kit.revision import write_revision
from tests._kit.support import NewDatabase, environment, execute, template_module
from tests.conftest import Project, Render

pytestmark = pytest.mark.server

TABLES = """
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE DOMAIN email AS text CHECK (VALUE ~ '^[^@]+@[^@]+$');
CREATE DOMAIN positive AS integer NOT NULL CHECK (VALUE > 10);
CREATE TYPE address AS (street text, number integer);
CREATE TYPE floatrange AS RANGE (subtype = float8);
CREATE TABLE kinds (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, a smallint, b integer, c real, d money,
    e double precision, f numeric, g numeric(4, 2) UNIQUE, h numeric(2, 2), i text, j varchar(1)
    UNIQUE, k char(3), l name, m "char", n boolean, o date, p time, q timetz, r timestamp,
    s timestamptz, t interval, u uuid, v json, w jsonb, x bytea, y bit(5), z bit varying(3),
    aa inet, ab cidr, ac macaddr, ad macaddr8, ae point, af line, ag lseg, ah box, ai path,
    aj polygon, ak circle, al tsvector, am tsquery, an xml, ao pg_lsn, ap jsonpath, aq int[],
    ar text[][], a_s mood, at mood[], au daterange, av int4multirange, aw floatrange, ax address,
    ay email, az oid, ba xid, bb regclass, "Odd ""Name" text NOT NULL,
    computed integer GENERATED ALWAYS AS (length("Odd ""Name")) STORED
);
CREATE TABLE checks (
    id serial PRIMARY KEY,
    email email NOT NULL UNIQUE, many positive, status varchar(10) NOT NULL
    CHECK (status IN ('open', 'closed')), age integer NOT NULL CHECK (age BETWEEN 18 AND 130),
    starts date NOT NULL, ends date NOT NULL, CHECK (ends > starts), currency char(3) NOT NULL
    CHECK (currency ~ '^[A-Z]{3}$'), share numeric NOT NULL CHECK (share > 0 AND share < 1),
    code text NOT NULL CHECK (length(code) = 40), since date NOT NULL CHECK (since >= '2030-01-01'),
    tags text[] NOT NULL CHECK (cardinality(tags) > 1), doc jsonb NOT NULL CHECK (doc ? 'name'),
    url text NOT NULL CHECK (url LIKE 'https://%'), kind_id bigint REFERENCES kinds, parent integer
    REFERENCES checks, CHECK (num_nonnulls(kind_id, parent) < 2),
    CONSTRAINT either CHECK (num_nonnulls(kind_id, doc) > 0)
);
CREATE TABLE eggs (id serial PRIMARY KEY, hen integer);
CREATE TABLE hens (id serial PRIMARY KEY, egg integer NOT NULL REFERENCES eggs);
ALTER TABLE eggs ADD FOREIGN KEY (hen) REFERENCES hens;
CREATE TABLE heads (id integer PRIMARY KEY, tail integer NOT NULL);
CREATE TABLE tails (id integer PRIMARY KEY, head integer NOT NULL REFERENCES heads);
ALTER TABLE heads ADD FOREIGN KEY (tail) REFERENCES tails;
CREATE TABLE tree (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), up uuid NOT NULL REFERENCES tree);
CREATE TABLE pairs (
    a bigint REFERENCES kinds, b integer REFERENCES checks, PRIMARY KEY (a, b)
);
CREATE TABLE deep (
    a bigint NOT NULL REFERENCES kinds, b integer, FOREIGN KEY (a, b) REFERENCES pairs
);
CREATE TABLE by_range (id serial, at timestamptz NOT NULL, PRIMARY KEY (id, at))
    PARTITION BY RANGE (at);
CREATE TABLE by_range_1 PARTITION OF by_range FOR VALUES FROM ('2030-01-01') TO ('2030-02-01');
CREATE TABLE by_range_2 PARTITION OF by_range FOR VALUES FROM ('2031-01-01') TO ('2031-02-01');
CREATE TABLE by_list (region text NOT NULL, n integer) PARTITION BY LIST (region);
CREATE TABLE by_list_1 PARTITION OF by_list FOR VALUES IN ('eu', 'us');
CREATE TABLE by_list_2 PARTITION OF by_list DEFAULT;
CREATE TABLE by_hash (id serial PRIMARY KEY) PARTITION BY HASH (id);
CREATE TABLE by_hash_1 PARTITION OF by_hash FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE by_hash_2 PARTITION OF by_hash FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE TABLE rooms (during tsrange NOT NULL, EXCLUDE USING gist (during WITH &&));
CREATE TABLE without_columns ();
CREATE TABLE only_id (id serial PRIMARY KEY);
CREATE TABLE heirs (
    id serial PRIMARY KEY REFERENCES checks, place integer NOT NULL UNIQUE DEFERRABLE,
    first integer GENERATED ALWAYS AS (1) STORED REFERENCES only_id
);
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'not from here'; END $$;
CREATE TABLE guarded (n integer);
CREATE TRIGGER guard BEFORE INSERT ON guarded FOR EACH ROW EXECUTE FUNCTION refuse();
CREATE TABLE late (n integer);
CREATE CONSTRAINT TRIGGER late AFTER INSERT ON late DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION refuse();
CREATE TABLE ways_in (
    id serial PRIMARY KEY, hash text, salt text, client text, subject text,
    CHECK ((hash IS NULL) = (salt IS NULL)), CHECK ((client IS NULL) = (subject IS NULL)),
    CONSTRAINT one_way CHECK ((hash IS NULL) <> (client IS NULL))
);
CREATE TABLE attached (id integer, note integer, CHECK (num_nonnulls(id, note) = 2));
CREATE TABLE attached_to (id integer PRIMARY KEY);
ALTER TABLE attached ADD FOREIGN KEY (id) REFERENCES attached_to;
CREATE SCHEMA "Other";
CREATE TABLE "Other"."Table" (id serial PRIMARY KEY, feels mood NOT NULL);
CREATE TABLE alembic_version (version_num varchar(32));
"""


# Two tables that no row can be first in, and two that refuse every row: named, not filled.
IMPOSSIBLE = {"heads", "tails", "guarded", "late"}


@pytest.fixture
def filler() -> Any:
    """A `Filler` of the template."""
    return template_module("testing.rows").Filler()


def fill(filler: Any, url: URL, *more: str) -> dict[str, int]:
    with closing(template_module("testing.databases").connect(url)) as connection:
        return dict(filler.fill(connection, more))


def test_every_table_gets_rows(new_database: NewDatabase, filler: Any) -> None:
    url = new_database()
    execute(url, TABLES)
    filled = fill(filler, url)
    assert filler.problems == {
        "heads": 'null value in column "tail" of relation "heads" violates not-null constraint',
        "tails": 'null value in column "head" of relation "tails" violates not-null constraint',
        "guarded": "not from here",
        "late": "not from here",
    }
    # Of a partitioned table the partitions get rows.
    expected = {name: 3 for name in filled if not name.startswith("by_") or name[-1].isdigit()}
    assert {name: number for name, number in filled.items() if number} == {
        name: number for name, number in expected.items() if name not in IMPOSSIBLE
    }
    assert "alembic_version" not in filled
    # Values in every column, except of types that this server does not have, and NULLs too.
    columns = execute(
        url,
        "SELECT quote_ident(attname) FROM pg_attribute WHERE attrelid = 'kinds'::regclass"
        " AND attnum > 0 AND NOT attnotnull AND attgenerated = ''",
    )
    for (name,) in columns:
        nulls = f"SELECT count(*) FILTER (WHERE {name} IS NULL) FROM kinds"  # noqa: S608
        ((number,),) = execute(url, nulls)
        no_xml_here = name == "an" and number == 3
        assert 0 < number < 3 or no_xml_here, name
    ((referring,),) = execute(url, "SELECT count(*) FROM hens JOIN eggs ON eggs.id = hens.egg")
    assert referring == 3
    # A second time there is nothing to do.
    assert not any(fill(filler, url).values())


def test_a_document_is_an_object_as_revisions_expect(
    new_database: NewDatabase, filler: Any
) -> None:
    url = new_database()
    execute(url, "CREATE TABLE sites (settings jsonb NOT NULL, plan json NOT NULL)")
    with_image = "(image IS NULL) = (details::text = 'null')"
    lists = "tags jsonb NOT NULL CHECK (jsonb_typeof(tags) = 'array')"
    image = "image int CHECK (image < 7)"
    execute(url, f"CREATE TABLE shops ({image}, details jsonb, {lists}, CHECK ({with_image}))")
    fill(filler, url)
    query = "SELECT jsonb_typeof(settings), json_typeof(plan) FROM sites"
    assert execute(url, query) == [("object", "object")] * 3
    query = "SELECT coalesce(jsonb_typeof(details), '-'), jsonb_typeof(tags) FROM shops"
    found = execute(url, query)
    assert len(found) == 3
    assert {*found} <= {("object", "array"), ("null", "array"), ("-", "array")}


def test_the_rows_are_the_same_each_time(new_database: NewDatabase) -> None:
    texts = []
    for url in (new_database(), new_database()):
        execute(url, "CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy')")
        execute(url, "CREATE TABLE t (a int CHECK (a > 4), b text, c mood, d date, CHECK (a <> 6))")
        fill(template_module("testing.rows").Filler(), url)
        texts.append(execute(url, "TABLE t"))
    assert texts[0] == texts[1]


def test_what_cannot_be_filled_is_named(new_database: NewDatabase, filler: Any) -> None:
    url = new_database()
    execute(url, "CREATE TABLE good (n integer)")
    execute(url, "CREATE TABLE odd (n integer NOT NULL CONSTRAINT square CHECK (n * n = 1234321))")
    execute(url, "CREATE TABLE nowhere (n integer) PARTITION BY LIST (n)")
    assert fill(filler, url) == {"good": 3, "odd": 0, "nowhere": 0}
    assert filler.problems == {
        "odd": 'new row for relation "odd" violates check constraint "square"',
        "nowhere": "it has no partitions",
    }


def test_types_of_a_server_that_cannot_say_what_is_valid(
    new_database: NewDatabase, filler: Any
) -> None:
    """PostgreSQL 15 has no pg_input_is_valid: there each value is tried."""
    url = new_database()
    execute(url, "CREATE EXTENSION hstore; CREATE TABLE odd (h hstore NOT NULL, n int NOT NULL)")
    execute(url, "CREATE SCHEMA first")
    execute(
        url,
        "CREATE FUNCTION first.pg_input_is_valid(text, text) RETURNS boolean LANGUAGE plpgsql"
        " AS $$ BEGIN RAISE undefined_function; END $$",
    )
    database = execute(url, "SELECT quote_ident(current_database())")[0][0]
    execute(url, f"ALTER DATABASE {database} SET search_path = first, pg_catalog, public")
    assert fill(filler, url) == {"odd": 3}


def test_constraints_hold_afterwards(new_database: NewDatabase, filler: Any) -> None:
    url = new_database()
    execute(url, TABLES)
    fill(filler, url)
    foreign_keys = execute(
        url,
        "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE contype = 'f' AND conparentid = 0",
    )
    assert len(foreign_keys) > 8
    for table, name, definition in foreign_keys:
        execute(url, f'ALTER TABLE {table} DROP CONSTRAINT "{name}", ADD {definition}')


ITEMS = "CREATE TABLE items (code text CHECK (code ~ '^X[0-9]{7}Q[a-f]{3}$') NOT NULL, a int)"
LOSES = "UPDATE items SET a = 7"
FIXTURE = """
import pytest

@pytest.fixture(scope="session")
def example_rows():
    return {{"items": {rows}}}
"""


def checks(project: Project, server: URL) -> tuple[int, str]:
    """Run the project's checks of revisions."""
    given = environment(TEST_DATABASE_URL=server.render_as_string(hide_password=False))
    words = ["-q", "-p", "no:cacheprovider", "tests/test_migrations.py", "-k", "revert or safe"]
    done = forks().run("pytest", words, project.backend, given)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def unfillable(render: Render) -> Project:
    """A table that takes no row of ours, and a revision that destroys what others put in."""
    project = render()
    write_revision(project.backend, "r1", "baseline", ITEMS, "DROP TABLE items", number=1)
    risks = {"changes-rows": "a test"}
    write_revision(project.backend, "r2", "r1", LOSES, number=2, accepted_risks=risks)
    write_revision(project.backend, "r3", "r2", "SELECT 1", number=3)
    return project


def test_a_revision_that_was_checked_without_rows_is_a_note(
    unfillable: Project, server: URL
) -> None:
    code, output = checks(unfillable, server)
    assert code == 0, output
    notes = output.partition(" notes ")[2]
    (note,) = [line for line in notes.splitlines() if "items" in line]
    assert "_r2_made_by_a_test.py:15: table items had no rows" in note  # the first that had none
    assert 'violates check constraint "items_code_check"' in note
    assert "example_rows" in note
    assert "testing/README.md" in note


@pytest.mark.parametrize(
    "rows",
    [
        """["INSERT INTO items VALUES ('X1234567Qabc', 1)"]""",
        """[{"code": "X1234567Qabc", "a": 1, "of_a_later_revision": 2}]""",
    ],
)
def test_a_user_can_give_rows_for_a_table(unfillable: Project, server: URL, rows: str) -> None:
    (unfillable.backend / "tests" / "conftest.py").write_text(FIXTURE.format(rows=rows))
    code, output = checks(unfillable, server)
    assert code == 1
    assert "_r2_made_by_a_test.py" in output
    assert "items: 1 of 1 rows are changed: a was 1 and is 7" in output
    assert " notes " not in output
    assert output.count("FAILED") == 1, "one finding is one failure"
    assert re.search(r"\b1 failed\b", output)


def test_beside_a_users_rows_none_are_made_up(new_database: NewDatabase) -> None:
    """Nor where a table that a revision changes is to have more."""
    url = new_database()
    execute(url, "CREATE TABLE given (a int PRIMARY KEY); CREATE TABLE other (a int PRIMARY KEY)")
    filler = template_module("testing.rows").Filler({"given": [{"a": 5}]})
    assert fill(filler, url) == {"given": 1, "other": 3}
    assert fill(filler, url, "given", "other") == {"given": 0, "other": 3}
    assert execute(url, "TABLE given") == [(5,)]
    assert filler.problems == {}


def test_example_rows_that_nobody_can_use_are_named(unfillable: Project, server: URL) -> None:
    rows = """["INSERT INTO items VALUES ('wrong', 1)"], "itmes": [{"a": 1}]"""
    (unfillable.backend / "tests" / "conftest.py").write_text(FIXTURE.format(rows=rows))
    code, output = checks(unfillable, server)
    assert code == 0, output
    assert 'example_rows: items: new row for relation "items" violates' in output
    assert "example_rows: itmes: no revision that was checked has this table" in output


def test_rows_that_stood_in_the_way_are_a_note(render: Render, server: URL) -> None:
    project = render()
    write_revision(project.backend, "r1", "baseline", "CREATE TABLE t (a int)", "DROP TABLE t")
    up = "ALTER TABLE t ADD CONSTRAINT c CHECK (a > 1000)"
    down = "ALTER TABLE t DROP CONSTRAINT c"
    write_revision(
        project.backend, "r2", "r1", up, down, number=2, accepted_risks={"restricts": "a test"}
    )
    _, output = checks(project, server)
    assert re.search(r"_r2_\S+: .*violated by some row.*example_rows", output), output

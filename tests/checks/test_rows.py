"""The rows that the rendered project's tests put into tables that nobody has seen before."""

from collections.abc import Generator

import pytest

from tests._kit.support import NewDatabase, execute, template_module

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
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'not from here'; END $$;
CREATE TABLE guarded (n integer);
CREATE TRIGGER guard BEFORE INSERT ON guarded FOR EACH ROW EXECUTE FUNCTION refuse();
CREATE SCHEMA "Other";
CREATE TABLE "Other"."Table" (id serial PRIMARY KEY, feels mood NOT NULL);
CREATE TABLE alembic_version (version_num varchar(32));
"""


@pytest.fixture
def fill() -> Generator[object]:
    """`fill` of the template."""
    return template_module("testing.rows").fill  # type: ignore[no-any-return]


def test_every_table_gets_rows(new_database: NewDatabase, fill: object) -> None:
    url = new_database()
    execute(url, TABLES)
    filled = fill(url)  # type: ignore[operator]
    assert filled.problems == {}
    assert min(filled.values()) >= 2
    assert "alembic_version" not in filled
    assert {name: filled[name] for name in ("by_range", "by_list", "by_hash")} == {
        "by_range": 6,
        "by_list": 6,
        "by_hash": 6,
    }
    # Values in every column, but for types that this server does not have, and NULLs too.
    columns = execute(
        url,
        "SELECT quote_ident(attname) FROM pg_attribute WHERE attrelid = 'kinds'::regclass"
        " AND attnum > 0 AND NOT attnotnull AND attgenerated = ''",
    )
    for (name,) in columns:
        nulls = f"SELECT count(*) FILTER (WHERE {name} IS NULL) FROM kinds"  # noqa: S608
        ((number,),) = execute(url, nulls)
        no_xml_here, one_that_is_checked = name == "an" and number == 3, name == "ay"
        assert 0 < number < 3 or no_xml_here or one_that_is_checked, name
    ((referring,),) = execute(url, "SELECT count(*) FROM hens JOIN eggs ON eggs.id = hens.egg")
    assert referring == 3
    # A second time there is nothing to do.
    assert fill(url) == {}  # type: ignore[operator]


def test_what_cannot_be_filled_is_named(new_database: NewDatabase, fill: object) -> None:
    url = new_database()
    execute(url, "CREATE TABLE good (n integer)")
    execute(url, "CREATE TABLE odd (n integer NOT NULL CONSTRAINT square CHECK (n * n = 1234321))")
    execute(url, "CREATE TABLE nowhere (n integer) PARTITION BY LIST (n)")
    filled = fill(url)  # type: ignore[operator]
    assert filled == {"good": 3, "odd": 0, "nowhere": 0}
    assert filled.problems == {
        "odd": 'new row for relation "odd" violates check constraint "square"',
        "nowhere": "it has no partitions",
    }


def test_constraints_hold_afterwards(new_database: NewDatabase, fill: object) -> None:
    """Some rows come in only where foreign keys are not checked: they are right all the same."""
    url = new_database()
    execute(url, TABLES)
    fill(url)  # type: ignore[operator]
    foreign_keys = execute(
        url,
        "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE contype = 'f' AND conparentid = 0",
    )
    assert len(foreign_keys) > 8
    for table, name, definition in foreign_keys:
        execute(url, f'ALTER TABLE {table} DROP CONSTRAINT "{name}", ADD {definition}')

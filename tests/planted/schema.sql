-- A database with nearly everything that PostgreSQL has; tests/checks/test_schema.py changes it.

CREATE TABLE alembic_version (version_num varchar(32) CONSTRAINT alembic_version_pkc PRIMARY KEY);
CREATE TABLE alembic_history (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, at timestamptz);
CREATE SCHEMA sales;
COMMENT ON SCHEMA sales IS 'what we sell';
GRANT USAGE ON SCHEMA sales TO reader;
ALTER DEFAULT PRIVILEGES IN SCHEMA sales GRANT SELECT ON TABLES TO reader;
CREATE SCHEMA empty;
CREATE EXTENSION citext;
CREATE EXTENSION hstore SCHEMA sales;
CREATE EXTENSION postgres_fdw;

CREATE TYPE mood AS ENUM ('sad', 'happy');
COMMENT ON TYPE mood IS 'how one feels';
CREATE TYPE sales.state AS ENUM ('new', 'paid');
CREATE DOMAIN email AS text COLLATE "C" DEFAULT 'none' CONSTRAINT email_at CHECK (value ~ '@');
CREATE TYPE address AS (street text, number integer);
CREATE TYPE pair2 AS (a integer, b integer);
CREATE DOMAIN label AS varchar(9);
CREATE TYPE floatrange AS RANGE (subtype = float8, subtype_diff = float8mi);
CREATE FUNCTION point3_in(cstring) RETURNS point3 LANGUAGE internal IMMUTABLE STRICT AS 'int4in';
CREATE FUNCTION point3_out(point3) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'int4out';
CREATE TYPE point3 (input = point3_in, output = point3_out, like = int4);
CREATE FUNCTION point3_send(point3) RETURNS bytea LANGUAGE internal IMMUTABLE STRICT AS 'int4send';
CREATE COLLATION posix (locale = 'C');
CREATE COLLATION sales.plain FROM "C";
CREATE SEQUENCE counter START 5 CACHE 2;
CREATE SEQUENCE sales.invoice_number;

CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.created := now();
    RETURN NEW;
END $$;
CREATE FUNCTION add_one(value integer) RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT value + 1';
CREATE FUNCTION add_one(value text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT value';
CREATE FUNCTION sales.total(integer[]) RETURNS bigint LANGUAGE sql STABLE SET work_mem = '8MB'
    AS 'SELECT sum(x) FROM unnest($1) x';
CREATE PROCEDURE sweep(keep integer DEFAULT 7) LANGUAGE plpgsql AS 'BEGIN NULL; END';
CREATE FUNCTION mood_to_int(mood) RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT 1';
CREATE FUNCTION announce() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
CREATE FUNCTION same(mood, mood) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT true';
CREATE FUNCTION order_of(mood, mood) RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT 0';
CREATE AGGREGATE product(integer) (sfunc = int4mul, stype = integer, initcond = '1');
CREATE OPERATOR === (leftarg = mood, rightarg = mood, function = same, commutator = ===);
CREATE OPERATOR ==== (leftarg = mood, rightarg = mood, function = same);
CREATE OPERATOR FAMILY feelings USING btree;
CREATE OPERATOR CLASS mood_hash FOR TYPE mood USING hash AS OPERATOR 1 ===;
CREATE OPERATOR CLASS mood_less FOR TYPE mood USING hash FAMILY mood_hash AS STORAGE mood;
CREATE CAST (mood AS integer) WITH FUNCTION mood_to_int(mood) AS ASSIGNMENT;
COMMENT ON CAST (mood AS integer) IS 'a number';

CREATE TABLE users (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    email varchar(255) NOT NULL,
    name text DEFAULT 'nobody',
    age integer CONSTRAINT users_age CHECK (age > 0),
    feels mood,
    doc jsonb,
    price numeric(10, 2),
    gross numeric GENERATED ALWAYS AS (price * 2) STORED,
    created timestamptz NOT NULL DEFAULT now(),
    contact email,
    tags text[]
);
COMMENT ON TABLE users IS 'who may log in';
COMMENT ON COLUMN users.email IS 'as typed';
CREATE UNIQUE INDEX users_email ON users (lower(email)) INCLUDE (name) WHERE age > 1;
CREATE INDEX users_doc ON users USING gin (doc jsonb_path_ops);
CREATE INDEX users_created ON users (created DESC NULLS LAST) WITH (fillfactor = 70);
COMMENT ON INDEX users_created IS 'newest first';
CREATE STATISTICS users_both (dependencies) ON name, age FROM users;
GRANT SELECT ON users TO reader;
GRANT UPDATE (name) ON users TO writer;
CREATE TRIGGER users_touch BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION touch();
COMMENT ON TRIGGER users_touch ON users IS 'sets created';
ALTER TABLE users ENABLE ROW LEVEL SECURITY;
CREATE POLICY users_own ON users FOR SELECT TO reader, writer USING (name = current_user);
CREATE POLICY users_write ON users FOR INSERT WITH CHECK (age > 2);
COMMENT ON POLICY users_own ON users IS 'only oneself';

CREATE TABLE posts (
    id serial PRIMARY KEY,
    user_id bigint NOT NULL
        CONSTRAINT posts_user REFERENCES users ON DELETE CASCADE DEFERRABLE INITIALLY IMMEDIATE,
    slug text CONSTRAINT posts_slug UNIQUE,
    during daterange,
    home address,
    code varchar(9),
    sum numeric(10, 2),
    twice integer GENERATED ALWAYS AS (id * 2) STORED,
    CONSTRAINT posts_during EXCLUDE USING gist (during WITH &&)
) WITH (fillfactor = 80, autovacuum_enabled = off);
COMMENT ON CONSTRAINT posts_user ON posts IS 'the author';
CREATE RULE posts_quiet AS ON DELETE TO posts DO ALSO NOTIFY gone;
CREATE UNLOGGED TABLE cache (key text, value text);
CREATE TABLE "Odd.Table" ("Odd ""Column" integer);
CREATE TABLE typed OF address;

CREATE TABLE sales.orders (id bigint, at date NOT NULL, note text) PARTITION BY RANGE (at);
CREATE TABLE sales.orders_1 PARTITION OF sales.orders
    FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE TABLE sales.orders_2 PARTITION OF sales.orders DEFAULT;
CREATE INDEX orders_at ON sales.orders (at);
CREATE TABLE sales.split (a integer, b integer) PARTITION BY LIST (a);
CREATE TABLE sales.watched (a integer) PARTITION BY LIST (a);
CREATE TABLE sales.watched_1 PARTITION OF sales.watched FOR VALUES IN (1);
CREATE TRIGGER watched_touch AFTER INSERT ON sales.watched FOR EACH ROW EXECUTE FUNCTION touch();
CREATE INDEX watched_a ON ONLY sales.watched (a);
CREATE INDEX watched_1_a ON sales.watched_1 (a);
CREATE TABLE sales.base (id integer NOT NULL, note text);
CREATE TABLE sales.derived (extra integer) INHERITS (sales.base);
CREATE TABLE sales.loose (id integer NOT NULL, note text);

CREATE VIEW adults WITH (security_barrier) AS SELECT id, name FROM users WHERE age >= 18
    WITH LOCAL CHECK OPTION;
COMMENT ON VIEW adults IS 'of age';
CREATE VIEW sales.recent AS SELECT * FROM sales.orders WHERE at > '2024-06-01';
CREATE MATERIALIZED VIEW names AS SELECT name, count(*) AS n FROM users GROUP BY name;
CREATE INDEX names_name ON names (name);

CREATE EVENT TRIGGER watch ON ddl_command_end WHEN TAG IN ('CREATE CAST')
    EXECUTE FUNCTION announce();
CREATE PUBLICATION all_of_it FOR TABLE users (id, name) WHERE (id > 0), posts;
CREATE PUBLICATION sold FOR TABLES IN SCHEMA sales WITH (publish = 'insert');
CREATE FOREIGN DATA WRAPPER nowhere;
CREATE SERVER far TYPE 'a' VERSION '1' FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host 'far');
CREATE USER MAPPING FOR reader SERVER far OPTIONS (user 'reader', password 'secret');
CREATE FOREIGN TABLE far_users (id integer OPTIONS (column_name 'uid'), name text) SERVER far
    OPTIONS (table_name 'users');
CREATE TEXT SEARCH DICTIONARY short (template = simple, stopwords = english);
CREATE TEXT SEARCH CONFIGURATION ours (copy = english);
CREATE TEXT SEARCH CONFIGURATION two (parser = default);
ALTER TEXT SEARCH CONFIGURATION two ADD MAPPING FOR url WITH simple, short;
CREATE TEXT SEARCH PARSER words (start = prsd_start, gettoken = prsd_nexttoken, end = prsd_end,
    lextypes = prsd_lextype);
CREATE TEXT SEARCH TEMPLATE plain (lexize = dsimple_lexize, init = dsimple_init);
CREATE CONVERSION ours_to_utf8 FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8;
CREATE ACCESS METHOD heap2 TYPE TABLE HANDLER heap_tableam_handler;
CREATE LANGUAGE plours HANDLER plpgsql_call_handler;
CREATE TRANSFORM FOR mood LANGUAGE plours
    (FROM SQL WITH FUNCTION pg_catalog.prsd_lextype(internal));

"""testing/schema.py sees all that `pg_dump --schema-only` sees, without false alarms.

Each change is made to a rich database and undone. Where the dumps differ the snapshots must, and a
line of the difference must name what was changed; once it is undone nothing may be left. Whether
the dumps differ is the server's doing alone, and so it is kept from run to run.
"""

import hashlib
import os
import re
import subprocess
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Lock
from typing import Any

import psycopg2
import pytest
from sqlalchemy import URL

from tests._kit.support import CACHE, template_module

WORKERS = 4  # databases, each with a thread

BASE = """
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
"""

# what is changed | what a line of the difference has [from this version on] [not in pg_dump]
# + the change
# - how it is undone exactly; if that cannot be, the database is made anew
CHANGES = r"""
# Schemas, extensions, settings

schema | left over: schema extra
+ CREATE SCHEMA extra
- DROP SCHEMA extra

schema lost | lost: schema empty
+ DROP SCHEMA empty
- CREATE SCHEMA empty

schema privilege | changed: schema sales: nothing -> granted CREATE to writer
+ GRANT CREATE ON SCHEMA sales TO writer
- REVOKE CREATE ON SCHEMA sales FROM writer

schema owner | changed: schema empty: owner postgres -> owner reader
+ ALTER SCHEMA empty OWNER TO reader
- ALTER SCHEMA empty OWNER TO postgres

schema comment | changed: schema sales: comment what we sell -> comment sold
+ COMMENT ON SCHEMA sales IS 'sold'
- COMMENT ON SCHEMA sales IS 'what we sell'

privilege on public | changed: schema public: nothing -> granted CREATE to PUBLIC
+ GRANT CREATE ON SCHEMA public TO public
- REVOKE CREATE ON SCHEMA public FROM public

extension | left over: extension pg_trgm
+ CREATE EXTENSION pg_trgm
- DROP EXTENSION pg_trgm

extension schema | changed: extension citext: schema public -> schema empty
+ ALTER EXTENSION citext SET SCHEMA empty
- ALTER EXTENSION citext SET SCHEMA public

extension version | changed: extension hstore: version 1.8 -> version 1.4 [not in pg_dump]
+ DROP EXTENSION hstore; CREATE EXTENSION hstore SCHEMA sales VERSION '1.4'
- ALTER EXTENSION hstore UPDATE

extension comment | changed: extension hstore: comment data type
+ COMMENT ON EXTENSION hstore IS 'pairs'
- COMMENT ON EXTENSION hstore IS 'data type for storing sets of (key, value) pairs'

member of an extension | lost: function add_one(text)
+ ALTER EXTENSION citext ADD FUNCTION add_one(text)
- ALTER EXTENSION citext DROP FUNCTION add_one(text)

privilege on a member of an extension | privileges of function citext_eq(citext,citext)
+ REVOKE EXECUTE ON FUNCTION citext_eq(citext, citext) FROM public
- GRANT EXECUTE ON FUNCTION citext_eq(citext, citext) TO public

privilege on a function of the system | privileges of function pg_sleep(double precision)
+ REVOKE EXECUTE ON FUNCTION pg_sleep(float8) FROM public
- GRANT EXECUTE ON FUNCTION pg_sleep(float8) TO public

privilege on a column of the system | privileges of column rolname of table pg_authid
+ GRANT SELECT (rolname) ON pg_authid TO reader
- REVOKE SELECT (rolname) ON pg_authid FROM reader

privilege on a language of the system | privileges of language plpgsql
+ REVOKE USAGE ON LANGUAGE plpgsql FROM public
- GRANT USAGE ON LANGUAGE plpgsql TO public

setting of the database | left over: settings of the database [not in pg_dump]
+ DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET work_mem = ''9MB''', current_database()); END $$
- DO $$ BEGIN EXECUTE format('ALTER DATABASE %I RESET work_mem', current_database()); END $$

setting of a role in the database | left over: settings of reader in the database [not in pg_dump]
+ DO $$ BEGIN EXECUTE
  format('ALTER ROLE reader IN DATABASE %I SET work_mem = ''9MB''', current_database()); END $$
- DO $$ BEGIN EXECUTE
  format('ALTER ROLE reader IN DATABASE %I RESET ALL', current_database()); END $$

default privileges in a schema | changed: default privileges of postgres for tables in sales
+ ALTER DEFAULT PRIVILEGES IN SCHEMA sales GRANT INSERT ON TABLES TO reader
- ALTER DEFAULT PRIVILEGES IN SCHEMA sales REVOKE INSERT ON TABLES FROM reader

default privileges everywhere | left over: default privileges of postgres for functions
+ ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM public
- ALTER DEFAULT PRIVILEGES GRANT EXECUTE ON FUNCTIONS TO public

security label | changed: relation users: nothing -> label demo secret
+ INSERT INTO pg_seclabel VALUES ('users'::regclass, 'pg_class'::regclass, 0, 'demo', 'secret')
- DELETE FROM pg_seclabel

security label of a column | changed: column users.name: nothing -> label demo secret
+ INSERT INTO pg_seclabel VALUES ('users'::regclass, 'pg_class'::regclass, 3, 'demo', 'secret')
- DELETE FROM pg_seclabel

# Tables

table | left over: relation extra
+ CREATE TABLE extra (id integer PRIMARY KEY)
- DROP TABLE extra

table lost | lost: relation cache
+ DROP TABLE cache
- CREATE UNLOGGED TABLE cache (key text, value text)

table renamed | left over: relation store
+ ALTER TABLE cache RENAME TO store
- ALTER TABLE store RENAME TO cache

table in another schema | left over: relation empty.cache
+ ALTER TABLE cache SET SCHEMA empty
- ALTER TABLE empty.cache SET SCHEMA public

table with a difficult name | left over: relation "Sel""ect.x"
+ CREATE TABLE "Sel""ect.x" ("a.b" text)
- DROP TABLE "Sel""ect.x"

persistence | changed: relation cache: unlogged -> nothing
+ ALTER TABLE cache SET LOGGED
- ALTER TABLE cache SET UNLOGGED

storage parameter | changed: relation posts: options autovacuum_enabled=off, fillfactor=80 ->
+ ALTER TABLE posts SET (fillfactor = 90)
- ALTER TABLE posts RESET (fillfactor, autovacuum_enabled);
  ALTER TABLE posts SET (fillfactor = 80, autovacuum_enabled = off)

storage parameter of TOAST | relation users: nothing -> options toast.autovacuum_enabled=off
+ ALTER TABLE users SET (toast.autovacuum_enabled = off)
- ALTER TABLE users RESET (toast.autovacuum_enabled)

row security off | changed: relation users: row security -> nothing
+ ALTER TABLE users DISABLE ROW LEVEL SECURITY
- ALTER TABLE users ENABLE ROW LEVEL SECURITY

row security forced | changed: relation users: nothing -> row security for the owner too
+ ALTER TABLE users FORCE ROW LEVEL SECURITY
- ALTER TABLE users NO FORCE ROW LEVEL SECURITY

replica identity | changed: relation users: nothing -> replica identity full
+ ALTER TABLE users REPLICA IDENTITY FULL
- ALTER TABLE users REPLICA IDENTITY DEFAULT

table privilege | changed: relation users: nothing -> granted INSERT to writer
+ GRANT INSERT ON users TO writer
- REVOKE INSERT ON users FROM writer

privilege with grant option | relation posts: nothing -> granted SELECT with grant option to reader
+ GRANT SELECT ON posts TO reader WITH GRANT OPTION
- REVOKE SELECT ON posts FROM reader

privilege of the owner | changed: relation posts: nothing -> not granted DELETE to postgres
+ REVOKE DELETE ON posts FROM postgres
- GRANT DELETE ON posts TO postgres

privilege given on | granted SELECT to writer by reader
+ GRANT SELECT ON posts TO reader WITH GRANT OPTION; SET ROLE reader;
  GRANT SELECT ON posts TO writer; RESET ROLE
- REVOKE SELECT ON posts FROM reader CASCADE

table owner | changed: relation posts: owner postgres -> owner writer
+ ALTER TABLE posts OWNER TO writer
- ALTER TABLE posts OWNER TO postgres

table comment | changed: relation users: comment who may log in -> comment people
+ COMMENT ON TABLE users IS 'people'
- COMMENT ON TABLE users IS 'who may log in'

table comment lost | changed: relation users: comment who may log in -> nothing
+ COMMENT ON TABLE users IS NULL
- COMMENT ON TABLE users IS 'who may log in'

tablespace | changed: relation posts: nothing -> tablespace fast
+ ALTER TABLE posts SET TABLESPACE fast
- ALTER TABLE posts SET TABLESPACE pg_default

access method of a table | left over: relation extra
+ CREATE TABLE extra () USING heap2
- DROP TABLE extra

another access method | changed: relation cache: access method heap -> access method heap2
+ DROP TABLE cache; CREATE UNLOGGED TABLE cache (key text, value text) USING heap2
- DROP TABLE cache; CREATE UNLOGGED TABLE cache (key text, value text)

typed table | changed: relation typed: of type address -> nothing
+ ALTER TABLE typed NOT OF
- ALTER TABLE typed OF address

inheritance | changed: relation sales.derived: child of sales.base -> nothing
+ ALTER TABLE sales.derived NO INHERIT sales.base

inheritance added | changed: relation sales.loose: nothing -> child of sales.base
+ ALTER TABLE sales.loose INHERIT sales.base
- ALTER TABLE sales.loose NO INHERIT sales.base

partition attached | changed: relation sales.loose
+ DROP TABLE sales.loose; CREATE TABLE sales.loose PARTITION OF sales.orders
  FOR VALUES FROM ('2030-01-01') TO ('2031-01-01')
- DROP TABLE sales.loose; CREATE TABLE sales.loose (id integer NOT NULL, note text)

partition detached | changed: relation sales.orders_2: DEFAULT, child of sales.orders -> nothing
+ ALTER TABLE sales.orders DETACH PARTITION sales.orders_2

partition bound | changed: relation sales.orders_1: FOR VALUES FROM ('2024-01-01') TO ('2025-01-01')
+ ALTER TABLE sales.orders DETACH PARTITION sales.orders_1; ALTER TABLE sales.orders
  ATTACH PARTITION sales.orders_1 FOR VALUES FROM ('2024-01-01') TO ('2026-01-01')
- ALTER TABLE sales.orders DETACH PARTITION sales.orders_1; ALTER TABLE sales.orders
  ATTACH PARTITION sales.orders_1 FOR VALUES FROM ('2024-01-01') TO ('2025-01-01')

partition key | changed: relation sales.split: partition by LIST (a) -> partition by LIST (b)
+ DROP TABLE sales.split; CREATE TABLE sales.split (a integer, b integer) PARTITION BY LIST (b)
- DROP TABLE sales.split; CREATE TABLE sales.split (a integer, b integer) PARTITION BY LIST (a)

foreign table | lost: relation far_users
+ DROP FOREIGN TABLE far_users

options of a foreign table | changed: relation far_users: options table_name=users ->
+ ALTER FOREIGN TABLE far_users OPTIONS (SET table_name 'people')
- ALTER FOREIGN TABLE far_users OPTIONS (SET table_name 'users')

options of a foreign column | changed: column far_users.id: options column_name=uid ->
+ ALTER FOREIGN TABLE far_users ALTER id OPTIONS (SET column_name 'key')
- ALTER FOREIGN TABLE far_users ALTER id OPTIONS (SET column_name 'uid')

# Columns

column | left over: column users.nickname
+ ALTER TABLE users ADD nickname text
- ALTER TABLE users DROP nickname

column lost | lost: column users.doc
+ ALTER TABLE users DROP doc

column renamed | left over: column users.full_name
+ ALTER TABLE users RENAME name TO full_name
- ALTER TABLE users RENAME full_name TO name

column dropped and added again | changed: column order cache: key, value -> value, key
+ ALTER TABLE cache DROP key, ADD key text
- ALTER TABLE cache DROP value, ADD value text

type of a column | changed: column posts.slug: text -> character varying(9)
+ ALTER TABLE posts ALTER slug TYPE varchar(9)
- ALTER TABLE posts ALTER slug TYPE text

length of a type | changed: column posts.code: character varying(9) -> character varying(8)
+ ALTER TABLE posts ALTER code TYPE varchar(8)
- ALTER TABLE posts ALTER code TYPE varchar(9)

precision of a type | changed: column posts.sum: numeric(10,2) -> numeric(12,2)
+ ALTER TABLE posts ALTER sum TYPE numeric(12, 2)
- ALTER TABLE posts ALTER sum TYPE numeric(10, 2)

not null | changed: column users.age: nothing -> not null
+ ALTER TABLE users ALTER age SET NOT NULL
- ALTER TABLE users ALTER age DROP NOT NULL

not null lost | changed: column users.email: not null -> nothing
+ ALTER TABLE users ALTER email DROP NOT NULL
- ALTER TABLE users ALTER email SET NOT NULL

default | changed: column users.name: default 'nobody'::text -> default 'somebody'::text
+ ALTER TABLE users ALTER name SET DEFAULT 'somebody'
- ALTER TABLE users ALTER name SET DEFAULT 'nobody'

default lost | changed: column users.name: default 'nobody'::text -> nothing
+ ALTER TABLE users ALTER name DROP DEFAULT
- ALTER TABLE users ALTER name SET DEFAULT 'nobody'

identity | changed: column users.id: identity always -> identity by default
+ ALTER TABLE users ALTER id SET GENERATED BY DEFAULT
- ALTER TABLE users ALTER id SET GENERATED ALWAYS

identity lost | changed: column users.id: identity always -> nothing
+ ALTER TABLE users ALTER id DROP IDENTITY
- ALTER TABLE users ALTER id ADD GENERATED ALWAYS AS IDENTITY

options of an identity | changed: sequence users_id_seq: increment 1 -> increment 2
+ ALTER TABLE users ALTER id SET INCREMENT BY 2
- ALTER TABLE users ALTER id SET INCREMENT BY 1

generated column no more | changed: column users.gross: generated, stored: (price
+ ALTER TABLE users ALTER gross DROP EXPRESSION

expression of a generated column | posts.twice: generated, stored: (id * 2) -> generated, stored:
+ ALTER TABLE posts DROP twice, ADD twice integer GENERATED ALWAYS AS (id + id) STORED
- ALTER TABLE posts DROP twice, ADD twice integer GENERATED ALWAYS AS (id * 2) STORED

virtual column | left over: column users.upper [18+]
+ ALTER TABLE users ADD upper text GENERATED ALWAYS AS (upper(name)) VIRTUAL
- ALTER TABLE users DROP upper

virtual instead of stored | posts.twice: generated, stored: (id * 2) -> generated, virtual: [18+]
+ ALTER TABLE posts DROP twice, ADD twice integer GENERATED ALWAYS AS (id * 2) VIRTUAL
- ALTER TABLE posts DROP twice, ADD twice integer GENERATED ALWAYS AS (id * 2) STORED

collation | changed: column posts.slug: nothing -> collate "C"
+ ALTER TABLE posts ALTER slug TYPE text COLLATE "C"
- ALTER TABLE posts ALTER slug TYPE text

compression | changed: column posts.slug: nothing -> compression p
+ ALTER TABLE posts ALTER slug SET COMPRESSION pglz
- ALTER TABLE posts ALTER slug SET COMPRESSION default

storage | changed: column posts.slug: nothing -> storage e
+ ALTER TABLE posts ALTER slug SET STORAGE EXTERNAL
- ALTER TABLE posts ALTER slug SET STORAGE EXTENDED

statistics target | changed: column posts.slug: nothing -> statistics 500
+ ALTER TABLE posts ALTER slug SET STATISTICS 500
- ALTER TABLE posts ALTER slug SET STATISTICS -1

column option | changed: column posts.slug: nothing -> options n_distinct=7
+ ALTER TABLE posts ALTER slug SET (n_distinct = 7)
- ALTER TABLE posts ALTER slug RESET (n_distinct)

column privilege | changed: column users.email: nothing -> granted SELECT to writer
+ GRANT SELECT (email) ON users TO writer
- REVOKE SELECT (email) ON users FROM writer

column comment | changed: column users.email: comment as typed -> comment folded
+ COMMENT ON COLUMN users.email IS 'folded'
- COMMENT ON COLUMN users.email IS 'as typed'

default of a view's column | changed: column adults.name: nothing -> default 'x'::text
+ ALTER VIEW adults ALTER name SET DEFAULT 'x'
- ALTER VIEW adults ALTER name DROP DEFAULT

comment on a view's column | changed: column adults.name: nothing -> comment full
+ COMMENT ON COLUMN adults.name IS 'full'
- COMMENT ON COLUMN adults.name IS NULL

default of a partition's column | changed: column sales.orders_1.note: nothing -> default 'x'::text
+ ALTER TABLE sales.orders_1 ALTER note SET DEFAULT 'x'
- ALTER TABLE sales.orders_1 ALTER note DROP DEFAULT

# Constraints

primary key | left over: constraint cache.cache_pkey
+ ALTER TABLE cache ADD PRIMARY KEY (key)
- ALTER TABLE cache DROP CONSTRAINT cache_pkey, ALTER key DROP NOT NULL

check | left over: constraint users.users_tall
+ ALTER TABLE users ADD CONSTRAINT users_tall CHECK (age < 300)
- ALTER TABLE users DROP CONSTRAINT users_tall

check changed | changed: constraint users.users_age: CHECK ((age > 0)) -> CHECK ((age >= 0))
+ ALTER TABLE users DROP CONSTRAINT users_age, ADD CONSTRAINT users_age CHECK (age >= 0)
- ALTER TABLE users DROP CONSTRAINT users_age, ADD CONSTRAINT users_age CHECK (age > 0)

check lost | lost: constraint users.users_age
+ ALTER TABLE users DROP CONSTRAINT users_age
- ALTER TABLE users ADD CONSTRAINT users_age CHECK (age > 0)

constraint renamed | lost: constraint users.users_age
+ ALTER TABLE users RENAME CONSTRAINT users_age TO users_old
- ALTER TABLE users RENAME CONSTRAINT users_old TO users_age

check not validated | constraint users.users_age: CHECK ((age > 0)) -> CHECK ((age > 0)) NOT VALID
+ ALTER TABLE users DROP CONSTRAINT users_age, ADD CONSTRAINT users_age CHECK (age > 0) NOT VALID
- ALTER TABLE users VALIDATE CONSTRAINT users_age

check not inherited | CHECK ((age > 0)) -> CHECK ((age > 0)) NO INHERIT
+ ALTER TABLE users DROP CONSTRAINT users_age,
  ADD CONSTRAINT users_age CHECK (age > 0) NO INHERIT
- ALTER TABLE users DROP CONSTRAINT users_age, ADD CONSTRAINT users_age CHECK (age > 0)

check not enforced | constraint users.users_age: CHECK ((age > 0)) -> CHECK ((age > 0)) NOT [18+]
+ ALTER TABLE users DROP CONSTRAINT users_age,
  ADD CONSTRAINT users_age CHECK (age > 0) NOT ENFORCED
- ALTER TABLE users DROP CONSTRAINT users_age, ADD CONSTRAINT users_age CHECK (age > 0)

foreign key not enforced | changed: constraint posts.posts_user: FOREIGN KEY [18+]
+ ALTER TABLE posts ALTER CONSTRAINT posts_user NOT ENFORCED
- ALTER TABLE posts ALTER CONSTRAINT posts_user ENFORCED

foreign key not validated | changed: constraint posts.posts_user: FOREIGN KEY
+ ALTER TABLE posts DROP CONSTRAINT posts_user, ADD CONSTRAINT posts_user FOREIGN KEY (user_id)
  REFERENCES users ON DELETE CASCADE DEFERRABLE NOT VALID;
  COMMENT ON CONSTRAINT posts_user ON posts IS 'the author'
- ALTER TABLE posts VALIDATE CONSTRAINT posts_user

foreign key action | ON DELETE CASCADE DEFERRABLE -> FOREIGN KEY
+ ALTER TABLE posts DROP CONSTRAINT posts_user, ADD CONSTRAINT posts_user FOREIGN KEY (user_id)
  REFERENCES users DEFERRABLE; COMMENT ON CONSTRAINT posts_user ON posts IS 'the author'
- ALTER TABLE posts DROP CONSTRAINT posts_user, ADD CONSTRAINT posts_user FOREIGN KEY (user_id)
  REFERENCES users ON DELETE CASCADE DEFERRABLE;
  COMMENT ON CONSTRAINT posts_user ON posts IS 'the author'

deferred | changed: constraint posts.posts_user: FOREIGN KEY
+ ALTER TABLE posts ALTER CONSTRAINT posts_user DEFERRABLE INITIALLY DEFERRED
- ALTER TABLE posts ALTER CONSTRAINT posts_user DEFERRABLE INITIALLY IMMEDIATE

not deferrable | changed: constraint posts.posts_user: FOREIGN KEY
+ ALTER TABLE posts ALTER CONSTRAINT posts_user NOT DEFERRABLE
- ALTER TABLE posts ALTER CONSTRAINT posts_user DEFERRABLE

triggers of a constraint disabled | posts.posts_user: nothing -> its triggers [not in pg_dump]
+ ALTER TABLE posts DISABLE TRIGGER ALL
- ALTER TABLE posts ENABLE TRIGGER ALL

unique | left over: constraint users.users_once
+ ALTER TABLE users ADD CONSTRAINT users_once UNIQUE NULLS NOT DISTINCT (feels)
- ALTER TABLE users DROP CONSTRAINT users_once

exclusion | lost: constraint posts.posts_during
+ ALTER TABLE posts DROP CONSTRAINT posts_during
- ALTER TABLE posts ADD CONSTRAINT posts_during EXCLUDE USING gist (during WITH &&)

comment on a constraint | constraint posts.posts_user: comment the author -> comment who wrote it
+ COMMENT ON CONSTRAINT posts_user ON posts IS 'who wrote it'
- COMMENT ON CONSTRAINT posts_user ON posts IS 'the author'

name of a not-null constraint | left over: constraint users.email_there [18+]
+ ALTER TABLE users RENAME CONSTRAINT users_email_not_null TO email_there
- ALTER TABLE users RENAME CONSTRAINT email_there TO users_email_not_null

not null not validated | left over: constraint cache.key_there [18+]
+ ALTER TABLE cache ADD CONSTRAINT key_there NOT NULL key NOT VALID
- ALTER TABLE cache DROP CONSTRAINT key_there

not null not inherited | changed: constraint sales.loose.loose_id_not_null [18+]
+ ALTER TABLE sales.loose ALTER CONSTRAINT loose_id_not_null NO INHERIT
- ALTER TABLE sales.loose ALTER CONSTRAINT loose_id_not_null INHERIT

temporal key | left over: constraint sales.loose.loose_during [18+]
+ ALTER TABLE sales.loose ADD room int4range, ADD during daterange,
  ADD CONSTRAINT loose_during UNIQUE (room, during WITHOUT OVERLAPS)
- ALTER TABLE sales.loose DROP room, DROP during

# Indexes, statistics

index | left over: index users.users_name
+ CREATE INDEX users_name ON users (name)
- DROP INDEX users_name

index lost | lost: index users.users_doc
+ DROP INDEX users_doc
- CREATE INDEX users_doc ON users USING gin (doc jsonb_path_ops)

index renamed | left over: index users.users_json
+ ALTER INDEX users_doc RENAME TO users_json
- ALTER INDEX users_json RENAME TO users_doc

operator class of an index | changed: index users.users_doc: CREATE INDEX users_doc
+ DROP INDEX users_doc; CREATE INDEX users_doc ON users USING gin (doc)
- DROP INDEX users_doc; CREATE INDEX users_doc ON users USING gin (doc jsonb_path_ops)

columns included in an index | changed: index users.users_email
+ DROP INDEX users_email;
  CREATE UNIQUE INDEX users_email ON users (lower(email)) INCLUDE (name, age) WHERE age > 1
- DROP INDEX users_email;
  CREATE UNIQUE INDEX users_email ON users (lower(email)) INCLUDE (name) WHERE age > 1

predicate of an index | changed: index users.users_email
+ DROP INDEX users_email;
  CREATE UNIQUE INDEX users_email ON users (lower(email)) INCLUDE (name) WHERE age > 3
- DROP INDEX users_email;
  CREATE UNIQUE INDEX users_email ON users (lower(email)) INCLUDE (name) WHERE age > 1

storage parameter of an index | changed: index users.users_created
+ ALTER INDEX users_created SET (fillfactor = 71)
- ALTER INDEX users_created SET (fillfactor = 70)

tablespace of an index | changed: index users.users_doc: nothing -> tablespace fast
+ ALTER INDEX users_doc SET TABLESPACE fast
- ALTER INDEX users_doc SET TABLESPACE pg_default

clustered | changed: index posts.posts_slug: nothing -> clustered on
+ ALTER TABLE posts CLUSTER ON posts_slug
- ALTER TABLE posts SET WITHOUT CLUSTER

replica identity by an index | changed: index posts.posts_pkey: nothing -> replica identity
+ ALTER TABLE posts REPLICA IDENTITY USING INDEX posts_pkey
- ALTER TABLE posts REPLICA IDENTITY DEFAULT

statistics of an expression | changed: index users.users_email: nothing -> statistics 50 of column 1
+ ALTER INDEX users_email ALTER 1 SET STATISTICS 50
- ALTER INDEX users_email ALTER 1 SET STATISTICS -1

comment on an index | changed: index users.users_created: comment newest first -> nothing
+ COMMENT ON INDEX users_created IS NULL
- COMMENT ON INDEX users_created IS 'newest first'

invalid index | changed: index users.users_doc: nothing -> invalid
+ UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'users_doc'::regclass
- UPDATE pg_index SET indisvalid = true WHERE indexrelid = 'users_doc'::regclass

index not ready | changed: index users.users_doc: nothing -> not ready
+ UPDATE pg_index SET indisready = false WHERE indexrelid = 'users_doc'::regclass
- UPDATE pg_index SET indisready = true WHERE indexrelid = 'users_doc'::regclass

index of a partition attached | sales.watched_1.watched_1_a: nothing -> part of sales.watched_a
+ ALTER INDEX sales.watched_a ATTACH PARTITION sales.watched_1_a

statistics object | lost: statistics users_both
+ DROP STATISTICS users_both
- CREATE STATISTICS users_both (dependencies) ON name, age FROM users

kinds of a statistics object | changed: statistics users_both
+ DROP STATISTICS users_both; CREATE STATISTICS users_both (mcv) ON name, age FROM users
- DROP STATISTICS users_both; CREATE STATISTICS users_both (dependencies) ON name, age FROM users

target of a statistics object | changed: statistics users_both: nothing -> target 9
+ ALTER STATISTICS users_both SET STATISTICS 9
- ALTER STATISTICS users_both SET STATISTICS -1

owner of a statistics object | changed: statistics users_both: owner postgres -> owner reader
+ ALTER STATISTICS users_both OWNER TO reader
- ALTER STATISTICS users_both OWNER TO postgres

comment on a statistics object | changed: statistics users_both: nothing -> comment they go together
+ COMMENT ON STATISTICS users_both IS 'they go together'
- COMMENT ON STATISTICS users_both IS NULL

# Sequences

sequence | left over: sequence extra
+ CREATE SEQUENCE extra
- DROP SEQUENCE extra

sequence options | changed: sequence counter: increment 1 -> increment 3
+ ALTER SEQUENCE counter INCREMENT 3
- ALTER SEQUENCE counter INCREMENT 1

sequence limits | changed: sequence counter: minimum 1, maximum 9223372036854775807 -> minimum 0,
+ ALTER SEQUENCE counter MINVALUE 0 MAXVALUE 1000
- ALTER SEQUENCE counter NO MINVALUE NO MAXVALUE

sequence start and cache | changed: sequence counter: start 5, cache 2 -> start 6, cache 3
+ ALTER SEQUENCE counter START 6 CACHE 3
- ALTER SEQUENCE counter START 5 CACHE 2

sequence cycle | changed: sequence counter: nothing -> cycle
+ ALTER SEQUENCE counter CYCLE
- ALTER SEQUENCE counter NO CYCLE

sequence type | sequence sales.invoice_number: bigint, maximum 9223372036854775807 -> integer
+ ALTER SEQUENCE sales.invoice_number AS integer
- ALTER SEQUENCE sales.invoice_number AS bigint

sequence owned by a column | changed: sequence counter: nothing -> owned by posts.user_id
+ ALTER SEQUENCE counter OWNED BY posts.user_id
- ALTER SEQUENCE counter OWNED BY NONE

sequence privilege | changed: sequence counter: nothing -> granted USAGE to reader
+ GRANT USAGE ON SEQUENCE counter TO reader
- REVOKE USAGE ON SEQUENCE counter FROM reader

sequence owner | changed: sequence counter: owner postgres -> owner reader
+ ALTER SEQUENCE counter OWNER TO reader
- ALTER SEQUENCE counter OWNER TO postgres

sequence unlogged | changed: sequence counter: nothing -> unlogged
+ ALTER SEQUENCE counter SET UNLOGGED
- ALTER SEQUENCE counter SET LOGGED

sequence comment | changed: sequence counter: nothing -> comment counts
+ COMMENT ON SEQUENCE counter IS 'counts'
- COMMENT ON SEQUENCE counter IS NULL

# Types, collations, casts

enum label | changed: type mood: 'sad', 'happy' -> 'sad', 'so-so', 'happy'
+ ALTER TYPE mood ADD VALUE 'so-so' BEFORE 'happy'

enum label renamed | changed: type sales.state: 'new', 'paid' -> 'new', 'settled'
+ ALTER TYPE sales.state RENAME VALUE 'paid' TO 'settled'
- ALTER TYPE sales.state RENAME VALUE 'settled' TO 'paid'

enum lost | lost: type sales.state
+ DROP TYPE sales.state
- CREATE TYPE sales.state AS ENUM ('new', 'paid')

enum labels in another order | changed: type sales.state: 'new', 'paid' -> 'paid', 'new'
+ DROP TYPE sales.state; CREATE TYPE sales.state AS ENUM ('paid', 'new')
- DROP TYPE sales.state; CREATE TYPE sales.state AS ENUM ('new', 'paid')

domain default | changed: type email: default 'none'::text -> default 'some'::text
+ ALTER DOMAIN email SET DEFAULT 'some'
- ALTER DOMAIN email SET DEFAULT 'none'

domain not null | changed: type email: nothing -> not null
+ ALTER DOMAIN email SET NOT NULL
- ALTER DOMAIN email DROP NOT NULL

domain constraint | changed: type email: nothing -> constraint email_dot CHECK
+ ALTER DOMAIN email ADD CONSTRAINT email_dot CHECK (value ~ 'x')
- ALTER DOMAIN email DROP CONSTRAINT email_dot

domain constraint not validated | changed: type email: constraint email_at CHECK
+ ALTER DOMAIN email DROP CONSTRAINT email_at;
  ALTER DOMAIN email ADD CONSTRAINT email_at CHECK (value ~ '@') NOT VALID
- ALTER DOMAIN email VALIDATE CONSTRAINT email_at

comment on a domain's constraint | changed: type email: constraint email_at CHECK
+ COMMENT ON CONSTRAINT email_at ON DOMAIN email IS 'an at sign'
- COMMENT ON CONSTRAINT email_at ON DOMAIN email IS NULL

domain's type | changed: type label: domain character varying(9) -> domain character varying(10)
+ DROP DOMAIN label; CREATE DOMAIN label AS varchar(10)
- DROP DOMAIN label; CREATE DOMAIN label AS varchar(9)

composite type | left over: type pair
+ CREATE TYPE pair AS (a integer, b integer)
- DROP TYPE pair

attribute of a composite type | left over: column pair2.c
+ ALTER TYPE pair2 ADD ATTRIBUTE c text
- ALTER TYPE pair2 DROP ATTRIBUTE c

type of an attribute | changed: column pair2.b: integer -> bigint
+ ALTER TYPE pair2 ALTER ATTRIBUTE b TYPE bigint
- ALTER TYPE pair2 ALTER ATTRIBUTE b TYPE integer

comment on an attribute | changed: column pair2.b: nothing -> comment second
+ COMMENT ON COLUMN pair2.b IS 'second'
- COMMENT ON COLUMN pair2.b IS NULL

range type | changed: type floatrange
+ DROP TYPE floatrange; CREATE TYPE floatrange AS RANGE (subtype = float8)
- DROP TYPE floatrange;
  CREATE TYPE floatrange AS RANGE (subtype = float8, subtype_diff = float8mi)

name of a multirange | changed: type floatrange: multirange floatmultirange -> multirange floats
+ ALTER TYPE floatmultirange RENAME TO floats
- ALTER TYPE floats RENAME TO floatmultirange

base type | type point3: "typsend": "-" -> "typsend": "point3_send"
+ ALTER TYPE point3 SET (send = point3_send)
- ALTER TYPE point3 SET (send = NONE)

shell type | left over: type later
+ CREATE TYPE later
- DROP TYPE later

type privilege | changed: type mood: nothing -> not granted USAGE to PUBLIC
+ REVOKE USAGE ON TYPE mood FROM public
- GRANT USAGE ON TYPE mood TO public

type owner | changed: type mood: owner postgres -> owner writer
+ ALTER TYPE mood OWNER TO writer
- ALTER TYPE mood OWNER TO postgres

type comment | changed: type mood: comment how one feels -> nothing
+ COMMENT ON TYPE mood IS NULL
- COMMENT ON TYPE mood IS 'how one feels'

collation object | lost: collation sales.plain
+ DROP COLLATION sales.plain
- CREATE COLLATION sales.plain FROM "C"

collation's locale | changed: collation posix
+ DROP COLLATION posix; CREATE COLLATION posix (locale = 'POSIX')
- DROP COLLATION posix; CREATE COLLATION posix (locale = 'C')

comment on a collation | changed: collation posix: nothing -> comment bytes
+ COMMENT ON COLLATION posix IS 'bytes'
- COMMENT ON COLLATION posix IS NULL

cast | lost: cast mood as integer
+ DROP CAST (mood AS integer)
- CREATE CAST (mood AS integer) WITH FUNCTION mood_to_int(mood) AS ASSIGNMENT;
  COMMENT ON CAST (mood AS integer) IS 'a number'

context of a cast | changed: cast mood as integer: context a -> context i
+ DROP CAST (mood AS integer);
  CREATE CAST (mood AS integer) WITH FUNCTION mood_to_int(mood) AS IMPLICIT;
  COMMENT ON CAST (mood AS integer) IS 'a number'
- DROP CAST (mood AS integer);
  CREATE CAST (mood AS integer) WITH FUNCTION mood_to_int(mood) AS ASSIGNMENT;
  COMMENT ON CAST (mood AS integer) IS 'a number'

# Views, rules, triggers, policies

view | left over: relation youths
+ CREATE VIEW youths AS SELECT id FROM users WHERE age < 18
- DROP VIEW youths

view definition | changed: relation adults: WHERE
+ CREATE OR REPLACE VIEW adults WITH (security_barrier) AS
  SELECT id, name FROM users WHERE age >= 21 WITH LOCAL CHECK OPTION
- CREATE OR REPLACE VIEW adults WITH (security_barrier) AS
  SELECT id, name FROM users WHERE age >= 18 WITH LOCAL CHECK OPTION

view options | relation adults: options check_option=local, security_barrier=true -> options
+ ALTER VIEW adults SET (check_option = cascaded)
- ALTER VIEW adults SET (check_option = local)

view security invoker | changed: relation sales.recent: nothing -> options security_invoker=true
+ ALTER VIEW sales.recent SET (security_invoker = true)
- ALTER VIEW sales.recent RESET (security_invoker)

view comment | changed: relation adults: comment of age -> nothing
+ COMMENT ON VIEW adults IS NULL
- COMMENT ON VIEW adults IS 'of age'

view owner | changed: relation adults: owner postgres -> owner writer
+ ALTER VIEW adults OWNER TO writer
- ALTER VIEW adults OWNER TO postgres

materialized view | lost: relation names
+ DROP MATERIALIZED VIEW names
- CREATE MATERIALIZED VIEW names AS SELECT name, count(*) AS n FROM users GROUP BY name;
  CREATE INDEX names_name ON names (name)

materialized view not populated | changed: relation names: nothing -> not populated [not in pg_dump]
+ REFRESH MATERIALIZED VIEW names WITH NO DATA
- REFRESH MATERIALIZED VIEW names

rule | lost: rule posts.posts_quiet
+ DROP RULE posts_quiet ON posts
- CREATE RULE posts_quiet AS ON DELETE TO posts DO ALSO NOTIFY gone

rule changed | changed: rule posts.posts_quiet: ON DELETE TO public.posts DO
+ CREATE OR REPLACE RULE posts_quiet AS ON DELETE TO posts DO INSTEAD NOTHING
- CREATE OR REPLACE RULE posts_quiet AS ON DELETE TO posts DO ALSO NOTIFY gone

rule disabled | changed: rule posts.posts_quiet: enabled O -> enabled D
+ ALTER TABLE posts DISABLE RULE posts_quiet
- ALTER TABLE posts ENABLE RULE posts_quiet

rule comment | changed: rule posts.posts_quiet: nothing -> comment hush
+ COMMENT ON RULE posts_quiet ON posts IS 'hush'
- COMMENT ON RULE posts_quiet ON posts IS NULL

trigger | lost: trigger users.users_touch
+ DROP TRIGGER users_touch ON users
- CREATE TRIGGER users_touch BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION touch();
  COMMENT ON TRIGGER users_touch ON users IS 'sets created'

trigger event | changed: trigger users.users_touch: CREATE TRIGGER
+ CREATE OR REPLACE TRIGGER users_touch BEFORE INSERT OR UPDATE OF name ON users FOR EACH ROW
  WHEN (NEW.age > 1) EXECUTE FUNCTION touch()
- CREATE OR REPLACE TRIGGER users_touch BEFORE UPDATE ON users FOR EACH ROW
  EXECUTE FUNCTION touch()

trigger disabled | changed: trigger users.users_touch: enabled O -> enabled D
+ ALTER TABLE users DISABLE TRIGGER users_touch
- ALTER TABLE users ENABLE TRIGGER users_touch

trigger for replicas | changed: trigger users.users_touch: enabled O -> enabled R
+ ALTER TABLE users ENABLE REPLICA TRIGGER users_touch
- ALTER TABLE users ENABLE TRIGGER users_touch

trigger comment | changed: trigger users.users_touch: comment sets created -> nothing
+ COMMENT ON TRIGGER users_touch ON users IS NULL
- COMMENT ON TRIGGER users_touch ON users IS 'sets created'

constraint trigger | left over: trigger users.users_late
+ CREATE CONSTRAINT TRIGGER users_late AFTER UPDATE ON users DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW EXECUTE FUNCTION touch()
- DROP TRIGGER users_late ON users

trigger of a partition disabled | trigger sales.watched_1.watched_touch: enabled O -> enabled D
+ ALTER TABLE sales.watched_1 DISABLE TRIGGER watched_touch
- ALTER TABLE sales.watched_1 ENABLE TRIGGER watched_touch

trigger that depends on an extension | users.users_touch: nothing -> depends on extension citext
+ ALTER TRIGGER users_touch ON users DEPENDS ON EXTENSION citext
- DROP TRIGGER users_touch ON users;
  CREATE TRIGGER users_touch BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION touch();
  COMMENT ON TRIGGER users_touch ON users IS 'sets created'

event trigger | lost: event trigger watch
+ DROP EVENT TRIGGER watch
- CREATE EVENT TRIGGER watch ON ddl_command_end WHEN TAG IN ('CREATE CAST')
  EXECUTE FUNCTION announce()

event trigger disabled | changed: event trigger watch: enabled O -> enabled D
+ ALTER EVENT TRIGGER watch DISABLE
- ALTER EVENT TRIGGER watch ENABLE

event trigger tags | changed: event trigger watch: for {"CREATE CAST"} -> nothing
+ DROP EVENT TRIGGER watch; CREATE EVENT TRIGGER watch ON ddl_command_end
  EXECUTE FUNCTION announce()
- DROP EVENT TRIGGER watch; CREATE EVENT TRIGGER watch ON ddl_command_end
  WHEN TAG IN ('CREATE CAST') EXECUTE FUNCTION announce()

policy | lost: policy users.users_write
+ DROP POLICY users_write ON users
- CREATE POLICY users_write ON users FOR INSERT WITH CHECK (age > 2)

policy expression | policy users.users_own: using (name = CURRENT_USER) -> using ((email)
+ ALTER POLICY users_own ON users USING (email = current_user)
- ALTER POLICY users_own ON users USING (name = current_user)

policy check | changed: policy users.users_write: with check (age > 2) -> with check (age > 3)
+ ALTER POLICY users_write ON users WITH CHECK (age > 3)
- ALTER POLICY users_write ON users WITH CHECK (age > 2)

policy roles | changed: policy users.users_own: to reader, writer -> to PUBLIC
+ ALTER POLICY users_own ON users TO public
- ALTER POLICY users_own ON users TO reader, writer

restrictive policy | changed: policy users.users_write: permissive -> restrictive
+ DROP POLICY users_write ON users;
  CREATE POLICY users_write ON users AS RESTRICTIVE FOR INSERT WITH CHECK (age > 2)
- DROP POLICY users_write ON users;
  CREATE POLICY users_write ON users FOR INSERT WITH CHECK (age > 2)

policy command | changed: policy users.users_write: for insert -> for update
+ DROP POLICY users_write ON users;
  CREATE POLICY users_write ON users FOR UPDATE WITH CHECK (age > 2)
- DROP POLICY users_write ON users;
  CREATE POLICY users_write ON users FOR INSERT WITH CHECK (age > 2)

policy comment | changed: policy users.users_own: comment only oneself -> nothing
+ COMMENT ON POLICY users_own ON users IS NULL
- COMMENT ON POLICY users_own ON users IS 'only oneself'

# Functions, aggregates, operators

function | lost: function add_one(integer)
+ DROP FUNCTION add_one(integer)
- CREATE FUNCTION add_one(value integer) RETURNS integer LANGUAGE sql IMMUTABLE
  AS 'SELECT value + 1'

function body | changed: function touch(): NEW.created := now(); -> NEW.created := NULL;
+ CREATE OR REPLACE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS
  E'\nBEGIN\n    NEW.created := NULL;\n    RETURN NEW;\nEND '
- CREATE OR REPLACE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS
  E'\nBEGIN\n    NEW.created := now();\n    RETURN NEW;\nEND '

function volatility | changed: function add_one(text): IMMUTABLE -> STABLE
+ ALTER FUNCTION add_one(text) STABLE
- ALTER FUNCTION add_one(text) IMMUTABLE

function security | changed: function add_one(text): IMMUTABLE -> IMMUTABLE SECURITY DEFINER
+ ALTER FUNCTION add_one(text) SECURITY DEFINER
- ALTER FUNCTION add_one(text) SECURITY INVOKER

function attributes | IMMUTABLE PARALLEL SAFE STRICT LEAKPROOF COST 7
+ ALTER FUNCTION add_one(text) PARALLEL SAFE STRICT LEAKPROOF COST 7
- ALTER FUNCTION add_one(text) PARALLEL UNSAFE CALLED ON NULL INPUT NOT LEAKPROOF COST 100

function setting | function sales.total(integer[]): SET work_mem TO '8MB' -> SET work_mem TO
+ ALTER FUNCTION sales.total SET work_mem = '9MB'
- ALTER FUNCTION sales.total SET work_mem = '8MB'

function in SQL's own syntax | changed: function add_one(integer)
+ CREATE OR REPLACE FUNCTION add_one(value integer) RETURNS integer LANGUAGE sql IMMUTABLE
  RETURN value + 1
- CREATE OR REPLACE FUNCTION add_one(value integer) RETURNS integer LANGUAGE sql IMMUTABLE
  AS 'SELECT value + 1'

argument's default | changed: procedure sweep(integer)
+ CREATE OR REPLACE PROCEDURE sweep(keep integer DEFAULT 8) LANGUAGE plpgsql AS 'BEGIN NULL; END'
- CREATE OR REPLACE PROCEDURE sweep(keep integer DEFAULT 7) LANGUAGE plpgsql AS 'BEGIN NULL; END'

function privilege | changed: function add_one(text): nothing -> not granted EXECUTE to PUBLIC
+ REVOKE EXECUTE ON FUNCTION add_one(text) FROM public
- GRANT EXECUTE ON FUNCTION add_one(text) TO public

function owner | changed: function add_one(text): owner postgres -> owner reader
+ ALTER FUNCTION add_one(text) OWNER TO reader
- ALTER FUNCTION add_one(text) OWNER TO postgres

function comment | changed: function add_one(text): nothing -> comment the same
+ COMMENT ON FUNCTION add_one(text) IS 'the same'
- COMMENT ON FUNCTION add_one(text) IS NULL

function that depends on an extension | add_one(text): nothing -> depends on extension citext
+ ALTER FUNCTION add_one(text) DEPENDS ON EXTENSION citext
- ALTER FUNCTION add_one(text) NO DEPENDS ON EXTENSION citext

aggregate | lost: aggregate product(integer)
+ DROP AGGREGATE product(integer)
- CREATE AGGREGATE product(integer) (sfunc = int4mul, stype = integer, initcond = '1')

aggregate's initial state | aggregate product(integer): "agginitval": "1" -> "agginitval": "2"
+ CREATE OR REPLACE AGGREGATE product(integer) (sfunc = int4mul, stype = integer, initcond = '2')
- CREATE OR REPLACE AGGREGATE product(integer) (sfunc = int4mul, stype = integer, initcond = '1')

aggregate comment | changed: aggregate product(integer): nothing -> comment times
+ COMMENT ON AGGREGATE product(integer) IS 'times'
- COMMENT ON AGGREGATE product(integer) IS NULL

operator | lost: operator ====(mood,mood)
+ DROP OPERATOR ==== (mood, mood)
- CREATE OPERATOR ==== (leftarg = mood, rightarg = mood, function = same)

operator's estimate | changed: operator ====(mood,mood): "oprrest": "-" -> "oprrest": "eqsel"
+ ALTER OPERATOR ==== (mood, mood) SET (restrict = eqsel)
- ALTER OPERATOR ==== (mood, mood) SET (restrict = NONE)

operator's negator | changed: operator ====(mood,mood)
+ DROP OPERATOR ==== (mood, mood);
  CREATE OPERATOR ==== (leftarg = mood, rightarg = mood, function = same, negator = !===);
  CREATE OPERATOR !=== (leftarg = mood, rightarg = mood, function = same, negator = ====)

operator comment | changed: operator ===(mood,mood): nothing -> comment equal
+ COMMENT ON OPERATOR === (mood, mood) IS 'equal'
- COMMENT ON OPERATOR === (mood, mood) IS NULL

operator family | lost: operator family feelings using btree
+ DROP OPERATOR FAMILY feelings USING btree
- CREATE OPERATOR FAMILY feelings USING btree

member of an operator family | changed: operator family feelings using btree
+ ALTER OPERATOR FAMILY feelings USING btree ADD FUNCTION 1 (mood, mood) order_of(mood, mood)
- ALTER OPERATOR FAMILY feelings USING btree DROP FUNCTION 1 (mood, mood)

operator class | left over: operator class mood_more using hash
+ CREATE OPERATOR CLASS mood_more FOR TYPE mood USING hash FAMILY mood_hash AS STORAGE mood
- DROP OPERATOR CLASS mood_more USING hash

default operator class | changed: operator class mood_less using hash: nothing -> default
+ DROP OPERATOR CLASS mood_less USING hash;
  CREATE OPERATOR CLASS mood_less DEFAULT FOR TYPE mood USING hash FAMILY mood_hash AS STORAGE mood
- DROP OPERATOR CLASS mood_less USING hash;
  CREATE OPERATOR CLASS mood_less FOR TYPE mood USING hash FAMILY mood_hash AS STORAGE mood

comment on an operator class | operator class mood_hash using hash: nothing -> comment equality
+ COMMENT ON OPERATOR CLASS mood_hash USING hash IS 'equality'
- COMMENT ON OPERATOR CLASS mood_hash USING hash IS NULL

# Publications, foreign servers, text search, the rest

publication | left over: publication extra
+ CREATE PUBLICATION extra FOR ALL TABLES
- DROP PUBLICATION extra

publication's operations | publication sold: "pubdelete": false -> "pubdelete": true
+ ALTER PUBLICATION sold SET (publish = 'insert, delete')
- ALTER PUBLICATION sold SET (publish = 'insert')

publication's generated columns | changed: publication sold: "pubgencols": "n" -> "pubgencols" [18+]
+ ALTER PUBLICATION sold SET (publish_generated_columns = stored)
- ALTER PUBLICATION sold SET (publish_generated_columns = none)

table of a publication | changed: publication all_of_it: table posts -> nothing
+ ALTER PUBLICATION all_of_it DROP TABLE posts
- ALTER PUBLICATION all_of_it ADD TABLE posts

columns of a publication | all_of_it: table users (id, name) where (id > 0) -> table users (id
+ ALTER PUBLICATION all_of_it SET TABLE users (id, name, age) WHERE (id > 0), posts
- ALTER PUBLICATION all_of_it SET TABLE users (id, name) WHERE (id > 0), posts

rows of a publication | all_of_it: table users (id, name) where (id > 0) -> table users (id
+ ALTER PUBLICATION all_of_it SET TABLE users (id, name) WHERE (id > 1), posts
- ALTER PUBLICATION all_of_it SET TABLE users (id, name) WHERE (id > 0), posts

schema of a publication | changed: publication sold: nothing -> schema empty
+ ALTER PUBLICATION sold ADD TABLES IN SCHEMA empty
- ALTER PUBLICATION sold DROP TABLES IN SCHEMA empty

publication comment | changed: publication sold: nothing -> comment to the books
+ COMMENT ON PUBLICATION sold IS 'to the books'
- COMMENT ON PUBLICATION sold IS NULL

foreign data wrapper | changed: foreign data wrapper nowhere: nothing -> options debug=true
+ ALTER FOREIGN DATA WRAPPER nowhere OPTIONS (debug 'true')
- ALTER FOREIGN DATA WRAPPER nowhere OPTIONS (DROP debug)

privilege on a foreign data wrapper | wrapper nowhere: nothing -> granted USAGE to reader
+ GRANT USAGE ON FOREIGN DATA WRAPPER nowhere TO reader
- REVOKE USAGE ON FOREIGN DATA WRAPPER nowhere FROM reader

privilege on a wrapper of an extension | privileges of foreign-data wrapper postgres_fdw
+ GRANT USAGE ON FOREIGN DATA WRAPPER postgres_fdw TO reader
- REVOKE USAGE ON FOREIGN DATA WRAPPER postgres_fdw FROM reader

server | changed: server far: version 1, options host=far -> version 2, options host=near
+ ALTER SERVER far VERSION '2' OPTIONS (SET host 'near')
- ALTER SERVER far VERSION '1' OPTIONS (SET host 'far')

server privilege | changed: server far: nothing -> granted USAGE to reader
+ GRANT USAGE ON FOREIGN SERVER far TO reader
- REVOKE USAGE ON FOREIGN SERVER far FROM reader

user mapping | left over: user mapping writer on far
+ CREATE USER MAPPING FOR writer SERVER far
- DROP USER MAPPING FOR writer SERVER far

options of a user mapping | changed: user mapping reader on far: hash
+ ALTER USER MAPPING FOR reader SERVER far OPTIONS (SET user 'writer')
- ALTER USER MAPPING FOR reader SERVER far OPTIONS (SET user 'reader')

text search configuration | lost: text search configuration ours
+ DROP TEXT SEARCH CONFIGURATION ours
- CREATE TEXT SEARCH CONFIGURATION ours (copy = english)

text search mapping | changed: text search configuration ours: email by simple -> email by short
+ ALTER TEXT SEARCH CONFIGURATION ours ALTER MAPPING FOR email WITH short
- ALTER TEXT SEARCH CONFIGURATION ours ALTER MAPPING FOR email WITH simple

order of text search dictionaries | two: text search parser "default", url by simple, url by short
+ ALTER TEXT SEARCH CONFIGURATION two ALTER MAPPING FOR url WITH short, simple
- ALTER TEXT SEARCH CONFIGURATION two ALTER MAPPING FOR url WITH simple, short

text search dictionary | changed: text search dictionary short: stopwords = 'english' -> nothing
+ ALTER TEXT SEARCH DICTIONARY short (stopwords)
- ALTER TEXT SEARCH DICTIONARY short (stopwords = english)

comment on a text search configuration | configuration ours: nothing -> comment as English
+ COMMENT ON TEXT SEARCH CONFIGURATION ours IS 'as English'
- COMMENT ON TEXT SEARCH CONFIGURATION ours IS NULL

text search parser | lost: text search parser words
+ DROP TEXT SEARCH PARSER words
- CREATE TEXT SEARCH PARSER words (start = prsd_start, gettoken = prsd_nexttoken, end = prsd_end,
  lextypes = prsd_lextype)

text search template | lost: text search template plain
+ DROP TEXT SEARCH TEMPLATE plain
- CREATE TEXT SEARCH TEMPLATE plain (lexize = dsimple_lexize, init = dsimple_init)

language | left over: language plmore
+ CREATE LANGUAGE plmore HANDLER plpgsql_call_handler
- DROP LANGUAGE plmore

language trusted | changed: language plours: nothing -> trusted [not in pg_dump]
+ CREATE OR REPLACE TRUSTED LANGUAGE plours HANDLER plpgsql_call_handler
- CREATE OR REPLACE LANGUAGE plours HANDLER plpgsql_call_handler

transform | lost: transform for mood in plours
+ DROP TRANSFORM FOR mood LANGUAGE plours
- CREATE TRANSFORM FOR mood LANGUAGE plours
  (FROM SQL WITH FUNCTION pg_catalog.prsd_lextype(internal))

conversion | lost: conversion ours_to_utf8
+ DROP CONVERSION ours_to_utf8
- CREATE CONVERSION ours_to_utf8 FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8

access method | left over: access method heap3
+ CREATE ACCESS METHOD heap3 TYPE TABLE HANDLER heap_tableam_handler
- DROP ACCESS METHOD heap3
"""

# What leaves the schema as it was, though it has other OIDs, other files, or another history.
NO_CHANGES = """
grant and revoke
    GRANT SELECT ON posts TO reader; REVOKE SELECT ON posts FROM reader

privileges in another order
    REVOKE SELECT ON users FROM reader; GRANT SELECT ON users TO reader

column added and dropped
    ALTER TABLE users ADD a text, ADD b text; ALTER TABLE users DROP a, DROP b

type there and back
    ALTER TABLE posts ALTER slug TYPE varchar(20); ALTER TABLE posts ALTER slug TYPE text

rows, statistics, a rewritten table
    INSERT INTO cache SELECT 'a', 'b' FROM generate_series(1, 100); ANALYZE;
    SELECT nextval('counter');
    ALTER TABLE posts CLUSTER ON posts_pkey; CLUSTER posts; ALTER TABLE posts SET WITHOUT CLUSTER;
    REINDEX TABLE users; TRUNCATE cache

partition detached and attached
    ALTER TABLE sales.orders DETACH PARTITION sales.orders_1; ALTER TABLE sales.orders
    ATTACH PARTITION sales.orders_1 FOR VALUES FROM ('2024-01-01') TO ('2025-01-01')

temporary objects
    CREATE TEMPORARY TABLE passing (id serial PRIMARY KEY); CREATE TEMPORARY VIEW v AS SELECT 1

Alembic's own table
    DROP TABLE alembic_version; CREATE TABLE sales.alembic_version (version_num text PRIMARY KEY);
    COMMENT ON TABLE sales.alembic_version IS 'x'; DROP TABLE sales.alembic_version;
    CREATE TABLE alembic_version
    (version_num varchar(32) CONSTRAINT alembic_version_pkc PRIMARY KEY)
"""


@dataclass(frozen=True)
class Change:
    what: str
    line: str
    do: str
    undo: str
    dumped: bool
    since: int


@dataclass(frozen=True)
class Result:
    """What a change made of the database, and what was left of it once it was undone."""

    lines: list[str]
    dumps_differ: bool
    left: list[str]


def parse(text: str) -> list[Change]:
    changes = []
    for block in text.strip().split("\n\n"):
        if block.startswith("#"):
            continue
        header, _, statements = block.partition("\n+ ")
        do, _, undo = statements.partition("\n- ")
        what, _, rest = header.partition(" | ")
        line, *tags = re.split(r" \[(.*?)\]", rest)
        since = [int(tag.rstrip("+")) for tag in tags if tag.endswith("+")]
        changes.append(
            Change(what, line, do, undo, "not in pg_dump" not in tags, since[0] if since else 0)
        )
    return changes


ALL_CHANGES = parse(CHANGES)
ALL_NO_CHANGES = [block.split("\n", 1) for block in NO_CHANGES.strip().split("\n\n")]


CATALOG = template_module("testing.schema")
POSTGRES = template_module("testing.server")
pytestmark = pytest.mark.server


class Databases:
    """A server with a rich database, and copies of it, each with connections that are kept."""

    def __init__(self, server: Any) -> None:
        self.pg_dump = [server.bin / "pg_dump", "--schema-only"]
        if b"--restrict-key" in subprocess.check_output([server.bin / "pg_dump", "--help"]):
            self.pg_dump.append("--restrict-key=x")  # random, if it is not given
        self.connections: dict[str | None, psycopg2.extensions.connection] = {}
        self.readers: dict[str | None, tuple[Callable[[], Any], ExitStack]] = {}
        self.server = URL.create(
            "postgresql", server.user, server.password, server.host, server.port, "postgres"
        )
        (version,) = self.execute(self.server, "SHOW server_version_num")[0]
        self.version = int(version) // 10000
        for role in ("reader", "writer"):
            self.execute(self.server, f"CREATE ROLE {role}")
        self.execute(self.server, "SET allow_in_place_tablespaces = on")
        self.execute(self.server, "CREATE TABLESPACE fast LOCATION ''")
        self.execute(self.server, "CREATE DATABASE base TEMPLATE template0")
        base = self.server.set(database="base")
        self.execute(base, BASE)
        self.catalog: dict[tuple[str, str], str] = CATALOG.catalog(base)
        self.dump = self.dump_of(base)
        self.idle: SimpleQueue[URL] = SimpleQueue()
        self.making = Lock()
        self.close(base)  # so that it can be copied
        for number in range(WORKERS):
            self.idle.put(self.renewed(self.server.set(database=f"copy_{number}")))

    def execute(self, url: URL, statement: str) -> list[tuple[Any, ...]]:
        if url.database not in self.connections:
            connection = psycopg2.connect(url.render_as_string(hide_password=False))
            connection.autocommit = True
            self.connections[url.database] = connection
        with self.connections[url.database].cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def close(self, url: URL) -> None:
        if connection := self.connections.pop(url.database, None):
            connection.close()
        if reader := self.readers.pop(url.database, None):
            reader[1].close()

    def renewed(self, url: URL) -> URL:
        self.close(url)
        with self.making:  # several at once would wait for each other
            self.execute(self.server, f"DROP DATABASE IF EXISTS {url.database} WITH (FORCE)")
            self.execute(
                self.server, f"CREATE DATABASE {url.database} TEMPLATE base STRATEGY file_copy"
            )
        return url

    def dump_of(self, url: URL) -> bytes:
        return subprocess.check_output([*self.pg_dump, url.render_as_string(hide_password=False)])

    def difference(self, url: URL) -> list[str]:
        if url.database not in self.readers:
            stack = ExitStack()
            read = stack.enter_context(CATALOG.catalog_reader(url))
            self.readers[url.database] = read, stack
        lines: list[str] = CATALOG.difference(self.catalog, self.readers[url.database][0]())
        return lines

    def dumps_differ(self, url: URL, change: Change) -> bool:
        """Whether pg_dump shows the change; asked once for a change, a base and a server."""
        key = "\0".join([self.dump.decode(), BASE, change.do])
        kept = CACHE / "pg_dump" / hashlib.sha256(key.encode()).hexdigest()
        if not kept.exists():
            kept.parent.mkdir(parents=True, exist_ok=True)
            half = kept.with_suffix(f".{os.getpid()}")
            half.write_text(str(self.dump_of(url) != self.dump))
            half.replace(kept)  # at once, whoever is interrupted
        return kept.read_text() == "True"

    def make(self, change: Change) -> Result:
        """Make a change, look, undo it, look again."""
        url = self.idle.get()
        fresh = False
        try:
            self.execute(url, change.do)
            lines, differ = self.difference(url), self.dumps_differ(url, change)
            if not change.undo:
                return Result(lines, differ, [])
            self.execute(url, change.undo)
            left = self.difference(url)
            fresh = not left
            return Result(lines, differ, left)
        finally:
            self.idle.put(url if fresh else self.renewed(url))


@pytest.fixture(scope="session")
def databases() -> Generator[Databases]:
    with POSTGRES.postgres_server() as server:
        databases = Databases(server)
        yield databases
        for name in [*databases.connections]:
            databases.close(databases.server.set(database=name))


@pytest.fixture(scope="session")
def results(
    databases: Databases, request: pytest.FixtureRequest
) -> Generator[dict[str, Future[Result]]]:
    """All changes that are asked for, made by several threads; none in a worker of xdist."""
    asked = [
        item.callspec.params.get("change")
        for item in request.session.items
        if isinstance(item, pytest.Function) and hasattr(item, "callspec")
    ]
    if hasattr(request.config, "workerinput"):  # it does not know which will be its own
        asked = []
    with ThreadPoolExecutor(WORKERS) as pool:
        futures = {
            change.what: pool.submit(databases.make, change)
            for change in asked
            if isinstance(change, Change) and change.since <= databases.version
        }
        yield futures
    if not futures:
        return
    made = [future.result() for future in futures.values() if not future.exception()]
    caught, seen = sum(bool(it.lines) for it in made), sum(it.dumps_differ for it in made)
    capture: Any = request.config.pluginmanager.get_plugin("capturemanager")
    with capture.global_and_fixture_disabled():
        print(
            f"\nPostgreSQL {databases.version}: of {len(futures)} changes "
            f"catalog.py shows {caught}, pg_dump {seen}"
        )


@pytest.mark.parametrize("change", ALL_CHANGES, ids=lambda change: change.what)
def test_what_pg_dump_shows_the_catalog_shows(
    change: Change, databases: Databases, results: dict[str, Future[Result]]
) -> None:
    if change.since > databases.version:
        with pytest.raises(psycopg2.Error):  # it cannot be done
            databases.make(change)
        return
    made = results.get(change.what)
    result = made.result() if made else databases.make(change)
    assert result.dumps_differ is change.dumped
    assert any(change.line in line for line in result.lines), "\n".join(result.lines)
    assert not result.left


@pytest.mark.parametrize(
    "do", [do for _, do in ALL_NO_CHANGES], ids=[what for what, _ in ALL_NO_CHANGES]
)
def test_what_pg_dump_does_not_show_is_no_difference(do: str, databases: Databases) -> None:
    url = databases.idle.get()
    try:
        for statement in do.split(";"):
            databases.execute(url, statement)
        assert databases.dump_of(url) == databases.dump
        assert not databases.difference(url)
    finally:
        databases.idle.put(databases.renewed(url))


def test_pg_dump_too_sees_nothing_left(databases: Databases) -> None:
    copies = [databases.idle.get() for _ in range(WORKERS)]
    try:
        assert {databases.dump_of(url) for url in copies} == {databases.dump}
        assert not any(databases.difference(url) for url in copies)
    finally:
        for url in copies:
            databases.idle.put(url)


def test_the_tables_of_alembic_are_left_out(databases: Databases) -> None:
    assert not [key for key in databases.catalog if "alembic" in key[1]]


def test_the_same_schema_built_again_is_the_same(databases: Databases) -> None:
    again = databases.server.set(database="again")
    databases.execute(databases.server, "CREATE DATABASE again TEMPLATE template0")
    databases.execute(again, "CREATE TABLE other_oids (id serial PRIMARY KEY, t text)")
    databases.execute(again, "DROP TABLE other_oids")
    databases.execute(again, BASE)
    assert databases.dump_of(again) == databases.dump
    assert not databases.difference(again)


def test_an_owner_who_is_no_superuser_sees_the_same(databases: Databases) -> None:
    url = databases.server.set(username="owner", database="base")  # with the same password
    databases.execute(databases.server, f"CREATE ROLE owner LOGIN PASSWORD '{url.password}'")
    databases.execute(databases.server, "ALTER DATABASE base OWNER TO owner")
    (line,) = CATALOG.difference(databases.catalog, CATALOG.catalog(url))
    assert line.startswith("changed: user mapping reader on far: hash of its options ")
    assert line.endswith(" -> nothing")

-- What can be changed in schema.sql, and what testing/schema.py has to say of it:
--
--     -- the change | a line of the difference [from this version on] [not in pg_dump]
--     statements
--     -- undo
--     statements, where it can be undone exactly
--
-- At the end, without a line: what is no change.

-- ========== Schemas, extensions, settings

-- schema | left over: schema extra
CREATE SCHEMA extra;
-- undo
DROP SCHEMA extra;

-- schema lost | lost: schema empty
DROP SCHEMA empty;
-- undo
CREATE SCHEMA empty;

-- schema privilege | changed: schema sales: nothing -> granted CREATE to writer
GRANT CREATE ON SCHEMA sales TO writer;
-- undo
REVOKE CREATE ON SCHEMA sales FROM writer;

-- schema owner | changed: schema empty: owner postgres -> owner reader
ALTER SCHEMA empty OWNER TO reader;
-- undo
ALTER SCHEMA empty OWNER TO postgres;

-- schema comment | changed: schema sales: comment what we sell -> comment sold
COMMENT ON SCHEMA sales IS 'sold';
-- undo
COMMENT ON SCHEMA sales IS 'what we sell';

-- privilege on public | changed: schema public: nothing -> granted CREATE to PUBLIC
GRANT CREATE ON SCHEMA public TO public;
-- undo
REVOKE CREATE ON SCHEMA public FROM public;

-- extension | left over: extension pg_trgm
CREATE EXTENSION pg_trgm;
-- undo
DROP EXTENSION pg_trgm;

-- extension schema | changed: extension citext: schema public -> schema empty
ALTER EXTENSION citext SET SCHEMA empty;
-- undo
ALTER EXTENSION citext SET SCHEMA public;

-- extension version | changed: extension hstore: version 1.8 -> version 1.4 [not in pg_dump]
DROP EXTENSION hstore; CREATE EXTENSION hstore SCHEMA sales VERSION '1.4';
-- undo
ALTER EXTENSION hstore UPDATE;

-- extension comment | changed: extension hstore: comment data type
COMMENT ON EXTENSION hstore IS 'pairs';
-- undo
COMMENT ON EXTENSION hstore IS 'data type for storing sets of (key, value) pairs';

-- member of an extension | lost: function add_one(text)
ALTER EXTENSION citext ADD FUNCTION add_one(text);
-- undo
ALTER EXTENSION citext DROP FUNCTION add_one(text);

-- privilege on a member of an extension | privileges of function citext_eq(citext,citext)
REVOKE EXECUTE ON FUNCTION citext_eq(citext, citext) FROM public;
-- undo
GRANT EXECUTE ON FUNCTION citext_eq(citext, citext) TO public;

-- privilege on a function of the system | privileges of function pg_sleep(double precision)
REVOKE EXECUTE ON FUNCTION pg_sleep(float8) FROM public;
-- undo
GRANT EXECUTE ON FUNCTION pg_sleep(float8) TO public;

-- privilege on a column of the system | left over: privileges of column pg_authid.rolname
GRANT SELECT (rolname) ON pg_authid TO reader;
-- undo
REVOKE SELECT (rolname) ON pg_authid FROM reader;

-- privilege on a language of the system | privileges of language plpgsql
REVOKE USAGE ON LANGUAGE plpgsql FROM public;
-- undo
GRANT USAGE ON LANGUAGE plpgsql TO public;

-- setting of the database | left over: settings of the database [not in pg_dump]
DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET work_mem = ''9MB''', current_database()); END $$;
-- undo
DO $$ BEGIN EXECUTE format('ALTER DATABASE %I RESET work_mem', current_database()); END $$;

-- setting of a role in the database | left over: settings of reader in the database [not in pg_dump]
DO $$ BEGIN EXECUTE
  format('ALTER ROLE reader IN DATABASE %I SET work_mem = ''9MB''', current_database()); END $$;
-- undo
DO $$ BEGIN EXECUTE
  format('ALTER ROLE reader IN DATABASE %I RESET ALL', current_database()); END $$;

-- default privileges in a schema | changed: default privileges for role postgres in schema sales on tables: nothing -> granted INSERT to reader b
ALTER DEFAULT PRIVILEGES IN SCHEMA sales GRANT INSERT ON TABLES TO reader;
-- undo
ALTER DEFAULT PRIVILEGES IN SCHEMA sales REVOKE INSERT ON TABLES FROM reader;

-- default privileges everywhere | left over: default privileges for role postgres on functions
ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM public;
-- undo
ALTER DEFAULT PRIVILEGES GRANT EXECUTE ON FUNCTIONS TO public;

-- security label | changed: table users: nothing -> label demo secret
INSERT INTO pg_seclabel VALUES ('users'::regclass, 'pg_class'::regclass, 0, 'demo', 'secret');
-- undo
DELETE FROM pg_seclabel;

-- security label of a column | changed: column users.name: nothing -> label demo secret
INSERT INTO pg_seclabel VALUES ('users'::regclass, 'pg_class'::regclass, 3, 'demo', 'secret');
-- undo
DELETE FROM pg_seclabel;

-- ========== Tables

-- table | left over: table extra
CREATE TABLE extra (id integer PRIMARY KEY);
-- undo
DROP TABLE extra;

-- table lost | lost: table cache
DROP TABLE cache;
-- undo
CREATE UNLOGGED TABLE cache (key text, value text);

-- table renamed | left over: table store
ALTER TABLE cache RENAME TO store;
-- undo
ALTER TABLE store RENAME TO cache;

-- table in another schema | left over: table empty.cache
ALTER TABLE cache SET SCHEMA empty;
-- undo
ALTER TABLE empty.cache SET SCHEMA public;

-- table with a difficult name | left over: table "Sel""ect.x"
CREATE TABLE "Sel""ect.x" ("a.b" text);
-- undo
DROP TABLE "Sel""ect.x";

-- table with a name that is not ASCII | left over: table sales."Größe"
CREATE TABLE sales."Größe" ("日付" date CONSTRAINT "prüft" CHECK ("日付" > '2020-01-01'));
-- undo
DROP TABLE sales."Größe";

-- persistence | changed: table cache: persistence unlogged -> persistence permanent
ALTER TABLE cache SET LOGGED;
-- undo
ALTER TABLE cache SET UNLOGGED;

-- storage parameter | changed: table posts: option fillfactor=80 -> option fillfactor=90
ALTER TABLE posts SET (fillfactor = 90);
-- undo
ALTER TABLE posts RESET (fillfactor, autovacuum_enabled);
  ALTER TABLE posts SET (fillfactor = 80, autovacuum_enabled = off);

-- storage parameter of TOAST | changed: table users: nothing -> option toast.autovacuum_enabled=off
ALTER TABLE users SET (toast.autovacuum_enabled = off);
-- undo
ALTER TABLE users RESET (toast.autovacuum_enabled);

-- row security off | changed: table users: row security -> nothing
ALTER TABLE users DISABLE ROW LEVEL SECURITY;
-- undo
ALTER TABLE users ENABLE ROW LEVEL SECURITY;

-- row security forced | changed: table users: nothing -> row security forced
ALTER TABLE users FORCE ROW LEVEL SECURITY;
-- undo
ALTER TABLE users NO FORCE ROW LEVEL SECURITY;

-- replica identity | changed: table users: nothing -> replica identity full
ALTER TABLE users REPLICA IDENTITY FULL;
-- undo
ALTER TABLE users REPLICA IDENTITY DEFAULT;

-- table privilege | changed: table users: nothing -> granted INSERT to writer by postgres
GRANT INSERT ON users TO writer;
-- undo
REVOKE INSERT ON users FROM writer;

-- privilege with grant option | changed: table posts: nothing -> granted SELECT with grant option to reader by postgres
GRANT SELECT ON posts TO reader WITH GRANT OPTION;
-- undo
REVOKE SELECT ON posts FROM reader;

-- privilege of the owner | changed: table posts: nothing -> not granted DELETE to postgres by postgres
REVOKE DELETE ON posts FROM postgres;
-- undo
GRANT DELETE ON posts TO postgres;

-- privilege given on | granted SELECT to writer by reader
GRANT SELECT ON posts TO reader WITH GRANT OPTION; SET ROLE reader;
  GRANT SELECT ON posts TO writer; RESET ROLE;
-- undo
REVOKE SELECT ON posts FROM reader CASCADE;

-- table owner | changed: table posts: owner postgres -> owner writer
ALTER TABLE posts OWNER TO writer;
-- undo
ALTER TABLE posts OWNER TO postgres;

-- table comment | changed: table users: comment who may log in -> comment people
COMMENT ON TABLE users IS 'people';
-- undo
COMMENT ON TABLE users IS 'who may log in';

-- table comment lost | changed: table users: comment who may log in -> nothing
COMMENT ON TABLE users IS NULL;
-- undo
COMMENT ON TABLE users IS 'who may log in';

-- tablespace | changed: table posts: nothing -> tablespace fast
ALTER TABLE posts SET TABLESPACE fast;
-- undo
ALTER TABLE posts SET TABLESPACE pg_default;

-- access method of a table | left over: table extra
CREATE TABLE extra () USING heap2;
-- undo
DROP TABLE extra;

-- another access method | changed: table cache: access method heap -> access method heap2
DROP TABLE cache; CREATE UNLOGGED TABLE cache (key text, value text) USING heap2;
-- undo
DROP TABLE cache; CREATE UNLOGGED TABLE cache (key text, value text);

-- typed table | changed: table typed: of type address -> nothing
ALTER TABLE typed NOT OF;
-- undo
ALTER TABLE typed OF address;

-- inheritance | changed: table sales.derived: part of sales.base -> nothing
ALTER TABLE sales.derived NO INHERIT sales.base;

-- inheritance added | changed: table sales.loose: nothing -> part of sales.base
ALTER TABLE sales.loose INHERIT sales.base;
-- undo
ALTER TABLE sales.loose NO INHERIT sales.base;

-- partition attached | changed: table sales.loose: nothing -> part of sales.orders, partition, FOR VALUES FROM
DROP TABLE sales.loose; CREATE TABLE sales.loose PARTITION OF sales.orders
  FOR VALUES FROM ('2030-01-01') TO ('2031-01-01');
-- undo
DROP TABLE sales.loose; CREATE TABLE sales.loose (id integer NOT NULL, note text);

-- partition detached | changed: table sales.orders_2: part of sales.orders, partition, DEFAULT -> nothing
ALTER TABLE sales.orders DETACH PARTITION sales.orders_2;

-- partition bound | changed: table sales.orders_1: FOR VALUES FROM ('2024-01-01') TO ('2025-01-01') -> FOR VALUES FROM ('2024-01-0
ALTER TABLE sales.orders DETACH PARTITION sales.orders_1; ALTER TABLE sales.orders
  ATTACH PARTITION sales.orders_1 FOR VALUES FROM ('2024-01-01') TO ('2026-01-01');
-- undo
ALTER TABLE sales.orders DETACH PARTITION sales.orders_1; ALTER TABLE sales.orders
  ATTACH PARTITION sales.orders_1 FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');

-- partition key | changed: table sales.split: partition by LIST (a) -> partition by LIST (b)
DROP TABLE sales.split; CREATE TABLE sales.split (a integer, b integer) PARTITION BY LIST (b);
-- undo
DROP TABLE sales.split; CREATE TABLE sales.split (a integer, b integer) PARTITION BY LIST (a);

-- foreign table | lost: foreign table far_users
DROP FOREIGN TABLE far_users;

-- options of a foreign table | changed: foreign table far_users: option table_name=users -> option table_name=people
ALTER FOREIGN TABLE far_users OPTIONS (SET table_name 'people');
-- undo
ALTER FOREIGN TABLE far_users OPTIONS (SET table_name 'users');

-- options of a foreign column | changed: column far_users.id: option column_name=uid -> option column_name=key
ALTER FOREIGN TABLE far_users ALTER id OPTIONS (SET column_name 'key');
-- undo
ALTER FOREIGN TABLE far_users ALTER id OPTIONS (SET column_name 'uid');

-- ========== Columns

-- column | left over: column users.nickname
ALTER TABLE users ADD nickname text;
-- undo
ALTER TABLE users DROP nickname;

-- column lost | lost: column users.doc
ALTER TABLE users DROP doc;

-- column renamed | left over: column users.full_name
ALTER TABLE users RENAME name TO full_name;
-- undo
ALTER TABLE users RENAME full_name TO name;

-- column dropped and added again | changed: column order cache: key, value -> value, key
ALTER TABLE cache DROP key, ADD key text;
-- undo
ALTER TABLE cache DROP value, ADD value text;

-- type of a column | changed: column posts.slug: text -> character varying(9)
ALTER TABLE posts ALTER slug TYPE varchar(9);
-- undo
ALTER TABLE posts ALTER slug TYPE text;

-- length of a type | changed: column posts.code: character varying(9) -> character varying(8)
ALTER TABLE posts ALTER code TYPE varchar(8);
-- undo
ALTER TABLE posts ALTER code TYPE varchar(9);

-- precision of a type | changed: column posts.sum: numeric(10,2) -> numeric(12,2)
ALTER TABLE posts ALTER sum TYPE numeric(12, 2);
-- undo
ALTER TABLE posts ALTER sum TYPE numeric(10, 2);

-- not null | changed: column users.age: nothing -> not null
ALTER TABLE users ALTER age SET NOT NULL;
-- undo
ALTER TABLE users ALTER age DROP NOT NULL;

-- not null lost | changed: column users.email: not null -> nothing
ALTER TABLE users ALTER email DROP NOT NULL;
-- undo
ALTER TABLE users ALTER email SET NOT NULL;

-- default | changed: column users.name: default 'nobody'::text -> default 'somebody'::text
ALTER TABLE users ALTER name SET DEFAULT 'somebody';
-- undo
ALTER TABLE users ALTER name SET DEFAULT 'nobody';

-- default lost | changed: column users.name: default 'nobody'::text -> nothing
ALTER TABLE users ALTER name DROP DEFAULT;
-- undo
ALTER TABLE users ALTER name SET DEFAULT 'nobody';

-- identity | changed: column users.id: identity always -> identity by default
ALTER TABLE users ALTER id SET GENERATED BY DEFAULT;
-- undo
ALTER TABLE users ALTER id SET GENERATED ALWAYS;

-- identity lost | changed: column users.id: identity always -> nothing
ALTER TABLE users ALTER id DROP IDENTITY;
-- undo
ALTER TABLE users ALTER id ADD GENERATED ALWAYS AS IDENTITY;

-- options of an identity | changed: sequence users_id_seq: increment 1 -> increment 2
ALTER TABLE users ALTER id SET INCREMENT BY 2;
-- undo
ALTER TABLE users ALTER id SET INCREMENT BY 1;

-- generated column no more | changed: column users.gross: default price * 2::numeric, generated stored -> nothing
ALTER TABLE users ALTER gross DROP EXPRESSION;

-- expression of a generated column | changed: column posts.twice: default id * 2 -> default id + id
ALTER TABLE posts DROP twice, ADD twice integer GENERATED ALWAYS AS (id + id) STORED;
-- undo
ALTER TABLE posts DROP twice, ADD twice integer GENERATED ALWAYS AS (id * 2) STORED;

-- virtual column | left over: column users.upper [18+]
ALTER TABLE users ADD upper text GENERATED ALWAYS AS (upper(name)) VIRTUAL;
-- undo
ALTER TABLE users DROP upper;

-- virtual instead of stored | changed: column posts.twice: generated stored -> generated virtual [18+]
ALTER TABLE posts DROP twice, ADD twice integer GENERATED ALWAYS AS (id * 2) VIRTUAL;
-- undo
ALTER TABLE posts DROP twice, ADD twice integer GENERATED ALWAYS AS (id * 2) STORED;

-- collation | changed: column posts.slug: nothing -> collate "C"
ALTER TABLE posts ALTER slug TYPE text COLLATE "C";
-- undo
ALTER TABLE posts ALTER slug TYPE text;

-- compression | changed: column posts.slug: nothing -> compression p
ALTER TABLE posts ALTER slug SET COMPRESSION pglz;
-- undo
ALTER TABLE posts ALTER slug SET COMPRESSION default;

-- storage | changed: column posts.slug: nothing -> storage e
ALTER TABLE posts ALTER slug SET STORAGE EXTERNAL;
-- undo
ALTER TABLE posts ALTER slug SET STORAGE EXTENDED;

-- statistics target | changed: column posts.slug: nothing -> statistics 500
ALTER TABLE posts ALTER slug SET STATISTICS 500;
-- undo
ALTER TABLE posts ALTER slug SET STATISTICS -1;

-- column option | changed: column posts.slug: nothing -> option n_distinct=7
ALTER TABLE posts ALTER slug SET (n_distinct = 7);
-- undo
ALTER TABLE posts ALTER slug RESET (n_distinct);

-- column privilege | changed: column users.email: nothing -> granted SELECT to writer
GRANT SELECT (email) ON users TO writer;
-- undo
REVOKE SELECT (email) ON users FROM writer;

-- column comment | changed: column users.email: comment as typed -> comment folded
COMMENT ON COLUMN users.email IS 'folded';
-- undo
COMMENT ON COLUMN users.email IS 'as typed';

-- default of a view's column | changed: column adults.name: nothing -> default 'x'::text
ALTER VIEW adults ALTER name SET DEFAULT 'x';
-- undo
ALTER VIEW adults ALTER name DROP DEFAULT;

-- comment on a view's column | changed: column adults.name: nothing -> comment full
COMMENT ON COLUMN adults.name IS 'full';
-- undo
COMMENT ON COLUMN adults.name IS NULL;

-- default of a partition's column | changed: column sales.orders_1.note: nothing -> default 'x'::text
ALTER TABLE sales.orders_1 ALTER note SET DEFAULT 'x';
-- undo
ALTER TABLE sales.orders_1 ALTER note DROP DEFAULT;

-- ========== Constraints

-- primary key | left over: constraint cache.cache_pkey
ALTER TABLE cache ADD PRIMARY KEY (key);
-- undo
ALTER TABLE cache DROP CONSTRAINT cache_pkey, ALTER key DROP NOT NULL;

-- check | left over: constraint users.users_tall
ALTER TABLE users ADD CONSTRAINT users_tall CHECK (age < 300);
-- undo
ALTER TABLE users DROP CONSTRAINT users_tall;

-- check changed | changed: constraint users.users_age: CHECK (age > 0) -> CHECK (age >= 0)
ALTER TABLE users DROP CONSTRAINT users_age, ADD CONSTRAINT users_age CHECK (age >= 0);
-- undo
ALTER TABLE users DROP CONSTRAINT users_age, ADD CONSTRAINT users_age CHECK (age > 0);

-- check lost | lost: constraint users.users_age
ALTER TABLE users DROP CONSTRAINT users_age;
-- undo
ALTER TABLE users ADD CONSTRAINT users_age CHECK (age > 0);

-- constraint renamed | lost: constraint users.users_age
ALTER TABLE users RENAME CONSTRAINT users_age TO users_old;
-- undo
ALTER TABLE users RENAME CONSTRAINT users_old TO users_age;

-- check not validated | constraint users.users_age: CHECK (age > 0) -> CHECK (age > 0) NOT VALID
ALTER TABLE users DROP CONSTRAINT users_age, ADD CONSTRAINT users_age CHECK (age > 0) NOT VALID;
-- undo
ALTER TABLE users VALIDATE CONSTRAINT users_age;

-- check not inherited | CHECK (age > 0) -> CHECK (age > 0) NO INHERIT
ALTER TABLE users DROP CONSTRAINT users_age,
  ADD CONSTRAINT users_age CHECK (age > 0) NO INHERIT;
-- undo
ALTER TABLE users DROP CONSTRAINT users_age, ADD CONSTRAINT users_age CHECK (age > 0);

-- check not enforced | constraint users.users_age: CHECK (age > 0) -> CHECK (age > 0) NOT [18+]
ALTER TABLE users DROP CONSTRAINT users_age,
  ADD CONSTRAINT users_age CHECK (age > 0) NOT ENFORCED;
-- undo
ALTER TABLE users DROP CONSTRAINT users_age, ADD CONSTRAINT users_age CHECK (age > 0);

-- foreign key not enforced | changed: constraint posts.posts_user: FOREIGN KEY [18+]
ALTER TABLE posts ALTER CONSTRAINT posts_user NOT ENFORCED;
-- undo
ALTER TABLE posts ALTER CONSTRAINT posts_user ENFORCED;

-- foreign key not validated | changed: constraint posts.posts_user: FOREIGN KEY
ALTER TABLE posts DROP CONSTRAINT posts_user, ADD CONSTRAINT posts_user FOREIGN KEY (user_id)
  REFERENCES users ON DELETE CASCADE DEFERRABLE NOT VALID;
  COMMENT ON CONSTRAINT posts_user ON posts IS 'the author';
-- undo
ALTER TABLE posts VALIDATE CONSTRAINT posts_user;

-- foreign key action | ON DELETE CASCADE DEFERRABLE -> FOREIGN KEY
ALTER TABLE posts DROP CONSTRAINT posts_user, ADD CONSTRAINT posts_user FOREIGN KEY (user_id)
  REFERENCES users DEFERRABLE; COMMENT ON CONSTRAINT posts_user ON posts IS 'the author';
-- undo
ALTER TABLE posts DROP CONSTRAINT posts_user, ADD CONSTRAINT posts_user FOREIGN KEY (user_id)
  REFERENCES users ON DELETE CASCADE DEFERRABLE;
  COMMENT ON CONSTRAINT posts_user ON posts IS 'the author';

-- deferred | changed: constraint posts.posts_user: FOREIGN KEY
ALTER TABLE posts ALTER CONSTRAINT posts_user DEFERRABLE INITIALLY DEFERRED;
-- undo
ALTER TABLE posts ALTER CONSTRAINT posts_user DEFERRABLE INITIALLY IMMEDIATE;

-- not deferrable | changed: constraint posts.posts_user: FOREIGN KEY
ALTER TABLE posts ALTER CONSTRAINT posts_user NOT DEFERRABLE;
-- undo
ALTER TABLE posts ALTER CONSTRAINT posts_user DEFERRABLE;

-- triggers of a constraint disabled | posts.posts_user: nothing -> its triggers [not in pg_dump]
ALTER TABLE posts DISABLE TRIGGER ALL;
-- undo
ALTER TABLE posts ENABLE TRIGGER ALL;

-- unique | left over: constraint users.users_once
ALTER TABLE users ADD CONSTRAINT users_once UNIQUE NULLS NOT DISTINCT (feels);
-- undo
ALTER TABLE users DROP CONSTRAINT users_once;

-- exclusion | lost: constraint posts.posts_during
ALTER TABLE posts DROP CONSTRAINT posts_during;
-- undo
ALTER TABLE posts ADD CONSTRAINT posts_during EXCLUDE USING gist (during WITH &&);

-- comment on a constraint | constraint posts.posts_user: comment the author -> comment who wrote it
COMMENT ON CONSTRAINT posts_user ON posts IS 'who wrote it';
-- undo
COMMENT ON CONSTRAINT posts_user ON posts IS 'the author';

-- name of a not-null constraint | left over: constraint users.email_there [18+]
ALTER TABLE users RENAME CONSTRAINT users_email_not_null TO email_there;
-- undo
ALTER TABLE users RENAME CONSTRAINT email_there TO users_email_not_null;

-- not null not validated | left over: constraint cache.key_there [18+]
ALTER TABLE cache ADD CONSTRAINT key_there NOT NULL key NOT VALID;
-- undo
ALTER TABLE cache DROP CONSTRAINT key_there;

-- not null not inherited | changed: constraint sales.loose.loose_id_not_null [18+]
ALTER TABLE sales.loose ALTER CONSTRAINT loose_id_not_null NO INHERIT;
-- undo
ALTER TABLE sales.loose ALTER CONSTRAINT loose_id_not_null INHERIT;

-- temporal key | left over: constraint sales.loose.loose_during [18+]
ALTER TABLE sales.loose ADD room int4range, ADD during daterange,
  ADD CONSTRAINT loose_during UNIQUE (room, during WITHOUT OVERLAPS);
-- undo
ALTER TABLE sales.loose DROP room, DROP during;

-- ========== Indexes, statistics

-- index | left over: index users.users_name
CREATE INDEX users_name ON users (name);
-- undo
DROP INDEX users_name;

-- index lost | lost: index users.users_doc
DROP INDEX users_doc;
-- undo
CREATE INDEX users_doc ON users USING gin (doc jsonb_path_ops);

-- index renamed | left over: index users.users_json
ALTER INDEX users_doc RENAME TO users_json;
-- undo
ALTER INDEX users_json RENAME TO users_doc;

-- operator class of an index | changed: index users.users_doc: CREATE INDEX users_doc
DROP INDEX users_doc; CREATE INDEX users_doc ON users USING gin (doc);
-- undo
DROP INDEX users_doc; CREATE INDEX users_doc ON users USING gin (doc jsonb_path_ops);

-- columns included in an index | changed: index users.users_email
DROP INDEX users_email;
  CREATE UNIQUE INDEX users_email ON users (lower(email)) INCLUDE (name, age) WHERE age > 1;
-- undo
DROP INDEX users_email;
  CREATE UNIQUE INDEX users_email ON users (lower(email)) INCLUDE (name) WHERE age > 1;

-- predicate of an index | changed: index users.users_email
DROP INDEX users_email;
  CREATE UNIQUE INDEX users_email ON users (lower(email)) INCLUDE (name) WHERE age > 3;
-- undo
DROP INDEX users_email;
  CREATE UNIQUE INDEX users_email ON users (lower(email)) INCLUDE (name) WHERE age > 1;

-- storage parameter of an index | changed: index users.users_created
ALTER INDEX users_created SET (fillfactor = 71);
-- undo
ALTER INDEX users_created SET (fillfactor = 70);

-- tablespace of an index | changed: index users.users_doc: nothing -> tablespace fast
ALTER INDEX users_doc SET TABLESPACE fast;
-- undo
ALTER INDEX users_doc SET TABLESPACE pg_default;

-- clustered | changed: index posts.posts_slug: nothing -> clustered
ALTER TABLE posts CLUSTER ON posts_slug;
-- undo
ALTER TABLE posts SET WITHOUT CLUSTER;

-- replica identity by an index | changed: index posts.posts_pkey: nothing -> replica identity
ALTER TABLE posts REPLICA IDENTITY USING INDEX posts_pkey;
-- undo
ALTER TABLE posts REPLICA IDENTITY DEFAULT;

-- statistics of an expression | changed: index users.users_email: nothing -> statistics 50 of column 1
ALTER INDEX users_email ALTER 1 SET STATISTICS 50;
-- undo
ALTER INDEX users_email ALTER 1 SET STATISTICS -1;

-- comment on an index | changed: index users.users_created: comment newest first -> nothing
COMMENT ON INDEX users_created IS NULL;
-- undo
COMMENT ON INDEX users_created IS 'newest first';

-- invalid index | changed: index users.users_doc: nothing -> not valid
UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'users_doc'::regclass;
-- undo
UPDATE pg_index SET indisvalid = true WHERE indexrelid = 'users_doc'::regclass;

-- index not ready | changed: index users.users_doc: nothing -> not ready
UPDATE pg_index SET indisready = false WHERE indexrelid = 'users_doc'::regclass;
-- undo
UPDATE pg_index SET indisready = true WHERE indexrelid = 'users_doc'::regclass;

-- index of a partition attached | sales.watched_1.watched_1_a: nothing -> part of sales.watched_a
ALTER INDEX sales.watched_a ATTACH PARTITION sales.watched_1_a;

-- statistics object | lost: statistics object users.users_both
DROP STATISTICS users_both;
-- undo
CREATE STATISTICS users_both (dependencies) ON name, age FROM users;

-- kinds of a statistics object | changed: statistics object users.users_both: CREATE STATISTICS public.users_both (dependencies) ON name, age F
DROP STATISTICS users_both; CREATE STATISTICS users_both (mcv) ON name, age FROM users;
-- undo
DROP STATISTICS users_both; CREATE STATISTICS users_both (dependencies) ON name, age FROM users;

-- target of a statistics object | changed: statistics object users.users_both: nothing -> statistics 9
ALTER STATISTICS users_both SET STATISTICS 9;
-- undo
ALTER STATISTICS users_both SET STATISTICS -1;

-- owner of a statistics object | changed: statistics object users.users_both: owner postgres -> owner reader
ALTER STATISTICS users_both OWNER TO reader;
-- undo
ALTER STATISTICS users_both OWNER TO postgres;

-- comment on a statistics object | changed: statistics object users.users_both: nothing -> comment they go together
COMMENT ON STATISTICS users_both IS 'they go together';
-- undo
COMMENT ON STATISTICS users_both IS NULL;

-- ========== Sequences

-- sequence | left over: sequence extra
CREATE SEQUENCE extra;
-- undo
DROP SEQUENCE extra;

-- sequence options | changed: sequence counter: increment 1 -> increment 3
ALTER SEQUENCE counter INCREMENT 3;
-- undo
ALTER SEQUENCE counter INCREMENT 1;

-- sequence limits | changed: sequence counter: max 9223372036854775807, min 1 -> max 1000, min 0
ALTER SEQUENCE counter MINVALUE 0 MAXVALUE 1000;
-- undo
ALTER SEQUENCE counter NO MINVALUE NO MAXVALUE;

-- sequence start and cache | changed: sequence counter: start 5, cache 2 -> start 6, cache 3
ALTER SEQUENCE counter START 6 CACHE 3;
-- undo
ALTER SEQUENCE counter START 5 CACHE 2;

-- sequence cycle | changed: sequence counter: nothing -> cycle
ALTER SEQUENCE counter CYCLE;
-- undo
ALTER SEQUENCE counter NO CYCLE;

-- sequence type | changed: sequence sales.invoice_number: type bigint, max 9223372036854775807 -> type integer, max 2147483647
ALTER SEQUENCE sales.invoice_number AS integer;
-- undo
ALTER SEQUENCE sales.invoice_number AS bigint;

-- sequence owned by a column | changed: sequence counter: nothing -> owned by posts.user_id
ALTER SEQUENCE counter OWNED BY posts.user_id;
-- undo
ALTER SEQUENCE counter OWNED BY NONE;

-- sequence privilege | changed: sequence counter: nothing -> granted USAGE to reader
GRANT USAGE ON SEQUENCE counter TO reader;
-- undo
REVOKE USAGE ON SEQUENCE counter FROM reader;

-- sequence owner | changed: sequence counter: owner postgres -> owner reader
ALTER SEQUENCE counter OWNER TO reader;
-- undo
ALTER SEQUENCE counter OWNER TO postgres;

-- sequence unlogged | changed: sequence counter: persistence permanent -> persistence unlogged
ALTER SEQUENCE counter SET UNLOGGED;
-- undo
ALTER SEQUENCE counter SET LOGGED;

-- sequence comment | changed: sequence counter: nothing -> comment counts
COMMENT ON SEQUENCE counter IS 'counts';
-- undo
COMMENT ON SEQUENCE counter IS NULL;

-- ========== Types, collations, casts

-- enum label | changed: type mood: 'sad', 'happy' -> 'sad', 'so-so', 'happy'
ALTER TYPE mood ADD VALUE 'so-so' BEFORE 'happy';

-- enum label renamed | changed: type sales.state: 'new', 'paid' -> 'new', 'settled'
ALTER TYPE sales.state RENAME VALUE 'paid' TO 'settled';
-- undo
ALTER TYPE sales.state RENAME VALUE 'settled' TO 'paid';

-- enum lost | lost: type sales.state
DROP TYPE sales.state;
-- undo
CREATE TYPE sales.state AS ENUM ('new', 'paid');

-- enum labels in another order | changed: type sales.state: 'new', 'paid' -> 'paid', 'new'
DROP TYPE sales.state; CREATE TYPE sales.state AS ENUM ('paid', 'new');
-- undo
DROP TYPE sales.state; CREATE TYPE sales.state AS ENUM ('new', 'paid');

-- domain default | changed: type email: default 'none'::text -> default 'some'::text
ALTER DOMAIN email SET DEFAULT 'some';
-- undo
ALTER DOMAIN email SET DEFAULT 'none';

-- domain not null | changed: type email: nothing -> not null
ALTER DOMAIN email SET NOT NULL;
-- undo
ALTER DOMAIN email DROP NOT NULL;

-- domain constraint | left over: constraint email.email_dot
ALTER DOMAIN email ADD CONSTRAINT email_dot CHECK (value ~ 'x');
-- undo
ALTER DOMAIN email DROP CONSTRAINT email_dot;

-- domain constraint not validated | changed: constraint email.email_at: CHECK (VALUE ~ '@'::text) -> CHECK (VALUE ~ '@'::text) NOT VALID
ALTER DOMAIN email DROP CONSTRAINT email_at;
  ALTER DOMAIN email ADD CONSTRAINT email_at CHECK (value ~ '@') NOT VALID;
-- undo
ALTER DOMAIN email VALIDATE CONSTRAINT email_at;

-- comment on a domain's constraint | changed: constraint email.email_at: nothing -> comment an at sign
COMMENT ON CONSTRAINT email_at ON DOMAIN email IS 'an at sign';
-- undo
COMMENT ON CONSTRAINT email_at ON DOMAIN email IS NULL;

-- domain's type | changed: type label: of character varying(9) -> of character varying(10)
DROP DOMAIN label; CREATE DOMAIN label AS varchar(10);
-- undo
DROP DOMAIN label; CREATE DOMAIN label AS varchar(9);

-- composite type | left over: type pair
CREATE TYPE pair AS (a integer, b integer);
-- undo
DROP TYPE pair;

-- attribute of a composite type | left over: column pair2.c
ALTER TYPE pair2 ADD ATTRIBUTE c text;
-- undo
ALTER TYPE pair2 DROP ATTRIBUTE c;

-- type of an attribute | changed: column pair2.b: integer -> bigint
ALTER TYPE pair2 ALTER ATTRIBUTE b TYPE bigint;
-- undo
ALTER TYPE pair2 ALTER ATTRIBUTE b TYPE integer;

-- comment on an attribute | changed: column pair2.b: nothing -> comment second
COMMENT ON COLUMN pair2.b IS 'second';
-- undo
COMMENT ON COLUMN pair2.b IS NULL;

-- range type | changed: type floatrange
DROP TYPE floatrange; CREATE TYPE floatrange AS RANGE (subtype = float8);
-- undo
DROP TYPE floatrange;
  CREATE TYPE floatrange AS RANGE (subtype = float8, subtype_diff = float8mi);

-- name of a multirange | changed: type floatrange: multitypid floatmultirange -> multitypid floats
ALTER TYPE floatmultirange RENAME TO floats;
-- undo
ALTER TYPE floats RENAME TO floatmultirange;

-- base type | changed: type point3: nothing -> send point3_send(point3)
ALTER TYPE point3 SET (send = point3_send);
-- undo
ALTER TYPE point3 SET (send = NONE);

-- shell type | left over: type later
CREATE TYPE later;
-- undo
DROP TYPE later;

-- type privilege | changed: type mood: nothing -> not granted USAGE to PUBLIC
REVOKE USAGE ON TYPE mood FROM public;
-- undo
GRANT USAGE ON TYPE mood TO public;

-- type owner | changed: type mood: owner postgres -> owner writer
ALTER TYPE mood OWNER TO writer;
-- undo
ALTER TYPE mood OWNER TO postgres;

-- type comment | changed: type mood: comment how one feels -> nothing
COMMENT ON TYPE mood IS NULL;
-- undo
COMMENT ON TYPE mood IS 'how one feels';

-- collation object | lost: collation sales.plain
DROP COLLATION sales.plain;
-- undo
CREATE COLLATION sales.plain FROM "C";

-- collation's locale | changed: collation posix
DROP COLLATION posix; CREATE COLLATION posix (locale = 'POSIX');
-- undo
DROP COLLATION posix; CREATE COLLATION posix (locale = 'C');

-- comment on a collation | changed: collation posix: nothing -> comment bytes
COMMENT ON COLLATION posix IS 'bytes';
-- undo
COMMENT ON COLLATION posix IS NULL;

-- cast | lost: cast (mood AS integer)
DROP CAST (mood AS integer);
-- undo
CREATE CAST (mood AS integer) WITH FUNCTION mood_to_int(mood) AS ASSIGNMENT;
  COMMENT ON CAST (mood AS integer) IS 'a number';

-- context of a cast | changed: cast (mood AS integer): context a -> context i
DROP CAST (mood AS integer);
  CREATE CAST (mood AS integer) WITH FUNCTION mood_to_int(mood) AS IMPLICIT;
  COMMENT ON CAST (mood AS integer) IS 'a number';
-- undo
DROP CAST (mood AS integer);
  CREATE CAST (mood AS integer) WITH FUNCTION mood_to_int(mood) AS ASSIGNMENT;
  COMMENT ON CAST (mood AS integer) IS 'a number';

-- ========== Views, rules, triggers, policies

-- view | left over: view youths
CREATE VIEW youths AS SELECT id FROM users WHERE age < 18;
-- undo
DROP VIEW youths;

-- view definition | changed: view adults: WHERE age
CREATE OR REPLACE VIEW adults WITH (security_barrier) AS
  SELECT id, name FROM users WHERE age >= 21 WITH LOCAL CHECK OPTION;
-- undo
CREATE OR REPLACE VIEW adults WITH (security_barrier) AS
  SELECT id, name FROM users WHERE age >= 18 WITH LOCAL CHECK OPTION;

-- view options | changed: view adults: option check_option=local -> option check_option=cascaded
ALTER VIEW adults SET (check_option = cascaded);
-- undo
ALTER VIEW adults SET (check_option = local);

-- view security invoker | changed: view sales.recent: nothing -> option security_invoker=true
ALTER VIEW sales.recent SET (security_invoker = true);
-- undo
ALTER VIEW sales.recent RESET (security_invoker);

-- view comment | changed: view adults: comment of age -> nothing
COMMENT ON VIEW adults IS NULL;
-- undo
COMMENT ON VIEW adults IS 'of age';

-- view owner | changed: view adults: owner postgres -> owner writer
ALTER VIEW adults OWNER TO writer;
-- undo
ALTER VIEW adults OWNER TO postgres;

-- materialized view | lost: materialized view names
DROP MATERIALIZED VIEW names;
-- undo
CREATE MATERIALIZED VIEW names AS SELECT name, count(*) AS n FROM users GROUP BY name;
  CREATE INDEX names_name ON names (name);

-- materialized view not populated | changed: materialized view names: nothing -> not populated [not in pg_dump]
REFRESH MATERIALIZED VIEW names WITH NO DATA;
-- undo
REFRESH MATERIALIZED VIEW names;

-- rule | lost: rule posts.posts_quiet
DROP RULE posts_quiet ON posts;
-- undo
CREATE RULE posts_quiet AS ON DELETE TO posts DO ALSO NOTIFY gone;

-- rule changed | changed: rule posts.posts_quiet: ON DELETE TO posts DO
CREATE OR REPLACE RULE posts_quiet AS ON DELETE TO posts DO INSTEAD NOTHING;
-- undo
CREATE OR REPLACE RULE posts_quiet AS ON DELETE TO posts DO ALSO NOTIFY gone;

-- rule disabled | changed: rule posts.posts_quiet: enabled origin -> enabled disabled
ALTER TABLE posts DISABLE RULE posts_quiet;
-- undo
ALTER TABLE posts ENABLE RULE posts_quiet;

-- rule comment | changed: rule posts.posts_quiet: nothing -> comment hush
COMMENT ON RULE posts_quiet ON posts IS 'hush';
-- undo
COMMENT ON RULE posts_quiet ON posts IS NULL;

-- trigger | lost: trigger users.users_touch
DROP TRIGGER users_touch ON users;
-- undo
CREATE TRIGGER users_touch BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION touch();
  COMMENT ON TRIGGER users_touch ON users IS 'sets created';

-- trigger event | changed: trigger users.users_touch: CREATE TRIGGER
CREATE OR REPLACE TRIGGER users_touch BEFORE INSERT OR UPDATE OF name ON users FOR EACH ROW
  WHEN (NEW.age > 1) EXECUTE FUNCTION touch();
-- undo
CREATE OR REPLACE TRIGGER users_touch BEFORE UPDATE ON users FOR EACH ROW
  EXECUTE FUNCTION touch();

-- trigger disabled | changed: trigger users.users_touch: enabled origin -> enabled disabled
ALTER TABLE users DISABLE TRIGGER users_touch;
-- undo
ALTER TABLE users ENABLE TRIGGER users_touch;

-- trigger for replicas | changed: trigger users.users_touch: enabled origin -> enabled replica
ALTER TABLE users ENABLE REPLICA TRIGGER users_touch;
-- undo
ALTER TABLE users ENABLE TRIGGER users_touch;

-- trigger comment | changed: trigger users.users_touch: comment sets created -> nothing
COMMENT ON TRIGGER users_touch ON users IS NULL;
-- undo
COMMENT ON TRIGGER users_touch ON users IS 'sets created';

-- constraint trigger | left over: trigger users.users_late
CREATE CONSTRAINT TRIGGER users_late AFTER UPDATE ON users DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW EXECUTE FUNCTION touch();
-- undo
DROP TRIGGER users_late ON users;

-- trigger of a partition disabled | changed: trigger sales.watched_1.watched_touch: enabled origin -> enabled disabled
ALTER TABLE sales.watched_1 DISABLE TRIGGER watched_touch;
-- undo
ALTER TABLE sales.watched_1 ENABLE TRIGGER watched_touch;

-- trigger that depends on an extension | users.users_touch: nothing -> depends on extension citext
ALTER TRIGGER users_touch ON users DEPENDS ON EXTENSION citext;
-- undo
DROP TRIGGER users_touch ON users;
  CREATE TRIGGER users_touch BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION touch();
  COMMENT ON TRIGGER users_touch ON users IS 'sets created';

-- event trigger | lost: event trigger watch
DROP EVENT TRIGGER watch;
-- undo
CREATE EVENT TRIGGER watch ON ddl_command_end WHEN TAG IN ('CREATE CAST')
  EXECUTE FUNCTION announce();

-- event trigger disabled | changed: event trigger watch: enabled origin -> enabled disabled
ALTER EVENT TRIGGER watch DISABLE;
-- undo
ALTER EVENT TRIGGER watch ENABLE;

-- event trigger tags | changed: event trigger watch: tags CREATE CAST -> nothing
DROP EVENT TRIGGER watch; CREATE EVENT TRIGGER watch ON ddl_command_end
  EXECUTE FUNCTION announce();
-- undo
DROP EVENT TRIGGER watch; CREATE EVENT TRIGGER watch ON ddl_command_end
  WHEN TAG IN ('CREATE CAST') EXECUTE FUNCTION announce();

-- policy | lost: policy users.users_write
DROP POLICY users_write ON users;
-- undo
CREATE POLICY users_write ON users FOR INSERT WITH CHECK (age > 2);

-- policy expression | policy users.users_own: using name = CURRENT_USER -> using email
ALTER POLICY users_own ON users USING (email = current_user);
-- undo
ALTER POLICY users_own ON users USING (name = current_user);

-- policy check | changed: policy users.users_write: with check age > 2 -> with check age > 3
ALTER POLICY users_write ON users WITH CHECK (age > 3);
-- undo
ALTER POLICY users_write ON users WITH CHECK (age > 2);

-- policy roles | changed: policy users.users_own: to reader, writer -> to PUBLIC
ALTER POLICY users_own ON users TO public;
-- undo
ALTER POLICY users_own ON users TO reader, writer;

-- restrictive policy | changed: policy users.users_write: permissive -> nothing
DROP POLICY users_write ON users;
  CREATE POLICY users_write ON users AS RESTRICTIVE FOR INSERT WITH CHECK (age > 2);
-- undo
DROP POLICY users_write ON users;
  CREATE POLICY users_write ON users FOR INSERT WITH CHECK (age > 2);

-- policy command | changed: policy users.users_write: cmd insert -> cmd update
DROP POLICY users_write ON users;
  CREATE POLICY users_write ON users FOR UPDATE WITH CHECK (age > 2);
-- undo
DROP POLICY users_write ON users;
  CREATE POLICY users_write ON users FOR INSERT WITH CHECK (age > 2);

-- policy comment | changed: policy users.users_own: comment only oneself -> nothing
COMMENT ON POLICY users_own ON users IS NULL;
-- undo
COMMENT ON POLICY users_own ON users IS 'only oneself';

-- ========== Functions, aggregates, operators

-- function | lost: function add_one(integer)
DROP FUNCTION add_one(integer);
-- undo
CREATE FUNCTION add_one(value integer) RETURNS integer LANGUAGE sql IMMUTABLE
  AS 'SELECT value + 1';

-- function body | changed: function touch(): NEW.created := now(); -> NEW.created := NULL;
CREATE OR REPLACE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS
  E'\nBEGIN\n    NEW.created := NULL;\n    RETURN NEW;\nEND ';
-- undo
CREATE OR REPLACE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS
  E'\nBEGIN\n    NEW.created := now();\n    RETURN NEW;\nEND ';

-- function volatility | changed: function add_one(text): IMMUTABLE -> STABLE
ALTER FUNCTION add_one(text) STABLE;
-- undo
ALTER FUNCTION add_one(text) IMMUTABLE;

-- function security | changed: function add_one(text): IMMUTABLE -> IMMUTABLE SECURITY DEFINER
ALTER FUNCTION add_one(text) SECURITY DEFINER;
-- undo
ALTER FUNCTION add_one(text) SECURITY INVOKER;

-- function attributes | IMMUTABLE PARALLEL SAFE STRICT LEAKPROOF COST 7
ALTER FUNCTION add_one(text) PARALLEL SAFE STRICT LEAKPROOF COST 7;
-- undo
ALTER FUNCTION add_one(text) PARALLEL UNSAFE CALLED ON NULL INPUT NOT LEAKPROOF COST 100;

-- function setting | function sales.total(integer[]): SET work_mem TO '8MB' -> SET work_mem TO
ALTER FUNCTION sales.total SET work_mem = '9MB';
-- undo
ALTER FUNCTION sales.total SET work_mem = '8MB';

-- function in SQL's own syntax | changed: function add_one(integer)
CREATE OR REPLACE FUNCTION add_one(value integer) RETURNS integer LANGUAGE sql IMMUTABLE
  RETURN value + 1;
-- undo
CREATE OR REPLACE FUNCTION add_one(value integer) RETURNS integer LANGUAGE sql IMMUTABLE
  AS 'SELECT value + 1';

-- argument's default | changed: procedure sweep(integer)
CREATE OR REPLACE PROCEDURE sweep(keep integer DEFAULT 8) LANGUAGE plpgsql AS 'BEGIN NULL; END';
-- undo
CREATE OR REPLACE PROCEDURE sweep(keep integer DEFAULT 7) LANGUAGE plpgsql AS 'BEGIN NULL; END';

-- function privilege | changed: function add_one(text): nothing -> not granted EXECUTE to PUBLIC
REVOKE EXECUTE ON FUNCTION add_one(text) FROM public;
-- undo
GRANT EXECUTE ON FUNCTION add_one(text) TO public;

-- function owner | changed: function add_one(text): owner postgres -> owner reader
ALTER FUNCTION add_one(text) OWNER TO reader;
-- undo
ALTER FUNCTION add_one(text) OWNER TO postgres;

-- function comment | changed: function add_one(text): nothing -> comment the same
COMMENT ON FUNCTION add_one(text) IS 'the same';
-- undo
COMMENT ON FUNCTION add_one(text) IS NULL;

-- function that depends on an extension | add_one(text): nothing -> depends on extension citext
ALTER FUNCTION add_one(text) DEPENDS ON EXTENSION citext;
-- undo
ALTER FUNCTION add_one(text) NO DEPENDS ON EXTENSION citext;

-- aggregate | lost: aggregate product(integer)
DROP AGGREGATE product(integer);
-- undo
CREATE AGGREGATE product(integer) (sfunc = int4mul, stype = integer, initcond = '1');

-- aggregate's initial state | changed: aggregate product(integer): initval 1 -> initval 2
CREATE OR REPLACE AGGREGATE product(integer) (sfunc = int4mul, stype = integer, initcond = '2');
-- undo
CREATE OR REPLACE AGGREGATE product(integer) (sfunc = int4mul, stype = integer, initcond = '1');

-- aggregate comment | changed: aggregate product(integer): nothing -> comment times
COMMENT ON AGGREGATE product(integer) IS 'times';
-- undo
COMMENT ON AGGREGATE product(integer) IS NULL;

-- operator | lost: operator ====(mood,mood)
DROP OPERATOR ==== (mood, mood);
-- undo
CREATE OPERATOR ==== (leftarg = mood, rightarg = mood, function = same);

-- operator's estimate | changed: operator ====(mood,mood): nothing -> rest eqsel(internal,oid,internal,integer)
ALTER OPERATOR ==== (mood, mood) SET (restrict = eqsel);
-- undo
ALTER OPERATOR ==== (mood, mood) SET (restrict = NONE);

-- operator's negator | changed: operator ====(mood,mood)
DROP OPERATOR ==== (mood, mood);
  CREATE OPERATOR ==== (leftarg = mood, rightarg = mood, function = same, negator = !===);
  CREATE OPERATOR !=== (leftarg = mood, rightarg = mood, function = same, negator = ====);

-- operator comment | changed: operator ===(mood,mood): nothing -> comment equal
COMMENT ON OPERATOR === (mood, mood) IS 'equal';
-- undo
COMMENT ON OPERATOR === (mood, mood) IS NULL;

-- operator family | lost: operator family feelings USING btree
DROP OPERATOR FAMILY feelings USING btree;
-- undo
CREATE OPERATOR FAMILY feelings USING btree;

-- member of an operator family | left over: function of access method function 1 (mood, mood) of feelings USING btree
ALTER OPERATOR FAMILY feelings USING btree ADD FUNCTION 1 (mood, mood) order_of(mood, mood);
-- undo
ALTER OPERATOR FAMILY feelings USING btree DROP FUNCTION 1 (mood, mood);

-- operator class | left over: operator class mood_more USING hash
CREATE OPERATOR CLASS mood_more FOR TYPE mood USING hash FAMILY mood_hash AS STORAGE mood;
-- undo
DROP OPERATOR CLASS mood_more USING hash;

-- default operator class | changed: operator class mood_less USING hash: nothing -> default
DROP OPERATOR CLASS mood_less USING hash;
  CREATE OPERATOR CLASS mood_less DEFAULT FOR TYPE mood USING hash FAMILY mood_hash AS STORAGE mood;
-- undo
DROP OPERATOR CLASS mood_less USING hash;
  CREATE OPERATOR CLASS mood_less FOR TYPE mood USING hash FAMILY mood_hash AS STORAGE mood;

-- comment on an operator class | changed: operator class mood_hash USING hash: nothing -> comment equality
COMMENT ON OPERATOR CLASS mood_hash USING hash IS 'equality';
-- undo
COMMENT ON OPERATOR CLASS mood_hash USING hash IS NULL;

-- ========== Publications, foreign servers, text search, the rest

-- publication | left over: publication extra
CREATE PUBLICATION extra FOR ALL TABLES;
-- undo
DROP PUBLICATION extra;

-- publication's operations | changed: publication sold: nothing -> delete
ALTER PUBLICATION sold SET (publish = 'insert, delete');
-- undo
ALTER PUBLICATION sold SET (publish = 'insert');

-- publication's generated columns | changed: publication sold: gencols n -> gencols s [18+]
ALTER PUBLICATION sold SET (publish_generated_columns = stored);
-- undo
ALTER PUBLICATION sold SET (publish_generated_columns = none);

-- table of a publication | lost: publication relation posts in publication all_of_it
ALTER PUBLICATION all_of_it DROP TABLE posts;
-- undo
ALTER PUBLICATION all_of_it ADD TABLE posts;

-- columns of a publication | changed: publication relation users in publication all_of_it: attrs id, name -> attrs id, name, age
ALTER PUBLICATION all_of_it SET TABLE users (id, name, age) WHERE (id > 0), posts;
-- undo
ALTER PUBLICATION all_of_it SET TABLE users (id, name) WHERE (id > 0), posts;

-- rows of a publication | changed: publication relation users in publication all_of_it: where id > 0 -> where id > 1
ALTER PUBLICATION all_of_it SET TABLE users (id, name) WHERE (id > 1), posts;
-- undo
ALTER PUBLICATION all_of_it SET TABLE users (id, name) WHERE (id > 0), posts;

-- schema of a publication | left over: publication namespace empty in publication sold
ALTER PUBLICATION sold ADD TABLES IN SCHEMA empty;
-- undo
ALTER PUBLICATION sold DROP TABLES IN SCHEMA empty;

-- publication comment | changed: publication sold: nothing -> comment to the books
COMMENT ON PUBLICATION sold IS 'to the books';
-- undo
COMMENT ON PUBLICATION sold IS NULL;

-- foreign data wrapper | changed: foreign-data wrapper nowhere: nothing -> option debug=true
ALTER FOREIGN DATA WRAPPER nowhere OPTIONS (debug 'true');
-- undo
ALTER FOREIGN DATA WRAPPER nowhere OPTIONS (DROP debug);

-- privilege on a foreign data wrapper | wrapper nowhere: nothing -> granted USAGE to reader
GRANT USAGE ON FOREIGN DATA WRAPPER nowhere TO reader;
-- undo
REVOKE USAGE ON FOREIGN DATA WRAPPER nowhere FROM reader;

-- privilege on a wrapper of an extension | privileges of foreign-data wrapper postgres_fdw
GRANT USAGE ON FOREIGN DATA WRAPPER postgres_fdw TO reader;
-- undo
REVOKE USAGE ON FOREIGN DATA WRAPPER postgres_fdw FROM reader;

-- server | changed: server far: version 1, option host=far -> version 2, option host=near
ALTER SERVER far VERSION '2' OPTIONS (SET host 'near');
-- undo
ALTER SERVER far VERSION '1' OPTIONS (SET host 'far');

-- server privilege | changed: server far: nothing -> granted USAGE to reader
GRANT USAGE ON FOREIGN SERVER far TO reader;
-- undo
REVOKE USAGE ON FOREIGN SERVER far FROM reader;

-- user mapping | left over: user mapping for writer on server far
CREATE USER MAPPING FOR writer SERVER far;
-- undo
DROP USER MAPPING FOR writer SERVER far;

-- options of a user mapping | changed: user mapping for reader on server far: hash of its options
ALTER USER MAPPING FOR reader SERVER far OPTIONS (SET user 'writer');
-- undo
ALTER USER MAPPING FOR reader SERVER far OPTIONS (SET user 'reader');

-- text search configuration | lost: text search configuration ours
DROP TEXT SEARCH CONFIGURATION ours;
-- undo
CREATE TEXT SEARCH CONFIGURATION ours (copy = english);

-- text search mapping | changed: text search configuration ours: email by simple -> email by short
ALTER TEXT SEARCH CONFIGURATION ours ALTER MAPPING FOR email WITH short;
-- undo
ALTER TEXT SEARCH CONFIGURATION ours ALTER MAPPING FOR email WITH simple;

-- order of text search dictionaries | changed: text search configuration two: owner postgres, url by simple, url by short -> owner postgres, url by 
ALTER TEXT SEARCH CONFIGURATION two ALTER MAPPING FOR url WITH short, simple;
-- undo
ALTER TEXT SEARCH CONFIGURATION two ALTER MAPPING FOR url WITH simple, short;

-- text search dictionary | changed: text search dictionary short: initoption stopwords = 'english' -> nothing
ALTER TEXT SEARCH DICTIONARY short (stopwords);
-- undo
ALTER TEXT SEARCH DICTIONARY short (stopwords = english);

-- comment on a text search configuration | configuration ours: nothing -> comment as English
COMMENT ON TEXT SEARCH CONFIGURATION ours IS 'as English';
-- undo
COMMENT ON TEXT SEARCH CONFIGURATION ours IS NULL;

-- text search parser | lost: text search parser words
DROP TEXT SEARCH PARSER words;
-- undo
CREATE TEXT SEARCH PARSER words (start = prsd_start, gettoken = prsd_nexttoken, end = prsd_end,
  lextypes = prsd_lextype);

-- text search template | lost: text search template plain
DROP TEXT SEARCH TEMPLATE plain;
-- undo
CREATE TEXT SEARCH TEMPLATE plain (lexize = dsimple_lexize, init = dsimple_init);

-- language | left over: language plmore
CREATE LANGUAGE plmore HANDLER plpgsql_call_handler;
-- undo
DROP LANGUAGE plmore;

-- language trusted | changed: language plours: nothing -> pltrusted [not in pg_dump]
CREATE OR REPLACE TRUSTED LANGUAGE plours HANDLER plpgsql_call_handler;
-- undo
CREATE OR REPLACE LANGUAGE plours HANDLER plpgsql_call_handler;

-- transform | lost: transform for mood
DROP TRANSFORM FOR mood LANGUAGE plours;
-- undo
CREATE TRANSFORM FOR mood LANGUAGE plours
  (FROM SQL WITH FUNCTION pg_catalog.prsd_lextype(internal));

-- conversion | lost: conversion ours_to_utf8
DROP CONVERSION ours_to_utf8;
-- undo
CREATE CONVERSION ours_to_utf8 FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8;

-- access method | left over: access method heap3
CREATE ACCESS METHOD heap3 TYPE TABLE HANDLER heap_tableam_handler;
-- undo
DROP ACCESS METHOD heap3;

-- ========== No changes: other OIDs, other files, or another history

-- grant and revoke
GRANT SELECT ON posts TO reader; REVOKE SELECT ON posts FROM reader;

-- privileges in another order
REVOKE SELECT ON users FROM reader; GRANT SELECT ON users TO reader;

-- column added and dropped
ALTER TABLE users ADD a text, ADD b text; ALTER TABLE users DROP a, DROP b;

-- type there and back
ALTER TABLE posts ALTER slug TYPE varchar(20); ALTER TABLE posts ALTER slug TYPE text;

-- rows, statistics, a rewritten table
INSERT INTO cache SELECT 'a', 'b' FROM generate_series(1, 100); ANALYZE;
SELECT nextval('counter');
ALTER TABLE posts CLUSTER ON posts_pkey; CLUSTER posts; ALTER TABLE posts SET WITHOUT CLUSTER;
REINDEX TABLE users; TRUNCATE cache;

-- partition detached and attached
ALTER TABLE sales.orders DETACH PARTITION sales.orders_1; ALTER TABLE sales.orders
ATTACH PARTITION sales.orders_1 FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');

-- temporary objects
CREATE TEMPORARY TABLE passing (id serial PRIMARY KEY); CREATE TEMPORARY VIEW v AS SELECT 1;

-- Alembic's own table
DROP TABLE alembic_version; CREATE TABLE sales.alembic_version (version_num text PRIMARY KEY);
COMMENT ON TABLE sales.alembic_version IS 'x'; DROP TABLE sales.alembic_version;
CREATE TABLE alembic_version
(version_num varchar(32) CONSTRAINT alembic_version_pkc PRIMARY KEY);

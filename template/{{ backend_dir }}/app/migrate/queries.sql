-- The SQL of app/migrate: queries.py hands each out by its name. A % would be a parameter's.

-- name: try_lock
-- Advisory locks belong to one database: one key is enough. It is 'alembic' in bytes.
SELECT pg_try_advisory_lock(x'616c656d626963'::bigint)

-- name: lock_holder
-- The process id of the session that has it.
SELECT pid FROM pg_locks
WHERE locktype = 'advisory' AND objsubid = 1 AND granted
  AND (classid::bigint << 32 | objid::bigint) = x'616c656d626963'::bigint
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())

-- name: describe_holder
SELECT concat('pid ', pid, ' (', coalesce(nullif(application_name, ''), 'no name'), '), since ',
              to_char(backend_start AT TIME ZONE 'UTC', 'HH24:MI:SS "UTC"'), ', now running: ',
              coalesce(nullif(left(regexp_replace(query, '[[:space:]]+', ' ', 'g'), 60), ''),
                       'nothing'))
FROM pg_stat_activity WHERE pid = %(pid)s

-- name: describe_blockers
-- Of the session `pid`, which waits for a lock.
SELECT string_agg(concat('pid ', pid, ' (',
                         coalesce(nullif(application_name, ''), usename, 'no name'),
                         '), in a transaction since ',
                         to_char(xact_start AT TIME ZONE 'UTC', 'HH24:MI:SS "UTC"'), ': ',
                         left(regexp_replace(query, '[[:space:]]+', ' ', 'g'), 60)), '; ')
FROM pg_stat_activity WHERE pid = ANY (pg_blocking_pids(%(pid)s))

-- name: progress
-- What the session `pid` is doing; a build of an index says how far it is.
SELECT concat('Running for ', round(extract(epoch FROM clock_timestamp() - query_start)), ' s',
              CASE wait_event_type WHEN 'Lock' THEN ', waiting for a lock' END,
              ', ' || phase,
              ', ' || coalesce(100 * blocks_done / nullif(blocks_total, 0),
                               100 * tuples_done / nullif(tuples_total, 0)) || ' per cent', ': ',
              left(regexp_replace(query, '[[:space:]]+', ' ', 'g'), 60))
FROM pg_stat_activity LEFT JOIN pg_stat_progress_create_index USING (pid)
WHERE pid = %(pid)s AND state = 'active'

-- name: leftovers
-- An index that another session is building is invalid too, but not left behind. PostgreSQL does not
-- tell an ordinary role which index another role is building: then none is reported. An index on a
-- partitioned table is invalid until its last partition has one. A constraint that a later release
-- will validate says so: COMMENT ON CONSTRAINT ... IS 'not valid: <reason>'. PostgreSQL 18 never
-- validates a constraint that is NOT ENFORCED.
SELECT concat('index ', i.indexrelid::regclass, ' is invalid')
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE NOT i.indisvalid AND c.relkind = 'i'
  AND NOT EXISTS (SELECT FROM pg_stat_progress_create_index p WHERE p.datname = current_database()
                  AND coalesce(p.index_relid = i.indexrelid, true))
UNION ALL
SELECT concat('constraint ', c.conname, ' of ', c.conrelid::regclass, ' is not validated')
FROM pg_constraint c
WHERE NOT c.convalidated AND to_jsonb(c) ->> 'conenforced' IS DISTINCT FROM 'false'
  AND coalesce(obj_description(c.oid, 'pg_constraint'), '') !~* '^not valid:'

-- name: state
-- What a proof of the fast path is about. The OID tells which table it is: `search_path` may lead to
-- another one next time. The highest id tells whether a revision was applied, reverted or stamped
-- since.
SELECT ARRAY(SELECT version_num::text FROM alembic_version ORDER BY 1),
       'alembic_version'::regclass::oid::text, (SELECT max(id)::text FROM alembic_history),
       coalesce(obj_description('alembic_history'::regclass, 'pg_class'), ''), pg_backend_pid()

-- name: room_for_ids
-- Characters of a revision's id: 32 in the table that Alembic makes, unless somebody widened it.
SELECT CASE WHEN atttypmod > 4 THEN atttypmod - 4 END FROM pg_attribute
WHERE attrelid = to_regclass('alembic_version') AND attname = 'version_num'
UNION ALL SELECT 32 WHERE to_regclass('alembic_version') IS NULL

-- name: version_tables
-- Where there is no alembic_version: those of another env.py (`version_table`, `version_table_schema`).
-- One of that name in another schema may be another tenant's: it counts where ours has tables.
SELECT oid::regclass::text, 'SELECT version_num FROM ' || oid::regclass FROM pg_class JOIN pg_attribute ON attrelid = oid
WHERE to_regclass('alembic_version') IS NULL AND attname = 'version_num' AND relkind = 'r' AND relpersistence <> 't'
  AND has_schema_privilege(relnamespace, 'USAGE') AND has_table_privilege(oid, 'SELECT')
  AND (relname <> 'alembic_version' OR EXISTS (
      SELECT FROM pg_tables WHERE schemaname = current_schema() AND tablename <> 'alembic_history'))

-- name: create_history
CREATE TABLE IF NOT EXISTS alembic_history (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    revision text NOT NULL,
    direction text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    milliseconds integer NOT NULL,
    sha256 text NOT NULL, -- 32 digits of the file's, 32 of that of what upgrade() does
    role text NOT NULL DEFAULT current_user,
    host text NOT NULL
)

-- name: record
INSERT INTO alembic_history (revision, direction, milliseconds, sha256, host)
VALUES (%(revision)s, %(direction)s, %(milliseconds)s, %(sha256)s, %(host)s)

-- name: applied
-- The latest row of each revision; what was reverted since is not applied.
SELECT revision, sha256 FROM (
    SELECT DISTINCT ON (revision) revision, sha256, direction FROM alembic_history
    ORDER BY revision, id DESC
) latest WHERE starts_with(direction, 'upgrade')

-- name: log
SELECT concat(to_char(applied_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS "UTC"'), '  ',
              rpad(direction, 17), '  ', revision, '  ', milliseconds, ' ms  ', role, '@', host)
FROM alembic_history ORDER BY id

-- name: tables
-- Tables with rows of the users', partitions by themselves: OID, name, columns by their numbers.
SELECT c.oid, c.oid::regclass::text, jsonb_object_agg(attnum, attname)
FROM pg_class c JOIN pg_attribute a ON attrelid = c.oid AND attnum > 0 AND NOT attisdropped
    AND attgenerated = ''
WHERE relkind = 'r' AND relpersistence <> 't' AND relname NOT IN ('alembic_version', 'alembic_history')
  AND relnamespace::regnamespace::text NOT IN ('pg_catalog', 'information_schema')
GROUP BY c.oid

-- name: left_alone
-- What autogenerate leaves alone, as no model has it: partitions, what extensions own, our record,
-- and columns of a table that its parent has.
SELECT concat(nullif(nspname, current_schema()) || '.', relname)
FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
LEFT JOIN pg_depend ON objid = c.oid AND classid = 'pg_class'::regclass AND deptype = 'e'
WHERE relispartition OR deptype = 'e' OR relname = 'alembic_history'
UNION ALL SELECT concat(nullif(nspname, current_schema()) || '.', relname, '.', attname)
FROM pg_attribute JOIN pg_class c ON c.oid = attrelid JOIN pg_namespace n ON n.oid = relnamespace
WHERE attinhcount > 0 AND NOT attislocal AND NOT relispartition

-- name: extension
-- The extension that may have what an error says does not exist, and whether it can be created.
SELECT coalesce(extension, found[1]), EXISTS (
    SELECT FROM pg_available_extensions
    WHERE name = coalesce(extension, found[1]) AND installed_version IS NULL)
FROM (VALUES
    ('has no default operator class for access method "gist"', 'btree_gist'),
    ('has no default operator class for access method "gin"', 'btree_gin'),
    ('"\w+_trgm_ops"', 'pg_trgm'), ('"(geometry|geography)"', 'postgis'),
    ('"(halfvec|sparsevec|(half|sparse)?vec(tor)?_\w+_ops)"', 'vector'),
    ('uuid_generate_v', 'uuid-ossp'), ('function (crypt|gen_salt|digest)\(', 'pgcrypto'),
    ('function unaccent\(', 'unaccent'), ('type "(\w+)" does not exist', NULL)
) AS known (words, extension), regexp_match(%(said)s, words) AS found
WHERE found IS NOT NULL LIMIT 1

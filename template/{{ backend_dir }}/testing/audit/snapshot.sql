-- What code can rely on in a database, except what belongs to extensions: kind -> oid, or whatever it
-- has instead -> properties.
WITH ours AS (
    SELECT oid FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
), member AS (
    SELECT classid, objid FROM pg_depend WHERE deptype = 'e'
), relation AS (
    SELECT c.*, c.oid::regclass::text AS name FROM pg_class c
    WHERE relnamespace IN (SELECT oid FROM ours) AND relpersistence <> 't'
      AND relname NOT IN ('alembic_version', 'alembic_history')
      AND (c.tableoid, c.oid) NOT IN (SELECT * FROM member)
)
SELECT json_build_object(
    'relations', (SELECT json_object_agg(oid, json_build_object(
            'kind', relkind, 'name', name, 'secure', relrowsecurity, 'forced', relforcerowsecurity,
            'file', pg_relation_filenode(oid)::bigint,
            'privileges', ARRAY(SELECT grantee || privilege_type FROM aclexplode(relacl)),
            'columns', ARRAY(SELECT attname || ' ' || atttypid::regtype FROM pg_attribute
                WHERE attrelid = relation.oid AND attnum > 0 ORDER BY attnum),
            'owned', EXISTS (SELECT FROM pg_depend  -- by a column or a constraint
                WHERE classid = tableoid AND objid = relation.oid
                  AND (deptype = 'i' AND relkind IN ('S', 'i', 'I')
                       OR deptype = 'a' AND relkind = 'S'))))
        FROM relation WHERE relkind IN ('r', 'p', 'v', 'm', 'f', 'S', 'i', 'I', 'c')),
    'columns', (SELECT json_object_agg(attrelid || '.' || attnum, json_build_object(
            'table', attrelid::bigint, 'name', attname, 'required', attnotnull,
            'type_oid', atttypid::bigint,  -- whoever can read text can read varchar
            'type', replace(atttypid::regtype::text, 'character varying', 'text'),
            'given', atthasdef OR attidentity <> '' OR EXISTS (SELECT FROM pg_type t
                WHERE t.oid = atttypid AND typdefault IS NOT NULL)))
        FROM pg_attribute JOIN relation ON oid = attrelid
        WHERE attnum > 0 AND NOT attisdropped AND relkind IN ('r', 'p', 'v', 'm', 'f', 'c')),
    'types', (SELECT json_object_agg(oid, json_build_object('name', oid::regtype::text, 'labels',
            (SELECT json_object_agg(e.oid, enumlabel) FROM pg_enum e WHERE enumtypid = t.oid)))
        FROM pg_type t WHERE typnamespace IN (SELECT oid FROM ours) AND typtype IN ('e', 'd', 'r')
          AND (tableoid, oid) NOT IN (SELECT * FROM member)),
    'functions', (SELECT json_object_agg(oid, json_build_object('name', oid::regprocedure::text))
        FROM pg_proc p
        WHERE pronamespace IN (SELECT oid FROM ours) AND prosrc NOT LIKE '%range_constructor_'
          AND (tableoid, oid) NOT IN (SELECT * FROM member)),
    'schemas', (SELECT json_object_agg(oid, json_build_object('name', oid::regnamespace::text))
        FROM ours),
    'extensions', (SELECT json_object_agg(oid, json_build_object('name', extname))
        FROM pg_extension),
    'constraints', (SELECT json_object_agg(oid, json_build_object(
            'table', conrelid::bigint, 'name', conname, 'columns', conkey::int[],
            'same', conrelid || contype || conkey::text,
            'matters', contype IN ('c', 'f') AND convalidated AND conkey IS NOT NULL,
            'not_null', pg_get_constraintdef(oid) ~ '^CHECK \(\(.+ IS NOT NULL\)\)$'))
        FROM pg_constraint
        WHERE conrelid IN (SELECT oid FROM relation) AND contype <> 'n'),
    'indexes', (SELECT json_object_agg(indexrelid, json_build_object(
            'table', indrelid::bigint, 'unique', indisunique, 'size', indnkeyatts,
            'columns', (SELECT json_agg(attname) FROM pg_attribute
                WHERE attrelid = indexrelid AND attnum <= indnkeyatts),
            'of', regexp_replace(pg_get_indexdef(indexrelid), '^.* USING ', '')))
        FROM pg_index WHERE indrelid IN (SELECT oid FROM relation)),
    'triggers', (SELECT json_object_agg(oid || '.' || made, json_build_object(
            'table', oid::bigint, 'name', made)) FROM relation JOIN (
            SELECT tgrelid, tgname FROM pg_trigger WHERE NOT tgisinternal AND tgparentid = 0
            UNION SELECT ev_class, rulename FROM pg_rewrite WHERE rulename <> '_RETURN'
        ) AS t (of, made) ON of = oid WHERE relkind IN ('r', 'p', 'f')),
    'policies', (SELECT json_object_agg(polrelid || '.' || polname, json_build_object(
            'table', polrelid::bigint, 'name', polname, 'permissive', polpermissive)) FROM pg_policy
        WHERE polrelid IN (SELECT oid FROM relation)))

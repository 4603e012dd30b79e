-- What code can rely on in a database, except what belongs to extensions.
--
-- A row says by which `ids` something is known, and by which `names` a statement calls it: its own,
-- then its table's. It is a hazard if all its ids are gone (`is_new`: if none was there before), and
-- none of `or_by` is there. That counts only where all stays that it is `within`: a column that goes
-- with its table is no news. Without a hazard, a row says only that something is there.
WITH ours AS (
    SELECT oid FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
), member AS (
    SELECT classid, objid FROM pg_depend WHERE deptype = 'e'
), relation AS (
    SELECT *, 'relation ' || oid AS id, 'like ' || oid::regclass AS alike,
           format('relation %s file %s', oid, pg_relation_filenode(oid)) AS file,
           oid::regclass::text AS name, relkind IN ('r', 'p', 'f') AS is_table,
           ARRAY(SELECT 'relation ' || inhparent FROM pg_inherits
                 WHERE inhrelid = oid AND relispartition) AS partitioned,
           CASE WHEN relkind = 'S' AND EXISTS (SELECT FROM pg_depend WHERE classid = c.tableoid
               AND objid = c.oid AND deptype IN ('a', 'i')) THEN '' END AS silent  -- of a column
    FROM pg_class c
    WHERE relnamespace IN (SELECT oid FROM ours) AND relpersistence <> 't'
      AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S', 'c')
      AND relname NOT IN ('alembic_version', 'alembic_history')
      AND (tableoid, oid) NOT IN (SELECT * FROM member)
), col AS MATERIALIZED (
    SELECT attname, attnum, attnotnull, attidentity, is_table, relation.id AS of, alike, atttypid,
           format_type(atttypid, atttypmod) AS exact_type,
           relation.id || '.' || attnum AS id, ARRAY[attname::text, name] AS names, file,
           name || '.' || attname AS what,
           CASE WHEN attinhcount > 0 THEN '' END AS silent,  -- changed by the parent's alone
           -- Whoever can read text can read varchar.
           replace(atttypid::regtype::text, 'character varying', 'text') AS type,
           atthasdef OR attidentity <> '' OR EXISTS (SELECT FROM pg_type t
               WHERE t.oid = atttypid AND typdefault IS NOT NULL) AS given
    FROM pg_attribute JOIN relation ON relation.oid = attrelid
    WHERE attnum > 0 AND NOT attisdropped AND relkind <> 'S'
), named (id, alike, stem, name) AS (
    SELECT 'type ' || oid, 'type ' || oid::regtype, oid::regtype::text, oid::regtype::text
    FROM pg_type WHERE typnamespace IN (SELECT oid FROM ours) AND typtype IN ('e', 'd', 'r')
      AND (tableoid, oid) NOT IN (SELECT * FROM member)
    UNION ALL  -- a function is written with its types, which may get new names
    SELECT 'function ' || oid, 'function ' || oid::regprocedure,
           split_part(oid::regprocedure::text, '(', 1), oid::regprocedure::text
    FROM pg_proc WHERE pronamespace IN (SELECT oid FROM ours)
      AND prosrc NOT LIKE '%range_constructor_' AND (tableoid, oid) NOT IN (SELECT * FROM member)
    UNION ALL
    SELECT 'schema ' || oid, 'schema ' || oid::regnamespace, oid::regnamespace::text,
           oid::regnamespace::text FROM ours
    UNION ALL
    SELECT 'extension ' || oid, 'extension ' || extname, extname, extname FROM pg_extension
), label AS (
    SELECT enumlabel, alike, 'label ' || e.oid AS id, ARRAY[enumlabel::text, name] AS names,
           quote_literal(enumlabel) || ' of ' || name AS what
    FROM pg_enum e JOIN named ON named.id = 'type ' || enumtypid
), con AS MATERIALIZED (
    SELECT *, 'constraint ' || oid AS id, ARRAY[conname::text, name] AS names,
           conname || ' of ' || name AS what,
           format('constraint %s %s %s', conrelid, contype, conkey) AS alike,
           -- What it rejects; ON DELETE and the like reject nothing.
           of || ' ' || coalesce(substring(def, '^FOREIGN KEY [^)]+\) REFERENCES [^)]+\)'),
                                 replace(def, ' NOT VALID', '')) AS rule,
           CASE WHEN def ~ '^CHECK \(\(.+ IS NOT NULL\)\)( NOT VALID)?$'
                THEN ARRAY[columns[1] || ' not null'] END AS same
    FROM (
        SELECT c.*, pg_get_constraintdef(c.oid) AS def, relation.id AS of, name,
               -- Once it is detached, a partition has its bounds as a CHECK.
               CASE WHEN NOT relispartition THEN ARRAY[relation.id || ' partition'] END AS was_within,
               ARRAY(SELECT format('%s.%s', relation.id, n) FROM unnest(conkey) n) AS columns
        FROM pg_constraint c JOIN relation ON relation.oid = conrelid WHERE contype <> 'n'
        UNION ALL
        SELECT c.*, pg_get_constraintdef(c.oid), 'type ' || contypid, contypid::regtype::text, NULL, '{}'
        FROM pg_constraint c JOIN ours ON ours.oid = connamespace WHERE contypid <> 0
    ) AS c
), index AS MATERIALIZED (
    SELECT i.*, 'index ' || indexrelid AS id, relation.id AS table_id, own.relname AS own,
           indexrelid::regclass::text AS name,
           'unique ' || relation.id || substring(pg_get_indexdef(indexrelid), ' USING .*') AS alike,
           ARRAY(SELECT format('%s.%s', relation.id, n) FROM unnest(indkey::int[]) n) AS columns,
           CASE WHEN indexrelid IN (SELECT conindid FROM pg_constraint
               WHERE contype <> 'f') THEN '' END AS silent
    FROM pg_index i
    JOIN relation ON relation.oid = indrelid JOIN pg_class own ON own.oid = indexrelid
), trigger AS (
    SELECT format('trigger %s %s', relation.id, made) AS id, relation.id AS table_id,
           ARRAY[made, name] AS names, made || ' of ' || name AS what
    FROM (
        SELECT tgrelid, tgname::text FROM pg_trigger WHERE NOT tgisinternal AND tgparentid = 0
        UNION SELECT ev_class, rulename::text FROM pg_rewrite WHERE rulename <> '_RETURN'
    ) AS t (of, made) JOIN relation ON relation.oid = of WHERE is_table
), policy AS (
    SELECT polpermissive, format('policy %s %s', id, polname) AS id, id || ' secure' AS secure,
           ARRAY[polname::text, name] AS names, format('policy %s of %s', polname, name) AS what
    FROM pg_policy JOIN relation ON relation.oid = polrelid
)
SELECT hazard, is_new, ids, or_by, within, ARRAY[name] AS names, what
FROM relation, LATERAL (VALUES
    (NOT is_table, '', false, ARRAY[alike], '{}'::text[], '{}'::text[], ''),
    (relispartition, '', false, ARRAY[id || ' partition'], '{}', '{}', ''),
    (true, '', false, ARRAY[file], '{}', '{}', ''),
    -- A view may be made again, or stand in for a table.
    (is_table, coalesce(silent, 'drops'), false, ARRAY[id], '{}', partitioned, name),
    (NOT is_table, coalesce(silent, 'drops'), false, ARRAY[id], ARRAY[alike], '{}', name),
    (true, coalesce(silent, 'renames'), false, ARRAY[id || ' ' || name], ARRAY[alike], ARRAY[id], name),
    (relrowsecurity, 'restricts', true, ARRAY[id || ' secure'], '{}', ARRAY[id], 'row level security of ' || name),
    (relforcerowsecurity, 'restricts', true, ARRAY[id || ' forced'], '{}', ARRAY[id], 'row level security of ' || name)
) AS fact (holds, hazard, is_new, ids, or_by, within, what) WHERE holds
UNION ALL
SELECT coalesce(silent, 'restricts'), false, ARRAY[concat_ws(' ', id, grantee, privilege_type)], '{}',
       ARRAY[id], ARRAY[name], 'privileges on ' || name
FROM relation, aclexplode(relacl)
UNION ALL
SELECT hazard, is_new, ids, or_by, within, names, fact.what
FROM col, LATERAL (VALUES
    (is_table, coalesce(silent, 'drops'), false, ARRAY[id], '{}'::text[], ARRAY[of], what),
    (NOT is_table, 'drops', false, ARRAY[id, concat_ws(' ', alike, attnum, attname, type)], '{}', ARRAY[alike], what),
    (true, coalesce(silent, 'renames'), false, ARRAY[id || ' ' || attname], '{}', ARRAY[id], what),
    (true, coalesce(silent, 'changes-type'), false, ARRAY[id || ' type ' || type, id || ' type ' || atttypid], '{}', ARRAY[id], what),
    -- A type that is as wide as before rewrites nothing: the table has the same file.
    (is_table, coalesce(silent, 'changes-type'), true, ARRAY[id || ' type ' || exact_type], ARRAY[file], ARRAY[id], what),
    (is_table AND attnotnull, 'loosens', false, ARRAY[id || ' not null'], '{}', ARRAY[id], 'NOT NULL of ' || what),
    (is_table AND attnotnull, 'rejects-rows', true, ARRAY[id || ' not null'],
     ARRAY[format('%s CHECK ((%I IS NOT NULL))', of, attname)], ARRAY[id], 'NOT NULL of ' || what),
    (is_table AND attidentity = 'a', 'rejects-rows', true, ARRAY[id || ' always'], '{}', ARRAY[id],
     'GENERATED ALWAYS of ' || what),
    (NOT given, CASE WHEN is_table AND attnotnull THEN 'requires-value' ELSE '' END, true,
     ARRAY[id || ' without default'], '{}', ARRAY[of], what),
    (is_table AND type = 'json', 'json-column', true, ARRAY[id], '{}', ARRAY[of], what)
) AS fact (holds, hazard, is_new, ids, or_by, within, what) WHERE holds
UNION ALL
SELECT hazard, false, ids, or_by, within, ARRAY[stem], name
FROM named, LATERAL (VALUES
    ('drops', ARRAY[id, alike], '{}'::text[], '{}'::text[]),
    -- Columns keep a type by its new name.
    ('renames', ARRAY[id || ' ' || stem], CASE WHEN id LIKE 'function%' THEN ARRAY[alike] END, ARRAY[id])
) AS fact (hazard, ids, or_by, within)
UNION ALL
SELECT hazard, false, ids, '{}', within, names, what
FROM label, LATERAL (VALUES
    ('drops', ARRAY[id, alike || ' label ' || enumlabel], ARRAY[alike]),
    ('renames', ARRAY[id || ' ' || enumlabel], ARRAY[id])
) AS fact (hazard, ids, within)
UNION ALL
SELECT hazard, is_new, ids, or_by, within, names, fact.what
FROM con, LATERAL (VALUES
    (true, 'renames', false, ARRAY[id || ' ' || conname], '{}'::text[], ARRAY[id], conname::text),
    (conrelid <> 0,
     CASE WHEN contype IN ('c', 'f') AND convalidated AND columns <> '{}' THEN 'loosens' ELSE '' END, false,
     ARRAY[id, alike], same, of || columns || CASE contype WHEN 'f' THEN ARRAY['relation ' || confrelid] ELSE '{}' END,
     what),
    (contype NOT IN ('p', 'u', 't') AND def !~ ' NOT ENFORCED',
     'rejects-rows', true, ARRAY[rule], same || was_within, of || columns, what)
) AS fact (holds, hazard, is_new, ids, or_by, within, what) WHERE holds
UNION ALL
SELECT hazard, is_new, ids, or_by, within, ARRAY[name], what
FROM index, LATERAL (VALUES
    (true, CASE WHEN NOT indisunique AND indnkeyatts > 3 THEN 'wide-index' ELSE '' END, true, ARRAY[id],
     '{}'::text[], ARRAY[table_id], name),
    (indisunique, 'rejects-rows', true, ARRAY[alike], '{}', table_id || array_remove(columns, table_id || '.0'), name),
    (indisunique, 'drops', false, ARRAY[id, alike], '{}', table_id || columns, name || ' (ON CONFLICT needs it)'),
    -- To take another's place is what a new index does.
    (true, coalesce(silent, 'renames'), false, ARRAY[id || ' ' || own],
     ARRAY(SELECT id || ' ' || relname FROM pg_index o JOIN pg_class ON oid = o.indexrelid
           WHERE o.indrelid = index.indrelid), ARRAY[id], name)
) AS fact (holds, hazard, is_new, ids, or_by, within, what) WHERE holds
UNION ALL
SELECT 'adds-trigger', true, ARRAY[id], '{}', ARRAY[table_id], names, what FROM trigger
UNION ALL
SELECT 'restricts', NOT polpermissive, ARRAY[id], '{}', ARRAY[secure], names, what FROM policy

-- What code can rely on in a database, except what belongs to extensions.
--
-- A row says by which `ids` something is known, and by which `names` a statement calls it: its own,
-- then its table's. It is a hazard if all its ids are gone (`is_new`: if none was there before), and
-- none of `or_by` is there. That counts only where all stays that it is `within`: a column that goes
-- with its table is no news. Without a hazard, a row says only that something is there. Lists are
-- texts with \x1F between.
CREATE FUNCTION pg_temp.has_begun(sequence regclass) RETURNS boolean LANGUAGE plpgsql STRICT AS $$
DECLARE has boolean;
BEGIN  -- its own row alone says so
    IF has_sequence_privilege(sequence, 'SELECT') THEN
        EXECUTE format('SELECT is_called OR last_value <> seqstart FROM %s, pg_sequence WHERE seqrelid = $1', sequence)
            INTO has USING sequence;
    END IF;
    RETURN has;
END $$;
PREPARE facts AS
WITH ours AS (
    SELECT oid FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
), member AS (
    SELECT classid, objid FROM pg_depend WHERE deptype = 'e'
), relation AS (
    SELECT *, 'relation ' || oid AS id, 'like ' || oid::regclass AS alike,
           'called ' || oid::regclass AS called,
           format('relation %s file %s', oid, pg_relation_filenode(oid)) AS file,
           oid::regclass::text AS name, relkind IN ('r', 'p', 'f') AS is_table,
           reloptions::text ~* 'security_invoker=(t|y|on|1)' AS invoker,
           (SELECT string_agg('relation ' || inhparent, E'\x1F') FROM pg_inherits
            WHERE inhrelid = oid AND relispartition) AS partitioned,
           CASE WHEN relkind = 'S' AND EXISTS (SELECT FROM pg_depend WHERE classid = c.tableoid
               AND objid = c.oid AND deptype IN ('a', 'i')) THEN '' END AS silent,  -- of a column
           CASE relkind WHEN 'S' THEN (SELECT concat(s, relpersistence) FROM pg_sequence s WHERE seqrelid = oid) END AS numbers,
           CASE relkind WHEN 'S' THEN pg_temp.has_begun(oid) END AS begun
    FROM pg_class c
    WHERE relnamespace IN (SELECT oid FROM ours) AND relpersistence <> 't'
      AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S', 'c')
      AND relname NOT IN ('alembic_version', 'alembic_history')
      AND (tableoid, oid) NOT IN (SELECT * FROM member)
), col AS MATERIALIZED (
    SELECT attname, attnum, attnotnull, attidentity, attgenerated, attcollation, attacl, relkind, is_table,
           relation.id AS of, alike, called, atttypid,
           sequence, begins, numbering.numbers, numbers_file,
           format_type(atttypid, atttypmod) AS exact_type,
           relation.id || '.' || attnum AS id, concat_ws(E'\x1F', attname, name) AS names, file,
           name || '.' || attname AS what,
           CASE WHEN attinhcount > 0 THEN '' END AS silent,  -- changed by the parent's alone
           -- Whoever can read text can read varchar.
           replace(atttypid::regtype::text, 'character varying', 'text') AS type,
           atthasdef OR attidentity <> '' OR EXISTS (SELECT FROM pg_type t
               WHERE t.oid = atttypid AND typdefault IS NOT NULL) AS given,
           CASE WHEN attgenerated <> '' THEN (SELECT md5(regexp_replace(adbin::text, ':location \S+', '', 'g'))
               FROM pg_attrdef WHERE adrelid = attrelid AND adnum = attnum) END AS expression,
           relkind = 'v' AND pg_column_is_updatable(attrelid, attnum, true) AS written
    FROM pg_attribute JOIN relation ON relation.oid = attrelid
    LEFT JOIN (SELECT DISTINCT ON (refobjid, refobjsubid) refobjid, refobjsubid, id AS sequence, NOT begun AS begins,
                      numbers, file AS numbers_file
               FROM relation JOIN pg_depend ON objid = oid
               WHERE relkind = 'S' AND classid = 'pg_class'::regclass AND refclassid = classid
               ORDER BY refobjid, refobjsubid, oid DESC) AS numbering
        ON refobjid = attrelid AND refobjsubid = attnum
    WHERE attnum > 0 AND NOT attisdropped AND relkind <> 'S'
), named (id, alike, stem, name, acl) AS (
    SELECT 'type ' || oid, 'type ' || oid::regtype, oid::regtype::text, oid::regtype::text,
           coalesce(typacl, acldefault('T', typowner))
    FROM pg_type WHERE typnamespace IN (SELECT oid FROM ours) AND typtype IN ('e', 'd', 'r')
      AND (tableoid, oid) NOT IN (SELECT * FROM member)
    UNION ALL  -- a function is written with its types, which may get new names, and without defaults
    SELECT format('function %s/%s', oid, n),
           format('function %s(%s) %s %s', own, array_to_string(arguments[:n], ', '), pg_get_function_result(oid), arguments[pronargs + 1:]),
           own, oid::regprocedure::text, coalesce(proacl, acldefault('f', proowner))
    FROM pg_proc, generate_series(pronargs - pronargdefaults, pronargs::int) AS n,
         split_part(oid::regprocedure::text, '(', 1) AS own,
         string_to_array(pg_get_function_identity_arguments(oid), ', ') AS arguments
    WHERE oid >= 16384 AND pronamespace IN (SELECT oid FROM ours)
      AND prosrc NOT LIKE '%range_constructor_' AND (tableoid, oid) NOT IN (SELECT * FROM member)
    UNION ALL
    SELECT 'schema ' || oid, 'schema ' || oid::regnamespace, oid::regnamespace::text,
           oid::regnamespace::text, coalesce(nspacl, acldefault('n', nspowner))
    FROM pg_namespace JOIN ours USING (oid)
    UNION ALL
    SELECT 'database', 'database', 'database', 'the database', coalesce(datacl, acldefault('d', datdba))
    FROM pg_database WHERE datname = current_database()
    UNION ALL
    SELECT 'extension ' || oid, 'extension ' || extname, extnamespace::regnamespace || '.' || extname,
           extname, NULL FROM pg_extension
    UNION ALL
    SELECT 'object ' || oid, 'object ' || identity, identity, identity, NULL
    FROM (SELECT tableoid, oid FROM pg_cast UNION ALL SELECT tableoid, oid FROM pg_collation
          UNION ALL SELECT tableoid, oid FROM pg_operator UNION ALL SELECT tableoid, oid FROM pg_ts_config) AS o,
         pg_identify_object(tableoid, oid, 0)
    WHERE oid >= 16384 AND (tableoid, oid) NOT IN (SELECT * FROM member)
), label AS (
    SELECT enumlabel, alike, 'label ' || e.oid AS id, concat_ws(E'\x1F', enumlabel, name) AS names,
           quote_literal(enumlabel) || ' of ' || name AS what
    FROM pg_enum e JOIN named ON named.id = 'type ' || enumtypid
), con AS MATERIALIZED (
    SELECT *, 'constraint ' || oid AS id, concat_ws(E'\x1F', conname, name) AS names,
           concat_ws(E'\x1F', of, columns) AS needs,
           conname || ' of ' || name AS what,
           format('constraint %s %s %s', greatest(conrelid, contypid), contype, conkey) AS alike,
           -- What it rejects; ON DELETE and the like reject nothing.
           of || ' ' || coalesce(substring(def, '^FOREIGN KEY [^)]+\) REFERENCES [^)]+\)(?: MATCH FULL)?'),
                                 replace(def, ' NOT VALID', '')) AS rule,
           CASE WHEN def ~ '^CHECK \(\(.+ IS NOT NULL\)\)( NOT VALID)?$'
                THEN split_part(columns, E'\x1F', 1) || ' not null' END AS same
    FROM (
        SELECT c.*, pg_get_constraintdef(c.oid) AS def, relation.id AS of, name,
               -- Once it is detached, a partition has its bounds as a CHECK.
               CASE WHEN NOT relispartition THEN relation.id || ' partition' END AS was_within,
               (SELECT string_agg(format('%s.%s', relation.id, n), E'\x1F') FROM unnest(conkey) n) AS columns
        FROM pg_constraint c JOIN relation ON relation.oid = conrelid WHERE contype <> 'n'
        UNION ALL
        SELECT c.*, pg_get_constraintdef(c.oid), 'type ' || contypid, contypid::regtype::text, NULL, NULL
        FROM pg_constraint c JOIN ours ON ours.oid = connamespace WHERE contypid <> 0
    ) AS c
), index AS MATERIALIZED (
    SELECT i.*, is_table, 'index ' || indexrelid AS id, relation.id AS table_id, own.relname AS own,
           array_agg(own.relname::text) OVER (PARTITION BY indrelid) AS taken,
           indexrelid::regclass::text AS name,
           -- A key is the same in another order.
           CASE WHEN indisunique THEN concat('unique ', relation.id, CASE WHEN indpred IS NULL AND indexprs IS NULL THEN (
               SELECT string_agg(concat_ws(' ', '', n, c), ',' ORDER BY n, c)
               FROM unnest((indkey::int[])[0:indnkeyatts - 1], indcollation::oid[]) AS part (n, c)
           ) || nulls ELSE substring(pg_get_indexdef(indexrelid), ' USING .*') END) END AS alike,
           concat_ws(E'\x1F', relation.id, (SELECT string_agg(format('%s.%s', relation.id, n), E'\x1F')
                                           FROM unnest(indkey::int[]) n WHERE n <> 0)) AS needs,
           CASE WHEN indexrelid IN (SELECT conindid FROM pg_constraint
               WHERE contype <> 'f') THEN '' END AS silent
    FROM (SELECT *, pg_get_indexdef(indexrelid) ~ ' NULLS NOT DISTINCT' AS nulls FROM pg_index) AS i
    JOIN relation ON relation.oid = indrelid JOIN pg_class own ON own.oid = indexrelid
), trigger AS (
    SELECT format('trigger %s %s', relation.id, does) AS id, relation.id AS table_id, fills, is_table,
           made, concat_ws(E'\x1F', made, name) AS names, made || ' of ' || name AS what
    FROM (
        SELECT tgrelid, tgname::text, concat_ws(' ', tgfoid::regproc, tgtype, tgattr, tgargs, tgqual), tgtype & 7 = 7 OR tgtype & 64 <> 0
        FROM pg_trigger WHERE NOT tgisinternal AND tgparentid = 0 AND tgenabled IN ('O', 'A')
        UNION ALL
        SELECT ev_class, rulename::text, rulename, is_instead
        FROM pg_rewrite WHERE rulename <> '_RETURN' AND ev_enabled IN ('O', 'A')
    ) AS t (of, made, does, fills) JOIN relation ON relation.oid = of
), policy AS (
    SELECT polpermissive, id || ' secure' AS secure,
           format('policy %s %s %s %s', id, polcmd, polroles,
                  md5(regexp_replace(concat(polqual, '/', polwithcheck), ':location \S+', '', 'g'))) AS id,
           concat_ws(E'\x1F', polname, name) AS names, format('policy %s of %s', polname, name) AS what
    FROM pg_policy JOIN relation ON relation.oid = polrelid
), fact (hazard, is_new, ids, or_by, within, names, what) AS (
SELECT hazard, is_new, ids, or_by, within, name AS names, what
FROM relation, LATERAL (VALUES
    (NOT is_table, '', false, alike, NULL, NULL, ''),
    (true, '', false, called, NULL, NULL, ''),
    (relispartition, '', false, id || ' partition', NULL, NULL, ''),
    (true, '', false, concat_ws(E'\x1F', file, numbers), NULL, NULL, ''),
    -- Other numbers than before have another file too.
    (silent IS NULL AND NOT begun, 'rejects-rows', true, id, NULL, called, name || ' starts again'),
    (silent IS NULL AND NOT begun, 'rejects-rows', true, file, NULL, numbers, name || ' starts again'),
    -- A view may be made again, or stand in for a table.
    (is_table, coalesce(silent, 'drops'), false, id, NULL, partitioned, name),
    (NOT is_table, coalesce(silent, 'drops'), false, id, alike, NULL, name),
    (true, coalesce(silent, 'renames'), false, id || ' ' || name, alike, id, name),
    (pg_relation_is_updatable(oid, true) & 28 = 28, 'drops', false, called || ' written', NULL,
     called, 'writes to ' || name),
    (relispopulated AND relkind = 'm', 'drops', false, alike || ' filled', NULL, alike, 'rows of ' || name),
    (relkind = 'm' AND EXISTS (SELECT FROM pg_index WHERE indrelid = oid AND indisunique AND indpred IS NULL
         AND indexprs IS NULL), 'drops', false, alike || ' unique', NULL, alike, 'REFRESH CONCURRENTLY of ' || name),
    (reloptions::text ~ 'check_option', 'restricts', true, alike || substring(reloptions::text, 'check_option=\w+'), NULL,
     alike, 'CHECK OPTION of ' || name),
    (invoker, 'restricts', true, alike || ' invoker', NULL, alike, 'security_invoker of ' || name),
    (invoker, 'loosens', false, alike || ' invoker', NULL, alike, 'security_invoker of ' || name),
    (relreplident <> 'f' AND oid IN (SELECT relid FROM pg_publication, pg_get_publication_tables(pubname)
                                     WHERE pubupdate OR pubdelete)
     AND NOT EXISTS (SELECT FROM pg_index WHERE indrelid = oid AND indisvalid
                     AND CASE relreplident WHEN 'd' THEN indisprimary ELSE indisreplident END),
     'restricts', true, id || ' anonymous', NULL, id,
     format('UPDATE and DELETE of %s, published without a replica identity', name)),
    (relrowsecurity, 'loosens', false, id || ' secure', NULL, id, 'row level security of ' || name),
    (relrowsecurity, 'restricts', true, id || ' secure', NULL, id, 'row level security of ' || name),
    (relforcerowsecurity, 'loosens', false, id || ' forced', NULL, id, 'row level security of ' || name),
    (relforcerowsecurity, 'restricts', true, id || ' forced', NULL, id, 'row level security of ' || name)
) AS fact (holds, hazard, is_new, ids, or_by, within, what) WHERE holds
UNION ALL
SELECT 'restricts', false, concat_ws(E'\x1F', of || of_whom, sequence || of_whom), NULL, of, name, 'privileges on ' || name
FROM (SELECT CASE silent WHEN '' THEN id ELSE called END, CASE relkind WHEN 'S' THEN id END, name, relacl FROM relation
      UNION ALL SELECT id, NULL, what, attacl FROM col UNION ALL SELECT alike, NULL, name, acl FROM named
     ) AS it (of, sequence, name, acl), aclexplode(acl), concat(' ', grantee, ' ', privilege_type) AS of_whom
UNION ALL
SELECT hazard, is_new, ids, or_by, within, names, fact.what
FROM col, LATERAL (VALUES
    (true, CASE WHEN is_table THEN coalesce(silent, 'drops') ELSE '' END, false, id, NULL, of, what),
    -- By name, in whatever has that of the table; an attribute by its place too.
    (true, coalesce(silent, 'drops'), false, concat_ws(E'\x1F', id || called, concat_ws(' ', called, CASE relkind WHEN 'c' THEN attnum END, attname, type)),
     NULL, concat_ws(E'\x1F', called, CASE WHEN is_table THEN of END), what),
    (relkind = 'c', 'rejects-rows', true, concat_ws(E'\x1F', id, called || ' ' || attname), NULL, called, what),
    (written, 'drops', false, concat_ws(' ', called, 'written', attname), NULL,
     concat_ws(E'\x1F', called || ' written', concat_ws(' ', called, attname, type)), 'writes to ' || what),
    (true, coalesce(silent, 'renames'), false, id || ' ' || attname, NULL, id, what),
    (true, coalesce(silent, 'changes-type'), false, concat_ws(E'\x1F', id || ' type ' || type, id || ' type ' || atttypid), NULL, id, what),
    -- A type that is as wide as before rewrites nothing: the table has the same file.
    (is_table, coalesce(silent, 'changes-type'), true, id || ' type ' || exact_type, file, id, what),
    (attcollation <> 0, coalesce(silent, 'changes-type'), false, id || ' collation ' || attcollation, NULL, id, what),
    (attgenerated <> '', coalesce(silent, 'loosens'), false, id || ' computed ' || expression, id || ' without default', id, 'expression of ' || what),
    (given, coalesce(silent, 'requires-value'), false, id || ' given', NULL, id, what),
    (sequence IS NOT NULL, '', false, concat_ws(E'\x1F', id || ' numbered', id || ' by ' || sequence), NULL, NULL, ''),
    (begins, 'rejects-rows', true, id || ' by ' || sequence, NULL, id || ' numbered', what || ', whose sequence starts again'),
    (begins, 'rejects-rows', true, numbers_file, NULL, numbers, what || ', whose sequence starts again'),
    (is_table AND attnotnull, 'loosens', false, id || ' not null', NULL, id, 'NOT NULL of ' || what),
    (is_table AND attnotnull, 'rejects-rows', true, id || ' not null',
     format('%s CHECK ((%I IS NOT NULL))', of, attname), id, 'NOT NULL of ' || what),
    (is_table AND attidentity = 'a', 'rejects-rows', true, id || ' always', NULL, id,
     'GENERATED ALWAYS of ' || what),
    (NOT given, CASE WHEN is_table AND attnotnull THEN 'requires-value' ELSE '' END, true,
     id || ' without default', of || ' partition', of, what),
    (is_table AND type = 'json', 'json-column', true, id, NULL, of, what)
) AS fact (holds, hazard, is_new, ids, or_by, within, what) WHERE holds
UNION ALL
SELECT hazard, false, ids, or_by, within, stem, name
FROM named, LATERAL (VALUES
    ('drops', concat_ws(E'\x1F', id, alike), NULL, NULL),
    -- Columns keep a type by its new name.
    ('renames', id || ' ' || stem, CASE WHEN id LIKE 'function%' THEN alike END, id)
) AS fact (hazard, ids, or_by, within)
UNION ALL
SELECT hazard, false, ids, NULL, within, names, what
FROM label, LATERAL (VALUES
    ('drops', concat_ws(E'\x1F', id, alike || ' label ' || enumlabel), alike),
    ('renames', id || ' ' || enumlabel, id)
) AS fact (hazard, ids, within)
UNION ALL
SELECT hazard, is_new, ids, or_by, within, names, fact.what
FROM con, LATERAL (VALUES
    (true, 'renames', false, id || ' ' || conname, NULL, id, conname::text),
    (contype IN ('p', 'u'), 'drops', false, concat_ws(E'\x1F', id, concat_ws(' ', of, conname)), NULL, needs,
     what || ' (ON CONFLICT or GROUP BY may need it)'),
    (confdeltype IN ('c', 'n', 'd'), 'loosens', false, concat_ws(' ', alike, 'delete', confdeltype), NULL,
     alike, 'ON DELETE of ' || what),
    (confupdtype IN ('c', 'n', 'd'), 'loosens', false, concat_ws(' ', alike, 'update', confupdtype), NULL,
     alike, 'ON UPDATE of ' || what),
    (condeferrable, 'loosens', false, concat_ws(E'\x1F', alike || ' deferred ' || condeferred, alike || ' deferred true'), NULL,
     alike, 'DEFERRABLE of ' || what),
    (def !~ ' NOT ENFORCED' AND oid NOT IN (SELECT tgconstraint FROM pg_trigger WHERE tgenabled IN ('D', 'R')),
     CASE WHEN contype IN ('c', 'f', 'n', 't', 'x') AND convalidated AND (columns IS NOT NULL OR contypid <> 0 OR contype = 't') THEN 'loosens' ELSE '' END, false,
     concat_ws(E'\x1F', id, alike), same, concat_ws(E'\x1F', needs, CASE contype WHEN 'f' THEN 'relation ' || confrelid END),
     what),
    (contype NOT IN ('p', 'u', 't') AND def !~ ' NOT ENFORCED',
     -- By itself too: what it refers to may get another name.
     'rejects-rows', true, concat_ws(E'\x1F', rule, id || ' rule'), concat_ws(E'\x1F', same, was_within), needs, what)
) AS fact (holds, hazard, is_new, ids, or_by, within, what) WHERE holds
UNION ALL
SELECT hazard, is_new, ids, or_by, within, name, what
FROM index, LATERAL (VALUES
    (true, CASE WHEN NOT indisunique AND indnkeyatts > 3 THEN 'wide-index' ELSE '' END, true, id,
     NULL, table_id, name),
    -- What has the columns of a unique key among its own, all of them or some of the first six, is unique.
    (indisunique AND is_table, 'rejects-rows', true, concat_ws(E'\x1F', alike, id || ' rule'),
     CASE WHEN indisunique THEN (
         SELECT string_agg(concat('unique ', table_id, (
             SELECT string_agg(concat_ws(' ', '', n, c), ',' ORDER BY n, c)
             FROM unnest((indkey::int[])[0:indnkeyatts - 1], indcollation::oid[]) WITH ORDINALITY AS part (n, c, place)
             WHERE n <> 0 AND chosen >> place::int - 1 & 1 = 1
         ) || nulls), E'\x1F') FROM generate_series(1, (1 << least(indnkeyatts, 6)) - 1) AS chosen) END, needs, name),
    (indisunique AND is_table, 'drops', false, concat_ws(E'\x1F', id, concat(alike, indimmediate)), NULL,
     concat_ws(E'\x1F', needs, table_id || ' ' || own || silent), name || ' (ON CONFLICT needs it)'),
    -- To take another's place is what a new index does.
    (true, coalesce(silent, 'renames'), false, id || ' ' || own,
     (SELECT string_agg(id || ' ' || other, E'\x1F') FROM unnest(taken) AS other), id, name)
) AS fact (holds, hazard, is_new, ids, or_by, within, what) WHERE holds
UNION ALL
SELECT 'adds-trigger', true, id, NULL, table_id, names, what FROM trigger WHERE is_table
UNION ALL  -- what fills in values of new rows, or does something else in place of a write
SELECT 'drops', false, concat_ws(E'\x1F', id, made || table_id), NULL, table_id, names, what FROM trigger WHERE fills
UNION ALL
SELECT 'loosens', is_new, format('child %s of %s', child.id, parent.id), NULL,
       concat_ws(E'\x1F', child.id, parent.id), concat_ws(E'\x1F', child.name, parent.name),
       format('the rows of %s without or with those of %s', parent.name, child.name)
FROM pg_inherits JOIN relation child ON child.oid = inhrelid JOIN relation parent ON parent.oid = inhparent,
     (VALUES (true), (false)) AS way (is_new) WHERE NOT child.relispartition
UNION ALL
SELECT 'restricts', NOT polpermissive, id, NULL, secure, names, what FROM policy
UNION ALL
SELECT 'loosens', false, id, NULL, secure, names, what FROM policy WHERE NOT polpermissive
UNION ALL
SELECT hazard, false, concat_ws(' ', alike, word), NULL, alike, stem, word || ' of ' || name
FROM named JOIN pg_proc ON split_part(id, '/', 1) = 'function ' || oid, LATERAL (VALUES
    (prosecdef, 'restricts', 'SECURITY DEFINER'),
    (NOT proisstrict AND pronargs > 0, 'loosens', 'CALLED ON NULL INPUT')
) AS fact (holds, hazard, word) WHERE holds
UNION ALL
SELECT 'drops', false, concat_ws(' ', 'only', stem, n), NULL, min(alike), stem, stem || ' (two fit the call)'
FROM named, split_part(id, '/', 2) AS n WHERE n <> '' GROUP BY stem, n HAVING count(*) = 1
UNION ALL
SELECT 'restricts', true, setting, NULL, NULL, 'SET', setting
FROM pg_db_role_setting JOIN pg_database d ON d.oid = setdatabase, unnest(setconfig) AS setting
WHERE datname = current_database()
  AND setting ~* '^(search_path|role|row_security|session_replication_role|timezone|\w+style|bytea_output'
      '|default_transaction_(isolation|read_only)|default_text_search_config|(statement|transaction)_timeout)=(?!0$)'
)
SELECT concat(hazard, E'\x1E', is_new, E'\x1E', ids, E'\x1E', or_by, E'\x1E', within, E'\x1E', names, E'\x1E', what), ids
FROM fact

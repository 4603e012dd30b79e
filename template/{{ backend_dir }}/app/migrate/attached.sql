-- What goes with a table, a column or a type, and no model says: the statements that make it again.
WITH relation AS (
    SELECT oid AS id, oid::regclass AS name, relname, relkind, relnamespace,
        relnamespace::regnamespace || '.' AS schema, relowner, relacl, relreplident, relispartition,
        relrowsecurity, relforcerowsecurity, reloptions, pg_get_expr(relpartbound, oid) AS bound
    FROM pg_class WHERE relkind IN ('r', 'p', 'S')
      AND relnamespace::regnamespace::text NOT IN ('pg_catalog', 'information_schema')
),
col AS (
    SELECT *, format('ALTER TABLE %s ALTER %I ', name, attname) AS alter, to_jsonb(a) AS said
    FROM relation JOIN pg_attribute a ON attrelid = id AND attnum > 0 AND NOT attisdropped
    WHERE relkind <> 'S'
),
type AS (
    SELECT oid AS id, oid::regtype AS name, typowner, typacl, typnamespace FROM pg_type
    WHERE typtype IN ('e', 'd') AND typnamespace::regnamespace::text NOT IN ('pg_catalog', 'information_schema')
),
item AS (
    SELECT relowner AS owner, CASE relkind WHEN 'S' THEN 'SEQUENCE ' ELSE 'TABLE ' END || name AS name,
        relacl AS acl, CASE relkind WHEN 'S' THEN 's' ELSE 'r' END AS code, relnamespace AS schema
    FROM relation
    UNION ALL SELECT typowner, 'TYPE ' || name, typacl, 'T', typnamespace FROM type
),
granted AS (
    SELECT owner, name, privilege_type AS what, acl.*
    FROM item, aclexplode(coalesce(acl, acldefault(code::"char", owner))) AS acl
    UNION ALL
    SELECT relowner, 'TABLE ' || name, format('%s (%I)', privilege_type, attname), acl.*
    FROM col, aclexplode(attacl) AS acl
),
granted_to_new AS ( -- by ALTER DEFAULT PRIVILEGES, or by the server
    SELECT owner, name, acl.*
    FROM item LEFT JOIN pg_default_acl AS of_all
        ON (defaclrole, defaclnamespace, defaclobjtype) = (owner, 0, replace(code, 's', 'S')::"char"),
    aclexplode(coalesce(defaclacl, acldefault(code::"char", owner))) AS acl
    UNION ALL
    SELECT owner, name, acl.*
    FROM item JOIN pg_default_acl
        ON (defaclrole, defaclnamespace, defaclobjtype) = (owner, schema, replace(code, 's', 'S')::"char"),
    aclexplode(defaclacl) AS acl
)
(SELECT concat_ws(' ', 'CREATE TABLE', name, 'PARTITION OF', inhparent::regclass, bound,
                  'PARTITION BY ' || pg_get_partkeydef(id), 'WITH (' || array_to_string(reloptions, ', ') || ')')
 FROM relation JOIN pg_inherits ON inhrelid = id WHERE relispartition
 ORDER BY (SELECT count(*) FROM pg_partition_ancestors(id)))
UNION ALL SELECT format('ALTER %s OWNER TO %s', name, owner::regrole) FROM item
WHERE code <> 's' AND pg_get_userbyid(owner) <> current_user
UNION ALL -- of a partition alone
SELECT alter || what
FROM col JOIN pg_inherits ON inhrelid = id JOIN pg_attribute p ON (p.attrelid, p.attname) = (inhparent, col.attname)
LEFT JOIN pg_attrdef own ON (own.adrelid, own.adnum) = (id, col.attnum)
LEFT JOIN pg_attrdef parents ON (parents.adrelid, parents.adnum) = (inhparent, p.attnum),
LATERAL (SELECT pg_get_expr(own.adbin, id)) AS x (expression),
LATERAL (VALUES
    (expression IS DISTINCT FROM pg_get_expr(parents.adbin, inhparent), coalesce('SET DEFAULT ' || expression, 'DROP DEFAULT')),
    (col.attnotnull AND NOT p.attnotnull, 'SET NOT NULL')
) AS has (it, what) WHERE it AND relispartition
UNION ALL SELECT format('ALTER TABLE %s ADD CONSTRAINT %I %s', name, conname, pg_get_constraintdef(oid))
FROM pg_constraint JOIN relation ON id = conrelid
WHERE relispartition AND coninhcount = 0 AND conparentid = 0 AND contype <> 'n'
UNION ALL SELECT pg_get_indexdef(indexrelid)
FROM pg_index JOIN relation ON id = indrelid
WHERE relispartition AND indexrelid NOT IN (SELECT inhrelid FROM pg_inherits)
  AND indexrelid NOT IN (SELECT conindid FROM pg_constraint WHERE contype IN ('p', 'u', 'x'))
UNION ALL -- PostgreSQL 18 names what says NOT NULL, and a column that is renamed keeps the name
SELECT CASE WHEN convalidated AND NOT connoinherit
    THEN format('ALTER TABLE %s RENAME CONSTRAINT %I TO %I', name, usual, conname)
    ELSE format('ALTER TABLE %s DROP CONSTRAINT %I, ADD CONSTRAINT %I %s', name, usual, conname,
        pg_get_constraintdef(pg_constraint.oid)) END
FROM pg_constraint JOIN col ON attrelid = conrelid AND attnum = ALL (conkey),
LATERAL (SELECT concat_ws('_', relname, attname, 'not_null')) AS x (usual)
WHERE contype = 'n' AND coninhcount = 0 AND octet_length(usual) < 64
  AND (conname <> usual OR NOT convalidated OR connoinherit)
UNION ALL -- and the sequence of a table or a column that is renamed
SELECT format('ALTER SEQUENCE %s%I RENAME TO %I', schema, usual, relname)
FROM (SELECT s.relname, s.schema, concat_ws('_', col.relname, attname, 'seq') AS usual
    FROM relation s JOIN pg_depend ON classid = 'pg_class'::regclass AND objid = s.id AND deptype IN ('a', 'i')
    JOIN col ON (attrelid, attnum) = (refobjid, refobjsubid)) AS x
WHERE relname <> usual AND octet_length(usual) < 64
UNION ALL SELECT format('ALTER TABLE %s INHERIT %s', name, inhparent::regclass)
FROM relation JOIN pg_inherits ON inhrelid = id WHERE NOT relispartition
UNION ALL SELECT format('ALTER TABLE %s %s', name, what)
FROM relation, LATERAL (VALUES
    (relrowsecurity, 'ENABLE ROW LEVEL SECURITY'), (relforcerowsecurity, 'FORCE ROW LEVEL SECURITY'),
    (relreplident = 'f', 'REPLICA IDENTITY FULL'), (relreplident = 'n' AND relkind <> 'S', 'REPLICA IDENTITY NOTHING')
) AS has (it, what) WHERE it
UNION ALL SELECT format('ALTER TABLE %s %s %I', name, what, c.relname)
FROM relation JOIN pg_index ON indrelid = id JOIN pg_class c ON c.oid = indexrelid, LATERAL (VALUES
    (indisreplident AND relation.relreplident = 'i', 'REPLICA IDENTITY USING INDEX'), (indisclustered, 'CLUSTER ON')
) AS has (it, what) WHERE it
UNION ALL SELECT alter || 'SET ' || what
FROM col JOIN pg_type t ON t.oid = atttypid, LATERAL (VALUES
    (attstorage <> typstorage, 'STORAGE ' || CASE attstorage
        WHEN 'p' THEN 'PLAIN' WHEN 'e' THEN 'EXTERNAL' WHEN 'm' THEN 'MAIN' ELSE 'EXTENDED' END),
    (attcompression <> '', 'COMPRESSION ' || CASE attcompression WHEN 'p' THEN 'pglz' ELSE 'lz4' END),
    ((said ->> 'attstattarget')::int >= 0, 'STATISTICS ' || (said ->> 'attstattarget')),
    (true, '(' || (SELECT string_agg(o, ', ') FROM unnest(attoptions) AS o WHERE o LIKE 'n\_distinct%') || ')')
) AS has (it, what) WHERE it AND what IS NOT NULL
UNION ALL SELECT format('GRANT %s ON %s TO %s', string_agg(what, ', ' ORDER BY what), name, receiver)
FROM granted, LATERAL (SELECT concat(
    CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END,
    CASE WHEN is_grantable THEN ' WITH GRANT OPTION' END)) AS to_whom (receiver)
WHERE grantee <> owner GROUP BY name, receiver
UNION ALL SELECT concat_ws(' ', format('CREATE POLICY %I ON %s AS', polname, name),
    CASE WHEN polpermissive THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END, 'FOR', CASE polcmd
        WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE' WHEN 'd' THEN 'DELETE'
        ELSE 'ALL' END,
    'TO ' || (SELECT string_agg(r::regrole::text, ', ') FROM unnest(polroles) AS r WHERE r > 0),
    'USING (' || pg_get_expr(polqual, polrelid) || ')',
    'WITH CHECK (' || pg_get_expr(polwithcheck, polrelid) || ')')
FROM pg_policy JOIN relation ON id = polrelid
UNION ALL SELECT pg_get_statisticsobjdef(oid) FROM pg_statistic_ext JOIN relation ON id = stxrelid
UNION ALL SELECT format('ALTER STATISTICS %s.%I SET STATISTICS %s', stxnamespace::regnamespace, stxname, target)
FROM pg_statistic_ext s, LATERAL (SELECT (to_jsonb(s) ->> 'stxstattarget')::int) AS x (target) WHERE target >= 0
UNION ALL SELECT pg_get_triggerdef(oid, true) FROM pg_trigger JOIN relation ON id = tgrelid
WHERE NOT tgisinternal AND tgparentid = 0
UNION ALL SELECT pg_get_ruledef(oid, true) FROM pg_rewrite JOIN relation ON id = ev_class
UNION ALL (SELECT format('ALTER TABLE %s %s %s %I', name, CASE enabled
    WHEN 'D' THEN 'DISABLE' WHEN 'A' THEN 'ENABLE ALWAYS' WHEN 'R' THEN 'ENABLE REPLICA' ELSE 'ENABLE' END, what, named)
 FROM relation JOIN (
    SELECT t.tgrelid, 'TRIGGER', t.tgname, t.tgenabled, coalesce(p.tgenabled, 'O') AS otherwise
    FROM pg_trigger t LEFT JOIN pg_trigger p ON p.oid = t.tgparentid WHERE NOT t.tgisinternal
    UNION ALL SELECT ev_class, 'RULE', rulename, ev_enabled, 'O' FROM pg_rewrite
 ) AS x (table_id, what, named, enabled, otherwise) ON table_id = id
 WHERE enabled <> otherwise ORDER BY relispartition)
UNION ALL SELECT concat_ws(' ', format('ALTER PUBLICATION %I ADD TABLE', pubname), name,
    '(' || (
        SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM col
        WHERE attrelid = prrelid AND attnum = ANY (prattrs)) || ')',
    'WHERE (' || pg_get_expr(prqual, prrelid) || ')')
FROM pg_publication_rel JOIN relation ON id = prrelid JOIN pg_publication p ON p.oid = prpubid
UNION ALL -- and those of tables, columns and constraints are the models'
SELECT format('COMMENT ON %s %s IS %L', upper(regexp_replace(type, '^table | object$', '')), identity, description)
FROM pg_description, pg_identify_object(classoid, objoid, objsubid)
WHERE objoid >= 16384 AND classoid <> 'pg_constraint'::regclass
  AND objoid NOT IN (SELECT id FROM relation WHERE relkind <> 'S' AND NOT relispartition)
UNION ALL SELECT format('REVOKE %s ON %s FROM %s', string_agg(privilege_type, ', ' ORDER BY privilege_type), name,
    CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END)
FROM (SELECT name, grantee, privilege_type FROM granted_to_new EXCEPT SELECT name, grantee, what FROM granted) AS x
GROUP BY name, grantee

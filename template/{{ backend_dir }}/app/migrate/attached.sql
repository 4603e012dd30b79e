-- What goes with a table or a column, and no model says: the statements that make it again.
WITH relation AS (
    SELECT oid AS id, oid::regclass AS name, relkind, relowner, relacl, relreplident, relispartition,
        relrowsecurity, relforcerowsecurity, pg_get_expr(relpartbound, oid) AS bound
    FROM pg_class WHERE relkind IN ('r', 'p', 'S')
      AND relnamespace::regnamespace::text NOT IN ('pg_catalog', 'information_schema')
)
(SELECT concat_ws(' ', 'CREATE TABLE', name, 'PARTITION OF', inhparent::regclass, bound,
                  'PARTITION BY ' || pg_get_partkeydef(id))
 FROM relation JOIN pg_inherits ON inhrelid = id WHERE relispartition
 ORDER BY (SELECT count(*) FROM pg_partition_ancestors(id)))
UNION ALL SELECT format('ALTER TABLE %s INHERIT %s', name, inhparent::regclass)
FROM relation JOIN pg_inherits ON inhrelid = id WHERE NOT relispartition
UNION ALL SELECT format('ALTER TABLE %s %s', name, what)
FROM relation, LATERAL (VALUES
    (relrowsecurity, 'ENABLE ROW LEVEL SECURITY'), (relforcerowsecurity, 'FORCE ROW LEVEL SECURITY'),
    (relreplident = 'f', 'REPLICA IDENTITY FULL'), (relreplident = 'n', 'REPLICA IDENTITY NOTHING')
) AS has (it, what) WHERE it
UNION ALL SELECT format('GRANT %s ON %s %s TO %s', string_agg(what, ', ' ORDER BY what),
    CASE relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, name, receiver)
FROM (
    SELECT id, acl.*, privilege_type AS what FROM relation, aclexplode(relacl) AS acl
    UNION ALL SELECT id, acl.*, format('%s (%I)', privilege_type, attname)
    FROM relation JOIN pg_attribute ON attrelid = id, aclexplode(attacl) AS acl
) AS granted JOIN relation USING (id), LATERAL (SELECT concat(
    CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END,
    CASE WHEN is_grantable THEN ' WITH GRANT OPTION' END)) AS to_whom (receiver)
WHERE grantee <> relowner GROUP BY name, relkind, receiver
UNION ALL SELECT concat_ws(' ', format('CREATE POLICY %I ON %s AS', polname, name),
    CASE WHEN polpermissive THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END, 'FOR', CASE polcmd
        WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE' WHEN 'd' THEN 'DELETE'
        ELSE 'ALL' END,
    'TO ' || (SELECT string_agg(r::regrole::text, ', ') FROM unnest(polroles) AS r WHERE r > 0),
    'USING (' || pg_get_expr(polqual, polrelid) || ')',
    'WITH CHECK (' || pg_get_expr(polwithcheck, polrelid) || ')')
FROM pg_policy JOIN relation ON id = polrelid
UNION ALL SELECT pg_get_statisticsobjdef(oid) FROM pg_statistic_ext JOIN relation ON stxrelid = id
UNION ALL SELECT pg_get_triggerdef(oid, true) FROM pg_trigger JOIN relation ON tgrelid = id
WHERE NOT tgisinternal AND tgparentid = 0
UNION ALL SELECT format('ALTER TABLE %s DISABLE TRIGGER %I', name, tgname)
FROM pg_trigger JOIN relation ON tgrelid = id
WHERE NOT tgisinternal AND tgparentid = 0 AND tgenabled = 'D'
UNION ALL SELECT pg_get_ruledef(oid, true) FROM pg_rewrite JOIN relation ON ev_class = id

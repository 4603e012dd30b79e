-- What the transaction has done to each table so far: as one of its own statements sees it.
-- The counters run on from one transaction to the next, until the server sends them off.
SELECT coalesce(c.oid, lock.relation)::bigint, c.oid::regclass::text, nspname || '.' || relname,
       CASE WHEN 'AccessExclusiveLock' = ANY (modes) AND relkind = 'm' THEN 'reads of'
            WHEN 'AccessExclusiveLock' = ANY (modes) THEN 'reads and writes of'
            WHEN modes && '{ShareLock, ShareRowExclusiveLock, ExclusiveLock}' AND relkind <> 'm'
            THEN 'writes to' END,
       modes IS NOT NULL, pg_relation_filenode(c.oid)::bigint,
       coalesce(pg_stat_get_xact_numscans(c.oid), 0),
       coalesce(pg_stat_get_xact_tuples_inserted(c.oid) + pg_stat_get_xact_tuples_updated(c.oid)
                + pg_stat_get_xact_tuples_deleted(c.oid), 0)
FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
FULL JOIN (SELECT relation, array_agg(mode) AS modes FROM pg_locks
           WHERE pid = pg_backend_pid() AND locktype = 'relation' GROUP BY relation) lock
    ON lock.relation = c.oid  -- without one: dropped
WHERE coalesce(c.oid, lock.relation) >= 16384 AND coalesce(relkind, 'r') IN ('r', 'p', 'f', 'm')
  AND (%(among)s::bigint[] IS NULL OR coalesce(c.oid, lock.relation) = ANY (%(among)s::bigint[]::oid[]));

-- The columns of the unique keys of tables.
SELECT array_agg(attname::text) FROM pg_index
JOIN pg_attribute ON attrelid = indexrelid AND attnum <= indnkeyatts
WHERE indisunique AND indrelid = ANY (%s::bigint[]::oid[]) GROUP BY indexrelid

"""SQL that both a migration and the fast path run; no imports, since the fast path has no time."""

HISTORY_TABLE = "alembic_history"  # beside alembic_version; autogenerate leaves both alone

# Advisory locks belong to one database: one key is enough.
LOCK_KEY = int.from_bytes(b"alembic", "big")

# An index that another session is building is invalid too, but not left behind. PostgreSQL does not
# tell an ordinary role which index another role is building: then none is reported. An index on a
# partitioned table is invalid until its last partition has one. A constraint that a later release
# will validate says so: COMMENT ON CONSTRAINT ... IS 'not valid: <reason>'. PostgreSQL 18 never
# validates a constraint that is NOT ENFORCED.
LEFTOVERS = """
SELECT format('index %s is invalid', i.indexrelid::regclass)
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE NOT i.indisvalid AND c.relkind = 'i'
  AND NOT EXISTS (SELECT FROM pg_stat_progress_create_index p WHERE p.datname = current_database()
                  AND coalesce(p.index_relid = i.indexrelid, true))
UNION ALL
SELECT format('constraint %s of %s is not validated', c.conname, c.conrelid::regclass)
FROM pg_constraint c
WHERE NOT c.convalidated AND to_jsonb(c) ->> 'conenforced' IS DISTINCT FROM 'false'
  AND coalesce(obj_description(c.oid, 'pg_constraint'), '') !~* '^not valid:'
"""

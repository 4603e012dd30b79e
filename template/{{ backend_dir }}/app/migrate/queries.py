"""SQL that both the long way and the short one ask; no imports, for the sake of the short one."""

HISTORY_TABLE = "alembic_history"  # beside alembic_version; autogenerate leaves both alone

# The last word on each revision: what was downgraded since is not applied.
APPLIED_TEXTS = f"""
SELECT revision, sha256 FROM (
    SELECT DISTINCT ON (revision) revision, sha256, direction FROM {HISTORY_TABLE}
    ORDER BY revision, id DESC
) last WHERE starts_with(direction, 'upgrade')
"""  # noqa: S608

# An index that is being built by another session is invalid too, but no leftover (which one another
# role builds, nobody says: then all are given the benefit of the doubt); and so is one on
# a partitioned table until its last partition has one. A constraint that a later release will
# validate says so: COMMENT ON CONSTRAINT ... IS 'not valid: <reason>'. What PostgreSQL 18 calls NOT
# ENFORCED is never validated.
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

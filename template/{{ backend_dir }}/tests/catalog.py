"""What the server's catalog says about a schema, as text that can be compared."""

from sqlalchemy import URL

from tests.databases import execute

# Each query: kind, name, definition. Objects of extensions belong to the extension, so they are
# left out, and so is Alembic's own table.
_QUERIES = """
SELECT 'extension', extname::text, n.nspname || ' ' || extversion
FROM pg_extension e JOIN pg_namespace n ON n.oid = extnamespace
;
SELECT 'schema', nspname::text, coalesce(nspacl::text, '') FROM pg_namespace n
WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
;
SELECT 'relation', c.oid::regclass::text,
       concat_ws(' ', c.relkind, c.relpersistence, c.relrowsecurity, c.relforcerowsecurity,
                 c.reloptions, c.relacl, pg_get_partkeydef(c.oid), pg_get_expr(c.relpartbound, c.oid),
                 obj_description(c.oid, 'pg_class'),
                 CASE WHEN c.relkind IN ('v', 'm') THEN pg_get_viewdef(c.oid) END)
FROM pg_class c JOIN ours ON ours.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.relname <> 'alembic_version'
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')
;
SELECT 'column', a.attrelid::regclass || '.' || a.attname,
       concat_ws(' ', row_number() OVER (PARTITION BY a.attrelid ORDER BY a.attnum),
                 format_type(a.atttypid, a.atttypmod), CASE WHEN a.attnotnull THEN 'NOT NULL' END,
                 'DEFAULT ' || pg_get_expr(d.adbin, d.adrelid), 'identity ' || nullif(a.attidentity, ''),
                 'generated ' || nullif(a.attgenerated, ''), (SELECT 'COLLATE ' || collname
                 FROM pg_collation WHERE oid = a.attcollation AND collname <> 'default'),
                 a.attacl, a.attoptions, 'storage ' || a.attstorage, 'statistics ' || a.attstattarget,
                 col_description(a.attrelid, a.attnum))
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN ours ON ours.oid = c.relnamespace
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'c')
  AND c.relname <> 'alembic_version'
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')
;
SELECT 'constraint', c.conrelid::regclass || '.' || c.conname,
       concat_ws(' ', pg_get_constraintdef(c.oid), CASE WHEN NOT c.convalidated THEN 'not validated' END,
                 obj_description(c.oid, 'pg_constraint'))
FROM pg_constraint c JOIN ours ON ours.oid = c.connamespace
WHERE c.conrelid <> 0 AND c.conrelid <> coalesce(to_regclass('alembic_version'), 0)
;
SELECT 'index', i.indexrelid::regclass::text,
       concat_ws(' ', pg_get_indexdef(i.indexrelid), CASE WHEN NOT i.indisvalid THEN 'invalid' END,
                 CASE WHEN i.indisclustered THEN 'clustered' END,
                 CASE WHEN i.indisreplident THEN 'replica identity' END)
FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN ours ON ours.oid = c.relnamespace
WHERE c.relname <> 'alembic_version'
;
SELECT 'sequence', c.oid::regclass::text,
       concat_ws(' ', format_type(s.seqtypid, NULL), s.seqstart, s.seqincrement, s.seqmin, s.seqmax,
                 s.seqcache, s.seqcycle, c.relacl, (SELECT 'owned by ' || d.refobjid::regclass || ' '
                 || d.refobjsubid FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'a'
                 AND d.classid = 'pg_class'::regclass))
FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid JOIN ours ON ours.oid = c.relnamespace
;
SELECT 'type', t.oid::regtype::text,
       concat_ws(' ', t.typtype, t.typnotnull, t.typdefault, format_type(nullif(t.typbasetype, 0), t.typtypmod),
                 (SELECT string_agg(quote_literal(enumlabel), ', ' ORDER BY enumsortorder) FROM pg_enum
                 WHERE enumtypid = t.oid), (SELECT string_agg(conname || ' ' || pg_get_constraintdef(oid),
                 ', ' ORDER BY conname) FROM pg_constraint WHERE contypid = t.oid), t.typacl,
                 obj_description(t.oid, 'pg_type'))
FROM pg_type t JOIN ours ON ours.oid = t.typnamespace
WHERE t.typtype IN ('e', 'd', 'r')
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = t.oid AND d.deptype = 'e')
;
SELECT 'function', p.oid::regprocedure::text,
       concat_ws(' ', CASE WHEN p.prokind = 'a' THEN 'aggregate' ELSE pg_get_functiondef(p.oid) END, p.proacl)
FROM pg_proc p JOIN ours ON ours.oid = p.pronamespace
WHERE NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e')
;
SELECT 'trigger', t.tgrelid::regclass || '.' || t.tgname, pg_get_triggerdef(t.oid) || ' ' || t.tgenabled
FROM pg_trigger t WHERE NOT t.tgisinternal
;
SELECT 'policy', p.polrelid::regclass || '.' || p.polname,
       concat_ws(' ', p.polcmd, p.polpermissive, p.polroles::regrole[]::text, pg_get_expr(p.polqual, p.polrelid),
                 'check ' || pg_get_expr(p.polwithcheck, p.polrelid))
FROM pg_policy p
"""
_OURS = """
WITH ours AS (SELECT oid FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema')
"""


def catalog(url: URL) -> dict[tuple[str, str], str]:
    """Everything in a database: (kind, name) -> definition."""
    union = "\nUNION ALL ".join(f"({query.strip()})" for query in _QUERIES.split("\n;"))
    return {(kind, name): definition for kind, name, definition in execute(url, _OURS + union)}


def difference(before: dict[tuple[str, str], str], after: dict[tuple[str, str], str]) -> list[str]:
    """What is not the same, one line each; empty if all is."""
    lines = []
    for kind, name in sorted(before.keys() | after.keys()):
        old, new = before.get((kind, name)), after.get((kind, name))
        if old is None:
            lines.append(f"left over: {kind} {name}")
        elif new is None:
            lines.append(f"lost: {kind} {name}")
        elif old != new:
            lines.append(f"changed: {kind} {name}: was {old!r}, is {new!r}")
    return lines

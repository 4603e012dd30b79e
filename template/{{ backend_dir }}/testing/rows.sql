-- The tables that may need rows. Partitions are tables of their own here. Partitioned tables first:
-- their rows are those of the partitions.
SELECT c.oid::bigint, c.oid::regclass::text
FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
WHERE relkind IN ('r', 'p') AND nspname !~ '^pg_' AND nspname <> 'information_schema'
  AND relpersistence <> 't' AND relname NOT IN ('alembic_version', 'alembic_history')
  AND NOT EXISTS (SELECT FROM pg_depend
                  WHERE classid = c.tableoid AND objid = c.oid AND deptype = 'e')
ORDER BY relkind, c.oid;

-- What has to be known of those that have none. Bounds of partitions are read like a CHECK.
SELECT json_build_object('name', c.oid::regclass::text, 'partitioned', relkind = 'p',
    'without_partitions', NOT EXISTS (SELECT FROM pg_partition_tree(c.oid) WHERE isleaf),
    'columns', (SELECT json_agg(json_build_object('name', quote_ident(attname),
         'nullable', NOT (attnotnull OR typnotnull), 'type', format_type(atttypid, atttypmod),
         'checks', (SELECT json_agg(pg_get_expr(conbin, conrelid) ORDER BY conname)
                    FROM pg_constraint
                    WHERE conrelid = attrelid AND contype = 'c' AND conkey = ARRAY[attnum]))
         ORDER BY attnum)
     FROM pg_attribute JOIN pg_type t ON t.oid = atttypid
     WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped
       AND concat(attgenerated, attidentity) = ''
       AND NOT EXISTS (SELECT FROM pg_attrdef WHERE (adrelid, adnum) = (attrelid, attnum)
                       AND pg_get_expr(adbin, adrelid) ~ 'nextval')),
    'keys', (SELECT json_agg(json_build_array(confrelid::regclass::text,
         (SELECT json_agg(json_build_array(quote_ident(a.attname), quote_ident(b.attname)))
          FROM unnest(conkey, confkey) AS k (mine, theirs)
          JOIN pg_attribute a ON (a.attrelid, a.attnum) = (conrelid, mine)
          JOIN pg_attribute b ON (b.attrelid, b.attnum) = (confrelid, theirs)))
         ORDER BY cardinality(conkey), conname)  -- the widest last: it has the last word
     FROM pg_constraint k WHERE conrelid = c.oid AND contype = 'f' AND NOT EXISTS (
         SELECT FROM pg_constraint WHERE oid = k.conparentid AND conrelid = c.oid)),
    'names', (SELECT json_agg(attname) FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0),
    'checks', concat_ws(' ', pg_get_partition_constraintdef(c.oid),
        (SELECT string_agg(pg_get_constraintdef(oid), ' ' ORDER BY conname) FROM pg_constraint
         WHERE contype = 'c' AND (conrelid = c.oid OR conrelid = 0 AND contypid IN (SELECT unnest(ARRAY[t.oid, typelem, typbasetype]) FROM pg_attribute
             JOIN pg_type t ON t.oid = atttypid WHERE attrelid = c.oid))),
        (SELECT string_agg(quote_literal(enumlabel), ' ' ORDER BY enumsortorder) FROM pg_enum
         WHERE enumtypid IN (SELECT unnest(ARRAY[t.oid, typelem, typbasetype]) FROM pg_attribute
             JOIN pg_type t ON t.oid = atttypid WHERE attrelid = c.oid))))
FROM pg_class c WHERE c.oid = ANY (%s::oid[]) ORDER BY relkind, c.oid

-- What PostgreSQL says of the tables in some schemas, in its own words: a line for each fact, with
-- the statements that make and drop it, and the columns and indexes that it uses. Without partitions,
-- and without what an extension owns.
-- :found are the schemas, :named what to call them; objects in :short are named without a schema.
WITH schema AS (
    SELECT n.oid, CASE named WHEN :short THEN '' ELSE quote_ident(named) || '.' END AS prefix
    FROM unnest(CAST(:found AS text[]), CAST(:named AS text[])) AS s (found, named)
    JOIN pg_namespace n ON nspname = found
),
owned AS (
    SELECT objid FROM pg_depend
    WHERE deptype = 'e' AND classid\:\:regclass\:\:text IN ('pg_class', 'pg_type')
),
relation AS (
    SELECT c.oid AS id, c.relkind, c.relpersistence, prefix, prefix || quote_ident(c.relname) AS name,
        c.reloptions || ARRAY(SELECT 'toast.' || o FROM unnest(toast.reloptions) AS o) AS reloptions
    FROM pg_class c JOIN schema ON c.relnamespace = schema.oid
    LEFT JOIN pg_class toast ON toast.oid = c.reltoastrelid
    WHERE c.relkind IN ('r', 'p', 'S') AND NOT c.relispartition AND c.oid NOT IN (TABLE owned)
),
enum AS (
    SELECT t.oid AS id, typarray AS array_id, prefix || quote_ident(typname) AS name,
        array_remove(array_agg(quote_literal(enumlabel) ORDER BY enumsortorder), NULL) AS labels,
        prefix || quote_ident('old_' || typname) AS other_name, quote_ident('old_' || typname) AS other
    FROM pg_type t JOIN schema ON typnamespace = schema.oid LEFT JOIN pg_enum ON enumtypid = t.oid
    WHERE typtype = 'e' AND t.oid NOT IN (TABLE owned) GROUP BY t.oid, prefix
),
sequence AS (
    SELECT r.id, r.name, refobjid AS table_id, refobjsubid AS number,
        'AS ' || seqtypid\:\:regtype AS type, concat_ws(' ',
            'INCREMENT BY', seqincrement, 'MINVALUE', seqmin, 'MAXVALUE', seqmax,
            'START WITH', seqstart, 'CACHE', seqcache, CASE WHEN NOT seqcycle THEN 'NO' END, 'CYCLE'
        ) AS options
    FROM relation r JOIN pg_sequence ON seqrelid = r.id
    LEFT JOIN pg_depend ON classid = 'pg_class'\:\:regclass AND objid = r.id
        AND deptype IN ('a', 'i') AND refobjsubid > 0
),
used AS (
    SELECT objid AS id, array_agg(concat(r.name, '.', coalesce(quote_ident(attname), i.relname))) AS uses
    FROM pg_depend LEFT JOIN pg_index ON indexrelid = refobjid
    LEFT JOIN pg_class i ON i.oid = indexrelid
    JOIN relation r ON r.id = coalesce(indrelid, refobjid)
    LEFT JOIN pg_attribute ON attrelid = refobjid AND attnum = refobjsubid AND attnum > 0
    WHERE refclassid = 'pg_class'\:\:regclass AND (refobjsubid > 0 OR indexrelid > 0)
    GROUP BY objid
),
attribute AS (
    SELECT r.name AS relation, quote_ident(attname) AS name, attname, attidentity, attgenerated, uses,
        CASE WHEN attnotnull THEN 'NOT NULL' END AS not_null,
        col_description(r.id, attnum) AS comment, s.name AS sequence, s.type AS sequence_type, s.options,
        format('ALTER TABLE %s ALTER %I ', r.name, attname) AS alter,
        concat_ws(' COLLATE ', format_type(atttypid, atttypmod),
            nullif(attcollation, t.typcollation)\:\:regcollation) AS type, attislocal,
        CASE atttypid WHEN enum.id THEN '\:\:text' WHEN array_id THEN '\:\:text[]' END AS between, enum.name AS enum,
        format_type(atttypid, -1) AS plain_type, pg_get_expr(adbin, adrelid, true) AS expression
    FROM relation r JOIN pg_attribute ON attrelid = r.id AND attnum > 0 AND NOT attisdropped
    JOIN pg_type t ON t.oid = atttypid
    LEFT JOIN enum ON atttypid IN (enum.id, array_id)
    LEFT JOIN pg_attrdef d ON adrelid = r.id AND adnum = attnum
    LEFT JOIN used ON used.id = d.oid
    LEFT JOIN sequence s ON s.table_id = r.id AND s.number = attnum AND (attidentity <> ''
        OR EXISTS (SELECT FROM pg_depend p WHERE (p.objid, p.refobjid) = (d.oid, s.id)))
    WHERE relkind <> 'S' ORDER BY r.id, attnum
),
made_constraint AS (
    SELECT r.name AS relation, conname, contype, uses, definition, comment, is_not_valid,
        format('ALTER TABLE %s ADD CONSTRAINT %I %s', r.name, conname, definition) AS make,
        format('ALTER TABLE %s DROP CONSTRAINT %I', r.name, conname) AS drop,
        format('COMMENT ON CONSTRAINT %I ON %s IS ', conname, r.name) AS say
    FROM relation r JOIN pg_constraint c ON conrelid = r.id,
    LATERAL (SELECT array_agg(it) FROM used, unnest(used.uses) AS it
        WHERE used.id IN (c.oid, CASE contype WHEN 'x' THEN conindid END)) AS u (uses),
    LATERAL (SELECT pg_get_constraintdef(c.oid, true)) AS x (definition),
    LATERAL (SELECT definition LIKE '% NOT VALID') AS y (is_not_valid),
    LATERAL (SELECT obj_description(c.oid, 'pg_constraint')) AS z (comment)
    WHERE contype IN ('c', 'f', 'p', 'u', 'x') AND conparentid = 0 AND conislocal
),
fact (kind, relation, item, definition, make, drop, uses) AS (
    SELECT 'persistence', r.name, '', relpersistence\:\:text, ARRAY[format('ALTER TABLE %s SET %s',
        r.name, CASE relpersistence WHEN 'u' THEN 'UNLOGGED' ELSE 'LOGGED' END)], '{}'\:\:text[], '{}'\:\:text[]
    FROM relation r WHERE relkind = 'r'
    UNION ALL
    SELECT 'partition', r.name, '', 'partitioned by ' || pg_get_partkeydef(r.id), NULL, NULL, NULL
    FROM relation r WHERE relkind = 'p'
    UNION ALL
    SELECT 'inherits', r.name, parent, '', ARRAY[format('ALTER TABLE %s INHERIT %s', r.name, parent)],
        ARRAY[format('ALTER TABLE %s NO INHERIT %s', r.name, parent)], NULL
    FROM relation r JOIN pg_inherits ON inhrelid = r.id LEFT JOIN relation p ON p.id = inhparent,
    LATERAL (SELECT coalesce(p.name, inhparent\:\:regclass\:\:text) AS parent) AS x
    UNION ALL
    SELECT 'tablespace', r.name, item, spcname, ARRAY[alter || quote_ident(spcname)], ARRAY[alter || 'pg_default'], NULL
    FROM pg_class c JOIN pg_tablespace s ON s.oid = c.reltablespace LEFT JOIN pg_index ON indexrelid = c.oid
    JOIN relation r ON r.id = coalesce(indrelid, c.oid),
    LATERAL (SELECT CASE WHEN indexrelid IS NULL THEN '' ELSE c.relname END AS item,
        concat(CASE WHEN indexrelid IS NULL THEN 'ALTER TABLE ' ELSE 'ALTER INDEX ' END, prefix,
            quote_ident(c.relname), ' SET TABLESPACE ') AS alter) AS x
    UNION ALL
    SELECT 'option', r.name, split_part(o, '=', 1), o, ARRAY[format('ALTER TABLE %s SET (%s)', r.name, o)],
        ARRAY[format('ALTER TABLE %s RESET (%s)', r.name, split_part(o, '=', 1))], NULL
    FROM relation r, unnest(reloptions) AS o
    UNION ALL
    SELECT 'enum', name, '', '', ARRAY[format('CREATE TYPE %s AS ENUM (%s)', name, array_to_string(labels, ', '))],
        ARRAY['DROP TYPE ' || name], NULL
    FROM enum
    UNION ALL -- whose make are the labels, and whose drop puts the type aside, and away
    SELECT 'labels', name, '', array_to_string(labels, ', '), labels,
        ARRAY[format('ALTER TYPE %s RENAME TO %s', name, other), 'DROP TYPE ' || other_name], NULL
    FROM enum
    UNION ALL
    SELECT 'sequence', name, '', '', ARRAY[concat_ws(' ', 'CREATE SEQUENCE', name, type, options)],
        ARRAY['DROP SEQUENCE ' || name], NULL
    FROM sequence WHERE table_id IS NULL
    UNION ALL
    SELECT 'numbers', name, '', concat_ws(' ', type, options),
        ARRAY[concat_ws(' ', 'ALTER SEQUENCE', name, type, options)], '{}', NULL
    FROM sequence WHERE table_id IS NULL
    UNION ALL
    SELECT 'domain', prefix || quote_ident(t.typname), '', definition,
        ARRAY[concat_ws(' ', 'CREATE DOMAIN', prefix || quote_ident(t.typname), definition)],
        ARRAY['DROP DOMAIN ' || prefix || quote_ident(t.typname)], NULL
    FROM pg_type t JOIN schema ON typnamespace = schema.oid JOIN pg_type b ON b.oid = t.typbasetype,
    LATERAL (SELECT concat_ws(' ', 'AS', format_type(t.typbasetype, t.typtypmod),
        'COLLATE ' || nullif(t.typcollation, b.typcollation)\:\:regcollation,
        'DEFAULT ' || t.typdefault, (
            SELECT string_agg(format('CONSTRAINT %I %s', conname, pg_get_constraintdef(oid, true)),
                ' ' ORDER BY conname)
            FROM pg_constraint WHERE contypid = t.oid)) AS definition) AS x
    WHERE t.typtype = 'd' AND t.oid NOT IN (TABLE owned)
    UNION ALL
    SELECT 'type', relation, name, CASE WHEN attislocal THEN type ELSE '' END, ARRAY[concat(alter, 'TYPE ', type, ' USING ', name, between, '\:\:',
        plain_type)], '{}', NULL
    FROM attribute
    UNION ALL -- where the labels change, with the default or without; a child's with its parent's
    SELECT 'enum column', relation, name, '', ARRAY[concat_ws(', ', again, 'ALTER ' || name || ' SET DEFAULT ' || expression)],
        ARRAY[again], ARRAY[enum]
    FROM attribute, LATERAL (SELECT concat(alter, 'DROP DEFAULT, ALTER ', name, ' TYPE ', type, ' USING ', name,
        between, '\:\:', plain_type) AS again) AS x
    WHERE enum IS NOT NULL AND attislocal AND attgenerated = ''
    UNION ALL -- of a partition or a child, where its parent has another, which it then gets
    SELECT 'own default', a.attrelid\:\:regclass\:\:text, quote_ident(a.attname), '', ARRAY[
            format('ALTER TABLE %s ALTER %I ', a.attrelid\:\:regclass, a.attname)
            || coalesce('SET DEFAULT ' || expression, 'DROP DEFAULT')], NULL, ARRAY[enum.name, r.name]
    FROM enum JOIN pg_attribute a ON a.atttypid IN (enum.id, array_id) JOIN pg_inherits ON inhrelid = a.attrelid
    JOIN relation r ON r.id = inhparent
    JOIN pg_attribute p ON (p.attrelid, p.attname) = (inhparent, a.attname)
    LEFT JOIN pg_attrdef d ON (d.adrelid, d.adnum) = (a.attrelid, a.attnum)
    LEFT JOIN pg_attrdef o ON (o.adrelid, o.adnum) = (p.attrelid, p.attnum),
    LATERAL (SELECT pg_get_expr(d.adbin, d.adrelid) AS expression) AS x
    WHERE expression IS DISTINCT FROM pg_get_expr(o.adbin, o.adrelid)
    UNION ALL
    SELECT 'generated', relation, name, concat_ws(' ', type, clause), ARRAY[
            concat_ws(' ', 'ALTER TABLE', relation, 'ADD', name, type, clause, not_null),
            format('COMMENT ON COLUMN %s.%s IS ', relation, name) || quote_literal(comment)],
        ARRAY[format('ALTER TABLE %s DROP %s', relation, name)], array_remove(uses || enum, NULL)
    FROM attribute, LATERAL (SELECT format('GENERATED ALWAYS AS (%s) %s', expression,
        CASE attgenerated WHEN 's' THEN 'STORED' ELSE 'VIRTUAL' END) AS clause) AS x
    WHERE attgenerated <> '' AND attislocal
    UNION ALL -- which Alembic compares of all others
    SELECT 'not null', relation, name, not_null, ARRAY[alter || 'SET NOT NULL'],
        ARRAY[alter || 'DROP NOT NULL'], NULL
    FROM attribute WHERE attgenerated <> '' AND attislocal AND not_null IS NOT NULL
    UNION ALL
    SELECT 'default', relation, name, replace(expression, 'CURRENT_TIMESTAMP', 'now()'), ARRAY[alter || 'SET DEFAULT ' || expression],
        ARRAY[alter || 'DROP DEFAULT'], NULL
    FROM attribute WHERE attgenerated = '' AND sequence IS NULL AND expression IS NOT NULL
    UNION ALL
    SELECT 'number', relation, name, attidentity\:\:text, ARRAY[
            CASE WHEN attidentity = '' THEN concat_ws(' ', 'CREATE SEQUENCE', sequence, sequence_type,
                options, format('OWNED BY %s.%s', relation, name)) END,
            CASE attidentity WHEN '' THEN format('%sSET DEFAULT nextval(%L)', alter, sequence) ELSE
                format('%sADD GENERATED %s AS IDENTITY (%s)', alter,
                    CASE attidentity WHEN 'a' THEN 'ALWAYS' ELSE 'BY DEFAULT' END, options) END,
            format('SELECT setval(pg_get_serial_sequence(%L, %L), max(%s)) FROM %s', relation, attname, name, relation)],
        CASE attidentity WHEN '' THEN ARRAY[alter || 'DROP DEFAULT', 'DROP SEQUENCE ' || sequence]
            ELSE ARRAY[alter || 'DROP IDENTITY'] END, NULL
    FROM attribute WHERE sequence IS NOT NULL
    UNION ALL
    SELECT 'numbers', relation, name, concat_ws(' ', sequence_type, options),
        ARRAY[concat_ws(' ', 'ALTER SEQUENCE', sequence, sequence_type, options)], '{}', NULL
    FROM attribute WHERE sequence IS NOT NULL
    UNION ALL
    SELECT CASE contype WHEN 'f' THEN 'foreign key' ELSE 'constraint' END, relation, conname,
        regexp_replace(definition, ' NOT VALID$', ''), ARRAY[make, say || quote_literal(
            coalesce(comment, CASE WHEN is_not_valid THEN 'not valid: to be validated later' END))], ARRAY[drop], uses
    FROM made_constraint
    UNION ALL
    SELECT 'comment', relation, conname, comment, ARRAY[say || quote_literal(comment)], ARRAY[say || 'NULL'], NULL
    FROM made_constraint WHERE comment IS NOT NULL
    UNION ALL -- and no comment accepts it
    SELECT 'not valid', relation, conname, '', ARRAY[drop, make],
        ARRAY[format('ALTER TABLE %s VALIDATE CONSTRAINT %I', relation, conname)], NULL
    FROM made_constraint WHERE is_not_valid AND coalesce(comment, '') NOT LIKE 'not valid:%'
    UNION ALL
    SELECT 'index', r.name, i.relname, concat(CASE WHEN NOT indisvalid THEN 'invalid: ' END, definition), ARRAY[definition], ARRAY[format('DROP INDEX %s%I', prefix, i.relname)], uses
    FROM relation r JOIN pg_index ON indrelid = r.id JOIN pg_class i ON i.oid = indexrelid
    LEFT JOIN used ON used.id = indexrelid, LATERAL ( -- for the partitions too
        SELECT regexp_replace(pg_get_indexdef(indexrelid, 0, true), ' ON ONLY ', ' ON ') AS definition) AS x
    WHERE NOT EXISTS (
        SELECT FROM pg_constraint WHERE conindid = indexrelid AND contype IN ('p', 'u', 'x'))
)
SELECT kind, relation, item, definition, array_remove(make, NULL), drop, uses FROM fact

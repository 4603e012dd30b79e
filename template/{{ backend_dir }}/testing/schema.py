"""The schema of a database, read from the server's catalog, as text that can be compared.

As complete as `pg_dump --schema-only`, in one round trip. Left out: what belongs to an extension or
to the system (but for changed privileges), temporary objects, Alembic's own tables, subscriptions,
large objects, and the values of sequences.
"""

import re
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager

from sqlalchemy import URL

from testing.databases import connect, execute

Catalog = dict[tuple[str, str], str]

# With this search path the server writes names in `public` short, and all others with their schema.
# A definition has several lines, so that a change can show those that differ. Rare kinds are rows
# of the catalog as JSON, without the columns of OIDs. Options of user mappings may hold a password:
# only a hash of them is read.
_QUERY = r"""
SET search_path = public;
SET jit = off;
-- the schemas, with what stands before a name in them
WITH ours AS (
    SELECT oid, CASE WHEN nspname <> 'public' THEN quote_ident(nspname) || '.' ELSE '' END AS prefix
    FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
),
-- what belongs to an extension
member AS (
    SELECT classid, objid FROM pg_depend WHERE deptype = 'e'
),
-- security labels and ALTER ... DEPENDS ON EXTENSION
note AS MATERIALIZED (
    SELECT classoid, objoid, objsubid, format('label %s %s', provider, label) AS line
    FROM pg_seclabel
    UNION ALL
    SELECT classid, objid, objsubid, 'depends on extension ' || quote_ident(extname)
    FROM pg_depend JOIN pg_extension e ON e.oid = refobjid WHERE deptype = 'x'
),
-- all that has columns, and sequences
relation AS (
    SELECT c.*, c.tableoid, prefix || quote_ident(relname) AS name
    FROM pg_class c JOIN ours ON ours.oid = relnamespace
    WHERE relkind IN ('r', 'p', 'f', 'v', 'm', 'c', 'S')
      AND relname NOT IN ('alembic_version', 'alembic_history', 'alembic_history_id_seq')
      AND (c.tableoid, c.oid) NOT IN (SELECT * FROM member)
      AND (relkind <> 'c' OR ('pg_type'::regclass, reltype) NOT IN (SELECT * FROM member))
),
-- part: the number of a column; usual_acl: the privileges that an object has from the start
object (kind, class, id, part, name, definition, options, owner, usual_acl, acl) AS MATERIALIZED (
    -- schemas
    SELECT 'schema', tableoid, oid, 0, quote_ident(nspname), NULL, NULL::text[], nspowner,
           acldefault('n', nspowner), nspacl
    FROM pg_namespace WHERE oid IN (SELECT oid FROM ours)
    UNION ALL
    -- extensions
    SELECT 'extension', tableoid, oid, 0, quote_ident(extname),
           concat_ws(E'\n', 'version ' || extversion, 'schema ' || extnamespace::regnamespace),
           NULL, extowner, NULL, NULL
    FROM pg_extension
    UNION ALL
    -- tables, partitioned and foreign ones, views, materialized views
    SELECT 'relation', c.tableoid, c.oid, 0, name, concat_ws(E'\n',
               CASE relpersistence WHEN 'u' THEN 'unlogged' END,
               CASE relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'partitioned table'
                   WHEN 'f' THEN 'foreign table' WHEN 'v' THEN 'view' ELSE 'materialized view' END,
               'of type ' || nullif(reloftype, 0)::regtype,
               'partition by ' || pg_get_partkeydef(c.oid), pg_get_expr(relpartbound, c.oid),
               (SELECT string_agg('child of ' || inhparent::regclass
                    || CASE WHEN inhdetachpending THEN ', detach pending' ELSE '' END,
                    E'\n' ORDER BY inhseqno)
                FROM pg_inherits WHERE inhrelid = c.oid),
               'server ' || quote_ident(srvname),
               'access method ' || quote_ident(amname), 'tablespace ' || quote_ident(spcname),
               CASE WHEN relrowsecurity THEN 'row security' END,
               CASE WHEN relforcerowsecurity THEN 'row security for the owner too' END,
               'replica identity ' || CASE relreplident WHEN 'f' THEN 'full'
                   WHEN 'n' THEN 'nothing' WHEN 'i' THEN 'index' END,
               CASE WHEN NOT relispopulated THEN 'not populated' END,
               CASE WHEN relkind IN ('v', 'm') THEN pg_get_viewdef(c.oid) END),
           reloptions || ftoptions || (SELECT array_agg('toast.' || option)
               FROM pg_class t, unnest(t.reloptions) AS option WHERE t.oid = c.reltoastrelid),
           relowner, acldefault('r', relowner), relacl
    FROM relation c
    LEFT JOIN pg_am am ON am.oid = relam
    LEFT JOIN pg_tablespace s ON s.oid = reltablespace
    LEFT JOIN pg_foreign_table ON ftrelid = c.oid
    LEFT JOIN pg_foreign_server f ON f.oid = ftserver
    WHERE relkind NOT IN ('c', 'S')
    UNION ALL
    -- the order of the columns, of composite types too
    SELECT 'column order', 0, 0, 0, name,
           (SELECT string_agg(quote_ident(attname), E'\n' ORDER BY attnum) FROM pg_attribute
            WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped),
           NULL, NULL, NULL, NULL
    FROM relation c WHERE relkind <> 'S'
    UNION ALL
    -- columns
    SELECT 'column', c.tableoid, c.oid, attnum, name || '.' || quote_ident(attname),
           concat_ws(E'\n',
               format_type(atttypid, atttypmod),
               CASE WHEN attcollation <> typcollation
                   THEN 'collate ' || attcollation::regcollation END,
               CASE WHEN attnotnull THEN 'not null' END,
               CASE attgenerated WHEN '' THEN 'default ' WHEN 's' THEN 'generated, stored: '
                   ELSE 'generated, virtual: ' END || pg_get_expr(adbin, adrelid),
               CASE attidentity WHEN 'a' THEN 'identity always'
                   WHEN 'd' THEN 'identity by default' END,
               CASE WHEN attinhcount > 0 THEN 'inherited' END,
               CASE WHEN NOT attislocal THEN 'not of its own' END,
               'storage ' || CASE WHEN attstorage <> typstorage THEN attstorage::text END,
               'compression ' || nullif(attcompression, '')::text,
               'statistics ' || nullif(attstattarget, -1)),
           -- Debian's 17.12 keeps a version of its own there, which pg_dump does not show
           (SELECT array_agg(option) FROM unnest(attoptions || attfdwoptions) AS option
            WHERE NOT starts_with(option, 'pg_attver=')), NULL, NULL, attacl
    FROM relation c JOIN pg_attribute a ON attrelid = c.oid JOIN pg_type t ON t.oid = atttypid
    LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
    WHERE attnum > 0 AND NOT attisdropped AND relkind <> 'S'
    UNION ALL
    -- constraints; those of domains stand with the domain
    SELECT 'constraint', c.tableoid, c.oid, 0, name || '.' || quote_ident(conname),
           concat_ws(E'\n', pg_get_constraintdef(c.oid),
               CASE WHEN EXISTS (SELECT FROM pg_trigger WHERE tgconstraint = c.oid
                   AND tgisinternal AND tgenabled <> 'O') THEN 'its triggers are disabled' END,
               CASE WHEN coninhcount > 0 THEN 'inherited' END,
               CASE WHEN NOT conislocal THEN 'not of its own' END),
           NULL, NULL, NULL, NULL
    FROM relation r JOIN pg_constraint c ON conrelid = r.oid
    UNION ALL
    -- indexes
    SELECT 'index', c.tableoid, c.oid, 0, name || '.' || quote_ident(c.relname), concat_ws(E'\n',
               pg_get_indexdef(c.oid),
               CASE WHEN NOT indisvalid THEN 'invalid' END,
               CASE WHEN NOT indisready THEN 'not ready' END,
               CASE WHEN indisclustered THEN 'clustered on' END,
               CASE WHEN indisreplident THEN 'replica identity' END,
               'tablespace ' || quote_ident(spcname),
               (SELECT 'part of ' || inhparent::regclass FROM pg_inherits WHERE inhrelid = c.oid),
               (SELECT string_agg(format('statistics %s of column %s', attstattarget, attnum), E'\n'
                    ORDER BY attnum)
                FROM pg_attribute WHERE attrelid = c.oid AND attstattarget >= 0)),
           NULL, NULL, NULL, NULL
    FROM relation r JOIN pg_index ON indrelid = r.oid JOIN pg_class c ON c.oid = indexrelid
    LEFT JOIN pg_tablespace s ON s.oid = c.reltablespace
    UNION ALL
    -- extended statistics
    SELECT 'statistics', s.tableoid, s.oid, 0, prefix || quote_ident(stxname),
           concat_ws(E'\n', pg_get_statisticsobjdef(s.oid),
               'target ' || nullif(stxstattarget, -1)),
           NULL, stxowner, NULL, NULL
    FROM pg_statistic_ext s JOIN ours ON ours.oid = stxnamespace
    UNION ALL
    -- triggers
    SELECT 'trigger', t.tableoid, t.oid, 0, name || '.' || quote_ident(tgname),
           concat_ws(E'\n', pg_get_triggerdef(t.oid), 'enabled ' || tgenabled::text,
               CASE WHEN tgparentid <> 0 THEN 'part of the parent''s' END),
           NULL, NULL, NULL, NULL
    FROM relation r JOIN pg_trigger t ON tgrelid = r.oid WHERE NOT tgisinternal
    UNION ALL
    -- rules, but for those that make the views
    SELECT 'rule', w.tableoid, w.oid, 0, name || '.' || quote_ident(rulename),
           concat_ws(E'\n', pg_get_ruledef(w.oid), 'enabled ' || ev_enabled::text),
           NULL, NULL, NULL, NULL
    FROM relation r JOIN pg_rewrite w ON ev_class = r.oid WHERE rulename <> '_RETURN'
    UNION ALL
    -- policies
    SELECT 'policy', p.tableoid, p.oid, 0, name || '.' || quote_ident(polname), concat_ws(E'\n',
               CASE WHEN polpermissive THEN 'permissive' ELSE 'restrictive' END,
               'for ' || CASE polcmd WHEN 'r' THEN 'select' WHEN 'a' THEN 'insert'
                   WHEN 'w' THEN 'update' WHEN 'd' THEN 'delete' ELSE 'all' END,
               (SELECT 'to ' || string_agg(CASE role WHEN 0 THEN 'PUBLIC' ELSE role::regrole::text
                    END, ', ' ORDER BY role::regrole::text) FROM unnest(polroles) AS role),
               'using ' || pg_get_expr(polqual, polrelid),
               'with check ' || pg_get_expr(polwithcheck, polrelid)),
           NULL, NULL, NULL, NULL
    FROM relation r JOIN pg_policy p ON polrelid = r.oid
    UNION ALL
    -- sequences
    SELECT 'sequence', c.tableoid, c.oid, 0, name, concat_ws(E'\n',
               CASE relpersistence WHEN 'u' THEN 'unlogged' END, format_type(seqtypid, NULL),
               'start ' || seqstart, 'increment ' || seqincrement, 'minimum ' || seqmin,
               'maximum ' || seqmax, 'cache ' || seqcache, CASE WHEN seqcycle THEN 'cycle' END,
               (SELECT format('%s %s.%I', CASE deptype WHEN 'a' THEN 'owned by' ELSE 'identity of'
                    END, refobjid::regclass, attname)
                FROM pg_depend JOIN pg_attribute ON attrelid = refobjid AND attnum = refobjsubid
                WHERE classid = c.tableoid AND objid = c.oid AND deptype IN ('a', 'i'))),
           NULL, relowner, acldefault('s', relowner), relacl
    FROM relation c JOIN pg_sequence ON seqrelid = c.oid
    UNION ALL
    -- enums, domains, ranges, composite and base types
    SELECT 'type', t.tableoid, t.oid, 0, t.oid::regtype::text, concat_ws(E'\n',
               CASE typtype WHEN 'e' THEN 'enum' WHEN 'c' THEN 'composite' WHEN 'p' THEN 'shell'
                   WHEN 'd' THEN 'domain ' || format_type(typbasetype, typtypmod)
                   WHEN 'r' THEN (SELECT concat_ws(E'\n', 'range of ' || rngsubtype::regtype,
                            pg_describe_object('pg_opclass'::regclass, rngsubopc, 0),
                            'collate ' || rngcollation::regcollation, 'canonical ' || rngcanonical,
                            'difference ' || rngsubdiff, 'multirange ' || rngmultitypid::regtype)
                        FROM pg_range WHERE rngtypid = t.oid)
                   ELSE jsonb_pretty(jsonb_build_object('typelem', typelem::regtype,
                       'collation', typcollation::regcollation) || to_jsonb(t) - '{oid,typname,
                       typnamespace,typowner,typrelid,typelem,typarray,typbasetype,typcollation,
                       typdefaultbin,typacl}'::text[]) END,
               (SELECT string_agg(quote_literal(enumlabel), ', ' ORDER BY enumsortorder)
                FROM pg_enum WHERE enumtypid = t.oid),
               CASE WHEN typtype = 'd' THEN concat_ws(E'\n',
                   'collate ' || nullif(typcollation, 0)::regcollation,
                   CASE WHEN typnotnull THEN 'not null' END, 'default ' || typdefault,
                   (SELECT string_agg(concat_ws(' ', 'constraint', quote_ident(conname),
                        pg_get_constraintdef(oid), obj_description(oid, 'pg_constraint')), E'\n'
                        ORDER BY conname) FROM pg_constraint WHERE contypid = t.oid)) END),
           NULL, typowner, acldefault('T', typowner), typacl
    FROM pg_type t JOIN ours ON ours.oid = typnamespace
    WHERE typtype <> 'm' AND NOT EXISTS (SELECT FROM pg_type WHERE typarray = t.oid)
      AND (typrelid = 0 OR typrelid IN (SELECT oid FROM relation WHERE relkind = 'c'))
    UNION ALL
    -- collations
    SELECT 'collation', c.tableoid, c.oid, 0, c.oid::regcollation::text,
           jsonb_pretty(to_jsonb(c) - '{oid,collname,collnamespace,collowner}'::text[]),
           NULL, collowner, NULL, NULL
    FROM pg_collation c JOIN ours ON ours.oid = collnamespace
    UNION ALL
    -- functions, procedures and aggregates, but for the constructors of ranges
    SELECT CASE prokind WHEN 'a' THEN 'aggregate' WHEN 'p' THEN 'procedure' ELSE 'function' END,
           p.tableoid, p.oid, 0, p.oid::regprocedure::text,
           CASE WHEN prokind <> 'a' THEN pg_get_functiondef(p.oid) ELSE concat_ws(E'\n',
               'aggregate', pg_get_function_arguments(p.oid), pg_get_function_result(p.oid),
               'parallel ' || proparallel::text, 'state ' || aggtranstype::regtype,
               'moving state ' || aggmtranstype::regtype, 'sort ' || aggsortop::regoperator,
               jsonb_pretty(to_jsonb(a) - '{aggfnoid,aggtranstype,aggmtranstype,
                   aggsortop}'::text[])) END,
           NULL, proowner, acldefault('f', proowner), proacl
    FROM pg_proc p JOIN ours ON ours.oid = pronamespace LEFT JOIN pg_aggregate a ON aggfnoid = p.oid
    WHERE pronamespace <> 'pg_catalog'::regnamespace
      AND prosrc !~ '^(multi)?range_constructor\d$'
      AND (p.tableoid, p.oid) NOT IN (SELECT * FROM member)
    UNION ALL
    -- operators
    SELECT 'operator', o.tableoid, o.oid, 0, o.oid::regoperator::text,
           concat_ws(E'\n', 'returns ' || oprresult::regtype, 'commutator ' || oprcom::regoperator,
               'negator ' || oprnegate::regoperator,
               jsonb_pretty(to_jsonb(o) - '{oid,oprname,oprnamespace,oprowner,oprleft,oprright,
                   oprresult,oprcom,oprnegate}'::text[])),
           NULL, oprowner, NULL, NULL
    FROM pg_operator o JOIN ours ON ours.oid = oprnamespace
    UNION ALL
    -- operator families
    SELECT 'operator family', f.tableoid, f.oid, 0,
           format('%s%I using %I', prefix, opfname, amname),
           (SELECT string_agg(item, E'\n' ORDER BY item) FROM (
                SELECT concat_ws(' ', pg_describe_object(tableoid, oid, 0), amoppurpose,
                       pg_describe_object(f.tableoid, nullif(amopsortfamily, 0), 0)) AS item
                FROM pg_amop WHERE amopfamily = f.oid
                UNION ALL
                SELECT pg_describe_object(tableoid, oid, 0) FROM pg_amproc
                WHERE amprocfamily = f.oid) AS items),
           NULL, opfowner, NULL, NULL
    FROM pg_opfamily f JOIN ours ON ours.oid = opfnamespace JOIN pg_am am ON am.oid = opfmethod
    UNION ALL
    -- operator classes
    SELECT 'operator class', o.tableoid, o.oid, 0,
           format('%s%I using %I', prefix, opcname, amname),
           concat_ws(E'\n', 'for ' || opcintype::regtype, CASE WHEN opcdefault THEN 'default' END,
               'stores ' || opckeytype::regtype,
               pg_describe_object('pg_opfamily'::regclass, opcfamily, 0)),
           NULL, opcowner, NULL, NULL
    FROM pg_opclass o JOIN ours ON ours.oid = opcnamespace JOIN pg_am am ON am.oid = opcmethod
    UNION ALL
    -- casts, but for those of ranges to their multiranges
    SELECT 'cast', tableoid, oid, 0, format('%s as %s', castsource::regtype, casttarget::regtype),
           concat_ws(E'\n', castfunc::regprocedure, 'context ' || castcontext::text,
               'method ' || castmethod::text),
           NULL, NULL, NULL, NULL
    FROM pg_cast c WHERE oid >= 16384 AND NOT EXISTS (SELECT FROM pg_depend
        WHERE classid = c.tableoid AND objid = c.oid AND deptype = 'i')
    UNION ALL
    -- event triggers
    SELECT 'event trigger', tableoid, oid, 0, quote_ident(evtname),
           concat_ws(E'\n', 'on ' || evtevent, 'for ' || evttags::text, evtfoid::regprocedure,
               'enabled ' || evtenabled::text),
           NULL, evtowner, NULL, NULL
    FROM pg_event_trigger
    UNION ALL
    -- default privileges
    SELECT 'default privileges', 0, 0, 0, concat_ws(' ', 'of', defaclrole::regrole, 'for',
               CASE defaclobjtype WHEN 'r' THEN 'tables' WHEN 'S' THEN 'sequences'
                   WHEN 'f' THEN 'functions' WHEN 'T' THEN 'types' WHEN 'n' THEN 'schemas'
                   ELSE 'large objects' END,
               'in ' || nullif(defaclnamespace, 0)::regnamespace),
           NULL, NULL, NULL,
           CASE WHEN defaclnamespace = 0
               THEN acldefault(translate(defaclobjtype::text, 'S', 's')::"char", defaclrole) END,
           defaclacl
    FROM pg_default_acl
    UNION ALL
    -- publications
    SELECT 'publication', p.tableoid, p.oid, 0, quote_ident(pubname), concat_ws(E'\n',
               jsonb_pretty(to_jsonb(p) - '{oid,pubname,pubowner}'::text[]),
               (SELECT string_agg(concat_ws(' ', 'table', prrelid::regclass,
                    (SELECT format('(%s)', string_agg(quote_ident(attname), ', ' ORDER BY attnum))
                     FROM pg_attribute WHERE attrelid = prrelid AND attnum = ANY (prattrs)
                     HAVING count(*) > 0),
                    'where ' || pg_get_expr(prqual, prrelid)), E'\n'
                    ORDER BY prrelid::regclass::text)
                FROM pg_publication_rel WHERE prpubid = p.oid),
               (SELECT string_agg('schema ' || pnnspid::regnamespace, E'\n'
                    ORDER BY pnnspid::regnamespace::text)
                FROM pg_publication_namespace WHERE pnpubid = p.oid)),
           NULL, pubowner, NULL, NULL
    FROM pg_publication p
    UNION ALL
    -- foreign data wrappers, servers, user mappings
    SELECT 'foreign data wrapper', tableoid, oid, 0, quote_ident(fdwname),
           concat_ws(E'\n', 'handler ' || fdwhandler::regprocedure,
               'validator ' || fdwvalidator::regprocedure),
           fdwoptions, fdwowner, acldefault('F', fdwowner), fdwacl
    FROM pg_foreign_data_wrapper
    UNION ALL
    SELECT 'server', s.tableoid, s.oid, 0, quote_ident(srvname),
           concat_ws(E'\n', 'wrapper ' || quote_ident(fdwname), 'type ' || srvtype,
               'version ' || srvversion),
           srvoptions, srvowner, acldefault('S', srvowner), srvacl
    FROM pg_foreign_server s JOIN pg_foreign_data_wrapper f ON f.oid = srvfdw
    UNION ALL
    SELECT 'user mapping', 'pg_user_mapping'::regclass, umid, 0,
           format('%I on %I', usename, srvname),
           'hash of its options ' || hashtext(umoptions::text), NULL, NULL, NULL, NULL
    FROM pg_user_mappings
    UNION ALL
    -- text search
    SELECT 'text search configuration', c.tableoid, c.oid, 0, c.oid::regconfig::text,
           concat_ws(E'\n', pg_describe_object('pg_ts_parser'::regclass, cfgparser, 0),
               (SELECT string_agg(concat_ws(' ', alias, 'by', mapdict::regdictionary), E'\n'
                    ORDER BY alias, mapseqno)
                FROM pg_ts_config_map JOIN ts_token_type(cfgparser) ON tokid = maptokentype
                WHERE mapcfg = c.oid)),
           NULL, cfgowner, NULL, NULL
    FROM pg_ts_config c JOIN ours ON ours.oid = cfgnamespace
    UNION ALL
    SELECT 'text search dictionary', d.tableoid, d.oid, 0, d.oid::regdictionary::text,
           concat_ws(E'\n', pg_describe_object('pg_ts_template'::regclass, dicttemplate, 0),
               dictinitoption),
           NULL, dictowner, NULL, NULL
    FROM pg_ts_dict d JOIN ours ON ours.oid = dictnamespace
    UNION ALL
    SELECT 'text search parser', p.tableoid, p.oid, 0, prefix || quote_ident(prsname),
           jsonb_pretty(to_jsonb(p) - '{oid,prsname,prsnamespace}'::text[]), NULL, NULL, NULL, NULL
    FROM pg_ts_parser p JOIN ours ON ours.oid = prsnamespace
    UNION ALL
    SELECT 'text search template', t.tableoid, t.oid, 0, prefix || quote_ident(tmplname),
           jsonb_pretty(to_jsonb(t) - '{oid,tmplname,tmplnamespace}'::text[]),
           NULL, NULL, NULL, NULL
    FROM pg_ts_template t JOIN ours ON ours.oid = tmplnamespace
    UNION ALL
    -- languages, transforms, conversions, access methods
    SELECT 'language', tableoid, oid, 0, quote_ident(lanname),
           concat_ws(E'\n', CASE WHEN lanpltrusted THEN 'trusted' END,
               'handler ' || lanplcallfoid::regprocedure, 'inline ' || laninline::regprocedure,
               'validator ' || lanvalidator::regprocedure),
           NULL, lanowner, acldefault('l', lanowner), lanacl
    FROM pg_language WHERE oid >= 16384
    UNION ALL
    SELECT 'transform', t.tableoid, t.oid, 0, format('for %s in %I', trftype::regtype, lanname),
           format(E'from %s\nto %s', trffromsql, trftosql), NULL, NULL, NULL, NULL
    FROM pg_transform t JOIN pg_language l ON l.oid = trflang
    UNION ALL
    SELECT 'conversion', c.tableoid, c.oid, 0, prefix || quote_ident(conname),
           jsonb_pretty(to_jsonb(c) - '{oid,conname,connamespace,conowner}'::text[]),
           NULL, conowner, NULL, NULL
    FROM pg_conversion c JOIN ours ON ours.oid = connamespace
    UNION ALL
    SELECT 'access method', a.tableoid, oid, 0, quote_ident(amname),
           format('%s %s', amtype, amhandler), NULL, NULL, NULL, NULL
    FROM pg_am a WHERE oid >= 16384
    UNION ALL
    -- ALTER DATABASE ... SET
    SELECT 'settings', 0, 0, 0, 'of ' || CASE setrole WHEN 0 THEN 'the database'
               ELSE setrole::regrole || ' in the database' END,
           NULL, setconfig, NULL, NULL, NULL
    FROM pg_db_role_setting JOIN pg_database d ON d.oid = setdatabase
    WHERE datname = current_database()
    UNION ALL
    -- changed privileges on what belongs to the system or to an extension
    SELECT 'privileges', 0, 0, 0, 'of ' || pg_describe_object(class, id, part), NULL, NULL, NULL,
           coalesce(initprivs, usual), acl
    FROM (
        SELECT tableoid, oid, 0, pronamespace, acldefault('f', proowner), proacl FROM pg_proc
        UNION ALL
        SELECT tableoid, oid, 0, relnamespace, acldefault(CASE relkind WHEN 'S' THEN 's'
                   ELSE 'r' END::"char", relowner), relacl FROM pg_class
        UNION ALL
        SELECT c.tableoid, c.oid, attnum, relnamespace, acldefault('c', relowner), attacl
        FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
        UNION ALL
        SELECT tableoid, oid, 0, typnamespace, acldefault('T', typowner), typacl FROM pg_type
        UNION ALL
        SELECT tableoid, oid, 0, oid, acldefault('n', nspowner), nspacl FROM pg_namespace
        UNION ALL
        SELECT tableoid, oid, 0, NULL, acldefault('F', fdwowner), fdwacl
        FROM pg_foreign_data_wrapper
        UNION ALL
        SELECT tableoid, oid, 0, 'pg_catalog'::regnamespace, acldefault('l', lanowner), lanacl
        FROM pg_language WHERE oid < 16384
    ) AS granted (class, id, part, namespace, usual, acl)
    LEFT JOIN pg_init_privs ON objoid = id AND classoid = class AND objsubid = part
    WHERE acl IS NOT NULL
      AND (namespace = 'pg_catalog'::regnamespace OR (class, id) IN (SELECT * FROM member))
      AND NOT (acl <@ coalesce(initprivs, usual) AND acl @> coalesce(initprivs, usual))
)
SELECT kind, name, concat_ws(E'\n',
           definition,
           CASE WHEN options IS NOT NULL THEN (
               SELECT 'options ' || string_agg(option, ', ' ORDER BY option)
               FROM unnest(options) AS option) END,
           'owner ' || owner::regrole,
           CASE WHEN acl IS NOT NULL THEN (
               SELECT string_agg(item, E'\n' ORDER BY item) FROM (
                   SELECT format('%s %s%s to %s by %s',
                          CASE WHEN sum(n) > 0 THEN 'granted' ELSE 'not granted' END,
                          privilege_type, CASE WHEN is_grantable THEN ' with grant option' END,
                          CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END,
                          grantor::regrole) AS item
                   FROM (SELECT 1 AS n, * FROM aclexplode(acl)
                         UNION ALL SELECT -1, * FROM aclexplode(usual_acl)) AS privilege
                   GROUP BY grantor, grantee, privilege_type, is_grantable HAVING sum(n) <> 0
               ) AS items) END,
           (SELECT 'comment ' || description FROM pg_description
            WHERE objoid = id AND classoid = class AND objsubid = part),
           (SELECT string_agg(line, E'\n' ORDER BY line) FROM note
            WHERE objoid = id AND classoid = class AND objsubid = part))
FROM object WHERE (class, id) NOT IN (SELECT * FROM member)
"""
_PARTS = {"column", "column order", "constraint", "index", "policy", "rule", "trigger"}


def catalog(url: URL) -> Catalog:
    """Everything in a database: (kind, name) -> definition."""
    return {(kind, name): definition for kind, name, definition in execute(url, _QUERY)}


@contextmanager
def catalog_reader(url: URL) -> Generator[Callable[[], Catalog]]:
    """Reads the same again and again: over one connection and with one plan, ten times as fast."""
    settings, _, query = _QUERY.partition("WITH ours")
    with closing(connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute(f"{settings} SET plan_cache_mode = force_generic_plan")
        cursor.execute(f"PREPARE catalog AS WITH ours{query}")

        def read() -> Catalog:
            cursor.execute("EXECUTE catalog")
            return {(kind, name): definition for kind, name, definition in cursor.fetchall()}

        yield read


def difference(before: Catalog, after: Catalog) -> list[str]:
    """What is not the same, one line each; empty if all is."""
    lines = []
    whole = {name for kind, name in before.keys() ^ after.keys() if kind in ("relation", "type")}
    for kind, name in sorted(before.keys() | after.keys()):
        old, new = before.get((kind, name)), after.get((kind, name))
        if old == new or (kind in _PARTS and whole & {name, name.rpartition(".")[0]}):
            continue
        if old is None:
            lines.append(f"left over: {kind} {name}")
        elif new is None:
            lines.append(f"lost: {kind} {name}")
        elif change := _change(kind, old, new):
            lines.append(f"changed: {kind} {name}: {change}")
    return lines


def _change(kind: str, old: str, new: str) -> str:
    """The lines that are not in both."""
    was = [line.strip(" ,") for line in old.splitlines() if line not in new.splitlines()]
    now = [line.strip(" ,") for line in new.splitlines() if line not in old.splitlines()]
    if kind == "column order" and (was or now):
        return ""  # columns came or went, which has lines of its own
    if not was and not now:  # only their order
        was, now = old.splitlines(), new.splitlines()
    return f"{', '.join(was) or 'nothing'} -> {', '.join(now) or 'nothing'}"


def tables(catalog: Catalog) -> set[str]:
    """The tables that hold rows of their own or of their partitions."""
    is_table = re.compile(r"(?m)^(partitioned )?table$")
    is_partition = re.compile(r"(?m)^(DEFAULT$|FOR VALUES)")
    return {
        name
        for (kind, name), it in catalog.items()
        if kind == "relation" and is_table.search(it) and not is_partition.search(it)
    }

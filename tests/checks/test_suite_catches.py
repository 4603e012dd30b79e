"""The rendered project's suite, over planted defects and over good revisions.

Each defect is a revision of one long history, with objects of its own; the suite has to fail for
each, and name the object. Good revisions, as many, have to pass. The score is printed by class.
"""
# ruff: noqa: E501, S608 (a case is easier to compare on one line; its SQL is ours)

import json
import re
import subprocess
import sys
import textwrap
from collections import Counter
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import URL

from tests._kit.forks import forks
from tests._kit.revision import write_revision
from tests._kit.support import environment
from tests.conftest import Project, Render, git

pytestmark = pytest.mark.server


@dataclass
class Case:
    """One revision: what has to be there, what it does, and the words that a report must have."""

    kind: str
    setup: str
    up: str
    down: str
    expect: str = ""
    declares: str = ""


def body(code: str) -> str:
    """A function's body: Python as it is, SQL in op.execute."""
    code = textwrap.dedent(code).strip()
    if not code:
        return "pass"
    if code.startswith(("op.", "with ", "bind = ", "t = ", "if ")):
        return code
    return f"op.execute(sa.text({code.replace(':', chr(92) + ':')!r}))"


def revision(name: str, down: object, case: Case, depends_on: object = None) -> str:
    """The text of a revision's file."""
    return f'''"""Planted: {case.kind}."""

import sqlalchemy as sa
from alembic import context, op

revision = {name!r}
down_revision = {down!r}
branch_labels = None
depends_on = {depends_on!r}
{case.declares}


def upgrade() -> None:
{textwrap.indent(body(case.up), "    ")}


def downgrade() -> None:
{textwrap.indent(body(case.down), "    ")}
'''


def write(project: Project, cases: dict[str, Case]) -> None:
    """One long history: first all that the cases need, then each case."""
    versions = project.backend / "alembic" / "versions"
    statements = [case.setup.strip() for case in cases.values() if case.setup.strip()]
    setup = "\n".join(
        f"op.execute(sa.text({statement.replace(':', chr(92) + ':')!r}))"
        for statement in statements
    )
    first = Case("what the others need", "", setup, "", "")
    (versions / "20270101_0000_setup_setup.py").write_text(revision("setup", "baseline", first))
    before = "setup"
    for number, (name, case) in enumerate(cases.items()):
        name_of_file = f"20270102_{number // 60:02}{number % 60:02}_{name}_planted.py"
        (versions / name_of_file).write_text(revision(name, before, case))
        before = name


def reports(output: str) -> dict[str, str]:
    """What pytest printed about each subtest that failed, by its name."""
    parts = re.split(r"(?m)^_+ \S.* \[(\w+)\] _+$", output)
    texts: dict[str, str] = {}
    for name, text in zip(parts[1::2], parts[2::2], strict=True):
        ended = re.split(r"(?m)^(?:_+ .* _+|=+ .* =+)$", text)[0]
        texts[name] = texts.get(name, "") + ended
    return texts


def suite(project: Project, server: URL, *words: str) -> tuple[int, str]:
    """Run the project's own tests on our server."""
    given = environment(TEST_DATABASE_URL=server.render_as_string(hide_password=False))
    options = ["-q", "-p", "no:cacheprovider"]
    done = forks().run("pytest", [*options, *words], project.backend, given)
    return done.returncode, done.stdout + done.stderr


def numbered(prefix: str, cases: list[Case]) -> dict[str, Case]:
    """Each with a name that is its own, which @ stands for."""
    named = {}
    for number, case in enumerate(cases):
        name = f"{prefix}{number:02}"
        fields = (case.setup, case.up, case.down, case.expect, case.declares)
        named[name] = Case(case.kind, *(field.replace("@", name) for field in fields))
    return named


T = "CREATE TABLE @ (id int PRIMARY KEY, a text, b int)"
BROKEN = numbered("d", [
    Case("enum left", T, "CREATE TYPE mood_@ AS ENUM ('x'); ALTER TABLE @ ADD m mood_@", "ALTER TABLE @ DROP m", "left over: type mood_@"),
    Case("enum left", "", "op.create_table('@', sa.Column('m', sa.Enum('x', 'y', name='mood_@')))", "op.drop_table('@')", "left over: type mood_@"),
    Case("enum value left", "CREATE TYPE e_@ AS ENUM ('x'); CREATE TABLE @ (m e_@)", "ALTER TYPE e_@ ADD VALUE 'y'", "", "e_@"),
    Case("function left", "", "CREATE FUNCTION f_@() RETURNS int LANGUAGE sql AS 'SELECT 1'", "", "left over: function f_@"),
    Case("function not restored", "CREATE FUNCTION f_@() RETURNS int LANGUAGE sql AS 'SELECT 1'", "CREATE OR REPLACE FUNCTION f_@() RETURNS int LANGUAGE sql AS 'SELECT 2'", "", "changed: function f_@"),
    Case("aggregate left", "", "CREATE AGGREGATE g_@(int) (sfunc = int4pl, stype = int)", "", "left over: aggregate g_@"),
    Case("default not restored", "CREATE TABLE @ (a int DEFAULT 1)", "op.alter_column('@', 'a', server_default='2')", "op.alter_column('@', 'a', server_default=None)", "column @.a"),
    Case("default not restored", T, "op.alter_column('@', 'a', server_default='x')", "", "column @.a"),
    Case("not null not restored", T, "op.alter_column('@', 'b', server_default='0'); op.execute(\"UPDATE @ SET b = 0 WHERE b IS NULL\"); op.alter_column('@', 'b', nullable=False)", "op.alter_column('@', 'b', server_default=None)", "column @.b"),
    Case("privilege not revoked", T, "GRANT SELECT ON @ TO PUBLIC", "", "relation @"),
    Case("privilege not revoked", T, "GRANT UPDATE (a) ON @ TO PUBLIC", "REVOKE SELECT ON @ FROM PUBLIC", "column @.a"),
    Case("privilege not restored", "CREATE FUNCTION f_@() RETURNS int LANGUAGE sql AS 'SELECT 1'", "REVOKE EXECUTE ON FUNCTION f_@() FROM PUBLIC", "", "function f_@"),
    Case("default privileges left", "CREATE SCHEMA s_@", "ALTER DEFAULT PRIVILEGES IN SCHEMA s_@ GRANT SELECT ON TABLES TO PUBLIC", "", "s_@"),
    Case("trigger left", T, "CREATE FUNCTION f_@() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; CREATE TRIGGER t_@ BEFORE INSERT ON @ FOR EACH ROW EXECUTE FUNCTION f_@()", "", "trigger @.t_@"),
    Case("trigger left disabled", T + "; CREATE FUNCTION f_@() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; CREATE TRIGGER t_@ BEFORE INSERT ON @ FOR EACH ROW EXECUTE FUNCTION f_@()", "ALTER TABLE @ DISABLE TRIGGER t_@", "", "trigger @.t_@"),
    Case("storage parameter", T, "ALTER TABLE @ SET (fillfactor = 70)", "", "relation @"),
    Case("storage parameter", T, "ALTER TABLE @ SET (autovacuum_enabled = off)", "ALTER TABLE @ SET (autovacuum_enabled = on)", "relation @"),
    Case("partial index", T + "; CREATE INDEX i_@ ON @ (b) WHERE a IS NULL", "op.drop_index('i_@')", "op.create_index('i_@', '@', ['b'])", "index @.i_@"),
    Case("index not restored", T + "; CREATE INDEX i_@ ON @ (b)", "op.drop_index('i_@')", "", "lost: index @.i_@"),
    Case("index not restored", T + "; CREATE UNIQUE INDEX i_@ ON @ (b)", "op.drop_index('i_@')", "op.create_index('i_@', '@', ['b'])", "index @.i_@"),
    Case("index left", T, "op.create_index('i_@', '@', ['b'])", "", "left over: index @.i_@"),
    Case("row security", T, "ALTER TABLE @ ENABLE ROW LEVEL SECURITY", "", "relation @"),
    Case("row security", T + "; ALTER TABLE @ ENABLE ROW LEVEL SECURITY", "CREATE POLICY p_@ ON @ USING (b > 0)", "", "policy @.p_@"),
    Case("comment", T, "COMMENT ON TABLE @ IS 'new'", "", "relation @"),
    Case("comment", T + "; COMMENT ON COLUMN @.a IS 'old'", "op.alter_column('@', 'a', comment='new')", "op.alter_column('@', 'a', comment=None)", "column @.a"),
    Case("sequence", "", "CREATE SEQUENCE s_@", "", "left over: sequence s_@"),
    Case("sequence", "CREATE SEQUENCE s_@", "ALTER SEQUENCE s_@ INCREMENT 10", "", "sequence s_@"),
    Case("sequence", "CREATE TABLE @ (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY)", "ALTER TABLE @ ALTER id DROP IDENTITY", "ALTER TABLE @ ALTER id ADD GENERATED ALWAYS AS IDENTITY", "@_id_seq"),
    Case("identity", "CREATE TABLE @ (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY)", "ALTER TABLE @ ALTER id SET GENERATED BY DEFAULT", "", "column @.id"),
    Case("generated column", "CREATE TABLE @ (a int, b int GENERATED ALWAYS AS (a * 2) STORED)", "ALTER TABLE @ DROP b", "ALTER TABLE @ ADD b int", "column @.b"),
    Case("data destroyed", T, "UPDATE @ SET a = 'x'", "", "@: "),
    Case("data destroyed", T, "ALTER TABLE @ ADD c int", "ALTER TABLE @ DROP c; DELETE FROM @", "@: "),
    Case("data destroyed", T, "op.drop_column('@', 'a')", "op.add_column('@', sa.Column('a', sa.Text()))", "a was"),
    Case("data destroyed", T, "op.drop_table('@')", "CREATE TABLE @ (id int PRIMARY KEY, a text, b int)", "@: "),
    Case("data destroyed", "CREATE TABLE @ (a varchar(9))", "ALTER TABLE @ ALTER a TYPE text", "ALTER TABLE @ ALTER a TYPE varchar(9) USING left(a, 2)", "a was"),
    Case("data destroyed", "CREATE TABLE @ (a numeric(8, 2))", "ALTER TABLE @ ALTER a TYPE int USING 0", "ALTER TABLE @ ALTER a TYPE numeric(8, 2)", "a was"),
    Case("data destroyed", T, "bind = op.get_bind()\nfor (i,) in bind.execute(sa.text('SELECT id FROM @')).all() if bind else ():\n    bind.execute(sa.text('UPDATE @ SET b = 7 WHERE id = :i'), {'i': i})", "", "b was"),
    Case("data destroyed", "CREATE TABLE @ (a int PRIMARY KEY); CREATE TABLE more_@ (b int REFERENCES @ ON DELETE CASCADE)", "ALTER TABLE @ ADD c int", "DELETE FROM @ WHERE a > 1; ALTER TABLE @ DROP c", "more_@: "),
    Case("data destroyed, new rows", "CREATE TABLE @ (a boolean)", "ALTER TABLE @ ALTER a TYPE int USING a::int", "ALTER TABLE @ ALTER a TYPE boolean USING a::boolean", "@: "),
    Case("constraint validity", T + "; ALTER TABLE @ ADD CONSTRAINT c_@ CHECK (b > 0) NOT VALID; COMMENT ON CONSTRAINT c_@ ON @ IS 'not valid: later'", "ALTER TABLE @ VALIDATE CONSTRAINT c_@", "", "constraint @.c_@"),
    Case("constraint validity", T + "; ALTER TABLE @ ADD CONSTRAINT c_@ CHECK (b > 0)", "ALTER TABLE @ DROP CONSTRAINT c_@", "ALTER TABLE @ ADD CONSTRAINT c_@ CHECK (b > 0) NOT VALID", "constraint @.c_@"),
    Case("deferrability", T + "; ALTER TABLE @ ADD CONSTRAINT u_@ UNIQUE (b) DEFERRABLE", "op.drop_constraint('u_@', '@')", "op.create_unique_constraint('u_@', '@', ['b'])", "constraint @.u_@"),
    Case("foreign key's action", T + "; CREATE TABLE r_@ (b int CONSTRAINT k_@ REFERENCES @ ON DELETE CASCADE)", "op.drop_constraint('k_@', 'r_@')", "op.create_foreign_key('k_@', 'r_@', '@', ['b'], ['id'])", "constraint r_@.k_@"),
    Case("check not restored", T + "; ALTER TABLE @ ADD CONSTRAINT c_@ CHECK (b > 0)", "op.drop_constraint('c_@', '@')", "", "lost: constraint @.c_@"),
    Case("exclusion not restored", "CREATE TABLE @ (r int4range, CONSTRAINT x_@ EXCLUDE USING gist (r WITH &&))", "op.drop_constraint('x_@', '@')", "", "lost: constraint @.x_@"),
    Case("column order", T, "ALTER TABLE @ ADD c int", "ALTER TABLE @ RENAME TO old; CREATE TABLE @ (id int CONSTRAINT n_@ PRIMARY KEY, b int, a text); INSERT INTO @ SELECT id, b, a FROM old; DROP TABLE old; ALTER TABLE @ RENAME CONSTRAINT n_@ TO @_pkey", "column order @"),
    Case("type narrowing", "CREATE TABLE @ (a int)", "ALTER TABLE @ ALTER a TYPE bigint", "ALTER TABLE @ ALTER a TYPE smallint", "column @.a"),
    Case("type narrowing", "CREATE TABLE @ (a varchar(100))", "op.alter_column('@', 'a', type_=sa.Text())", "op.alter_column('@', 'a', type_=sa.String(50))", "column @.a"),
    Case("type narrowing", "CREATE TABLE @ (a timestamptz)", "ALTER TABLE @ ALTER a TYPE date", "ALTER TABLE @ ALTER a TYPE timestamp", "column @.a"),
    Case("collation", 'CREATE TABLE @ (a text COLLATE "C")', "ALTER TABLE @ ALTER a TYPE text", "ALTER TABLE @ ALTER a TYPE varchar; ALTER TABLE @ ALTER a TYPE text", "column @.a"),
    Case("extension left", "", "CREATE EXTENSION hstore", "", "left over: extension hstore"),
    Case("schema left", "", "CREATE SCHEMA s_@", "", "left over: schema s_@"),
    Case("domain left", "", "CREATE DOMAIN t_@ AS int CHECK (VALUE > 0)", "", "left over: type t_@"),
    Case("domain changed", "CREATE DOMAIN t_@ AS int", "ALTER DOMAIN t_@ ADD CONSTRAINT c_@ CHECK (VALUE > 0)", "", "type t_@"),
    Case("composite type", "CREATE TYPE t_@ AS (a int)", "ALTER TYPE t_@ ADD ATTRIBUTE b int", "", "t_@"),
    Case("range type left", "", "CREATE TYPE t_@ AS RANGE (subtype = time)", "", "type t_@"),
    Case("view left", T, "CREATE VIEW v_@ AS SELECT a FROM @", "", "left over: relation v_@"),
    Case("view not restored", T + "; CREATE VIEW v_@ AS SELECT a FROM @", "CREATE OR REPLACE VIEW v_@ AS SELECT a FROM @ WHERE b > 0", "", "relation v_@"),
    Case("view lost", T + "; CREATE VIEW v_@ AS SELECT a FROM @", "DROP VIEW v_@", "", "lost: relation v_@"),
    Case("materialized view's index", T + "; CREATE MATERIALIZED VIEW v_@ AS SELECT a FROM @; CREATE INDEX i_@ ON v_@ (a)", "DROP MATERIALIZED VIEW v_@", "CREATE MATERIALIZED VIEW v_@ AS SELECT a FROM @", "index v_@.i_@"),
    Case("publication left", T, "CREATE PUBLICATION p_@ FOR TABLE @", "", "left over: publication p_@"),
    Case("statistics left", T, "CREATE STATISTICS s_@ ON a, b FROM @", "", "s_@"),
    Case("column statistics", T, "ALTER TABLE @ ALTER a SET STATISTICS 500", "", "column @.a"),
    Case("column storage", T, "ALTER TABLE @ ALTER a SET STORAGE EXTERNAL", "", "column @.a"),
    Case("replica identity", T, "ALTER TABLE @ REPLICA IDENTITY FULL", "", "relation @"),
    Case("unlogged", T, "ALTER TABLE @ SET UNLOGGED", "", "relation @"),
    Case("partition left", "CREATE TABLE @ (a int) PARTITION BY LIST (a); CREATE TABLE @_1 PARTITION OF @ FOR VALUES IN (1)", "CREATE TABLE @_2 PARTITION OF @ FOR VALUES IN (2)", "", "left over: relation @_2"),
    Case("partition not attached", "CREATE TABLE @ (a int) PARTITION BY LIST (a); CREATE TABLE @_1 PARTITION OF @ FOR VALUES IN (1)", "ALTER TABLE @ DETACH PARTITION @_1", "", "relation @_1"),
    Case("inheritance", T + "; CREATE TABLE c_@ () INHERITS (@)", "ALTER TABLE c_@ NO INHERIT @", "", "c_@"),
    Case("rule left", T, "CREATE RULE r_@ AS ON DELETE TO @ WHERE OLD.id = 0 DO INSTEAD NOTHING", "", "rule @.r_@"),
    Case("table left", "", "op.create_table('@', sa.Column('id', sa.Integer(), primary_key=True))", "", "left over: relation @"),
    Case("column left", T, "op.add_column('@', sa.Column('c', sa.Integer()))", "", "left over: column @.c"),
    Case("not renamed back", T, "op.alter_column('@', 'a', new_column_name='aa')", "", "column @.a"),
    Case("not renamed back", T, "op.rename_table('@', 'new_@')", "", "relation new_@"),
    Case("not renamed back", T + "; CREATE INDEX i_@ ON @ (a)", "ALTER INDEX i_@ RENAME TO j_@", "", "index @.j_@"),
    Case("not moved back", T + "; CREATE SCHEMA s_@", "ALTER TABLE @ SET SCHEMA s_@", "", "relation s_@.@"),
    Case("collation object left", "", "CREATE COLLATION c_@ FROM \"C\"", "", "collation c_@"),
    Case("text search left", "", "CREATE TEXT SEARCH CONFIGURATION c_@ (COPY = simple)", "", "c_@"),
    Case("foreign server left", "", "CREATE FOREIGN DATA WRAPPER w_@; CREATE SERVER s_@ FOREIGN DATA WRAPPER w_@", "DROP SERVER s_@", "w_@"),
    Case("event trigger left", "CREATE FUNCTION f_@() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'", "CREATE EVENT TRIGGER t_@ ON sql_drop EXECUTE FUNCTION f_@()", "", "event trigger t_@"),
    Case("cast left", "CREATE TYPE t_@ AS (a int)", "CREATE CAST (t_@ AS text) WITH INOUT", "", "t_@ as text"),
    Case("clustered", T, "ALTER TABLE @ CLUSTER ON @_pkey", "", "@_pkey"),
    Case("downgrade fails", T, "ALTER TABLE @ ADD c int", "op.drop_column('@', 'd')", 'column "d"'),
    Case("downgrade fails", "", "CREATE TABLE @ (id int PRIMARY KEY); CREATE TABLE r_@ (i int REFERENCES @)", "op.drop_table('@')\nop.drop_table('r_@')", "@"),
    Case("downgrade fails", "", "op.create_table('@', sa.Column('id', sa.Integer()))", "op.drop_constraint(None, '@')", "_planted.py:"),
    Case("downgrade fails on rows", "CREATE TABLE @ (id int, a text NOT NULL)", "op.drop_column('@', 'a')", "op.add_column('@', sa.Column('a', sa.Text(), nullable=False))", '"a" of relation "@"', 'data_loss = "all of a"'),
    Case("upgrade fails on rows", T, "op.add_column('@', sa.Column('c', sa.Text(), nullable=False))", "op.drop_column('@', 'c')", 'give c a value'),
    Case("upgrade fails on rows", T, "ALTER TABLE @ ADD c int DEFAULT 1 UNIQUE", "ALTER TABLE @ DROP c", "give c a value"),
    Case("second upgrade differs", T, "op.execute(\"DO $$ BEGIN IF to_regclass('memo_@') IS NULL THEN CREATE SEQUENCE memo_@; ALTER TABLE @ ADD c int; ELSE ALTER TABLE @ ADD d int; END IF; END $$\")", "ALTER TABLE @ DROP IF EXISTS c, DROP IF EXISTS d", "memo_@"),
    Case("autocommit not repeatable", T, "with op.get_context().autocommit_block():\n    op.create_index('i_@', '@', ['a'], postgresql_concurrently=True)", "op.drop_index('i_@')", "i_@"),
    Case("autocommit not repeatable", "CREATE TYPE e_@ AS ENUM ('x'); CREATE TABLE @ (m e_@)", "op.add_column('@', sa.Column('c', sa.Integer()))\nwith op.get_context().autocommit_block():\n    op.execute('CREATE INDEX CONCURRENTLY IF NOT EXISTS i_@ ON @ (c)')", "op.drop_column('@', 'c')", '"c" of relation "@"'),
    Case("autocommit does harm twice", "CREATE TABLE @ (a text, b int)", "with op.get_context().autocommit_block():\n    op.execute(\"INSERT INTO @ VALUES ('seed', 1)\")", "DELETE FROM @ WHERE a = 'seed'", "seed"),
    Case("data_loss without a loss", "", "op.create_table('@', sa.Column('id', sa.Integer()))", "op.drop_table('@')", "nothing is lost", 'data_loss = "nothing"'),
    Case("data_loss without a reason", T, "op.drop_column('@', 'a')", "op.add_column('@', sa.Column('a', sa.Text()))", "is a reason", "data_loss = True"),
])  # fmt: skip


BACKFILL = """\
t = sa.table("@", sa.column("id"), sa.column("a"))
batch = sa.select(t.c.id).where(t.c.a.is_(None)).limit(2)
with op.get_context().autocommit_block():
    while op.get_bind().execute(sa.update(t).where(t.c.id.in_(batch)).values(a="x")).rowcount:
        pass"""
F = "CREATE FUNCTION f_@() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.at = now(); RETURN NEW; END'"
GOOD = numbered("g", [
    Case("table", "", "op.create_table('@', sa.Column('id', sa.Integer(), primary_key=True), sa.Column('a', sa.String(9), nullable=False, unique=True))\nop.create_index('i_@', '@', ['a'])", "op.drop_index('i_@')\nop.drop_table('@')"),
    Case("table dropped", T, "op.drop_table('@')", "CREATE TABLE @ (id int PRIMARY KEY, a text, b int)", "", 'data_loss = "nobody reads it"'),
    Case("column added", T, "op.add_column('@', sa.Column('c', sa.Integer()))", "op.drop_column('@', 'c')"),
    Case("column added", T, "op.add_column('@', sa.Column('c', sa.Integer(), server_default='1', nullable=False))", "op.drop_column('@', 'c')"),
    Case("column added", T, "op.add_column('@', sa.Column('c', sa.Text()))\nop.execute('UPDATE @ SET c = a || b')\nop.execute(\"UPDATE @ SET c = '' WHERE c IS NULL\")\nop.alter_column('@', 'c', nullable=False)", "op.drop_column('@', 'c')"),
    Case("column dropped", T, "op.drop_column('@', 'a')", "op.add_column('@', sa.Column('a', sa.Text()))", "", 'data_loss = "nobody reads it"'),
    Case("column dropped", "CREATE TABLE @ (a int, b int NOT NULL, c int)", "op.drop_column('@', 'b')", "op.add_column('@', sa.Column('b', sa.Integer(), server_default='0', nullable=False))\nop.alter_column('@', 'b', server_default=None)", "", 'data_loss: str = "b"'),
    Case("renamed", T, "op.alter_column('@', 'a', new_column_name='aa')", "op.alter_column('@', 'aa', new_column_name='a')"),
    Case("renamed", "CREATE TABLE @ (id serial PRIMARY KEY, a text)", "op.rename_table('@', 'new_@')", "op.rename_table('new_@', '@')"),
    Case("renamed", T + "; CREATE INDEX i_@ ON @ (a)", "ALTER INDEX i_@ RENAME TO j_@", "ALTER INDEX j_@ RENAME TO i_@"),
    Case("renamed", "CREATE TYPE e_@ AS ENUM ('a', 'b'); CREATE TABLE @ (e e_@)", "ALTER TYPE e_@ RENAME VALUE 'b' TO 'c'", "ALTER TYPE e_@ RENAME VALUE 'c' TO 'b'"),
    Case("type widened", "CREATE TABLE @ (id int PRIMARY KEY)", "ALTER TABLE @ ALTER id TYPE bigint", "ALTER TABLE @ ALTER id TYPE int"),
    Case("type widened", "CREATE TABLE @ (a varchar(5))", "op.alter_column('@', 'a', type_=sa.Text())", "op.alter_column('@', 'a', type_=sa.String(5))"),
    Case("type changed", "CREATE TABLE @ (a int, b int)", "ALTER TABLE @ ALTER a TYPE text USING a::text", "ALTER TABLE @ ALTER a TYPE int USING a::int"),
    Case("type changed", "CREATE TABLE @ (a text)", "ALTER TABLE @ ALTER a TYPE int USING a::int", "ALTER TABLE @ ALTER a TYPE text"),
    Case("type changed by copy", "CREATE TABLE @ (a int, b text)", "ALTER TABLE @ ADD n bigint; UPDATE @ SET n = a; ALTER TABLE @ DROP a; ALTER TABLE @ RENAME n TO a", "ALTER TABLE @ ADD n int; UPDATE @ SET n = a; ALTER TABLE @ DROP a; ALTER TABLE @ RENAME n TO a"),
    Case("unique", T, "op.create_unique_constraint('u_@', '@', ['a'])", "op.drop_constraint('u_@', '@')"),
    Case("unique", "CREATE TABLE @ (a boolean)", "op.create_unique_constraint('u_@', '@', ['a'])", "op.drop_constraint('u_@', '@')"),
    Case("check", T, "ALTER TABLE @ ADD CONSTRAINT c_@ CHECK (b > 0) NOT VALID; ALTER TABLE @ VALIDATE CONSTRAINT c_@", "ALTER TABLE @ DROP CONSTRAINT c_@"),
    Case("check", T, "ALTER TABLE @ ADD CONSTRAINT c_@ CHECK (b > 1000)", "ALTER TABLE @ DROP CONSTRAINT c_@"),
    Case("check", T + "; ALTER TABLE @ ADD CONSTRAINT c_@ CHECK (b > 0)", "ALTER TABLE @ DROP CONSTRAINT c_@", "ALTER TABLE @ ADD CONSTRAINT c_@ CHECK (b > 0)"),
    Case("foreign key", "CREATE TABLE @ (id int PRIMARY KEY); CREATE TABLE r_@ (i int)", "ALTER TABLE r_@ ADD CONSTRAINT k_@ FOREIGN KEY (i) REFERENCES @ NOT VALID; ALTER TABLE r_@ VALIDATE CONSTRAINT k_@", "op.drop_constraint('k_@', 'r_@')"),
    Case("foreign key", "CREATE TABLE @ (id int PRIMARY KEY, p int)", "op.create_foreign_key('k_@', '@', '@', ['p'], ['id'], deferrable=True)", "op.drop_constraint('k_@', '@')"),
    Case("exclusion", "CREATE TABLE @ (r int4range)", "op.create_exclude_constraint('x_@', '@', ('r', '&&'))", "op.drop_constraint('x_@', '@')"),
    Case("not null", T, "op.alter_column('@', 'a', nullable=False)", "op.alter_column('@', 'a', nullable=True)"),
    Case("not null", "CREATE TABLE @ (a text NOT NULL)", "op.alter_column('@', 'a', nullable=True)", "op.alter_column('@', 'a', nullable=False)"),
    Case("not null", T, "op.create_check_constraint(op.f('n_@'), '@', 'a IS NOT NULL', postgresql_not_valid=True)\nop.execute('ALTER TABLE @ VALIDATE CONSTRAINT n_@')\nop.alter_column('@', 'a', nullable=False)\nop.drop_constraint(op.f('n_@'), '@')", "op.alter_column('@', 'a', nullable=True)"),
    Case("not null", "CREATE TABLE @ (a text NOT NULL, b int)", "op.alter_column('@', 'a', new_column_name='aa')\nop.alter_column('@', 'aa', nullable=True)", "op.alter_column('@', 'aa', nullable=False)\nop.alter_column('@', 'aa', new_column_name='a')"),
    Case("default", "CREATE TABLE @ (a int DEFAULT 1)", "op.alter_column('@', 'a', server_default='2')", "op.alter_column('@', 'a', server_default='1')"),
    Case("index concurrently", T, "with op.get_context().autocommit_block():\n    op.drop_index('i_@', if_exists=True, postgresql_concurrently=True)\n    op.create_index('i_@', '@', ['a'], postgresql_concurrently=True)", "with op.get_context().autocommit_block():\n    op.drop_index('i_@', postgresql_concurrently=True)"),
    Case("index concurrently", T + "; CREATE INDEX i_@ ON @ (a)", "with op.get_context().autocommit_block():\n    op.execute('DROP INDEX CONCURRENTLY IF EXISTS i_@')", "with op.get_context().autocommit_block():\n    op.execute('CREATE INDEX CONCURRENTLY i_@ ON @ (a)')"),
    Case("index concurrently", T, "with op.get_context().autocommit_block():\n    op.execute('CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS i_@ ON @ (a)')\nop.execute('ALTER TABLE @ ADD CONSTRAINT i_@ UNIQUE USING INDEX i_@')", "op.drop_constraint('i_@', '@')"),
    Case("data migration", T, BACKFILL, ""),
    Case("data migration", T, "UPDATE @ SET a = 'none' WHERE a IS NULL", ""),
    Case("data migration", "CREATE TABLE @ (n numeric(12, 2))", "UPDATE @ SET n = n * 100", "UPDATE @ SET n = n / 100"),
    Case("data migration", "CREATE TABLE @ (id serial PRIMARY KEY, a text UNIQUE)", "INSERT INTO @ (a) VALUES ('admin'), ('guest')", "DELETE FROM @ WHERE a IN ('admin', 'guest')"),
    Case("data migration", "CREATE TABLE @ (id serial PRIMARY KEY, a text UNIQUE)", "t = sa.table('@', sa.column('a'))\nop.bulk_insert(t, [{'a': 'x:y'}, {'a': '100%'}])", "op.execute(sa.text(\"DELETE FROM @ WHERE a IN ('x\\\\:y', '100%')\"))"),
    Case("data migration", "CREATE TABLE @ (a text, at timestamptz DEFAULT now()); " + F + "; CREATE TRIGGER t_@ BEFORE UPDATE ON @ FOR EACH ROW EXECUTE FUNCTION f_@()", "ALTER TABLE @ ADD c text; UPDATE @ SET c = a", "ALTER TABLE @ DROP c"),
    Case("data migration", T, "UPDATE @ SET a = 'x'", "", "", 'data_loss = "names, on request"'),
    Case("columns moved", T, "CREATE TABLE m_@ (id int PRIMARY KEY REFERENCES @, b int); INSERT INTO m_@ SELECT id, b FROM @; ALTER TABLE @ DROP b", "ALTER TABLE @ ADD b int; UPDATE @ SET b = m.b FROM m_@ m WHERE m.id = @.id; DROP TABLE m_@"),
    Case("enum", T, "CREATE TYPE e_@ AS ENUM ('x', 'y'); ALTER TABLE @ ADD e e_@", "ALTER TABLE @ DROP e; DROP TYPE e_@"),
    Case("enum", "", "op.create_table('@', sa.Column('m', sa.Enum('x', 'y', name='e_@')))", "op.drop_table('@')\nop.execute('DROP TYPE e_@')"),
    Case("enum", "CREATE TYPE e_@ AS ENUM ('x'); CREATE TABLE @ (m e_@)", "ALTER TYPE e_@ ADD VALUE 'y'", "ALTER TYPE e_@ RENAME TO old_@; CREATE TYPE e_@ AS ENUM ('x'); ALTER TABLE @ ALTER m TYPE e_@ USING m::text::e_@; DROP TYPE old_@"),
    Case("view", T, "CREATE VIEW v_@ AS SELECT a FROM @", "DROP VIEW v_@"),
    Case("view", T + "; CREATE VIEW v_@ AS SELECT a FROM @", "DROP VIEW v_@; ALTER TABLE @ ALTER a TYPE varchar; CREATE VIEW v_@ AS SELECT a, b FROM @", "DROP VIEW v_@; ALTER TABLE @ ALTER a TYPE text; CREATE VIEW v_@ AS SELECT a FROM @"),
    Case("view", T, "CREATE MATERIALIZED VIEW v_@ AS SELECT a FROM @; CREATE UNIQUE INDEX i_@ ON v_@ (a)", "DROP MATERIALIZED VIEW v_@"),
    Case("function", "", "op.execute('CREATE FUNCTION f_@(n int) RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT n % 2; END')", "DROP FUNCTION f_@(int)"),
    Case("function", "CREATE FUNCTION f_@() RETURNS int LANGUAGE sql AS 'SELECT 1'", "CREATE OR REPLACE FUNCTION f_@() RETURNS int LANGUAGE sql AS 'SELECT 2'", "CREATE OR REPLACE FUNCTION f_@() RETURNS int LANGUAGE sql AS 'SELECT 1'"),
    Case("trigger", T + "; " + F, "CREATE TRIGGER t_@ BEFORE UPDATE ON @ FOR EACH ROW WHEN (OLD.a IS DISTINCT FROM NEW.a) EXECUTE FUNCTION f_@()", "DROP TRIGGER t_@ ON @"),
    Case("policy", T, "ALTER TABLE @ ENABLE ROW LEVEL SECURITY; CREATE POLICY p_@ ON @ USING (b > 0)", "DROP POLICY p_@ ON @; ALTER TABLE @ DISABLE ROW LEVEL SECURITY"),
    Case("privileges", T, "GRANT SELECT, INSERT ON @ TO PUBLIC", "REVOKE SELECT, INSERT ON @ FROM PUBLIC"),
    Case("comment", T + "; COMMENT ON COLUMN @.a IS 'old'", "COMMENT ON COLUMN @.a IS 'new'", "COMMENT ON COLUMN @.a IS 'old'"),
    Case("sequence", "", "CREATE SEQUENCE s_@ START 100 INCREMENT 5", "DROP SEQUENCE s_@"),
    Case("identity", "CREATE TABLE @ (id int NOT NULL PRIMARY KEY)", "ALTER TABLE @ ALTER id ADD GENERATED BY DEFAULT AS IDENTITY", "ALTER TABLE @ ALTER id DROP IDENTITY"),
    Case("identity", "CREATE TABLE @ (id serial PRIMARY KEY)", "ALTER TABLE @ ALTER id DROP DEFAULT; DROP SEQUENCE @_id_seq; ALTER TABLE @ ALTER id ADD GENERATED BY DEFAULT AS IDENTITY; SELECT setval(pg_get_serial_sequence('@', 'id'), greatest(max(id), 1)) FROM @", "ALTER TABLE @ ALTER id DROP IDENTITY; CREATE SEQUENCE @_id_seq AS int OWNED BY @.id; ALTER TABLE @ ALTER id SET DEFAULT nextval('@_id_seq'); SELECT setval('@_id_seq', greatest(max(id), 1)) FROM @"),
    Case("generated column", T, "op.add_column('@', sa.Column('c', sa.Integer(), sa.Computed('b * 2', persisted=True)))", "op.drop_column('@', 'c')"),
    Case("partitions", "", "CREATE TABLE @ (a int, at date) PARTITION BY RANGE (at); CREATE TABLE @_1 PARTITION OF @ FOR VALUES FROM ('2024-01-01') TO ('2025-01-01'); CREATE INDEX ON @ (a)", "DROP TABLE @"),
    Case("partitions", "CREATE TABLE @ (a int) PARTITION BY LIST (a); CREATE TABLE @_1 PARTITION OF @ FOR VALUES IN (1, 2, 3); CREATE TABLE @_2 (a int)", "ALTER TABLE @ ATTACH PARTITION @_2 FOR VALUES IN (4, 5)", "ALTER TABLE @ DETACH PARTITION @_2"),
    Case("extension", "", "CREATE EXTENSION citext", "DROP EXTENSION citext"),
    Case("schema", T, "CREATE SCHEMA s_@; ALTER TABLE @ SET SCHEMA s_@", "ALTER TABLE s_@.@ SET SCHEMA public; DROP SCHEMA s_@"),
    Case("domain", "", "CREATE DOMAIN t_@ AS text CHECK (VALUE ~ '^a'); CREATE TABLE @ (a t_@)", "DROP TABLE @; DROP DOMAIN t_@"),
    Case("publication", T, "CREATE PUBLICATION p_@ FOR TABLE @", "DROP PUBLICATION p_@"),
    Case("statistics", T, "CREATE STATISTICS s_@ ON a, b FROM @; ALTER TABLE @ ALTER a SET STATISTICS 500", "DROP STATISTICS s_@; ALTER TABLE @ ALTER a SET STATISTICS -1"),
    Case("storage parameter", T, "ALTER TABLE @ SET (fillfactor = 70)", "ALTER TABLE @ RESET (fillfactor)"),
    Case("unlogged", T, "ALTER TABLE @ SET UNLOGGED", "ALTER TABLE @ SET LOGGED"),
    Case("replica identity", T, "ALTER TABLE @ REPLICA IDENTITY FULL", "ALTER TABLE @ REPLICA IDENTITY DEFAULT"),
    Case("rule", T, "CREATE RULE r_@ AS ON DELETE TO @ WHERE OLD.id = 0 DO INSTEAD NOTHING", "DROP RULE r_@ ON @"),
    Case("table recreated", T, "CREATE TABLE n_@ (id bigint NOT NULL, a text, b int); INSERT INTO n_@ SELECT * FROM @; DROP TABLE @; ALTER TABLE n_@ RENAME TO @; ALTER TABLE @ ADD CONSTRAINT @_pkey PRIMARY KEY (id)", "CREATE TABLE n_@ (id int NOT NULL, a text, b int); INSERT INTO n_@ SELECT * FROM @; DROP TABLE @; ALTER TABLE n_@ RENAME TO @; ALTER TABLE @ ADD CONSTRAINT @_pkey PRIMARY KEY (id)"),
    Case("python", T, "bind = op.get_bind()\nif not context.is_offline_mode():\n    for (i,) in bind.execute(sa.text('SELECT id FROM @ WHERE a IS NULL')).all():\n        bind.execute(sa.text('UPDATE @ SET a = :a WHERE id = :i'), {'i': i, 'a': f'n{i}'})", ""),
    Case("settings of the database", "", """op.execute("DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path TO public, x_@', current_database()); EXECUTE format('ALTER ROLE CURRENT_USER IN DATABASE %I SET work_mem TO ''8MB''', current_database()); END $$")""", """op.execute("DO $$ BEGIN EXECUTE format('ALTER DATABASE %I RESET search_path', current_database()); EXECUTE format('ALTER ROLE CURRENT_USER IN DATABASE %I RESET work_mem', current_database()); END $$")"""),
])  # fmt: skip


def test_good_revisions_pass(render: Render, server: URL) -> None:
    project = render()
    write(project, GOOD)
    setup = project.backend / "alembic" / "versions" / "20270101_0000_setup_setup.py"
    undo = (
        'op.execute("DO $$ DECLARE r record; BEGIN FOR r IN SELECT oid::regclass AS n FROM pg_class '
        "WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition"
        " AND relname !~ '^alembic' LOOP EXECUTE format('DROP TABLE IF EXISTS %s CASCADE', r.n); END "
        "LOOP; FOR r IN SELECT oid::regprocedure AS n FROM pg_proc WHERE pronamespace = "
        "'public'::regnamespace LOOP EXECUTE format('DROP FUNCTION %s CASCADE', r.n); END LOOP; "
        "FOR r IN SELECT oid::regtype AS n FROM pg_type WHERE typnamespace = 'public'::regnamespace "
        "AND typtype = 'e' LOOP EXECUTE format('DROP TYPE %s CASCADE', r.n); END LOOP; END $$\")"
    )
    setup.write_text(
        setup.read_text().replace(
            "downgrade() -> None:\n    pass", f"downgrade() -> None:\n    {undo}"
        )
    )
    code, output = suite(
        project, server, "testing/reversible.py", "testing/offline.py", "testing/shape.py"
    )
    assert code == 0, output
    print(output)


def test_broken_downgrades_are_caught_and_named(render: Render, server: URL) -> None:
    """In several histories, since the suite begins anew after each that leaves something behind."""
    names, found = list(BROKEN), dict[str, str]()
    for some in (names[n : n + 24] for n in range(0, len(names), 24)):
        project = render()
        write(project, {name: BROKEN[name] for name in some})
        code, output = suite(project, server, "testing/reversible.py")
        assert code == 1, output
        found |= reports(output)
    score(BROKEN, found)


def score(cases: dict[str, Case], found: dict[str, str]) -> None:
    """Print it by class; fail with what was missed."""
    caught = {
        name: case.expect in found.get(name, "")
        and re.search(rf"_{name}_planted\.py:\d+", found[name]) is not None
        for name, case in cases.items()
    }
    of = Counter(case.kind for case in cases.values())
    hit = Counter(cases[name].kind for name in cases if caught[name])
    for kind, number in [*of.items(), ("all", of.total())]:
        print(f"{kind:40}{hit[kind] if kind != 'all' else hit.total():4} of {number}")
    missed = [f"{name}: {cases[name]}\n{found.get(name)}" for name in cases if not caught[name]]
    assert not missed, "\n".join(missed)


# Models, as a user writes them. `python -m planted` compares them, changed, with a database that
# has them as they are.
MODELS_OF_DRIFT = """
import enum
from datetime import datetime
from decimal import Decimal

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.orm import Mapped, mapped_column

from app.core.database import Base


class Color(enum.Enum):
    red = 1
    blue = 2


steps = sa.Sequence("steps", start=10, increment=5, metadata=Base.metadata)
positive = pg.DOMAIN("positive", sa.Integer(), check="VALUE > 0")


class Place(Base):
    __tablename__ = "places"
    __table_args__ = (
        sa.UniqueConstraint("name", "code", name="uq_places_name_code"),
        sa.UniqueConstraint("rank", name="uq_places_rank", deferrable=True),
        sa.CheckConstraint("rank > 0", name="rank_positive"),
        pg.ExcludeConstraint(("during", "&&"), name="ex_places_during"),
        sa.Index("ix_places_code", "code", postgresql_where=sa.text("rank > 3")),
        sa.Index("ix_places_lower", sa.text("lower(name)")),
        sa.Index("ix_places_tags", "tags", postgresql_using="gin"),
        sa.Index("ix_places_more", "name", postgresql_include=["rank"]),
        sa.Index("ix_places_pattern", "name", postgresql_ops={"name": "text_pattern_ops"}),
        sa.Index("ix_places_desc", sa.text("rank DESC")),
        {"comment": "where", "postgresql_with": {"fillfactor": 80}},
    )

    id: Mapped[int] = mapped_column(sa.BigInteger, sa.Identity(start=5), primary_key=True)
    name: Mapped[str] = mapped_column(sa.String(100), comment="of it")
    code: Mapped[str] = mapped_column(sa.String(10), server_default="x")
    rank: Mapped[int] = mapped_column(server_default=sa.text("1"))
    price: Mapped[Decimal] = mapped_column(sa.Numeric(10, 2))
    color: Mapped[Color] = mapped_column(sa.Enum(Color, name="color"))
    tags: Mapped[list[str]] = mapped_column(pg.ARRAY(sa.Text))
    during: Mapped[object] = mapped_column(pg.INT4RANGE)
    twice: Mapped[int] = mapped_column(sa.Computed("rank * 2", persisted=True))
    sorted_name: Mapped[str | None] = mapped_column(sa.Text(collation="C"))
    made_at: Mapped[datetime] = mapped_column(server_default=sa.func.now())
    level: Mapped[int | None] = mapped_column(positive)
    step: Mapped[int] = mapped_column(sa.Integer, steps, server_default=steps.next_value())
    data: Mapped[dict[str, int] | None] = mapped_column(pg.JSONB)


class Visit(Base):
    __tablename__ = "visits"
    __table_args__ = ({"postgresql_partition_by": "RANGE (day)"},)

    id: Mapped[int] = mapped_column(primary_key=True)
    day: Mapped[int] = mapped_column(primary_key=True)
    place_id: Mapped[int] = mapped_column(sa.ForeignKey("places.id", ondelete="CASCADE"), index=True)


class Log(Base):
    __tablename__ = "logs"

    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str]
"""
# What is changed in the models (or in the database, where it begins with SQL:), by what, and what
# the report has to name.
DRIFTS = [
    ("table added", "class Log(Base):", 'class Other(Base):\n    __tablename__ = "others"\n    id: Mapped[int] = mapped_column(primary_key=True)\n\n\nclass Log(Base):', "others"),
    ("table removed", MODELS_OF_DRIFT[MODELS_OF_DRIFT.index("class Log(Base)"):], "", "logs"),
    ("table renamed", '"logs"', '"log"', "logs"),
    ("column added", "    text: Mapped[str]\n", "    text: Mapped[str]\n    more: Mapped[int]\n", "logs.more"),
    ("column removed", "    text: Mapped[str]\n", "", "logs.text"),
    ("column renamed", "    text: Mapped[str]\n", "    texts: Mapped[str]\n", "logs.texts"),
    ("type", "data: Mapped[dict[str, int] | None] = mapped_column(pg.JSONB)", "data: Mapped[dict[str, int] | None] = mapped_column(pg.JSON)", "places.data"),
    ("type: length", "sa.String(100)", "sa.String(120)", "places.name"),
    ("type: precision", "sa.Numeric(10, 2)", "sa.Numeric(10, 3)", "places.price"),
    ("type: time zone", "made_at: Mapped[datetime] = mapped_column(", "made_at: Mapped[datetime] = mapped_column(sa.DateTime(), ", "places.made_at"),
    ("type: size", "sa.BigInteger, sa.Identity", "sa.Integer, sa.Identity", "places.id"),
    ("type: of array", "pg.ARRAY(sa.Text)", "pg.ARRAY(sa.String(9))", "places.tags"),
    ("nullable", "text: Mapped[str]\n", "text: Mapped[str | None]\n", "logs.text"),
    ("not null", "level: Mapped[int | None]", "level: Mapped[int]", "places.level"),
    ("default added", "text: Mapped[str]\n", "text: Mapped[str] = mapped_column(server_default='')\n", "logs.text"),
    ("default removed", 'sa.String(10), server_default="x"', "sa.String(10)", "places.code"),
    ("default changed", 'server_default="x"', 'server_default="it\'s"', "places.code"),
    ("default changed", 'server_default=sa.text("1")', 'server_default=sa.text("2")', "places.rank"),
    ("default changed", "server_default=sa.func.now()", "server_default=sa.func.statement_timestamp()", "places.made_at"),
    ("identity removed", "sa.Identity(start=5), ", "", "places.id"),
    ("identity added", "    id: Mapped[int] = mapped_column(primary_key=True)\n    text", "    id: Mapped[int] = mapped_column(sa.Identity(), primary_key=True)\n    text", "logs.id"),
    ("identity options", "sa.Identity(start=5)", "sa.Identity(start=5, increment=3)", "places.id"),
    ("identity always", "sa.Identity(start=5)", "sa.Identity(start=5, always=True)", "places.id"),
    ("check added", 'sa.CheckConstraint("rank > 0"', 'sa.CheckConstraint("price > 0", name="price"), sa.CheckConstraint("rank > 0"', "ck_places_price"),
    ("check removed", '        sa.CheckConstraint("rank > 0", name="rank_positive"),\n', "", "ck_places_rank_positive"),
    ("check changed", '"rank > 0"', '"rank > 1"', "ck_places_rank_positive"),
    ("exclusion removed", '        pg.ExcludeConstraint(("during", "&&"), name="ex_places_during"),\n', "", "ex_places_during"),
    ("unique added", "text: Mapped[str]\n", "text: Mapped[str] = mapped_column(unique=True)\n", "uq_logs_text"),
    ("unique removed", '        sa.UniqueConstraint("name", "code", name="uq_places_name_code"),\n', "", "uq_places_name_code"),
    ("unique columns", 'sa.UniqueConstraint("name", "code", name', 'sa.UniqueConstraint("code", "name", name', "uq_places_name_code"),
    ("unique nulls", '"uq_places_name_code"', '"uq_places_name_code", postgresql_nulls_not_distinct=True', "uq_places_name_code"),
    ("deferrable", ', deferrable=True', "", "uq_places_rank"),
    ("foreign key added", "text: Mapped[str]\n", 'text: Mapped[str]\n    v: Mapped[int] = mapped_column(sa.ForeignKey("places.id"))\n', "fk_logs_v_places"),
    ("foreign key removed", 'sa.ForeignKey("places.id", ondelete="CASCADE"), index', "sa.BigInteger, index", "fk_visits_place_id_places"),
    ("foreign key's action", 'ondelete="CASCADE"', 'ondelete="SET NULL"', "fk_visits_place_id_places"),
    ("primary key", "text: Mapped[str]\n", "text: Mapped[str] = mapped_column(primary_key=True)\n", "pk_logs"),
    ("index added", "text: Mapped[str]\n", "text: Mapped[str] = mapped_column(index=True)\n", "ix_logs_text"),
    ("index removed", ', ondelete="CASCADE"), index=True', ', ondelete="CASCADE")', "ix_visits_place_id"),
    ("index unique", 'sa.Index("ix_places_lower", ', 'sa.Index("ix_places_lower", unique=True, *[', "ix_places_lower"),
    ("index condition", '"rank > 3"', '"rank > 4"', "ix_places_code"),
    ("index expression", "lower(name)", "upper(name)", "ix_places_lower"),
    ("index method", 'sa.Index("ix_places_code", "code"', 'sa.Index("ix_places_code", "code", postgresql_using="hash"', "ix_places_code"),
    ("index include", 'postgresql_include=["rank"]', 'postgresql_include=["price"]', "ix_places_more"),
    ("index operator class", "text_pattern_ops", "varchar_pattern_ops", "ix_places_pattern"),
    ("index order", "rank DESC", "rank DESC NULLS LAST", "ix_places_desc"),
    ("enum value added", "    blue = 2\n", "    blue = 2\n    green = 3\n", "color"),
    ("enum value removed", "    blue = 2\n", "", "color"),
    ("enum order", "    red = 1\n    blue = 2\n", "    blue = 2\n    red = 1\n", "color"),
    ("enum renamed", 'name="color"', 'name="colour"', "places.color"),
    ("computed", "rank * 2", "rank * 3", "places.twice"),
    ("computed", ", persisted=True", ", persisted=False", "places.twice"),
    ("collation", 'collation="C"', 'collation="POSIX"', "places.sorted_name"),
    ("domain", "VALUE > 0", "VALUE > 5", "positive"),
    ("sequence", "increment=5", "increment=6", "steps"),
    ("storage parameter", '"fillfactor": 80', '"fillfactor": 70', "relation places"),
    ("storage parameter", ', "postgresql_with": {"fillfactor": 80}', "", "relation places"),
    ("comment", '"comment": "where"', '"comment": "there"', "relation places"),
    ("comment", ', comment="of it"', "", "places.name"),
    ("partitioning", "RANGE (day)", "LIST (day)", "visits"),
    ("unlogged", '__tablename__ = "logs"', '__tablename__ = "logs"\n    __table_args__ = {"prefixes": ["UNLOGGED"]}', "relation logs"),
    ("schema", '__tablename__ = "logs"', '__tablename__ = "logs"\n    __table_args__ = {"schema": "other"}', "logs"),
    ("SQL", "CREATE TABLE forgotten (id int)", "", "forgotten"),
    ("SQL", "ALTER TABLE logs ADD forgotten int", "", "logs.forgotten"),
    ("SQL", "CREATE INDEX ix_forgotten ON logs (text)", "", "ix_forgotten"),
    ("SQL", "ALTER TABLE logs ALTER text SET DEFAULT ''", "", "logs.text"),
    ("SQL", "ALTER TABLE logs DROP CONSTRAINT pk_logs", "", "pk_logs"),
    ("SQL", "ALTER TABLE logs SET UNLOGGED", "", "relation logs"),
    ("SQL", "CREATE TABLE child () INHERITS (logs)", "", "child"),
]  # fmt: skip
# What only revisions can make, or nobody has to: there is nothing to report.
NO_DRIFT = [
    "SELECT 1",
    "CREATE VIEW @ AS SELECT text FROM logs",
    "CREATE MATERIALIZED VIEW @ AS SELECT text FROM logs; CREATE INDEX ON @ (text)",
    "CREATE FUNCTION @() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE FUNCTION @(l logs) RETURNS text LANGUAGE sql AS 'SELECT l.text'",
    "CREATE FUNCTION @() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; CREATE TRIGGER @ BEFORE UPDATE ON logs FOR EACH ROW EXECUTE FUNCTION @()",
    "ALTER TABLE logs ENABLE ROW LEVEL SECURITY; CREATE POLICY @ ON logs USING (id > 1)",
    "CREATE EXTENSION pg_trgm", "CREATE EXTENSION hstore; CREATE EXTENSION citext",
    "GRANT SELECT ON logs TO PUBLIC", "GRANT SELECT (text) ON logs TO PUBLIC",
    "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC",
    "CREATE TABLE @ PARTITION OF visits FOR VALUES FROM (1) TO (9)",
    "CREATE TABLE @ PARTITION OF visits FOR VALUES FROM (11) TO (19); CREATE INDEX mine_@ ON @ (place_id, day)",
    "CREATE TABLE @ PARTITION OF visits DEFAULT",
    "CREATE PUBLICATION @ FOR TABLE logs", "CREATE STATISTICS @ ON id, text FROM logs",
    "ALTER TABLE logs ALTER text SET STATISTICS 500", "ALTER TABLE logs ALTER text SET STORAGE EXTERNAL",
    "ALTER TABLE logs REPLICA IDENTITY FULL", "ALTER TABLE logs SET (autovacuum_vacuum_scale_factor = 0.01)",
    "CREATE SCHEMA @", "CREATE SEQUENCE @", "CREATE TYPE @ AS (a int)", "CREATE TYPE @ AS ENUM ('a')",
    "CREATE DOMAIN @ AS int", "CREATE COLLATION @ FROM \"C\"", "CREATE AGGREGATE @(int) (sfunc = int4pl, stype = int)",
    "CREATE TEXT SEARCH CONFIGURATION @ (COPY = simple)", "CREATE RULE @ AS ON DELETE TO logs WHERE OLD.id = 0 DO INSTEAD NOTHING",
    "COMMENT ON INDEX ix_places_lower IS 'why'", "COMMENT ON CONSTRAINT ck_places_rank_positive ON places IS 'why'",
    "COMMENT ON TYPE color IS 'why'", "ALTER SEQUENCE logs_id_seq RENAME TO old_id_seq",
    "ALTER TABLE logs RENAME CONSTRAINT logs_text_not_null TO old", "CREATE FOREIGN DATA WRAPPER @",
    "ALTER TABLE logs CLUSTER ON pk_logs", "CREATE EVENT TRIGGER @ ON sql_drop EXECUTE FUNCTION ended()",
    "ALTER TABLE logs DROP COLUMN text; ALTER TABLE logs DROP COLUMN id; ALTER TABLE logs ADD text varchar NOT NULL; ALTER TABLE logs ADD id serial CONSTRAINT pk_logs PRIMARY KEY",
]  # fmt: skip
COMPARE = """
import json, sys
from sqlalchemy import create_engine, make_url, MetaData
from sqlalchemy.orm import DeclarativeBase
from testing.databases import create_database, drop_database, execute
from testing.drift import drift
import app.core.database

server, base, cases = make_url(sys.argv[1]), *json.load(sys.stdin)


def metadata(source):
    class Base(DeclarativeBase):
        metadata = MetaData(naming_convention=app.core.database.NAMING_CONVENTION)
        type_annotation_map = app.core.database.Base.type_annotation_map
    app.core.database.Base = Base
    exec(compile(source, "models", "exec"), {"__name__": "models"})
    return Base.metadata


url = create_database(server, "drift_base")
engine = create_engine(url.set(drivername="postgresql+psycopg2"))
metadata(base).create_all(engine)
engine.dispose()
execute(url, "CREATE FUNCTION ended() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'")
found = []
for statement, source in cases:
    head = create_database(server, "drift_head", "drift_base") if statement else url
    if statement:
        execute(head, statement)
    try:
        found.append(drift(head, metadata(source)))
    except Exception as error:
        found.append(([f"ERROR {error!r}"], []))
    if statement:
        drop_database(server, "drift_head")
drop_database(server, "drift_base")
print(json.dumps(found))
"""


def compared(project: Project, server: URL, cases: list[tuple[str, str]]) -> list[Any]:
    """For each (statement, models): the differences and the notes."""
    done = subprocess.run(
        [sys.executable, "-c", COMPARE, server.render_as_string(hide_password=False)],
        cwd=project.backend,
        input=json.dumps([MODELS_OF_DRIFT, cases]),
        env=environment(server),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: list[Any] = json.loads(done.stdout)
    return found


def test_drifts_are_caught_and_named(rendered: Render, server: URL) -> None:
    cases = []
    for kind, old, new, _ in DRIFTS:
        assert kind == "SQL" or old in MODELS_OF_DRIFT, old
        source = MODELS_OF_DRIFT if kind == "SQL" else MODELS_OF_DRIFT.replace(old, new, 1)
        if "*[" in new:  # close what was opened
            line = next(line for line in source.splitlines() if "*[" in line)
            source = source.replace(line, re.sub(r"\)(,?)$", r"])\1", line))
        cases.append((old if kind == "SQL" else "", source))
    found = compared(rendered(), server, cases)
    missed = [
        f"{kind}: {old!r} -> {new!r}: {lines}"
        for (kind, old, new, expect), (lines, _) in zip(DRIFTS, found, strict=True)
        if not any(expect in line and "ERROR" not in line for line in lines)
    ]
    print(f"drifts caught and named: {len(DRIFTS) - len(missed)} of {len(DRIFTS)}")
    assert not missed, "\n".join(missed)


def test_what_only_revisions_make_is_no_drift(rendered: Render, server: URL) -> None:
    """All in one database, since silence is expected; the last, columns in another order, alone."""
    statements = [statement.replace("@", f"n{n}") for n, statement in enumerate(NO_DRIFT)]
    cases = [("; ".join(some), MODELS_OF_DRIFT) for some in (statements[:-1], statements[-1:])]
    (lines, notes), (more, order) = compared(rendered(), server, cases)
    print(f"false alarms: {len(lines + more)} for {len(NO_DRIFT)} statements")
    assert not lines + more + notes, "\n".join(lines + more + notes)
    assert order == ["columns of logs: text, id; in the model id, text"]


MENDED = """
from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, String, func
from sqlalchemy.orm import Mapped, mapped_column

from app.core.database import Base


class Place(Base):
    __tablename__ = "places"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(80), unique=True)
    since: Mapped[datetime] = mapped_column(server_default=func.now(), index=True)
    note: Mapped[str | None] = mapped_column(comment="what a visitor should know")


class Visit(Base):
    __tablename__ = "visits"
    __table_args__ = (CheckConstraint("days > 0", name="days"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    place_id: Mapped[int] = mapped_column(ForeignKey("places.id"), index=True)
    days: Mapped[int]
"""
BEHIND = (
    "CREATE TABLE places (id serial CONSTRAINT pk_places PRIMARY KEY, name varchar(40), old int)"
)


def test_the_code_that_a_drift_is_told_with_mends_it(render: Render, server: URL) -> None:
    """A table, columns, a type, a default, an index, a comment and constraints, in one message."""
    project = render()
    versions = project.backend / "alembic" / "versions"
    (project.backend / "app" / "models" / "place.py").write_text(MENDED)
    behind = Case("behind", "", BEHIND, "DROP TABLE places")
    (versions / "20270101_0000_behind_planted.py").write_text(
        revision("behind", "baseline", behind)
    )
    drift = "testing/drift.py"
    code, output = suite(project, server, drift)
    assert code == 1
    told = re.search(r"writes of this:\n(.*?)\nE? *The rest", output, re.DOTALL)
    assert told, output
    body = "\n".join(f"    {line.removeprefix('E').strip()}" for line in told[1].splitlines())
    mend = revision("mend", "behind", Case("mend", "", "", "")).replace(
        "def upgrade() -> None:\n", f"def upgrade() -> None:\n{body}\n", 1
    )
    (versions / "20270101_0001_mend_planted.py").write_text(mend)
    code, output = suite(project, server, drift)
    assert code == 0, f"{mend}\n{output}"


def test_branches_merges_bases_and_dependencies_pass(render: Render, server: URL) -> None:
    project = render()
    table = Case("step", "", "CREATE TABLE @ (id int)", "DROP TABLE @")
    column = Case("step", "", "ALTER TABLE a ADD @ int", "ALTER TABLE a DROP @")
    merge = Case("join", "", "", "")
    steps: list[tuple[str, object, Case, object]] = [
        ("a", "baseline", table, None),
        ("b", "a", column, None),
        ("c", "a", column, None),
        ("d", "c", table, None),
        ("joined", ("b", "d"), merge, None),
        ("other", None, table, None),  # a second base
        ("more", "other", column, "d"),  # needs a, and not only its own branch
        ("last", ("joined", "more"), column, None),
        ("finish", "last", table, None),
    ]
    for number, (name, down, case, needs) in enumerate(steps):
        path = project.backend / "alembic" / "versions" / f"20270101_000{number}_{name}_planted.py"
        mine = Case(case.kind, "", case.up.replace("@", name), case.down.replace("@", name))
        path.write_text(revision(name, down, mine, needs))
    checks = [f"testing/{name}.py" for name in ("reversible", "offline", "shape")]
    code, output = suite(project, server, *checks, "tests/test_database.py")
    assert code == 0, output
    # The same, with one downgrade broken behind a branch.
    broken = project.backend / "alembic" / "versions" / "20270101_0006_more_planted.py"
    broken.write_text(broken.read_text().replace("ALTER TABLE a DROP more", "SELECT 1"))
    code, output = suite(project, server, "testing/reversible.py")
    assert code == 1
    assert list(reports(output)) == ["more"], output
    assert "left over: column a.more" in output


def test_offline_differences_are_caught_and_named(render: Render, server: URL) -> None:
    project = render()
    cases = numbered(
        "o",
        [
            Case("same", "", "CREATE TABLE @ (id int)", "DROP TABLE @"),
            Case("left out", "", OFFLINE_SKIPS, "DROP TABLE IF EXISTS @", "lost: relation @"),
            Case("reads the database", "", READS, "DROP TABLE @", "upgrade() fails"),
            Case(
                "ends in a comment", "", "CREATE TABLE @ (id int) -- why", "DROP TABLE @", "syntax"
            ),
            Case(
                "downgrade",
                "",
                "CREATE TABLE @ (id int)",
                OFFLINE_SKIPS_DOWN,
                "left over: relation @",
            ),
        ],
    )
    write(project, cases)
    code, output = suite(project, server, "testing/offline.py")
    assert code == 1, output
    found = reports(output)
    assert "o00" not in found
    score({name: case for name, case in cases.items() if case.expect}, found)


OFFLINE_SKIPS = "if not context.is_offline_mode():\n    op.execute('CREATE TABLE @ (id int)')"
OFFLINE_SKIPS_DOWN = "if not context.is_offline_mode():\n    op.execute('DROP TABLE @')"
READS = (
    "bind = op.get_bind()\nn = bind.execute(sa.text('SELECT 1')).scalar()\n"
    "op.execute(f'CREATE TABLE @ (id{n} int)')"
)


def test_what_is_released_is_applied_and_judged_by_none(render: Render, server: URL) -> None:
    """Two broken downgrades, which only SQL without --sql can do: the first is released."""
    project = render()
    broken = (
        "op.get_bind().execute(sa.text('SELECT 1')).all()\nop.execute('CREATE TABLE @ (i int)')"
    )
    for number, (name, after) in enumerate((("a", "baseline"), ("b", "a"), ("c", "b"))):
        up = broken.replace("@", name)
        write_revision(project.backend, name, after, up, number=number)
    settings = project.backend / "pyproject.toml"
    text = settings.read_text()
    words = [f"testing/{name}.py" for name in ("reversible", "offline", "safety")]
    for released, judged in (("", "abc"), ("a", "bc"), ("c", "")):
        settings.write_text(text.replace('released = ""', f'released = "{released}"'))
        code, output = suite(project, server, *words)
        found = set(re.findall(r"(?m)^SUBFAILED\[(\w)\] testing/(?:reversible|offline)", output))
        assert found == set(judged), output
        assert code == bool(judged), output
    settings.write_text(text.replace('released = ""', 'released = "lost"'))
    code, output = suite(project, server, "testing/reversible.py")
    assert code == 1
    assert "pyproject.toml: [tool.migrations] released: no revision lost" in output


def test_shapes_are_caught_and_named(render: Render, server: URL) -> None:
    project = render()
    good = Case("adds a table", "", "CREATE TABLE @ (id int)", "DROP TABLE @")
    versions = project.backend / "alembic" / "versions"
    baseline = next(versions.glob("*_baseline_*.py"))
    baseline = baseline.rename(versions / "20261122_0000_baseline_größe.py")  # git may quote it
    git(project.path, "add", "--all")
    git(project.path, "commit", "--quiet", "--message", "Renamed")
    baseline.write_text(baseline.read_text() + "\n# edited\n")
    texts = {
        "20270101_0000_a_adds_a.py": revision("a", "baseline", good),
        "20260101_0000_b_is_older.py": revision("b", "a", good),
        "20270102_0000_c_.py": revision("c", "b", good),
        "20270103_0000_d_imports.py": revision("d", "c", good).replace(
            "import sqlalchemy as sa", "import sqlalchemy as sa\nfrom app.models import x"
        ),
        "20270104_0000_e_says_nothing.py": revision("e", "d", good).replace(
            "Planted: adds a table.", ""
        ),
        "20270105_0000_f_second_head.py": revision("f", "d", good),
        "g.py": revision("g", "e", good),
    }
    (project.backend / "app" / "models" / "x.py").write_text("")
    for name, text in texts.items():
        (versions / name).write_text(text)
    code, output = suite(project, server, "testing/shape.py")
    assert code == 1
    for expected in (
        "alembic merge heads",
        f"{baseline.name}: edited or deleted after it was merged",
        r"_b_is_older\.py: its date is before that of 20270101_0000_a_adds_a\.py",
        r"_c_\.py: its name does not say what it does",
        r"_d_imports\.py:\d+: imports app\.models",
        r"_e_says_nothing\.py:1: its docstring",
        r"versions/g\.py: not YYYYMMDD_HHMM",
    ):
        assert re.search(expected, output), (expected, output)

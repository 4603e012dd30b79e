"""The schema in git: written by a command, kept current by a check, a conflict of two branches."""

import subprocess

import pytest
from sqlalchemy import URL

from tests._kit.forks import forks
from tests._kit.revision import write_revision
from tests._kit.support import environment
from tests.conftest import Render, git

UP = """
CREATE TYPE k AS ENUM ('a');
CREATE TABLE one (id bigserial PRIMARY KEY, k k, t text CHECK (t ~ '%:x'));
CREATE MATERIALIZED VIEW seen AS TABLE one;
CREATE FUNCTION f() RETURNS SETOF one LANGUAGE sql AS 'TABLE one';
REVOKE ALL ON FUNCTION f() FROM PUBLIC"""
DOWN = "DROP FUNCTION f(); DROP MATERIALIZED VIEW seen; DROP TABLE one; DROP TYPE k"
CHECK = ("-p", "no:cacheprovider", "tests/test_schema_file.py")


@pytest.mark.server
def test_the_schema_in_git_is_current_and_two_branches_are_a_conflict(
    render: Render, server: URL
) -> None:
    project = render(extras="[schema]")
    backend, url = project.backend, server.render_as_string(hide_password=False)
    file = backend / "alembic" / "schema.sql"

    def run(module: str, *words: str) -> str:
        done = forks().run(module, [*words], backend, environment(TEST_DATABASE_URL=url))
        return done.stdout + done.stderr

    def check() -> str:
        return run("pytest", *CHECK)

    assert "1 passed" in check(), "nobody asked for it"
    write_revision(backend, "one", "baseline", UP, DOWN)
    assert run("testing.schema_file") == "alembic/schema.sql is written\n"
    text = file.read_text()
    assert text.startswith("-- The schema at one, by python -m testing.schema_file\n\nSET LOCAL")
    assert "CREATE TABLE public.one (" in text
    for noise in ("Dumped", "restrict", "OWNER TO", "Owner:", "SET statement_timeout"):
        assert noise not in text
    assert "1 passed" in check()
    file.write_text(text.replace("bigint NOT NULL", "integer NOT NULL").replace("at one", "at two"))
    said = check()
    assert "alembic/schema.sql is not the schema at head:\n" in said
    assert "changed: column one.id: integer -> bigint" in said
    assert "Type: python -m testing.schema_file" in said
    file.write_text("<<<<<<< HEAD\n")
    assert "syntax error" in check()
    file.write_text(text)
    project.commit()
    for name in ("east", "west"):
        git(project.path, "switch", "--quiet", "-C", name, "main")
        write_revision(backend, name, "one", f"CREATE TABLE {name} (id int)", f"DROP TABLE {name}")
        said = check()
        assert "alembic/schema.sql is not the schema at head" in said, said
        run("testing.schema_file")
        project.commit()
    done = subprocess.run(["git", "merge", "east"], cwd=project.path, check=False)
    assert done.returncode == 1
    unmerged = git(project.path, "diff", "--name-only", "--diff-filter=U")
    assert unmerged.endswith("alembic/schema.sql")

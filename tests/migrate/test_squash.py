"""A long history becomes one revision, as the guide says, and no database notices."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import URL

from tests._kit.forks import forks
from tests._kit.revision import PLANTED
from tests._kit.support import execute, template_module
from tests.conftest import Project, Render, git
from tests.migrate.service import Service
from tests.migrate.test_adopt import run, section, type_in

# With nearly everything that PostgreSQL has; without what no dump can have: a language whose
# handler is the server's, and a copy of a collation for one encoding.
_ALL = (PLANTED / "schema.sql").read_text("utf-8").partition("CREATE SCHEMA sales;")
_DUMPED = "".join(_ALL[1:]).partition("CREATE LANGUAGE")[0]
EVERYTHING = _DUMPED.replace('CREATE COLLATION sales.plain FROM "C";', "")
ROLES = """
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'reader') THEN CREATE ROLE reader; END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'writer') THEN CREATE ROLE writer; END IF;
END $$"""
ODD = r"""
INSERT INTO notes (kind, text, at) VALUES ('a', E'100% of :it\\:  \r\n''''\\', now()),
    ('b', NULL, '2024-01-01');
SELECT setval('notes_id_seq', 70);
REVOKE INSERT ON notes FROM CURRENT_USER; GRANT SELECT ON notes TO CURRENT_USER WITH GRANT OPTION;
ALTER DEFAULT PRIVILEGES GRANT SELECT ON SEQUENCES TO reader;
"""
STEPS = {
    "roles": ROLES,
    "everything": EVERYTHING,
    "notes": """
        CREATE TYPE kind AS ENUM ('a', 'c');
        CREATE TABLE notes (id serial, kind kind, text text, at timestamptz)""",
    "value": """
        with op.get_context().autocommit_block():
            op.execute("ALTER TYPE kind ADD VALUE IF NOT EXISTS 'b' AFTER 'a'")""",
    "odd": ODD,
    "index": """
        with op.get_context().autocommit_block():
            op.create_index("notes_text", "notes", ["text"], postgresql_concurrently=True)""",
    "gap": """
        ALTER TABLE notes ADD gone int;
        ALTER TABLE notes ADD size varchar(9) CHECK (size IN ('s', 'm'));
        ALTER TABLE notes DROP gone""",
    "view": """
        CREATE VIEW small AS SELECT id, upper(text) AS text FROM notes WHERE size IN ('s', 'm')""",
    "body": """
        CREATE FUNCTION later(n int) RETURNS bigint LANGUAGE sql AS $f$
            SELECT count(*) FROM small WHERE id > n -- it's 1:2
        $f$""",
}


def write_history(service: Service) -> None:
    """Fifty revisions, with a branch and its merge in the middle."""
    for name, text in STEPS.items():
        service.add(name, text)
    for number in range(len(STEPS), 50):
        name = f"table{number}"
        if number == 20:
            parent = service.head
            service.add("left", "CREATE TABLE lefts (id int PRIMARY KEY)")
            service.head = parent
            service.add("right", "CREATE TABLE rights (id int PRIMARY KEY)")
            service.head = ("left", "right")  # type: ignore[assignment]
        rows = "SELECT n AS id, 'row ' || n AS note FROM generate_series(1, 130) AS n"
        service.add(name, f"CREATE TABLE {name} AS {rows}; ALTER TABLE {name} ADD PRIMARY KEY (id)")


@pytest.fixture
def new_database(own_server: URL) -> Callable[[str], URL]:
    """An empty one of that name."""

    def create(name: str) -> URL:
        execute(own_server, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        execute(own_server, f"CREATE DATABASE {name} TEMPLATE template0")
        return own_server.set(database=name)

    return create


def release(project: Project, name: str) -> None:
    """Say that production has it."""
    settings = project.backend / "pyproject.toml"
    text = re.sub("(?m)^released = .*", f'released = "{name}"', settings.read_text("utf-8"))
    settings.write_text(text)


def test_a_history_of_fifty_becomes_one_revision_as_the_guide_says(
    render: Render, new_database: Callable[[str], URL], own_server: URL
) -> None:
    project = render(extras="[history]")
    service = Service(project.backend, new_database("squash_head"))
    write_history(service)
    released = service.head
    service.add("open", "ALTER TABLE notes ADD more int", "ALTER TABLE notes DROP more")
    release(project, released)
    project.commit("a long history")
    middle = Service(project.backend, new_database("squash_middle"))
    for it, target in ((service, "heads"), (middle, "table30")):
        assert it.migrate("upgrade", target).returncode == 0
    [command] = section(project, "A long history")
    done = type_in(service, command)
    assert done.returncode == 0, done
    assert "makes what 53 revisions did, schema and rows" in done.stdout
    assert "which were its own before: notes\n" in done.stdout, "now()"
    left = sorted(path.name for path in service.versions.glob("*.py"))
    assert [name.split("_", 2)[2] for name in left] == [
        f"{released}_squashed.py", "open_made_by_a_test.py"
    ]  # fmt: skip
    done = service.migrate()
    assert (done.returncode, done.stdout) == (0, "The database is at head: open\n"), done
    assert "was changed" not in done.stderr
    fresh = Service(project.backend, new_database("squash_fresh"))
    done = fresh.migrate()
    assert done.returncode == 0, done
    module = template_module("testing.schema")
    assert module.difference(module.catalog(service.url), module.catalog(fresh.url)) == []
    for query in (
        "SELECT id, kind, text FROM notes ORDER BY 1",
        "SELECT last_value, is_called FROM notes_id_seq",
        "SELECT sum(id), count(*) FROM table49",
        "SELECT relacl::text FROM pg_class WHERE relname = 'notes'",
    ):
        assert service.sql(query) == fresh.sql(query)
    # A database that is too old, and the way that it is told.
    done = middle.migrate()
    assert done.returncode == 8, done
    said = f"revision table30 is older than this code: alembic/versions/{left[0]} has replaced it"
    assert f"Error: {said}" in done.stderr
    git(project.path, "worktree", "add", "--quiet", "../before", "HEAD")
    before = Service(project.path.parent / "before" / "backend", middle.url)
    assert before.migrate().returncode == 0
    done = middle.migrate()
    assert (done.returncode, done.stdout) == (0, "The database is at head: open\n"), done
    assert "was changed" not in done.stderr
    # The suite, before the commit and on a branch; there are no models.
    url = own_server.render_as_string(hide_password=False)
    file = "tests/test_migrations.py"
    for words in ([file, "-k", "not models_and_revisions"], [file, "-k", "merged"]):
        done = service.run("-m", "pytest", "-q", *words, program="python", TEST_DATABASE_URL=url)
        assert done.returncode == 0, done
        git(project.path, "switch", "--quiet", "-C", "topic")
        project.commit("squashed")
    [edit] = service.versions.glob("*_squashed.py")
    edit.write_text(edit.read_text("utf-8").replace("row 7", "row 8"))
    git(project.path, "switch", "--quiet", "-C", "main")
    done = service.run("-m", "pytest", "-q", *words, program="python", TEST_DATABASE_URL=url)
    assert done.returncode == 1
    assert f"{edit.name}: edited or deleted after it was merged" in done.stdout


def test_what_cannot_be_squashed_is_said_and_changes_nothing(
    render: Render, new_database: Callable[[str], URL]
) -> None:
    project = render(extras="[history]")
    service = Service(project.backend, new_database("squash_small"))
    service.add("a", "CREATE TABLE a (id int)")
    setting = "EXECUTE format('ALTER DATABASE %I SET work_mem = ''9MB''', current_database());"
    setting = f"DO $$ BEGIN {setting} END $$"

    def complete(draft: Path) -> None:
        text = draft.read_text("utf-8")
        draft.write_text(text.replace("STATEMENTS = [", f"STATEMENTS = [{setting!r},"))

    service.add("b", setting)
    service.head = "a"
    service.add("c", "CREATE TABLE c (id int)")
    files = {path: path.read_bytes() for path in service.versions.glob("*.py")}
    helped = run(service, "testing.squash", "--help")
    assert helped.stderr.startswith("`python -m testing.squash [REVISION]`"), helped
    for released, words, said in (
        ("", [], "`released` in pyproject.toml is empty"),
        ("a", ["b"], "b is not released"),
        ("a", ["lost"], "can't locate revision lost"),
        ("b", [], r"_c_made_by_a_test.py comes after a, not after b"),
        ("b", ["baseline"], "nothing comes before baseline"),
    ):
        release(project, released)
        done = run(service, "testing.squash", *words)
        assert done.returncode, done
        assert f"Error: {said}" in done.stderr or said in done.stderr
        assert "\nNext:  " in done.stderr or "nothing comes" in said
    service.head = ("b", "c")  # type: ignore[assignment]
    service.add("d", "pass")
    files = {path: path.read_bytes() for path in service.versions.glob("*.py")}
    release(project, "d")
    done = run(service, "testing.squash")
    assert done.returncode == 1, done
    assert "Error: alembic/squashed.py makes something else:\n  lost: settings " in done.stderr
    assert {path: path.read_bytes() for path in service.versions.rglob("*.py")} == files
    draft = project.backend / "alembic" / "squashed.py"
    complete(draft)
    done = run(service, "testing.squash")
    assert done.returncode == 0, done
    assert not draft.exists()
    # And once more.
    service.head = "d"
    service.add("e", "INSERT INTO a VALUES (1)")
    release(project, "e")
    done = run(service, "testing.squash")
    assert done.returncode == 1, "the setting again"
    complete(draft)
    assert run(service, "testing.squash").returncode == 0
    [path] = service.versions.glob("*.py")
    known = re.findall(r"(?m)^# squashed: versions/\S+ (\w+) ", path.read_text("utf-8"))
    assert set(known) == {"baseline", "a", "b", "c", "d", "e"}
    assert service.migrate().returncode == 0
    assert service.sql("SELECT id FROM a") == [(1,)]


def test_adopt_after_the_first_commit_is_no_edit_of_a_merged_revision(render: Render) -> None:
    project = render(extras="[history]")
    git(project.path, "switch", "--quiet", "-c", "move-in")
    versions = project.backend / "alembic" / "versions"
    [baseline] = versions.glob("*_baseline_*")
    text = baseline.read_text("utf-8")
    words = ["-q", "-p", "no:cacheprovider", "testing/shape.py", "-k", "merged"]
    for new, code in ((text + "\nedited = 1", 1), (None, 0)):
        if new:
            baseline.write_text(new)
        else:
            baseline.unlink()
            (versions / "1_old.py").write_text(text.replace("baseline", "old"))
        done = forks().run("pytest", words, project.backend, {"PATH": "/usr/bin:/bin"})
        assert done.returncode == code, done.stdout


def test_the_workflow_knows_what_a_squash_removed(render: Render) -> None:
    """Its step is a command of the host's."""
    project = render(extras="[history]")
    text = (project.path / ".github/workflows/ci.yml").read_text()
    step = re.search(r"(?s)- run: \|\n(.*?)\n      - run", text)
    assert step

    def verdict() -> int:
        command = ["bash", "-e", "-c", step[1]]
        return subprocess.run(command, cwd=project.path, check=False).returncode

    versions = project.backend / "alembic" / "versions"
    (versions / "1_a.py").write_text("a")
    project.commit()
    assert verdict() == 0
    (versions / "1_a.py").unlink()
    project.commit()
    assert verdict() == 1
    for line in ("# squashed: versions/1_a.py a 1 2\n", ""):
        git(project.path, "reset", "--quiet", "--soft", "HEAD^")
        (versions / "2_b.py").write_text(line)
        project.commit()
        assert verdict() == (not line)
    [baseline] = versions.glob("*_baseline_*")
    baseline.unlink()
    project.commit()
    assert verdict() == 0

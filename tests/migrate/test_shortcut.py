"""The short way, when there is nothing to do, against what Alembic itself says."""
# ruff: noqa: E501, S311, S608

import importlib
import os
import random
import secrets
import sys
import textwrap
from collections import Counter
from collections.abc import Callable, Generator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from tests.migrate.service import Service

SEED = int(os.environ.get("GRAPH_SEED") or secrets.randbelow(10**6))
GRAPHS = 400


@pytest.fixture(scope="module")
def project(backend: Path) -> Generator[dict[str, ModuleType]]:
    """The project's modules `heads` and `shortcut`."""
    before = set(sys.modules)
    sys.path.insert(0, str(backend))
    try:
        names = ("app.migrate.heads", "app.migrate.shortcut")
        yield {name.rpartition(".")[2]: importlib.import_module(name) for name in names}
    finally:
        sys.path.remove(str(backend))
        for name in set(sys.modules) - before:
            if name.partition(".")[0] == "app":
                del sys.modules[name]


MAKO = '''"""{message}

Revision ID: {name}
Revises: {comma}
Create Date: 2026-11-22 12:00:00+00:00

"""

import sqlalchemy as sa

from alembic import op

revision: str = {revision}
down_revision: str | tuple[str, ...] | None = {down}
branch_labels: str | tuple[str, ...] | None = {labels}
depends_on: str | tuple[str, ...] | None = {depends}


def upgrade() -> None:
    op.create_table("t_{name}", sa.Column("id", sa.Integer()))


def downgrade() -> None:
    op.drop_table("t_{name}")
'''

# What people and tools do to such a file; each keeps it a revision, or breaks it.
EDITS: dict[str, Callable[[str, str], str]] = {
    "single quotes": lambda text, _: text.replace('= "', "= '").replace('"\n', "'\n"),
    "crlf": lambda text, _: text.replace("\n", "\r\n"),
    "bom": lambda text, _: "\ufeff" + text,
    "no annotations": lambda text, _: text.replace(": str | tuple[str, ...] | None =", " ="),
    "spaces": lambda text, _: text.replace("= None", "  =   None   # nothing"),
    "old style": lambda text, _: text.replace("depends_on: str | tuple[str, ...] | None", "depends_on"),
    "comment": lambda text, _: text + '\n# revision = "else"\n',
    "local": lambda text, _: text + '\n\ndef helper():\n    revision = "x"\n    return revision\n',
    "table": lambda text, _: text + '\n\ndef more():\n    op.execute("UPDATE revision SET depends_on = 1")\n',
    "docstring": lambda text, o: text.replace("{message}", "x").replace(
        '"""', f'"""Title\n\nrevision = "{o}"\ndown_revision = None\n', 1
    ),
    "constant": lambda text, _: text.replace("revision: str =", 'T = sa.table("t")\nrevision: str =', 1),
    "again": lambda text, o: text + f'\nrevision = "{o}"\n',
    "again later": lambda text, o: text + f'\ndown_revision = "{o}"\n',
    "labels later": lambda text, _: text + '\nbranch_labels = ("late",)\n',
    "depends later": lambda text, o: text + f'\nif True:\n    depends_on = "{o}"\n',
    "globals": lambda text, o: text + f'\nglobals()["revision"] = "{o}"\n',
    "global": lambda text, o: text + f'\n\ndef f():\n    global revision\n    revision = "{o}"\n\n\nf()\n',
    "walrus": lambda text, o: text.replace("\n\n\ndef up", f'\nx = (revision := "{o}")\n\n\ndef up', 1),
    "chain": lambda text, o: text.replace("\n\n\ndef up", f'\nx = down_revision = "{o}"\n\n\ndef up', 1),
    "unpack": lambda text, o: text.replace("\n\n\ndef up", f'\nrevision, x = "{o}", 1\n\n\ndef up', 1),
    "augmented": lambda text, _: text.replace("\n\n\ndef up", '\nrevision += "x"\n\n\ndef up', 1),
    "loop": lambda text, o: text + f'\nfor revision in ["{o}"]:\n    pass\n',
    "semicolon": lambda text, o: text + f'\nx = 1; revision = "{o}"\n',
    "imported": lambda text, _: text + "\nfrom os import name as depends_on\n",
    "computed": lambda text, _: text.replace("revision: str = ", "revision: str = '' + ", 1),
    "name": lambda text, o: text.replace("revision: str = ", f'N = "{o}"\nrevision: str = N or ', 1),
    "syntax": lambda text, _: text + "\ndef broken(:\n",
    "indent": lambda text, _: text.replace("    op.drop_table", "  op.drop_table\n      op.x", 1),
    "tuple over lines": lambda text, _: text.replace(
        "down_revision: str | tuple[str, ...] | None = (", "down_revision = (\n    "
    ).replace(")\nbranch", "\n)\nbranch"),
    "latin": lambda text, _: "# -*- coding: latin-1 -*-\n" + text,
    "setattr": lambda text, o: text + f'\nimport sys\nsetattr(sys.modules[__name__], "revision", "{o}")\n',
    "removed": lambda text, _: text.replace("down_revision:", "down_revison:", 1),
    "no revision": lambda text, _: text.replace("revision: str", "Revision: str", 1),
    "form feed": lambda text, o: text + f'\n\f\nrevision = "{o}"\n',
}  # fmt: skip
USUAL = {"single quotes", "crlf", "no annotations", "spaces", "old style", "comment", "local",
         "table", "docstring", "constant", "tuple over lines"}  # fmt: skip


class Graph:
    """Random revisions in a folder of their own, and random rows in alembic_version."""

    def __init__(self, chance: random.Random, backend: Path, folder: Path) -> None:
        self.folder = folder
        self.plain = True  # what the short way is there for
        self.notes: list[str] = []
        versions = folder / "alembic" / "versions"
        versions.mkdir(parents=True)
        (folder / "alembic.ini").write_text((backend / "alembic.ini").read_text())
        (folder / "alembic" / "env.py").write_text("")
        self.texts: dict[str, str] = {}
        names: list[str] = []
        strange = chance.random() < 0.5
        for number in range(chance.randint(1, 8)):
            name = f"{chance.getrandbits(48):012x}"
            down: list[str] = names[-1:]
            labels = depends = None
            if strange and number and chance.random() < 0.3:
                self.plain = False
                kind = chance.choice(["branch", "merge", "label", "depends", "base", "missing",
                                      "double", "circle"])  # fmt: skip
                self.notes.append(kind)
                if kind == "branch":
                    down = [chance.choice(names)]
                elif kind == "merge":
                    down = chance.sample(names, min(2, len(names)))
                elif kind == "label":
                    labels = (f"label{number}",)
                elif kind == "depends":
                    depends = chance.choice(names)
                elif kind == "base":
                    down = []
                elif kind == "missing":
                    down = ["feedfeedfeed"]
                elif kind == "double":
                    name = chance.choice(names)
                elif kind == "circle":
                    down = [name]
            text = MAKO.format(
                message=chance.choice(["add a table", "new revision", "don't = stop", "x: y = 1"]),
                name=name,
                comma=", ".join(down),
                revision=f'"{name}"',
                down=(f'"{down[0]}"' if len(down) == 1 else repr(tuple(down)) if down else "None"),
                labels=repr(labels),
                depends=repr(depends),
            )
            if chance.random() < 0.3:
                edit = chance.choice(sorted(EDITS))
                self.notes.append(edit)
                self.plain &= edit in USUAL
                text = EDITS[edit](text, chance.choice([*names, "0123456789ab"]))
            file = versions / f"2026112{number}_1200_{name}_{len(names)}.py"
            file.write_bytes(text.encode())
            names.append(name)
        for extra, seldom in [("notes.txt", 0.2), ("README.md", 0.2), ("__init__.py", 0.1),
                              (".#lock.py", 0.1), ("old/x.py", 0.2), ("data.py.bak", 0.2)]:  # fmt: skip
            if chance.random() < seldom:
                path = versions / extra
                path.parent.mkdir(exist_ok=True)
                path.write_text('revision = "extra"\ndown_revision = None\n')
        if strange and chance.random() < 0.1:
            self.plain = False
            self.notes.append("stray")
            (versions / "helper.py").write_text("X = 1\n")
        self.rows = [names[-1]]
        if chance.random() < 0.4:
            self.plain = False
            kind = chance.choice(["none", "older", "unknown", "two", "more", "short", "all"])
            self.notes.append(f"rows: {kind}")
            self.rows = {
                "none": [],
                "older": [chance.choice(names)],
                "unknown": ["0123456789ab"],
                "two": chance.sample(names, min(2, len(names))),
                "more": [names[-1], "0123456789ab"],
                "short": [names[-1][:6]],
                "all": sorted(set(names)),
            }[kind]
            self.plain = self.rows == [names[-1]] and len(self.notes) == 1


def alembic_finds_nothing_to_do(graph: Graph) -> bool:
    """Whether `upgrade head` would run nothing and fail at nothing, by Alembic's own code."""
    config = Config(graph.folder / "alembic.ini", attributes={})
    try:
        scripts = ScriptDirectory.from_config(config)
        list(scripts.walk_revisions())  # as the warning of edited revisions does
        context = MigrationContext.configure(dialect_name="postgresql", opts={"as_sql": True})
        context.get_current_heads = lambda: tuple(graph.rows)  # type: ignore[method-assign]
        return not scripts._upgrade_revs("head", tuple(graph.rows))  # type: ignore[arg-type]
    except Exception:  # whatever it is, a person has to be told
        return False


def shortcut_says_at_head(graph: Graph, project: dict[str, ModuleType], texts: Any) -> bool:
    """What the short way decides, given the rows and the record of texts."""
    history = project["heads"].read_history(graph.folder)
    return history is not None and project["shortcut"].is_at_head(history, graph.rows, texts)


@pytest.mark.filterwarnings("ignore")  # Alembic's, of strange graphs
def test_the_short_way_never_says_at_head_when_alembic_would_not(
    project: dict[str, ModuleType],
    backend: Path,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    chance = random.Random(SEED)
    seen: Counter[str] = Counter()
    for number in range(GRAPHS):
        graph = Graph(chance, backend, tmp_path / str(number))
        short, alembic = (
            shortcut_says_at_head(graph, project, {}),
            alembic_finds_nothing_to_do(graph),
        )
        what = f"seed {SEED}, graph {number} in {graph.folder}: {graph.notes}, rows {graph.rows}"
        assert alembic or not short, f"the short way is wrong: {what}"
        assert short or not alembic or not graph.plain, f"the short way is of no use: {what}"
        seen[f"alembic {alembic}, short way {short}"] += 1
    counts = ", ".join(f"{number} times {what}" for what, number in sorted(seen.items()))
    record_property("line", f"random graphs of revisions: {counts} (GRAPH_SEED={SEED})")
    assert seen["alembic True, short way True"] > GRAPHS / 10
    assert seen["alembic False, short way False"] > GRAPHS / 10


@pytest.mark.parametrize("edit", sorted(EDITS))
def test_each_edit_of_a_file(
    project: dict[str, ModuleType], backend: Path, tmp_path: Path, edit: str
) -> None:
    graph = Graph(random.Random(1), backend, tmp_path / edit)
    for path in (graph.folder / "alembic" / "versions").glob("*.py"):
        path.unlink()
    names = ["aaaaaaaaaaaa", "bbbbbbbbbbbb", "cccccccccccc"]
    for name, down in zip(names, ["None", '"aaaaaaaaaaaa"', '("bbbbbbbbbbbb",)'], strict=True):
        text = MAKO.format(message="m", name=name, comma="", revision=f'"{name}"', down=down,
                           labels=None, depends=None)  # fmt: skip
        if name == names[2]:
            edited = EDITS[edit](text, "aaaaaaaaaaaa")
            assert edited != text
            text = edited
        (graph.folder / "alembic" / "versions" / f"{name}.py").write_bytes(text.encode())
    graph.rows = names[2:]
    short, alembic = (
        shortcut_says_at_head(graph, project, {}),
        alembic_finds_nothing_to_do(graph),
    )
    assert alembic or not short
    assert short == alembic or edit not in USUAL


def test_the_settings_and_the_short_way_mean_the_same_database(service: Service) -> None:
    code = """
        import itertools, os, random, sys
        from pydantic import ValidationError
        from app.core.config import Settings
        from app.migrate.waits import MigrationSettings
        from app.migrate.shortcut import connection_parameters

        values = {
            "ENVIRONMENT": ["production", "development", "staging", "Production"],
            "POSTGRES_HOST": ["db", "::1", "a b", "/run/pg", "ä"],
            "POSTGRES_PORT": ["5433", "5432x", " 5432", "0", "70000", "05432", "5_4"],
            "POSTGRES_USER": ["u", "u@h", "u/x", "ü"],
            "POSTGRES_PASSWORD": ["p", "development-only", "p%40", "a'b \\\\", "x" * 3000],
            "POSTGRES_DB": ["d", "d=1", "host=x dbname=y", "postgresql://x/y", "d d"],
            "POSTGRES_PASSWORD_FILE": ["/etc/hostname", "/nowhere"],
            "DATABASE_URL": [
                "postgresql://a:b@c/d", "postgres://a:b@c:1/d", "postgresql+asyncpg://a:b@c:1/d",
                "postgresql+psycopg2://a:b@c:1/d?sslmode=require", "postgresql://a:b@c/d?ssl=require",
                "postgresql://a:p%40@c/d", "postgresql://a:b@[::1]/d", "postgresql://a@c/d",
                "postgresql://a:b@c", "mysql://a:b@c/d", "x", " postgresql://a:b@c/d ",
                "postgresql://a:development-only@c/d", "postgresql://a:b@c,e/d",
                "postgresql://a:b@c/d?options=-csearch_path%3Dx", "postgresql:///d", "postgresql://a:b@c:x/d",
            ],
            "MIGRATION_LOCK_WAIT": ["1", "soon", "-1", "0.5", "1e3"],
            "MIGRATION_CONNECT_WAIT": ["0", "nan", "inf"],
            "postgres_db": ["other"],
            "Database_Url": ["postgresql://x:y@z/w"],
        }
        values["MIGRATION_DATABASE_URL"] = values["DATABASE_URL"]
        base = {"POSTGRES_USER": "u", "POSTGRES_PASSWORD": "p", "POSTGRES_DB": "d"}
        chance = random.Random(int(sys.argv[1]) if len(sys.argv) > 1 else None)
        cases = [{}] + [{name: value} for name in values for value in [*values[name], ""]]
        for _ in range(1500):
            names = chance.sample(sorted(values), chance.randint(2, 6))
            cases.append({name: chance.choice([*values[name], ""]) for name in names})
        clean = {n: v for n, v in os.environ.items() if n.upper() not in values}
        same = refused = left = 0
        for case in cases:
            os.environ.clear()
            os.environ.update(clean | (base if chance.random() < 0.8 else {}) | case)
            short = connection_parameters()
            try:
                MigrationSettings()
                url = Settings().database_url_sync
            except ValidationError:
                assert short is None, case
                refused += 1
                continue
            if short is None:
                left += 1
                continue
            expected = url.translate_connect_args(username="user", database="dbname") | dict(url.query)
            expected["port"] = str(expected.get("port") or 5432)
            short.pop("connect_timeout")
            assert short == expected, (case, short, expected)
            same += 1
        print(same, refused, left)
        os.environ.clear()
        os.environ.update(clean | base)
        assert connection_parameters()["dbname"] == "d"
        """
    done = service.run("-c", textwrap.dedent(code), program="python", DATABASE_URL="")
    assert done.returncode == 0, done
    same, refused, left = map(int, done.stdout.split())
    print(f"the same database {same} times, refused {refused}, left to the long way {left}")
    assert min(same, refused, left) > 100


def test_the_short_way_imports_nothing_heavy(service: Service) -> None:
    service.add("one", "pass")
    assert service.migrate().returncode == 0
    code = (
        "import sys; from app.migrate.__main__ import main; code = main([]);"
        "print(sorted({m.partition('.')[0] for m in sys.modules})); sys.exit(code)"
    )
    done = service.run("-c", code, program="python")
    assert done.returncode == 0, done
    assert "The database is at head: one" in done.stdout
    heavy = ("alembic", "sqlalchemy", "pydantic", "pydantic_settings", "mako", "dataclasses",
             "inspect", "pathlib", "typing", "asyncio", "argparse")  # fmt: skip
    for name in heavy:
        assert f"'{name}'" not in done.stdout, done


def test_the_short_way_leaves_all_else_to_alembic(service: Service) -> None:
    path = service.add("one", "pass")
    assert service.migrate().returncode == 0

    def is_short(**variables: str) -> bool:
        done = service.migrate(**variables)
        assert done.returncode == 0, done
        assert ("at head" in done.stdout) != ("Context impl" in done.stderr), done
        return "at head" in done.stdout

    assert is_short()
    url = service.url.render_as_string(hide_password=False)
    (service.backend / ".env").write_text("")
    assert not is_short()
    (service.backend / ".env").unlink()
    assert is_short()
    assert not is_short(DATABASE_URL=url.replace("service_", "service%5F"))
    assert is_short(MIGRATION_DATABASE_URL=url)
    text = path.read_text()
    path.write_text(text + "# edited\n")
    assert not is_short()
    path.write_text(text)
    service.sql("DROP TABLE alembic_history")
    assert not is_short()
    assert is_short()
    service.sql("UPDATE alembic_version SET version_num = 'baseline'")
    assert not is_short()
    assert is_short()
    for file, old, new in [
        ("alembic.ini", "%(here)s/alembic\n", "%(here)s/alembic\nsourceless = true\n"),
        ("alembic.ini", "%(here)s/alembic\n", "%(here)s/../backend/alembic\n"),
        (
            "alembic/env.py",
            "compare_type=True",
            'compare_type=True, version_table="alembic_version"',
        ),
    ]:
        original = (service.backend / file).read_text()
        assert old in original
        (service.backend / file).write_text(original.replace(old, new))
        assert not is_short()
        (service.backend / file).write_text(original)
    assert is_short()

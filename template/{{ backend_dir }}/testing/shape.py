"""The revisions as files: one line of history, with names that sort and say something."""

import ast
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from alembic.script import Script

from app.migrate.errors import MIGRATE, shorten
from app.migrate.record import effect
from testing.databases import BACKEND
from testing.revisions import revisions, scripts, unreleased, warnings_shown

# Messages that say nothing.
EMPTY = re.compile(r"(?i)|empty message|revision|migration|changes?|updates?|fix|wip|test")
BASELINE = BACKEND / "alembic" / "versions" / "20261122_0000_baseline_empty_schema.py"
EDITED = "git diff --name-only --diff-filter=MD origin/main... -- '*alembic/versions/*.py'"


def test_there_is_one_head() -> None:
    heads = scripts().get_heads()
    assert revisions(), "there is no revision in alembic/versions, not even the baseline"
    assert len(heads) == 1, f"heads: {heads}. Join them: {MIGRATE} merge heads -m 'merge'"


def test_every_file_in_versions_is_a_revision() -> None:
    files = set((BACKEND / "alembic" / "versions").rglob("[!_.]*.py"))
    known = {Path(script.path) for script in revisions()}
    odd = ", ".join(sorted(shorten(path) for path in files ^ known))
    assert not odd, f"two files with one revision id, or a file that Alembic does not see: {odd}"


def test_file_names_have_date_id_and_message() -> None:
    fail_if(problem for script in unreleased() for problem in problems_of_name(script))


def fail_if(problems: Iterator[str]) -> None:
    """One failure, whatever their number."""
    if lines := list(problems):
        pytest.fail("\n".join(lines), pytrace=False)


def problems_of_name(script: Script) -> Iterator[str]:
    """What is wrong with a revision's id, its file's name and its docstring."""
    name, place = Path(script.path).name, shorten(script.path)
    slug = re.fullmatch(rf"\d{{8}}_\d{{4}}_{re.escape(script.revision)}_(\w*)\.py", name)
    if not slug:
        yield f"{place}: not YYYYMMDD_HHMM_<revision>_<slug>.py"
    elif EMPTY.fullmatch(slug[1].strip("_").replace("_", " ")):
        yield f"{place}: its name does not say what it does; create it with -m"
    if EMPTY.fullmatch(script.doc.strip(" .")):
        yield f"{place}:1: its docstring does not say what it does"
    for parent in scripts().get_revisions(script._versioned_down_revisions):
        if parent in unreleased() and (older := Path(parent.path).name)[:13] > name[:13]:
            yield f"{place}: its date is before that of {older}"


def test_revisions_do_not_import_the_application() -> None:
    """A revision must do the same in a year, when the models have changed."""
    fail_if(problem for script in unreleased() for problem in imports_of_the_application(script))


def imports_of_the_application(script: Script) -> Iterator[str]:
    """By statement or by function."""
    instead = "write the table as it is now into the revision, with sa.table() and sa.column()"
    with warnings_shown():
        tree = ast.parse(Path(script.path).read_bytes(), script.path)
    for node in ast.walk(tree):
        match node:
            case ast.Import():
                modules = [alias.name for alias in node.names]
            case ast.ImportFrom():
                modules = [node.module or ""]
            case ast.Call() if "import" in ast.unparse(node.func):
                modules = [str(it.value) for it in node.args if isinstance(it, ast.Constant)]
            case _:
                continue
        for module in modules:
            if module.partition(".")[0] == "app" and module != "app.migrate.backfill":
                yield f"{shorten(script.path)}:{node.lineno}: imports {module}; {instead}"


def test_merged_revisions_are_not_edited(record_property: Callable[[str, object], None]) -> None:
    """Databases that have applied one already would differ from new ones."""
    branches = ("origin/HEAD", "origin/main", "origin/master", "main", "master")
    base = next(filter(None, (git("merge-base", "HEAD", branch) for branch in branches)), "")
    if not base:  # in a container there is neither git nor .git; CI runs the command outside
        why = "no main branch" if git("rev-parse", "HEAD") else "no git here"
        record_property("note", f"not checked: edits of merged revisions ({why}). Run: {EDITED}")
        return
    which = ("--name-only", "--no-renames", "--diff-filter=MD")
    edited = git("diff", *which, base, "--", "alembic/versions/*.py")
    fail_if(
        f"{path}: edited or deleted after it was merged. Restore it, and write a new revision: "
        f"git checkout {base[:9]} -- {path}"
        for path in edited.splitlines()
        if not was_replaced(path, git("show", f"{base}:{path}"))
    )


def was_replaced(path: str, text: str) -> bool:
    """By testing/squash.py, whose file has the digest of what the old one did; or by adopt.py."""
    if Path(path).name == BASELINE.name:
        return not BASELINE.exists()
    trace = f" {effect(text.encode())[:32]}"
    return any(trace in Path(it.path).read_text("utf-8") for it in revisions())


def git(*arguments: str | Path) -> str:
    """What git prints; nothing where it fails or does not exist."""
    config = ["-c", "safe.directory=*", "-c", "core.quotePath=off"]
    command = ["git", "-C", BACKEND, *config, *arguments]
    if not shutil.which("git"):
        return ""
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()

"""The revisions as files: one line of history, with names that sort and say something."""

import ast
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from alembic.script import Script

from testing.databases import BACKEND
from testing.revisions import revisions, scripts, shorten

# Messages that say nothing.
EMPTY = re.compile(r"(?i)|empty message|revision|migration|changes?|updates?|fix|wip|test")
LONGEST_ID = 32  # characters of alembic_version.version_num, which Alembic creates
EDITED = "git diff --name-only --diff-filter=MD {}... -- '*alembic/versions/*.py'"


def test_there_is_one_head() -> None:
    heads = scripts().get_heads()
    assert revisions(), "there is no revision in alembic/versions, not even the baseline"
    assert len(heads) == 1, f"heads: {heads}. Join them: alembic merge heads -m 'merge'"


def test_every_file_in_versions_is_a_revision() -> None:
    files = set((BACKEND / "alembic" / "versions").rglob("[!_.]*.py"))
    known = {Path(script.path) for script in revisions()}
    odd = ", ".join(sorted(shorten(path) for path in files ^ known))
    assert not odd, f"two files with one revision id, or a file that Alembic does not see: {odd}"


def test_file_names_have_date_id_and_message() -> None:
    fail_if([problem for script in revisions() for problem in problems_of_name(script)])


def fail_if(problems: list[str]) -> None:
    """One failure, whatever their number."""
    if problems:
        pytest.fail("\n".join(problems), pytrace=False)


def problems_of_name(script: Script) -> list[str]:
    """What is wrong with a revision's id, its file's name and its docstring."""
    name, place, length = Path(script.path).name, shorten(script.path), len(script.revision)
    found = re.fullmatch(rf"\d{{8}}_\d{{4}}_{re.escape(script.revision)}_(\w*)\.py", name)
    problems = []
    if length > LONGEST_ID:
        problems.append(
            f"{place}: the revision id {script.revision} has {length} characters; "
            f"alembic_version holds {LONGEST_ID}"
        )
    if not found:
        problems.append(f"{place}: not YYYYMMDD_HHMM_<revision>_<slug>.py")
    elif EMPTY.fullmatch(found[1].strip("_").replace("_", " ")):
        problems.append(f"{place}: its name does not say what it does; create it with -m")
    if EMPTY.fullmatch(script.doc.strip(" .")):
        problems.append(f"{place}:1: its docstring does not say what it does")
    for parent in script._versioned_down_revisions:
        older = scripts().get_revision(parent)
        if older and Path(older.path).name[:13] > name[:13]:
            problems.append(f"{place}: its date is before that of {Path(older.path).name}")
    return problems


def test_revisions_do_not_import_the_application() -> None:
    """A revision must do the same in a year, when the models have changed."""
    fail_if(
        [
            f"{shorten(script.path)}:{line}: imports {module}; write the table as it is now into "
            "the revision, with sa.table() and sa.column()"
            for script in revisions()
            for line, module in imports(script)
            if module.partition(".")[0] == "app"
        ]
    )


def imports(script: Script) -> list[tuple[int, str]]:
    """The lines and names of what a revision imports, by statement or by function."""
    found = []
    for node in ast.walk(ast.parse(Path(script.path).read_bytes())):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append((node.lineno, node.module or ""))
        elif isinstance(node, ast.Call) and "import" in ast.unparse(node.func):
            names = [arg.value for arg in node.args if isinstance(arg, ast.Constant)]
            found += [(node.lineno, str(name)) for name in names]
    return found


def test_merged_revisions_are_not_edited(record_property: Callable[[str, object], None]) -> None:
    """Databases that have applied one already would differ from new ones."""
    branches = ("origin/HEAD", "origin/main", "origin/master", "main", "master")
    base = next(filter(None, (git("merge-base", "HEAD", branch) for branch in branches)), "")
    if not base:  # in a container there is neither git nor .git; CI runs the command outside
        why = "no main branch" if git("rev-parse", "HEAD") else "no git here"
        command = EDITED.format("origin/main")
        record_property("note", f"not checked: edits of merged revisions ({why}). Run: {command}")
        return
    versions = BACKEND / "alembic" / "versions"
    edited = git("diff", "--name-only", "--no-renames", "--diff-filter=MD", base, "--", versions)
    fail_if(
        [
            f"{path}: edited or deleted after it was merged. Restore it, and write a new revision: "
            f"git checkout {base[:9]} -- {path}"
            for path in edited.splitlines()
            if path.endswith(".py")
        ]
    )


def git(*arguments: str | Path) -> str:
    """What git prints; nothing where it fails or does not exist."""
    if not shutil.which("git"):
        return ""
    config = ["-c", "safe.directory=*", "-c", "core.quotePath=off"]
    command = ["git", "-C", BACKEND, *config, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip()

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

# What `alembic revision` has nothing to say about: nobody wrote a message.
SAYS_NOTHING = re.compile(r"(?i)|empty message|revision|migration|changes?|updates?|fix|wip|test")


def test_there_is_one_head() -> None:
    heads = scripts().get_heads()
    assert revisions(), "there is no revision in alembic/versions, not even the baseline"
    assert len(heads) == 1, f"heads: {heads}. Join them: alembic merge heads -m 'merge'"


def test_every_file_in_versions_is_a_revision() -> None:
    files = set((BACKEND / "alembic" / "versions").rglob("[!_.]*.py"))
    known = {Path(script.path) for script in revisions()}
    odd = ", ".join(sorted(shorten(path) for path in files ^ known))
    assert not odd, f"two files with one revision id, or a file that Alembic does not see: {odd}"


def test_file_names_have_date_id_and_message(subtests: pytest.Subtests) -> None:
    for script in revisions():
        with subtests.test(script.revision):
            if problems := [*problems_of_name(script), *problems_of_order(script)]:
                pytest.fail("\n".join(problems), pytrace=False)


def problems_of_name(script: Script) -> list[str]:
    """What is wrong with a file's name and docstring."""
    name, place = Path(script.path).name, shorten(script.path)
    found = re.fullmatch(rf"\d{{8}}_\d{{4}}_{re.escape(script.revision)}_(\w*)\.py", name)
    problems = []
    if not found:
        problems.append(f"{place}: not YYYYMMDD_HHMM_<revision>_<slug>.py")
    elif SAYS_NOTHING.fullmatch(found[1].strip("_").replace("_", " ")):
        problems.append(f"{place}: its name does not say what it does; make it with -m")
    if SAYS_NOTHING.fullmatch(script.doc.strip(" .")):
        problems.append(f"{place}:1: its docstring does not say what it does")
    return problems


def problems_of_order(script: Script) -> list[str]:
    """Whether it stands before one that it follows."""
    return [
        f"{shorten(script.path)}: its date is before that of {older.path.rpartition('/')[2]}"
        for name in script._versioned_down_revisions
        if (older := scripts().get_revision(name))
        and Path(older.path).name[:13] > Path(script.path).name[:13]
    ]


def test_revisions_do_not_import_the_application(subtests: pytest.Subtests) -> None:
    """A revision must do the same in a year, when the models have changed."""
    for script in revisions():
        with subtests.test(script.revision):
            for line, module in imports(script):
                if module.partition(".")[0] == "app":
                    pytest.fail(
                        f"{shorten(script.path)}:{line}: imports {module}; write the table as it "
                        "is now into the revision, with sa.table() and sa.column()",
                        pytrace=False,
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


def test_merged_revisions_are_not_edited(
    record_property: Callable[[str, object], None],
) -> None:
    """Databases that have it already would differ from new ones. Without git nothing is known."""
    for branch in ("origin/HEAD", "origin/main", "origin/master", "main", "master"):
        if base := git("merge-base", "HEAD", branch):
            break
    else:
        record_property(
            "note", "no main branch to compare with: nobody looked for edited revisions"
        )
        return
    versions = BACKEND / "alembic" / "versions"
    edited = git("diff", "--name-status", "--no-renames", "--diff-filter=MD", base, "--", versions)
    lines = [line.split("\t")[1] for line in edited.splitlines() if line.endswith(".py")]
    assert not lines, (
        f"edited or deleted since {base[:9]} of {branch}: {', '.join(lines)}. Bring them back "
        f"(git checkout {base[:9]} -- <file>), and write a new revision."
    )


def git(*words: str | Path) -> str:
    """What git prints; empty where it fails or is not there."""
    if not shutil.which("git"):
        return ""
    command = ["git", "-C", BACKEND, "-c", "safe.directory=*", "-c", "core.quotePath=off", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip()

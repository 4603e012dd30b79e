"""The revisions as their files say, read without importing them, SQLAlchemy or Alembic.

Starting those takes ten times as long as asking the database whether there is anything to do. At
any doubt the answer is None, and Alembic itself is asked.
"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

BACKEND = Path(__file__).resolve().parents[2]

_NAME = r"""["']([\w.-]+)["']"""
# Each of the four must be assigned once, at the start of a line, and to nothing but literals.
_ASSIGNMENT = re.compile(
    r"^([ \t]*)(\w+)[ \t]*(?::[^=\n]*)?=(?!=)[ \t]*(.*?)[ \t]*(?:#.*)?$", re.MULTILINE
)
_VALUE = re.compile(rf"None|\(?\s*{_NAME}(?:\s*,\s*{_NAME})*\s*,?\s*\)?")
_NAMES = ("revision", "down_revision", "branch_labels", "depends_on")


@dataclass(frozen=True)
class Revision:
    """One file: what it is called, what comes before it, and the SHA-256 of its text."""

    revision: str
    down_revisions: tuple[str, ...]
    file: Path
    sha256: str


@dataclass(frozen=True)
class History:
    """All files, by revision, and the one head."""

    revisions: dict[str, Revision]
    head: str

    def pending(self, applied: set[str]) -> list[Revision] | None:
        """What an upgrade to head would run, oldest first; None if a row names no file."""
        if not applied <= self.revisions.keys():
            return None
        missing: dict[str, Revision] = {}
        done = self.ancestors(applied)

        def visit(name: str) -> None:
            if name not in done and name not in missing:
                for parent in self.revisions[name].down_revisions:
                    visit(parent)
                missing[name] = self.revisions[name]

        visit(self.head)
        return list(missing.values())

    def ancestors(self, names: set[str]) -> set[str]:
        """These revisions and all before them."""
        found: set[str] = set()
        todo = list(names)
        while todo:
            if (name := todo.pop()) not in found:
                found.add(name)
                todo += self.revisions[name].down_revisions
        return found


def read_history(backend: Path = BACKEND) -> History | None:
    """The history of the files in `alembic/versions`; None where only Alembic can tell."""
    ini = (backend / "alembic.ini").read_text(encoding="utf-8")
    if "script_location = %(here)s/alembic\n" not in ini or "version_locations" in ini:
        return None
    revisions: dict[str, Revision] = {}
    for file in (backend / "alembic" / "versions").glob("*.py"):
        if file.name.startswith(("__init__", ".#")):  # as Alembic does
            continue
        revision = read_revision(file)
        if revision is None or revision.revision in revisions:
            return None
        revisions[revision.revision] = revision
    parents = {name for item in revisions.values() for name in item.down_revisions}
    heads = revisions.keys() - parents
    bases = [item for item in revisions.values() if not item.down_revisions]
    if len(heads) != 1 or len(bases) != 1 or not parents <= revisions.keys():
        return None
    history = History(revisions, heads.pop())
    in_a_circle = len(history.ancestors({history.head})) < len(revisions)
    return None if in_a_circle else history


def read_revision(file: Path) -> Revision | None:
    """One file; None if it says anything in another form than script.py.mako's."""
    text = file.read_text(encoding="utf-8")
    values: dict[str, str] = {}
    for indent, name, value in _ASSIGNMENT.findall(text):
        if name in _NAMES:
            if indent or name in values or not _VALUE.fullmatch(value):
                return None
            values[name] = value
    # Further mentions, such as `revision += "x"` or a loop over it, are beyond us.
    if any(len(re.findall(rf"\b{name}\b", _code(text))) != (name in values) for name in _NAMES):
        return None
    names = {name: re.findall(_NAME, value) for name, value in values.items()}
    if len(names.get("revision", [])) != 1 or "down_revision" not in values:
        return None
    if names.get("depends_on") or names.get("branch_labels"):
        return None
    return Revision(names["revision"][0], tuple(names["down_revision"]), file, sha256(text))


def sha256(text: str) -> str:
    """Of a revision's text, whatever its line endings."""
    return hashlib.sha256(text.replace("\r\n", "\n").encode()).hexdigest()


def _code(text: str) -> str:
    """Without strings and comments, roughly: what is left over too much only makes us doubt."""
    return re.sub(r'"""[\s\S]*?"""|"[^"\n]*"|\'[^\'\n]*\'|#[^\n]*', "", text)

"""The revisions as their files say, read without importing them, SQLAlchemy or Alembic.

Starting those takes ten times as long as asking the database whether there is anything to do. At
any doubt the answer is None, and Alembic itself is asked. Nothing is imported here but what
psycopg2 imports too, so that a run with nothing to do takes hardly longer than connecting.
"""
# pathlib alone would take a tenth of that time.
# ruff: noqa: PTH118, PTH120, PTH123

import hashlib
import os
import re

BACKEND = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))

_NAMES = ("revision", "down_revision", "branch_labels", "depends_on")
_ONLY_AST = 0x400  # ast.PyCF_ONLY_AST, without importing ast
_ID = re.compile(r"(?!(?:head|heads|base)\Z)[A-Za-z0-9_]{1,32}\Z")

# A revision assigns its four names at the top, before its first function. What comes after may not
# touch them: not at the start of a line, not in a block of the module, not behind our back.
_NAME = rb"\b(?:revision|down_revision|branch_labels|depends_on)\b"
_TOUCHES = re.compile(
    rb"^(?![\s#]).*%b|^(?:if|for|while|with|try|match|async)\b|^[@(\[]|^\S.*\\$|^from .*\*" % _NAME,
    re.MULTILINE,
)
_BEHIND_OUR_BACK = re.compile(
    rb"(?:\bglobal\s|;)[^\n]*%b|%b\s*:=|\b(?:globals|locals|vars|exec|eval|setattr)\s*\("
    rb"|__dict__|__getattr__|sys\.modules|[\r\f\0]" % (_NAME, _NAME)
)
_ENCODING = re.compile(rb"\A(?:.*\n)?[ \t\f]*#.*coding[:=](?!\s*utf-?8\b)")
# Settings of alembic.ini that change which files are revisions.
_OTHER_FILES = re.compile(r"^\s*(?:recursive_)?version_locations|^\s*sourceless", re.MULTILINE)


class Revision:
    """One file: what it is called, what comes before it, and the SHA-256 of its text."""

    def __init__(self, revision: str, down: tuple[str, ...], file: str, sha256: str) -> None:
        self.revision = revision
        self.down_revisions = down
        self.file = file
        self.sha256 = sha256


class History:
    """All files, oldest first, and the one head."""

    def __init__(self, revisions: list[Revision], head: str) -> None:
        self.revisions = {item.revision: item for item in revisions}
        self.head = head

    def pending(self, applied: frozenset[str]) -> list[Revision] | None:
        """What an upgrade to head would run, oldest first; None if a row names no file."""
        if not applied <= self.revisions.keys():
            return None
        done: set[str] = set()
        todo = list(applied)
        while todo:
            if (name := todo.pop()) not in done:
                done.add(name)
                todo += self.revisions[name].down_revisions
        return [item for name, item in self.revisions.items() if name not in done]


def read_history(backend: str | os.PathLike[str] = BACKEND) -> History | None:
    """The history of the files in `alembic/versions`; None where only Alembic can tell."""
    folder = os.path.join(backend, "alembic", "versions")
    try:
        ini = _read(os.path.join(backend, "alembic.ini")).decode().replace("\r\n", "\n")
        environment = _read(os.path.join(backend, "alembic", "env.py"))
        files = sorted(entry.path for entry in os.scandir(folder) if _is_revision(entry.name))
    except (OSError, UnicodeDecodeError):
        return None
    plain = ini.count("script_location") == 1 and "\nscript_location = %(here)s/alembic\n" in ini
    if not plain or _OTHER_FILES.search(ini) or b"version_table" in environment:
        return None
    revisions: dict[str, Revision] = {}
    for file in files:
        item = read_revision(file)
        if item is None or item.revision in revisions:
            return None
        revisions[item.revision] = item
    return _in_order(revisions)


def _in_order(revisions: dict[str, Revision]) -> History | None:
    """Oldest first; None unless there is one base, one head, no gap and no circle."""
    children: dict[str, list[str]] = {name: [] for name in revisions}
    missing = {}
    for item in revisions.values():
        missing[item.revision] = len(item.down_revisions)
        for parent in item.down_revisions:
            if parent not in children:
                return None
            children[parent].append(item.revision)
    ready = [name for name, count in missing.items() if count == 0]
    heads = [name for name, names in children.items() if not names]
    if len(ready) != 1 or len(heads) != 1:
        return None
    ordered = []
    while ready:
        name = ready.pop()
        ordered.append(revisions[name])
        for child in children[name]:
            missing[child] -= 1
            if missing[child] == 0:
                ready.append(child)
    return History(ordered, heads[0]) if len(ordered) == len(revisions) else None


def read_revision(file: str) -> Revision | None:
    """One file; None if it says anything in another form than script.py.mako's."""
    try:
        text = _read(file).replace(b"\r\n", b"\n")
    except OSError:
        return None
    head, _, rest = text.partition(b"\ndef ")
    if _TOUCHES.search(rest) or _BEHIND_OUR_BACK.search(text) or _ENCODING.match(text):
        return None
    values = _assigned(head, file)
    if values is None or not {"revision", "down_revision"} <= values.keys():
        return None
    names, down = values["revision"], values["down_revision"]
    if len(names) != 1 or values.get("branch_labels") or values.get("depends_on"):
        return None
    if len(set(down)) != len(down) or not all(map(_ID.match, (*names, *down))):
        return None
    return Revision(names[0], down, file, sha256(text))


def _assigned(head: bytes, file: str) -> dict[str, tuple[str, ...]] | None:
    """What the four names are, by Python's own parser; None if it takes more than reading."""
    try:
        statements = compile(head, file, "exec", _ONLY_AST, dont_inherit=True).body
    except (SyntaxError, ValueError):
        return None
    values: dict[str, tuple[str, ...]] = {}
    for statement in statements:
        kind = type(statement).__name__
        if kind in ("Import", "ImportFrom"):
            if {"*", *_NAMES} & {name.asname or name.name for name in statement.names}:
                return None
        elif kind in ("Assign", "AnnAssign"):
            targets = statement.targets if kind == "Assign" else [statement.target]
            name = getattr(targets[0], "id", None)
            if len(targets) != 1 or name is None or name in values:
                return None
            if name in _NAMES:
                value = _literal(statement.value)
                if value is None:
                    return None
                values[name] = value
        elif kind != "Expr" or type(statement.value).__name__ != "Constant":
            return None
    return values


def _literal(node: object) -> tuple[str, ...] | None:
    """None, a string, or a tuple or list of strings, as a tuple."""
    if type(node).__name__ == "Constant":
        value = node.value  # type: ignore[attr-defined]
        if value is None:
            return ()
        return (value,) if isinstance(value, str) else None
    if type(node).__name__ not in ("Tuple", "List"):
        return None
    values = [_literal(element) for element in node.elts]  # type: ignore[attr-defined]
    if not all(value and isinstance(value, tuple) and len(value) == 1 for value in values):
        return None
    return tuple(value[0] for value in values if value)


def can_be_parsed(file: str) -> bool:
    """Whether all of a file is Python; `read_revision` looks at its top only, to be quick."""
    try:
        compile(_read(file), file, "exec", _ONLY_AST, dont_inherit=True)
    except (SyntaxError, ValueError, OSError):
        return False
    return True


def sha256_of(file: str) -> str:
    """SHA-256 of a revision's text."""
    return sha256(_read(file))


def sha256(text: bytes) -> str:
    """Of a text, whatever its line endings."""
    return hashlib.sha256(text.replace(b"\r\n", b"\n")).hexdigest()


def _is_revision(name: str) -> bool:
    return name.endswith(".py") and not name.startswith(("__init__", ".#"))  # as Alembic says


def _read(file: str) -> bytes:
    with open(file, "rb") as opened:
        return opened.read()

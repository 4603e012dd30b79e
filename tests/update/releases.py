"""A repository with every release that was recorded, the working tree, and releases to come.

A release is recorded as tests/releases/vX.Y.Z.bundle (scripts/release): copier.yml and template/ of
it as a tagged commit, on top of the one before. A shallow clone without tags has them too.
"""

import ast
import random
import re
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from tests.conftest import ROOT, WORKING_TREE, git
from tests.update.text import lines_of

RECORDS = ROOT / "tests" / "releases"
NEXT = "v1000.0.0"  # a plausible next release
# What a person rightly changes in a release that nobody has edited by hand: nothing to test there.
BACKEND = "template/{{ backend_dir }}"
STUB = "{% yield old from moved %}{{ old }}{% endyield %}.jinja"
NOT_TEXT = {"{{ _copier_conf.answers_file }}.jinja", STUB}


def version(tag: str) -> tuple[int, ...]:
    """To sort tags by."""
    return tuple(int(part) for part in tag.removeprefix("v").split("."))


def recorded() -> list[str]:
    """The tags of all recorded releases, oldest first."""
    return sorted((path.stem for path in RECORDS.glob("v*.bundle")), key=version)


def repository(folder: Path, template: Path, raw: Iterable[int] = ()) -> list[str]:
    """Make the repository in `folder`; returns the tags of the releases to come.

    Args:
        folder: where; it may not exist.
        template: a clone of this repository with the working tree as a tag.
        raw: a seed for each release that changes any line of any file.
    """
    folder.mkdir()
    git(folder, "init", "--quiet")
    for tag in recorded():
        bundle = str(RECORDS / f"{tag}.bundle")
        git(folder, "fetch", "--quiet", bundle, "refs/tags/*:refs/tags/*")
        git(folder, "reset", "--hard", "--quiet", tag)
    listed = git(template, "ls-tree", "-rz", "--name-only", WORKING_TREE, *SHIPPED).split("\0")
    for old in SHIPPED:
        path = folder / old
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    for name in filter(None, listed):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(template / name, folder / name)
    _release(folder, WORKING_TREE)
    plausible(folder)
    _release(folder, NEXT)
    tags = [NEXT]
    for number, seed in enumerate(raw, 1001):
        git(folder, "reset", "--hard", "--quiet", WORKING_TREE)
        any_lines(folder / "template", random.Random(seed))  # noqa: S311
        _release(folder, f"v{number}.0.0")
        tags.append(f"v{number}.0.0")
    git(folder, "gc", "--quiet")
    return tags


SHIPPED = (".gitattributes", "copier.yml", "template")  # what a release is, for Copier


def _release(folder: Path, tag: str) -> None:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--allow-empty", "-m", tag)
    git(folder, "tag", "-a", tag, "-m", tag)


def _files(tree: Path) -> list[Path]:
    return sorted(path for path in tree.rglob("*") if path.is_file() and path.name not in NOT_TEXT)


# --- a plausible next release --------------------------------------------------------------------


def plausible(repository: Path) -> None:
    """Change something in every file, and do each thing that docs/decisions/0008 has a rule for.

    The project that it renders is still correct, so that its own checks can be run.
    """
    template = repository / "template"
    backend = repository / BACKEND
    for path in _files(template):
        if path.name.endswith((".txt", ".gitattributes")) or "versions" in path.parts:
            continue
        sprinkle(path)

    def edit(path: Path, change: Callable[[str], str]) -> None:
        old = path.read_text(encoding="utf-8")
        new = change(old)
        assert new != old, f"nothing to change in {path}: tell tests/update/releases.py"
        path.write_text(new, encoding="utf-8")

    def put(pattern: str, text: str) -> Callable[[str], str]:
        """Put `text` before what matches."""
        return lambda old: re.sub(
            pattern, lambda match: text + match[0], old, count=1, flags=re.MULTILINE
        )

    # What is new stands where we would put it: at the end of ours.
    edit(
        template / "docker-compose.yml.jinja",
        put(
            r"^\n  # Services of your own",
            "\n  newer:\n    <<: *backend\n    profiles: [newer]\n    command: [pwd]\n",
        ),
    )
    edit(
        template / "docker-compose.yml.jinja",
        put(r"^  # Volumes of your own", "  newer-cache:\n"),
    )
    edit(template / ".env.example.jinja", put(r"^\n# Variables of your own", "#NEWER=1\n"))
    edit(backend / "pyproject.toml", put(r"^    # Your own below", '    "typing-extensions",\n'))
    edit(
        backend / "pyproject.toml",
        lambda old: old.replace('"sqlalchemy[', '"sqlalchemy[postgresql,'),
    )
    edit(
        backend / "app" / "core" / "config.py",
        put(r"^    given_url:", "    newer_pool_size: int = 5\n"),
    )
    edit(backend / "requirements.txt", lambda old: re.sub("(?<=sha256:).", "0", old, count=40))
    edit(
        next(template.glob("*github*/workflows/ci.yml")),
        put(r"^\n  # Jobs of your own", "      - run: docker compose run --rm migrate check\n"),
    )
    (backend / "app" / "core" / "newer.py").write_text('"""Newer."""\n')
    (backend / "app" / "core" / "logs.py").write_text('"""Of the template, and of many users."""\n')

    # What is written once: changed, and added to. No update brings either.
    for path in (*(backend / "alembic" / "versions").iterdir(), backend / "app/models/__init__.py"):
        edit(path, lambda old: f"{old}# Newer.\n")
    for name in ("alembic/versions/20280101_0000_second_x.py", "app/models/example.py"):
        (backend / name).write_text('"""Newer."""\n')

    # A question more, and one with another name.
    def questions(old: str) -> str:
        old = re.sub(r"\bdb_name\b", "database_name", old)
        default = r'^(database_name:\n(?:  .*\n)*?  default: )"\{\{ (.*) \}\}(.*)"$'
        renamed = "\\1\"{{ db_name | default(\\2 ~ '\\3') }}\""
        old = re.sub(default, renamed, old, flags=re.MULTILINE)
        return old + '\nnewer:\n  type: str\n  help: Newer?\n  default: "yes"\n'

    edit(repository / "copier.yml", questions)
    for path in template.rglob("*.jinja"):
        path.write_text(re.sub(r"\bdb_name\b", "database_name", path.read_text("utf-8")), "utf-8")

    # A user's file that goes stays excluded; one with a new name leaves a stub in updates.
    modules = sorted((backend / "tests").glob("test_*.py"))
    gone, moved = modules[0], modules[-1]
    gone.unlink()
    edit(
        repository / "copier.yml",
        put(r"^  - \"\*\*/__pycache__\"$", f'  - "**/tests/{gone.name}"\n'),
    )
    moved.rename(moved.with_name("test_renamed.py"))
    edit(
        repository / "copier.yml",
        lambda old: old.replace(
            "\n    {% endif %}\n",
            "\n    {% endif %}\n    {% if layout < 4 %}\n"
            f"    tests/{moved.name}: [tests/test_renamed.py]\n    {{% endif %}}\n",
        ),
    )
    edit(
        template / "{{ _copier_conf.answers_file }}.jinja",
        lambda old: old.replace("'layout': 3", "'layout': 4"),
    )
    # A check more.
    edit(
        backend / "testing" / "shape.py",
        lambda old: f'{old}\n\ndef test_newer() -> None:\n    """Newer."""\n',
    )
    edit(
        backend / "tests" / "test_migrations.py",
        put(r"(?<=_head\n)\n", "from testing.shape import test_newer\n"),
    )


def sprinkle(path: Path) -> None:
    """Add, change and delete comments; the file means the same."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    places = _places_for_comments(path, lines)
    for number in reversed(places[1::3]):
        indent = re.match(r"\s*", lines[number])
        assert indent
        before, after = ("", "\n") if path.suffix == ".md" else ("# ", "")
        lines.insert(number, f"{indent[0]}{before}Newer: {path.name} {number}.\n{after}")
    comment = re.compile(r"^\s*# [A-Z][^{}]{10,70}\n$")
    found = [number for number, line in enumerate(lines) if comment.match(line)]
    found = [
        number for number in found if not re.search(r"(?i)newer|noqa|type:|your own", lines[number])
    ]
    for number in found[::2]:
        lines[number] = lines[number].rstrip("\n") + " (newer)\n"
    path.write_text("".join(lines), encoding="utf-8")


def _places_for_comments(path: Path, lines: list[str]) -> list[int]:
    """Before which lines a comment can stand, as indexes."""
    if path.suffix == ".py":
        tree = ast.parse("".join(lines))
        blocks = [
            node.body[1:]
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        ]
        return sorted(
            statement.lineno - 1
            for block in blocks
            for statement in block
            if not isinstance(
                statement, ast.FunctionDef | ast.ClassDef | ast.Import | ast.ImportFrom
            )
        )
    if path.suffix == ".md" or path.name == "README.md.jinja":
        return [n + 2 for n, line in enumerate(lines[:-3]) if line.startswith("## ")]
    if path.suffix == ".mako":
        return []
    comment = re.compile(r"\s*# [A-Z](?!.*(\{|your own))")
    return [number for number, line in enumerate(lines) if comment.match(line)]


# --- a release that changes anything -------------------------------------------------------------


def any_lines(template: Path, random: random.Random) -> None:
    """Insert, change and delete lines in most files; what they mean does not matter here."""
    for path in _files(template):
        if random.random() < 0.25:
            continue
        lines = lines_of(path.read_bytes())
        for _ in range(random.randint(1, 5)):
            if not lines:
                break
            at = random.randrange(len(lines))
            length = random.randint(1, 4)
            mark = f"of the template {random.randrange(10**9)}".encode()
            free = not any(b"{" in line for line in lines[at : at + length])
            kind = random.choice(["insert", "change", "delete"])
            if kind == "insert":
                lines[at:at] = [b"a line %s %d\n" % (mark, n) for n in range(length)]
            elif kind == "change" and free:
                lines[at] = lines[at].rstrip(b"\n") + b" changed " + mark + b"\n"
            elif kind == "delete" and free:
                del lines[at : at + length]
        path.write_bytes(b"".join(lines))

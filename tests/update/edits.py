"""What users do to a rendered project: what everybody does, and anything at all, by chance."""

import random
import re
from collections.abc import Callable
from pathlib import Path

from tests.update.text import lines_of

ANSWERS = ".copier-answers.yml"


class User:
    """A person who edits a project; the same seed makes the same edits.

    Args:
        project: the rendered project's folder.
        backend: the folder of the Python code in it.
        seed: of all chances.
    """

    def __init__(self, project: Path, backend: Path, seed: int) -> None:
        self.project = project
        self.backend = backend
        self.random = random.Random(seed)  # noqa: S311
        self.mark = f"of the user {seed}"
        self.number = 0
        self.done: list[str] = []
        self.managed = sorted(
            path
            for path in project.rglob("*")
            if path.is_file() and ".git" not in path.parts and path.name != ANSWERS
        )

    def work(self, *, raw: bool = True) -> list[str]:
        """Make some of the usual changes and, if `raw`, any others; returns which."""
        for usual in USUAL:
            if self.random.random() < 0.4:
                usual(self)
                self.done.append(usual.__name__)
        if raw:
            for _ in range(self.random.randint(0, 10)):
                kind = self.random.choice(ANYTHING)
                if kind(self):
                    self.done.append(kind.__name__)
        if not self.done:
            own_settings_field(self)
            self.done.append("own_settings_field")
        return self.done

    def line(self) -> str:
        """A line that nobody else writes."""
        self.number += 1
        return self.random.choice(LINES).format(f"{self.mark} {self.number}")

    def some_file(self) -> Path | None:
        """A text file of the template that is still there."""
        there = [path for path in self.managed if path.is_file() and path.stat().st_size]
        return self.random.choice(there) if there else None


LINES = [
    "# {}",
    "{}",
    "    {} = 1",
    "\t{}\ttabs",
    "trailing blanks {}   ",
    "naïve 日本 🛒 {}",
    "-- {}",
    "--- a/{}",
    "+++ b/{}",
    "@@ -1,2 +1,2 @@ {}",
    "\\ No newline at end of file {}",
    "diff --git a/{0} b/{0}",
    "\"{}\" 'quoted' \\n $HOME %s",
    "form feed \x0c and separator \u2028 {}",
    "{{{{ {} }}}}",
    "x" * 500 + " {}",
]

# --- what everybody does -------------------------------------------------------------------------


def _put(path: Path, before: str, text: str) -> None:
    """Put `text` before the first line that matches, or at the end of the file."""
    old = path.read_text(encoding="utf-8")
    found = re.search(before, old, re.MULTILINE)
    at = found.start() if found else len(old)
    path.write_text(old[:at] + text + old[at:], encoding="utf-8")


def _after(path: Path, line: str, text: str) -> None:
    """Put `text` after the first line that matches; an old release may have none."""
    old = path.read_text(encoding="utf-8")
    found = re.search(rf"{line}.*\n", old, re.MULTILINE)
    if found:
        path.write_text(old[: found.end()] + text + old[found.end() :], encoding="utf-8")


MODEL = '''\
"""A gadget."""

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from app.core.database import Base


class Gadget(Base):
    """A gadget of the user's."""

    __tablename__ = "gadgets"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(40))
'''
REVISION = '''\
"""add gadgets"""

import sqlalchemy as sa
from alembic import op

revision = "0a1b2c3d4e5f"
down_revision = "baseline"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "gadgets",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_gadgets")),
    )


def downgrade() -> None:
    op.drop_table("gadgets")
'''
REVISION_FILE = "alembic/versions/20270203_1015_0a1b2c3d4e5f_add_gadgets.py"


def own_model_and_revision(user: User) -> None:
    (user.backend / "app" / "models" / "gadget.py").write_text(MODEL)
    (user.backend / REVISION_FILE).write_text(REVISION)


def own_test(user: User) -> None:
    (user.backend / "tests" / "test_mine.py").write_text(
        '"""Mine."""\n\n\ndef test_mine() -> None:\n    assert 1 + 1 == 2\n'
    )


def own_settings_field(user: User) -> None:
    _put(
        user.backend / "app" / "core" / "config.py",
        r"^\n    @model_validator",
        '    greeting: str = "hello"\n    workers: int = 4\n',
    )


def own_dependency(user: User) -> None:
    _after(
        user.backend / "pyproject.toml",
        r"^    # Your own below this line,",
        '    "fastapi>=0.115",\n    "httpx",\n',
    )


def own_development_dependency(user: User) -> None:
    _after(user.backend / "pyproject.toml", r"^    # Your own below this line\.$", '    "faker",\n')


def own_compose_service(user: User) -> None:
    """Copied from `migrate`, as people do."""
    _after(
        user.project / "docker-compose.yml",
        r"^  # Services of your own",
        "  web:\n    <<: *backend\n    command: [python, -m, http.server]\n    environment:\n"
        "      <<: *environment\n      GREETING: hello\n    depends_on:\n      migrate:\n"
        "        condition: service_completed_successfully\n",
    )


def own_compose_volume(user: User) -> None:
    _after(user.project / "docker-compose.yml", r"^  # Volumes of your own", "  uploads:\n")


def own_variable(user: User) -> None:
    _after(
        user.project / ".env.example",
        r"^# Variables of your own",
        "# Said to everybody\nGREETING=hello\n",
    )


def own_readme_section(user: User) -> None:
    _put(user.project / "README.md", r"\Z", "\n## What it does\n\nIt greets.\n")


def own_first_paragraph(user: User) -> None:
    _after(user.project / "README.md", r"^# ", "\nIt greets people.\n")


def own_ci_job(user: User) -> None:
    workflow = user.project / ".github" / "workflows" / "ci.yml"
    if workflow.exists():
        _put(
            workflow,
            r"\Z",
            "\n  deploy:\n    needs: test\n    runs-on: ubuntu-latest\n    steps: [run: make]\n",
        )


def own_workflow(user: User) -> None:
    folder = user.project / ".github" / "workflows"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "nightly.yml").write_text("on: {schedule: [{cron: 0 0 * * *}]}\n")


def own_logging(user: User) -> None:
    (user.backend / "app" / "core" / "logging_of_mine.py").write_text(
        '"""Logging."""\n\nimport logging\n\nlog = logging.getLogger("app")\n'
    )
    _put(
        user.backend / "alembic.ini",
        r"^\n\[handler_console\]",
        "\n[logger_mine]\nlevel = DEBUG\nhandlers =\nqualname = mine\n",
    )
    _change(user.backend / "alembic.ini", "keys = root, migration, app", ", mine")


def _change(path: Path, start: str, more: str) -> None:
    old = path.read_text(encoding="utf-8")
    path.write_text(old.replace(start, start + more, 1), encoding="utf-8")


def another_port(user: User) -> None:
    for path in (user.project / "docker-compose.yml", user.project / ".env.example"):
        text = path.read_text(encoding="utf-8")
        text = text.replace("POSTGRES_PORT:-5432", "POSTGRES_PORT:-5433")
        path.write_text(text.replace("POSTGRES_PORT=5432", "POSTGRES_PORT=5433"), encoding="utf-8")


def own_env(user: User) -> None:
    """A secret that git ignores."""
    (user.project / ".env").write_text(f"POSTGRES_PASSWORD={user.mark}\n")


USUAL: list[Callable[[User], None]] = [
    own_model_and_revision,
    own_test,
    own_settings_field,
    own_dependency,
    own_development_dependency,
    own_compose_service,
    own_compose_volume,
    own_variable,
    own_readme_section,
    own_first_paragraph,
    own_ci_job,
    own_workflow,
    own_logging,
    another_port,
    own_env,
]

# --- anything at all -----------------------------------------------------------------------------


def _edit(user: User, change: Callable[[list[bytes]], list[bytes]]) -> bool:
    path = user.some_file()
    if path is None:
        return False
    old = path.read_bytes()
    new = b"\n".join(change(lines_of(old)))
    path.write_bytes(new + (b"\n" if new and old.endswith(b"\n") else b""))
    return path.read_bytes() != old


def insert_lines(user: User) -> bool:
    def change(lines: list[bytes]) -> list[bytes]:
        at = user.random.randint(0, len(lines))
        lines[at:at] = [user.line().encode() for _ in range(user.random.randint(1, 5))]
        return lines

    return _edit(user, change)


def change_lines(user: User) -> bool:
    def change(lines: list[bytes]) -> list[bytes]:
        at = user.random.randrange(len(lines))
        for number in range(at, min(at + user.random.randint(1, 3), len(lines))):
            lines[number] += f" {user.line()}".encode()
        return lines

    return _edit(user, change)


def delete_lines(user: User) -> bool:
    def change(lines: list[bytes]) -> list[bytes]:
        at = user.random.randrange(len(lines))
        del lines[at : at + user.random.randint(1, 8)]
        return lines

    return _edit(user, change)


def move_lines(user: User) -> bool:
    def change(lines: list[bytes]) -> list[bytes]:
        at = user.random.randrange(len(lines))
        length = user.random.randint(1, 6)
        block = lines[at : at + length]
        del lines[at : at + length]
        to = user.random.randint(0, len(lines))
        lines[to:to] = block
        return lines

    return _edit(user, change)


def copy_lines(user: User) -> bool:
    """What makes two places look alike."""

    def change(lines: list[bytes]) -> list[bytes]:
        at = user.random.randrange(len(lines))
        block = lines[at : at + user.random.randint(2, 12)]
        to = user.random.randint(0, len(lines))
        lines[to:to] = [*block, user.line().encode()]
        return lines

    return _edit(user, change)


def append_without_newline(user: User) -> bool:
    path = user.some_file()
    if path is None:
        return False
    path.write_bytes(path.read_bytes() + user.line().encode())
    return True


def windows_line_endings(user: User) -> bool:
    r"""An editor of Windows, which writes \r\n in the whole file."""
    path = user.some_file()
    if path is None:
        return False
    text = path.read_bytes().replace(b"\r\n", b"\n") + user.line().encode() + b"\n"
    path.write_bytes(text.replace(b"\n", b"\r\n"))
    return True


def replace_all(user: User) -> bool:
    path = user.some_file()
    if path is None:
        return False
    path.write_text("".join(f"{user.line()}\n" for _ in range(20)), encoding="utf-8")
    return True


def delete_file(user: User) -> bool:
    path = user.some_file()
    if path is None:
        return False
    path.unlink()
    return True


def delete_first_revision(user: User) -> bool:
    """As who writes a baseline of their own does."""
    found = list((user.backend / "alembic" / "versions").glob("*baseline*.py"))
    for path in found:
        path.unlink()
    return bool(found)


def rename_file(user: User) -> bool:
    path = user.some_file()
    if path is None:
        return False
    user.number += 1
    path.rename(path.with_name(f"renamed_{user.number}_{path.name}"))
    return True


def make_executable(user: User) -> bool:
    path = user.some_file()
    if path is None:
        return False
    path.chmod(0o755)
    return True


ODD_NAMES = [
    "with space",
    "naïve 日本 🛒",
    "-dash",
    "#hash",
    "per%cent",
    "[bracket]*",
    "{{ braces }}",
    "quote\"quote'",
    "back\\slash",
    "tab\tname",
    "new\nline",
    "Upper",
    "x.rej",
    "x.orig",
    "x.jinja",
]


def add_file(user: User) -> bool:
    user.number += 1
    folders = sorted({path.parent for path in user.managed if path.parent.is_dir()})
    folder = user.random.choice(folders) / user.random.choice(["", "mine", "mine/deeper"])
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{user.number} {user.random.choice(ODD_NAMES)}"
    content = user.random.choice(
        [
            user.line().encode(),
            b"",
            bytes(range(256)),
            b"a\r\nb\nc\r",
            b"<<<<<<< before updating\n",
            "not UTF-8: \xe9\n".encode("latin-1"),
        ]
    )
    path.write_bytes(content)
    if user.random.random() < 0.2:
        path.chmod(0o755)
    return True


def name_of_a_later_file(user: User) -> bool:
    """A file that the template brings later, under the same name."""
    path = user.backend / "app" / "core" / "logs.py"
    path.write_text(f'"""Mine, {user.line()!r}."""\n', encoding="utf-8")
    return True


def add_link(user: User) -> bool:
    user.number += 1
    (user.project / f"link {user.number}").symlink_to("README.md")
    return True


ANYTHING: list[Callable[[User], bool]] = [
    *[insert_lines, change_lines, delete_lines] * 4,
    *[move_lines, copy_lines] * 2,
    append_without_newline,
    windows_line_endings,
    replace_all,
    delete_file,
    delete_first_revision,
    rename_file,
    make_executable,
    *[add_file] * 2,
    add_link,
    name_of_a_later_file,
]

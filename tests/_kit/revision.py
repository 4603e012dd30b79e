"""Revision files, and planted defects: one maker of the first, one reader of the second."""

import re
import textwrap
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PLANTED = Path(__file__).parents[1] / "planted"


@dataclass(frozen=True)
class Case:
    """A planted defect, or something good that resembles one. `@` stands for its name.

    Attributes:
        before: SQL that makes what the revision needs.
        upgrade, downgrade: the bodies of its functions, as Python or SQL.
        declares: what it says beside `revision = ...`.
        expect: words that a report has to have; none for a good one.
        hazard: the hazard that has to be found in it.
        old, new: a change of the models, as text.
    """

    kind: str
    upgrade: str = ""
    downgrade: str = ""
    before: str = ""
    declares: dict[str, Any] = field(default_factory=dict)
    expect: str = ""
    hazard: str | None = None
    old: str = ""
    new: str = ""


def planted(file: str) -> dict[str, Case]:
    """The cases of a file of tests/planted by name; there they stand as `[kind.name]`."""
    cases: dict[str, Case] = {}
    for kind, named in tomllib.loads((PLANTED / file).read_text("utf-8")).items():
        for name, fields in named.items():
            assert name not in cases, f"{file}: {name} comes twice"
            for key, value in fields.items():
                fields[key] = value.replace("@", name) if isinstance(value, str) else value
            cases[name] = Case(kind, **fields)
    return cases


def body(code: str) -> str:
    """A function's body: Python as it is, SQL in op.execute."""
    code = textwrap.dedent(code).strip()
    if re.match(r"[A-Z]{2,}\b", code):
        code = f"op.execute(sa.text({code.replace(':', chr(92) + ':')!r}))"
    return textwrap.indent(code or "pass", "    ")


def revision(
    name: str,
    after: str | tuple[str, ...] | None,
    up: str,
    down: str = "",
    /,
    title: str = "Made by a test",
    depends_on: str | None = None,
    **declares: Any,
) -> str:
    """The text of a revision's file; `declares` are more names beside `revision`."""
    said = "".join(f"{key} = {value!r}\n" for key, value in declares.items())
    return f'''"""{title}."""

import time

import sqlalchemy as sa
from alembic import context, op

revision = {name!r}
down_revision = {after!r}
branch_labels = None
depends_on = {depends_on!r}
{said}

def upgrade() -> None:
{body(up)}


def downgrade() -> None:
{body(down)}
'''


def write_revision(
    backend: Path,
    name: str,
    after: str | tuple[str, ...] | None,
    up: str,
    down: str = "",
    /,
    number: int = 0,
    message: str = "made_by_a_test",
    **more: Any,
) -> Path:
    """Write it; files sort by `number`."""
    versions = backend / "alembic" / "versions"
    path = versions / f"20270101_{number // 60:02}{number % 60:02}_{name}_{message}.py"
    path.write_text(revision(name, after, up, down, **more), "utf-8")
    return path

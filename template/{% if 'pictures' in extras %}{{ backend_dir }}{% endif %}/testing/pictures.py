"""`python -m testing.pictures`: models and revisions as diagrams, in alembic/PICTURES.md.

GitHub, GitLab and editors draw Mermaid. Once the file is there, the check keeps it current.
"""

import re
from collections.abc import Iterator
from importlib import import_module

import pytest
from sqlalchemy import MetaData
from sqlalchemy.dialects import postgresql

from app.core.database import Base
from testing.databases import BACKEND
from testing.revisions import revisions

PICTURES = BACKEND / "alembic" / "PICTURES.md"


def test_pictures_are_current() -> None:
    if PICTURES.exists() and PICTURES.read_text(encoding="utf-8") != pictures():
        pytest.fail("alembic/PICTURES.md is old. Type: python -m testing.pictures", pytrace=False)


def pictures() -> str:
    """The file's text."""
    import_module("app.models")
    parts = {"Tables": tables(Base.metadata), "Revisions": history()}
    return "\n".join(
        "\n".join([f"# {name}", "", "```mermaid", *lines, "```", ""])
        for name, lines in parts.items()
    )


def tables(metadata: MetaData) -> Iterator[str]:
    """An entity-relationship diagram of the models."""
    yield "erDiagram"
    for name, table in sorted(metadata.tables.items()):
        yield f'    "{name}" {{'
        for column in table.columns:
            kind = column.type.compile(postgresql.dialect())  # type: ignore[no-untyped-call]
            words = [re.sub(r"[^\w()\[\]]+", "_", kind.lower()), column.name]
            keys = ["PK"] * column.primary_key + ["FK"] * bool(column.foreign_keys)
            yield " " * 8 + " ".join([*words, *filter(None, [", ".join(keys)])])
        yield "    }"
        for key in sorted(table.foreign_key_constraints, key=lambda it: list(it.column_keys)):
            one = "o|" if any(column.nullable for column in key.columns) else "||"
            label = ", ".join(key.column_keys)
            yield f'    "{name}" }}o--{one} "{key.referred_table.fullname}" : "{label}"'


def history() -> Iterator[str]:
    """A graph of the revisions, the newest last."""
    yield "flowchart TD"
    for script in revisions():
        message = script.doc.replace('"', "'")
        yield f'    {script.revision}["{message}<br>{script.revision}"]'
        for parent in script._versioned_down_revisions:
            yield f"    {parent} --> {script.revision}"


if __name__ == "__main__":
    PICTURES.write_text(pictures(), encoding="utf-8")
    print(f"alembic/{PICTURES.name} is written")

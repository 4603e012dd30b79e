"""`python -m testing.pictures`: models and revisions as diagrams, in alembic/PICTURES.md.

GitHub, GitLab and editors draw Mermaid. Once the file is there, the check keeps it current.
"""

import re
import sys
from collections.abc import Iterator
from importlib import import_module

import pytest
from sqlalchemy import MetaData, PrimaryKeyConstraint, UniqueConstraint
from sqlalchemy.dialects import postgresql

from app.core.database import Base
from app.migrate.explain import explain
from testing.databases import BACKEND
from testing.revisions import revisions

PICTURES = BACKEND / "alembic" / "PICTURES.md"
LONGEST = 50_000  # characters of a diagram: Mermaid's default of maxTextSize
NEWEST = 100  # revisions; Mermaid's default of maxEdges is 500


def test_pictures_are_current() -> None:
    if PICTURES.exists() and PICTURES.read_text(encoding="utf-8") != pictures():
        pytest.fail("alembic/PICTURES.md is old. Type: python -m testing.pictures", pytrace=False)


def pictures() -> str:
    """The file's text."""
    import_module("app.models")
    title, drawn = "Tables", "\n".join(tables(Base.metadata))
    if len(drawn) > LONGEST:
        title, drawn = "Tables, and their keys", "\n".join(tables(Base.metadata, keys_only=True))
    parts = {title: drawn, f"The newest {NEWEST} revisions": "\n".join(history())}
    return "\n".join(f"# {name}\n\n```mermaid\n{part}\n```\n" for name, part in parts.items())


def tables(metadata: MetaData, *, keys_only: bool = False) -> Iterator[str]:
    """An entity-relationship diagram of the models."""
    yield "erDiagram"
    for name, table in sorted(metadata.tables.items()):
        yield f'    "{text(name)}" {{'
        for column in table.columns:
            kind = column.type.compile(postgresql.dialect())  # type: ignore[no-untyped-call]
            keys = ", ".join(["PK"] * column.primary_key + ["FK"] * bool(column.foreign_keys))
            shown = word(column.name)
            comment = "" if shown == column.name else f'"{text(column.name)}"'
            if keys or not keys_only:
                yield " " * 8 + " ".join(filter(None, [word(kind.lower()), shown, keys, comment]))
        yield "    }"
        unique = [
            set(constraint.columns)
            for constraint in table.constraints
            if isinstance(constraint, PrimaryKeyConstraint | UniqueConstraint)
        ]
        for key in sorted(table.foreign_key_constraints, key=lambda it: list(it.column_keys)):
            many = "|o" if set(key.columns) in unique else "}o"
            one = "o|" if any(column.nullable for column in key.columns) else "||"
            other, label = text(key.referred_table.fullname), text(", ".join(key.column_keys))
            yield f'    "{text(name)}" {many}--{one} "{other}" : "{label}"'


def history() -> Iterator[str]:
    """A graph of the revisions, the newest last."""
    yield "flowchart TD"
    drawn = dict[str, str]()  # of a revision: its node; as they are, `end` and others are keywords
    for script in revisions()[-NEWEST:]:
        node = drawn[script.revision] = "r_" + re.sub(r"\W", "_", script.revision)
        yield f'    {node}["{text(script.doc)}<br>{text(script.revision)}"]'
        for parent in filter(drawn.get, script._versioned_down_revisions):
            yield f"    {drawn[parent]} --> {node}"


def word(name: str) -> str:
    """A name without what Mermaid has no word for."""
    return re.sub(r"(?a)[^\w()\[\]-]+|^(?=\d|[PFU]K\b)", "_", name)


def text(line: str) -> str:
    """A text to stand between quotes: what means something there, or in Markdown, by its code."""
    return re.sub(r"[^\w .,:/-]|[.-](?= )", lambda it: f"#{ord(it[0])};", " ".join(line.split()))


if __name__ == "__main__":
    try:
        PICTURES.write_text(pictures(), encoding="utf-8")
    except Exception as error:
        if not (problem := explain(error.__cause__ or error)):
            raise
        print(problem, file=sys.stderr)
        sys.exit(problem.exit_code)
    print(f"alembic/{PICTURES.name} is written")

"""Diagrams of the models and the revisions, by one command, kept current by a check."""

import re
from pathlib import Path

import pytest

from tests._kit.forks import forks
from tests._kit.support import environment, succeed
from tests.conftest import Render

CUSTOMER = """
from decimal import Decimal

from sqlalchemy import ForeignKey, Numeric
from sqlalchemy.orm import Mapped, mapped_column

from app.core.database import Base


class Customer(Base):
    __tablename__ = "customers"

    id: Mapped[int] = mapped_column(primary_key=True)
    parent: Mapped[int | None] = mapped_column(ForeignKey("customers.id"))
    credit: Mapped[Decimal] = mapped_column(Numeric(12, 2))
"""
TABLES = """
erDiagram
    "customers" {
        integer id PK
        integer parent FK
        numeric(12_2) credit
    }
    "customers" }o--o| "customers" : "parent"
"""


def check(backend: Path) -> str:
    """What the check says."""
    words = ["-p", "no:cacheprovider", "tests/test_pictures.py"]
    return forks().run("pytest", words, backend, environment()).stdout


@pytest.mark.server
def test_pictures_are_drawn_by_one_command_and_kept_current(render: Render) -> None:
    backend = render(extras="[pictures]").backend
    pictures = backend / "alembic" / "PICTURES.md"
    assert "1 passed" in check(backend), "nobody asked for any"
    (backend / "app" / "models" / "customer.py").write_text(CUSTOMER)
    succeed(forks().run("testing.pictures", [], backend, environment()))
    tables, history = re.findall(r"(?s)```mermaid(\n.*?)```", pictures.read_text())
    assert tables == TABLES
    assert 'baseline["Empty schema' in history
    assert "1 passed" in check(backend)
    (backend / "app" / "models" / "customer.py").write_text(CUSTOMER.replace("credit", "limit"))
    assert "alembic/PICTURES.md is old. Type: python -m testing.pictures" in check(backend)

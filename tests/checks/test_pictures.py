"""Diagrams of the models and the revisions, by one command, kept current by a check.

What is expected here was rendered by Mermaid 10 and 11, and looked at.
"""

import re
from pathlib import Path

import pytest

from tests._kit.forks import forks
from tests._kit.revision import write_revision
from tests._kit.support import environment, succeed
from tests.conftest import Render

CUSTOMER = """
from datetime import datetime
from decimal import Decimal

from sqlalchemy import ForeignKey, Numeric
from sqlalchemy.orm import Mapped, mapped_column

from app.core.database import Base


class Customer(Base):
    __tablename__ = "customers"

    id: Mapped[int] = mapped_column(primary_key=True)
    parent: Mapped[int | None] = mapped_column(ForeignKey("customers.id"))
    credit: Mapped[Decimal] = mapped_column(Numeric(12, 2))


class Odd(Base):
    __tablename__ = 'an "odd" 100% table'
    __table_args__ = {"schema": "some-where"}

    customer: Mapped[int] = mapped_column(ForeignKey("customers.id"), primary_key=True)
    since: Mapped[datetime] = mapped_column("PK")
    day: Mapped[int] = mapped_column('2nd "day"')
    mail: Mapped[str] = mapped_column("e-mail", ForeignKey("end.größe"))


class End(Base):
    __tablename__ = "end"

    size: Mapped[str] = mapped_column("größe", primary_key=True)
"""
TABLES = """
erDiagram
    "customers" {
        integer id PK
        integer parent FK
        numeric(12_2) credit
    }
    "customers" }o--o| "customers" : "parent"
    "end" {
        varchar gr_e PK "größe"
    }
    "some-where.an #34;odd#34; 100#37; table" {
        integer customer PK, FK
        timestamp_with_time_zone _PK "PK"
        integer _2nd_day_ "2nd #34;day#34;"
        varchar e-mail FK
    }
    "some-where.an #34;odd#34; 100#37; table" |o--|| "customers" : "customer"
    "some-where.an #34;odd#34; 100#37; table" }o--|| "end" : "e-mail"
"""
HISTORY = """
    r_end["1#46; #60;b#62;Say#60;/b#62; it.<br>end"]
    r_baseline --> r_end
    r_a_b["Two lines.<br>a.b"]
    r_end --> r_a_b
"""
WIDE = """
from sqlalchemy import Column, Integer, Table, Text

from app.core.database import Base

columns = [Column(f"column_number_{n}", Text) for n in range(2000)]
wide = Table("wide", Base.metadata, Column("id", Integer, primary_key=True), *columns)
"""


def check(backend: Path) -> str:
    """What the check says."""
    words = ["-p", "no:cacheprovider", "tests/test_pictures.py"]
    return forks().run("pytest", words, backend, environment()).stdout


def drawn(backend: Path) -> list[str]:
    """The diagrams: of the tables, of the revisions."""
    succeed(forks().run("testing.pictures", [], backend, environment()))
    text = (backend / "alembic" / "PICTURES.md").read_text("utf-8")
    return re.findall(r"(?s)```mermaid(\n.*?)```", text)


@pytest.mark.server
def test_pictures_are_drawn_by_one_command_and_kept_current(render: Render) -> None:
    backend = render(extras="[pictures]").backend
    assert "1 passed" in check(backend), "nobody asked for any"
    customer = backend / "app" / "models" / "customer.py"
    customer.write_text(CUSTOMER, "utf-8")
    write_revision(backend, "end", "baseline", "pass", number=1, title="1. <b>Say</b> it")
    write_revision(backend, "a.b", "end", "pass", number=2, title="Two\nlines")
    tables, history = drawn(backend)
    assert tables == TABLES
    assert history.endswith(HISTORY)
    assert "1 passed" in check(backend)
    customer.write_text(CUSTOMER.replace("credit", "limit"), "utf-8")
    assert "alembic/PICTURES.md is old. Type: python -m testing.pictures" in check(backend)


def test_pictures_are_no_larger_than_mermaid_draws(render: Render) -> None:
    backend = render(extras="[pictures]").backend
    (backend / "app" / "models" / "wide.py").write_text(WIDE, "utf-8")
    for n in range(600):
        parent = f"r{n - 1}" if n else "baseline"
        write_revision(backend, f"r{n}", parent, "pass", number=n)
    tables, history = drawn(backend)
    assert tables == '\nerDiagram\n    "wide" {\n        integer id PK\n    }\n'
    assert "r_r599[" in history
    assert history.count("-->") < 500
    assert len(history) < 50_000


def test_an_error_is_a_sentence(render: Render) -> None:
    backend = render(extras="[pictures]").backend
    write_revision(backend, "orphan", "gone", "pass")
    done = forks().run("testing.pictures", [], backend, environment())
    assert "its down_revision 'gone' does not exist\nNext:  " in done.stderr
    assert "Traceback" not in done.stderr
    assert done.returncode == 8

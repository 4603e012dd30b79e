"""One type of each form that packages have."""

from typing import Any

import sqlalchemy as sa


class Point(sa.types.UserDefinedType[Any]):
    """As those without arguments."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        """What PostgreSQL calls it."""
        return "point"


class Bits(sa.types.UserDefinedType[Any]):
    """As pgvector's, with an argument."""

    cache_ok = True

    def __init__(self, dim: int | None = None) -> None:
        super().__init__()
        self.dim = dim

    def get_col_spec(self, **_: Any) -> str:
        """What PostgreSQL calls it."""
        return f"bit({self.dim})"


class Email(sa.TypeDecorator[str]):
    """As sqlalchemy-utils' with a fixed implementation."""

    impl = sa.String(255)
    cache_ok = True


class AutoString(sa.TypeDecorator[str]):
    """As sqlmodel's, whose arguments are those of the implementation."""

    impl = sa.String
    cache_ok = True


class Choice(sa.TypeDecorator[str]):
    """As sqlalchemy-utils' whose arguments repr() does not show."""

    impl = sa.String
    cache_ok = True

    def __init__(self, choices: list[tuple[str, str]], impl: Any) -> None:
        super().__init__()
        self.choices, self.impl = choices, impl

    def load_dialect_impl(self, dialect: Any) -> Any:  # noqa: ARG002 (SQLAlchemy's signature)
        """That of the caller."""
        return self.impl


class Encrypted(sa.TypeDecorator[str]):
    """As advanced-alchemy's, whose repr() shows the key."""

    impl = sa.String
    cache_ok = True

    def __init__(self, key: str) -> None:
        super().__init__()
        self.key = key

    def __repr__(self) -> str:
        return f"Encrypted(key={self.key!r})"

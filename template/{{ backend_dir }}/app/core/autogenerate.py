"""What `revision --autogenerate` and `check` leave alone, and how else you set them up: yours."""

from typing import Any

OPTIONS: dict[str, Any] = {}  # more arguments of Alembic's context.configure()


def include_object(
    _item: Any, _name: str | None, _kind: str, _reflected: bool, _compare_to: Any
) -> bool:
    """Whether autogenerate, `check` and the tests compare this table, with all that it has."""
    return True

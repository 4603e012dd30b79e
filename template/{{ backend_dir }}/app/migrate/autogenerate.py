"""What `revision --autogenerate` and `check` compare, beyond Alembic's defaults."""

from typing import Any

from alembic.runtime.migration import MigrationContext
from sqlalchemy import JSON, Column
from sqlalchemy.schema import DefaultClause, FetchedValue

from app.migrate.queries import HISTORY_TABLE


def include_name(name: str | None, kind: str, _parents: Any) -> bool:
    """The record of migrations belongs to no model, a schema without one to others: leave them."""
    if kind == "schema":
        from app.core.database import Base  # not above: an upgrade does without the ORM

        return name in {None, *(table.schema for table in Base.metadata.tables.values())}
    return not (kind == "table" and name == HISTORY_TABLE)


def compare_server_default(
    context: MigrationContext,
    inspected: Column[Any],  # noqa: ARG001 (Alembic's signature)
    model: Column[Any],
    inspected_default: str | None,
    model_default: FetchedValue | None,
    rendered_default: str | None,
) -> bool | None:
    """Whether the two defaults differ; None leaves the answer to Alembic.

    Alembic asks the server whether they are equal, and fails where that is no valid question
    (alembic#1119): a text with a quote in it, and JSON, which has no equality.
    """
    if not isinstance(model_default, DefaultClause) or inspected_default is None:
        return None
    text = model_default.arg if isinstance(model_default.arg, str) else None  # else it is SQL
    is_json = isinstance(model.type, JSON)
    if not is_json and (text is None or "'" not in text):
        return None
    inspected_sql = inspected_default.replace("%", "%%")  # as the other is, for the driver
    if inspected_sql == rendered_default:
        return False
    model_sql = f"({rendered_default})" if text is None else "%(text)s"
    kind = "jsonb" if is_json else "text"
    assert context.connection is not None  # autogenerate has no offline mode
    equal = context.connection.exec_driver_sql(
        f"SELECT ({inspected_sql})::{kind} = {model_sql}::{kind}", {"text": text}
    )
    return not equal.scalar()

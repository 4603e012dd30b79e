"""Empty schema: where every database of this service begins.

Revision ID: baseline
Revises:
Create Date: 2026-11-22 00:00:00+00:00

"""

revision: str = "baseline"
down_revision: str | None = None
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    """Nothing to do: `alembic_version` alone says that the database is under version control."""


def downgrade() -> None:
    """Nothing to undo."""

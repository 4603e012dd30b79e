"""Migrations that cannot hurt: each promise of alembic/README.md, on real servers."""

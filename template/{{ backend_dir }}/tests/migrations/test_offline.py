"""`alembic upgrade head --sql` prints what builds the same schema."""

from sqlalchemy import URL

from tests.catalog import catalog, difference
from tests.databases import Alembic, execute


def test_offline_sql_builds_the_same_schema(committed_database: URL, empty_database: URL) -> None:
    script = Alembic()("upgrade", "head", sql=True)
    for statement in _statements(script):
        execute(empty_database, statement)
    assert not difference(catalog(committed_database), catalog(empty_database))
    assert execute(empty_database, "SELECT version_num FROM alembic_version") == execute(
        committed_database, "SELECT version_num FROM alembic_version"
    )


def _statements(script: str) -> list[str]:
    """Whole transactions, and what stands between them alone."""
    statements, rest = [], script
    while "BEGIN;" in rest:
        between, _, rest = rest.partition("BEGIN;")
        transaction, _, rest = rest.partition("COMMIT;")
        statements += [part for part in between.split(";\n\n") if part.strip()]
        statements.append(f"BEGIN;{transaction}COMMIT;")
    return statements + [part for part in rest.split(";\n\n") if part.strip()]

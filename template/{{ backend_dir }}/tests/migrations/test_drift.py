"""The models and the revisions say the same."""

import importlib

import pytest
from sqlalchemy import URL, create_engine
from sqlalchemy.pool import NullPool

from app.core.database import Base
from app.core.problems import explain
from tests.catalog import catalog, difference
from tests.databases import Alembic


def test_autogenerate_finds_nothing_to_do(committed_database: URL) -> None:
    try:
        Alembic(committed_database)("check")
    except Exception as error:
        problem = explain(error)
        if problem is None:
            raise
        pytest.fail(str(problem), pytrace=False)


def test_the_tables_of_the_models_are_those_of_the_revisions(
    committed_database: URL, empty_database: URL
) -> None:
    """Autogenerate does not compare everything; the server's catalog shows the rest."""
    importlib.import_module("app.models")
    engine = create_engine(empty_database.set(drivername="postgresql+psycopg2"), poolclass=NullPool)
    with engine.begin() as connection:
        Base.metadata.create_all(connection)
    ours = {"relation", "column", "constraint", "index", "type"}
    tables = {table.fullname for table in Base.metadata.tables.values()}
    models, revisions = (
        {key: value for key, value in catalog(url).items() if key[0] in ours}
        for url in (empty_database, committed_database)
    )
    only_in_revisions = {
        key
        for key in revisions.keys() - models.keys()
        if key[1].partition(".")[0] not in tables and key[0] != "relation"
    }
    lines = difference(
        {key: value for key, value in revisions.items() if key not in only_in_revisions}, models
    )
    assert not lines, "revisions -> models:\n" + "\n".join(lines)

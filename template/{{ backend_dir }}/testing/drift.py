"""The models and the revisions make the same schema.

Two catalogs are compared: of a database at head, and of one where `create_all()` made the tables.
What only revisions can make (functions, views, triggers, policies, extensions, grants, partitions)
is in both. `alembic check` finds as much, in another way.
"""

import re
from collections.abc import Callable
from importlib import import_module

import pytest
from sqlalchemy import URL, MetaData, Table, create_engine, text
from sqlalchemy.pool import NullPool
from sqlalchemy.schema import CreateSchema

from app.core.database import Base
from app.core.naming import NAMING_CONVENTION
from app.core.urls import for_driver
from app.migrate.autogenerate import include_name, include_object
from app.migrate.comparison import tables_of
from app.migrate.errors import MIGRATE
from testing.databases import SQL, copy_of
from testing.revisions import warnings_shown
from testing.schema import Catalog, catalog, difference, tables

# What models can say in full. Of anything else they only may have some, which revisions then need;
# a type that a column used would be a difference of that column.
OF_MODELS = {"table", "column", "column order", "constraint", "index", "sequence"}
# What an event of SQLAlchemy's may have made beside them: a revision by hand makes it.
BY_EVENTS = {"function", "procedure", "trigger", "view", "materialized view", "policy", "rule"}
# Lines of a definition that only revisions can make.
OF_REVISIONS = re.compile(
    r"owner |(not )?granted |row security|replica identity|storage |compression |statistics "
    r"|tablespace |label |depends on |clustered|option (autovacuum_|toast\.|n_distinct)"
    r"|its triggers are disabled"
)
OTHER_NAMES = (
    "Base.metadata has a naming convention that revisions do not have: new databases would get "
    "other names. Move it to app/core/naming.py."
)
BY_DEFAULT = re.compile(r"owner |(not )?granted ")  # what a new table gets from the database


@warnings_shown()
def test_models_and_revisions_make_the_same_schema(
    own_database: URL, record_property: Callable[[str, object], None]
) -> None:
    import_module("app.models")
    if Base.metadata.naming_convention != NAMING_CONVENTION:
        pytest.fail(OTHER_NAMES, pytrace=False)
    lines, notes = drift(own_database, Base.metadata)
    for note in notes:
        record_property("note", note)
    if lines:
        what = ["The models and the revisions differ (migrated database -> models):"]
        what += [f"  {line}" for line in lines]
        what += [f'Next: {MIGRATE} revision --autogenerate -m "what changed"']
        pytest.fail("\n".join(what), pytrace=False)


def drift(head: URL, metadata: MetaData) -> tuple[list[str], list[str]]:
    """The differences that matter, and those that are worth a note."""
    found = catalog(head)
    with copy_of(head, "models") as url:
        try:
            make_tables_of_models(url, metadata, judged_tables(found))
        except Exception as error:
            cause = str(getattr(error, "orig", error)).strip().splitlines()[0]
            return [f"create_all() fails: {cause}"], []
        made = catalog(url)
    lines, notes = compare(simplified(found), simplified(made))
    words = {"lost: ": "only in the migrated database: ", "left over: ": "only in the models: "}
    for old, new in words.items():
        lines = [re.sub(f"^{old}", new, line) for line in lines]
    return lines, notes


def judged_tables(catalog: Catalog) -> set[str]:
    """The tables that a model has to have made: no partitions, none that env.py leaves out."""
    names = set()
    for name in tables(catalog):
        schema, _, plain = name.rpartition(".")
        table = Table(plain, MetaData(), schema=schema or None)
        is_ours = include_name(table.schema, "schema", {})
        if is_ours and include_object(table, plain, "table", True, None):
            names.add(name)
    return names


def make_tables_of_models(url: URL, metadata: MetaData, old_tables: set[str]) -> None:
    """On a copy of head, replace the tables of the models by what create_all() makes of them.

    On a copy, because they may need what revisions made: an extension, a function in a default.
    """
    engine = create_engine(for_driver(url, "postgresql+psycopg2"), poolclass=NullPool)
    prepare = engine.dialect.identifier_preparer
    models = tables_of(metadata)
    names = {prepare.format_table(table) for table in models} | old_tables
    sequences = map(prepare.format_sequence, metadata._sequences.values())
    with engine.begin() as connection:
        types = connection.scalars(text(SQL["types"]), {"names": [*names]}).all()
        for kind, some in (("TABLE", names), ("TYPE", types), ("SEQUENCE", sequences)):
            for name in some:
                connection.exec_driver_sql(f"DROP {kind} IF EXISTS {name} CASCADE")
        for schema in {table.schema for table in metadata.tables.values()} - {None}:
            # That one is missing is then a difference.
            connection.execute(CreateSchema(str(schema), if_not_exists=True))
        metadata.create_all(connection, models)


def simplified(catalog: Catalog) -> Catalog:
    """Without what nobody chose: names that the server gives after a table's or column's own."""
    owner = re.compile(r"(owned by|identity of) (.*)")
    names = {  # of sequences that number a column
        name: f"of {found[2]}"
        for (kind, name), definition in catalog.items()
        if kind == "sequence" and (found := owner.search(definition))
        if found[1] == "identity of" or f"('{name}'::" in catalog.get(("column", found[2]), "")
    }

    def renamed(found: re.Match[str]) -> str:
        return f"nextval('{names.get(found[1], found[1])}')"

    simple: Catalog = {}
    for (kind, name), said in catalog.items():
        definition = re.sub(r"nextval\('(.*)'::regclass\)", renamed, said)
        if kind == "sequence":
            definition = definition.replace("persistence unlogged", "persistence permanent")
            simple[kind, names.get(name, name)] = definition
        elif kind != "constraint" or not definition.startswith("NOT NULL "):  # as the column says
            simple[kind, name] = definition
    return simple


def compare(revisions: Catalog, models: Catalog) -> tuple[list[str], list[str]]:
    """The differences that matter, and those that are worth a note."""
    judged, lost = judged_tables(revisions), revisions.keys() - models.keys()
    of_revisions = {key for key in lost if is_of_revisions(key, revisions, models, judged)}
    revisions = {key: it for key, it in revisions.items() if key not in of_revisions}
    by_events = {key for key in models.keys() - revisions.keys() if key[0] in BY_EVENTS}
    models = {key: it for key, it in models.items() if key not in by_events}
    notes = [f"only an event of the models makes {' '.join(key)}" for key in sorted(by_events)]
    for key in revisions.keys() & models.keys():
        kind, name = key
        old, new = revisions[key].splitlines(), models[key].splitlines()
        if kind == "column order" and sorted(old) == sorted(new) and old != new:
            notes.append(f"columns of {name}: {', '.join(old)}; in the model {', '.join(new)}")
            old = new
        if any(line.startswith("comment not valid:") for line in old):
            old = [line.removesuffix(" NOT VALID") for line in old if "comment not " not in line]
        if kind not in {"table", "column"}:
            old = [line for line in old if not line.startswith("comment ") or line in new]
        if kind == "index" and ("constraint", name) in revisions:  # of which a model says no more
            old = [re.sub(r" WITH \(.*?\)", "", it) for it in old if not it.startswith("option ")]
        old = [line for line in old if line in new or not OF_REVISIONS.match(line)]
        new = [line for line in new if line in old or not BY_DEFAULT.match(line)]
        revisions[key], models[key] = "\n".join(old), "\n".join(new)
    return difference(revisions, models), notes


def is_of_revisions(
    key: tuple[str, str], revisions: Catalog, models: Catalog, judged: set[str]
) -> bool:
    """Whether something that only the revisions make is theirs alone to make."""
    kind, name = key
    is_of_table = kind != "sequence" or name.startswith("of ")
    if kind not in OF_MODELS or not is_of_table:
        return True
    table = name.removeprefix("of ")
    if kind not in {"table", "column order"}:
        table = table.rpartition(".")[0]
    if table in judged:
        return "part of " in revisions[key] if kind == "index" else revisions[key] == "TRIGGER"
    # Of a view, a partition, or a table that env.py leaves out, whose foreign keys go by CASCADE;
    # domains have constraints too.
    return ("type", table) not in models

"""`python -m testing.schema_file`: the schema at head, as SQL, in alembic/schema.sql.

For a review, and for a merge: two branches with a revision each are a conflict in its first line.
Once the file is there, the check keeps it current.
"""

import pytest
from psycopg2 import Error
from sqlalchemy import URL

from testing.databases import BACKEND, Alembic, execute
from testing.revisions import scripts
from testing.schema import catalog, difference
from testing.scratch import NO_ROWS, dump, errors_as_sentences, scratch_database
from testing.whole_server import watched

FILE = BACKEND / "alembic" / "schema.sql"
COMMAND = "python -m testing.schema_file"


def first_line() -> str:
    """What no two branches agree on."""
    return f"-- The schema at {', '.join(scripts().get_heads())}, by {COMMAND}\n"


def test_schema_file_is_current(database: URL, empty_database: URL) -> None:
    if not FILE.exists():
        return
    text = FILE.read_text("utf-8")
    try:
        execute(empty_database, text)
        lines = difference(catalog(empty_database), catalog(database))
    except Error as error:
        lines = [str(error).strip()]
    if lines or not text.startswith(first_line()):
        said = ["alembic/schema.sql is not the schema at head:", *lines, f"Type: {COMMAND}"]
        pytest.fail("\n  ".join(said), pytrace=False)


if __name__ == "__main__":
    with errors_as_sentences(), scratch_database("schema") as url, watched():
        Alembic(url)("upgrade", "heads")
        FILE.write_text(f"{first_line()}\n{dump(url, *NO_ROWS)}", "utf-8")
        print("alembic/schema.sql is written")

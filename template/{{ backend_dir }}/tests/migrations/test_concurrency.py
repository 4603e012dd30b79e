"""Several replicas migrate at once, and each step happens once."""

import os
import subprocess
import sys

from sqlalchemy import URL

from tests.catalog import catalog, difference
from tests.databases import BACKEND, execute


def test_four_replicas_migrate_once(empty_database: URL, committed_database: URL) -> None:
    url = empty_database.render_as_string(hide_password=False)
    replicas = [
        subprocess.Popen(
            [sys.executable, "-m", "app.migrate"],
            cwd=BACKEND,
            env=os.environ | {"MIGRATION_DATABASE_URL": url},
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    outputs = [replica.communicate(timeout=120)[1] for replica in replicas]
    assert [replica.returncode for replica in replicas] == [0, 0, 0, 0], "\n".join(outputs)
    head = execute(committed_database, "SELECT version_num FROM alembic_version")
    assert execute(empty_database, "SELECT version_num FROM alembic_version") == head
    ran = sum(output.count("Running upgrade") for output in outputs)
    assert ran == len(list((BACKEND / "alembic" / "versions").glob("[!_]*.py")))
    assert not difference(catalog(committed_database), catalog(empty_database))

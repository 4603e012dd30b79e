"""Several replicas migrate at once, and each step happens once."""

import os
import subprocess
import sys

from sqlalchemy import URL

from tests.catalog import catalog, difference
from tests.databases import BACKEND, execute
from tests.revisions import revisions

# Four processes that begin at the same moment, without four times the cost of the imports.
REPLICAS = """
import os, sys
import alembic.command, app.core.config, app.core.database, app.migrate.history, sqlalchemy.dialects
from app.migrate.__main__ import main

replicas = []
for _ in range(4):
    if not (replica := os.fork()):
        os._exit(main([]))
    replicas.append(replica)
sys.exit(max(abs(os.waitstatus_to_exitcode(os.waitpid(replica, 0)[1])) for replica in replicas))
"""
ONE = "import sys; from app.migrate.__main__ import main; sys.exit(main([]))"


def test_four_replicas_migrate_once(empty_database: URL, committed_database: URL) -> None:
    url = empty_database.render_as_string(hide_password=False)
    script, number = (REPLICAS, 1) if hasattr(os, "fork") else (ONE, 4)
    replicas = [
        subprocess.Popen(
            [sys.executable, "-c", script],
            cwd=BACKEND,
            env=os.environ | {"MIGRATION_DATABASE_URL": url},
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        for _ in range(number)
    ]
    output = "".join(replica.communicate(timeout=300)[1] for replica in replicas)
    assert [replica.returncode for replica in replicas] == [0] * number, output
    head = execute(committed_database, "SELECT version_num FROM alembic_version")
    assert execute(empty_database, "SELECT version_num FROM alembic_version") == head
    assert output.count("Running upgrade") == len(revisions()), output
    assert not difference(catalog(committed_database), catalog(empty_database))

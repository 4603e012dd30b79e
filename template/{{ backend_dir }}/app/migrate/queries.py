"""queries.sql by name, for a migration and for the fast path, which has no time for imports."""
# ruff: noqa: PTH122, PTH123

import os
import re

HISTORY_TABLE = "alembic_history"  # beside alembic_version; autogenerate leaves both alone

with open(os.path.splitext(__file__)[0] + ".sql", encoding="utf-8") as _file:
    _parts = re.split(r"^-- name: (\w+)\n", _file.read(), flags=re.MULTILINE)

SQL = dict(zip(_parts[1::2], _parts[2::2], strict=True))

"""Delete this file to drop the check."""

# ruff: noqa: F401
from testing.schema_file import test_schema_file_is_current

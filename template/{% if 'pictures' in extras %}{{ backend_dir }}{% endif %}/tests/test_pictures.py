"""Delete this file to drop the check."""

# ruff: noqa: F401
from testing.pictures import test_pictures_are_current

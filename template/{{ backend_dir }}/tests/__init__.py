"""Your tests."""

import sys

import pytest

if "testing.plugin" not in sys.modules:  # it keeps tests away from a developer's data
    said = "pytest has not read the pyproject.toml beside tests/\nNext:  type pytest in that folder"
    pytest.fail(said, pytrace=False)

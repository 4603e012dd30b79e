"""Fixtures of all tests. `session` and others of the database come from testing/fixtures.py."""

# Your own fixtures below this line.

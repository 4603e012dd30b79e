"""Your tests."""

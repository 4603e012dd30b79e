"""Your own fixtures. `session` and the other ones of the database come from testing/plugin.py."""

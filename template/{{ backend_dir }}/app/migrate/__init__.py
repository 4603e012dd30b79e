"""How migrations are made safe: the machinery that alembic/env.py calls. Nothing to edit here.

`python -m app.migrate` is the `alembic` command with `upgrade head` as its default.
"""

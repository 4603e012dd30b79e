"""The way every migration goes: connect, lock, configure, run.

`alembic`, `docker compose run --rm migrate`, a call from Python and the tests all come through
here. The order of the steps matters; app/migrate/ says why, module by module.
"""

import re
import sys
from contextlib import ExitStack
from logging.config import fileConfig
from typing import Any

from alembic import context
from sqlalchemy import URL, make_url

from app.core.problems import explain

config = context.config


def changes_database() -> bool:
    """True for upgrade, downgrade and stamp: the commands that have a destination."""
    try:
        context.get_revision_argument()
    except KeyError:
        return False
    return True


def is_relative(destination: object) -> bool:
    """Whether it is something like +1 or abc-2."""
    return isinstance(destination, str) and re.search(r"[+-]\d+$", destination) is not None


def database_url() -> URL:
    """The URL that a caller from Python gave in `config.attributes["url"]`, or the settings'."""
    if "connection" in config.attributes:
        raise ValueError(
            'give config.attributes["url"], not a connection: its transaction and ours would mix'
        )
    if given := config.attributes.get("url"):
        return make_url(given)
    from app.core.config import get_settings

    return get_settings().database_url_sync


def run(**options: Any) -> None:
    """Configure Alembic and run the command's revisions."""
    from app.core.database import Base
    from app.migrate.autogenerate import compare_server_default, include_name

    context.configure(
        target_metadata=Base.metadata,
        compare_type=True,
        compare_server_default=compare_server_default,
        include_name=include_name,
        transaction_per_migration=True,  # what was done stays done; locks are short
        **options,
    )
    if "revision_context" in context.get_context().opts:
        # `check` and `revision` look at the models. Nothing else does: an upgrade's cost does not
        # grow with the application, and a broken model cannot block a downgrade.
        import app.models  # noqa: F401 (its import registers every model with Base)
    with context.begin_transaction():
        context.run_migrations()


def run_offline() -> None:
    """`--sql`: print the statements; needs no server and no settings."""
    # With psycopg2's own style of parameters every % would be doubled.
    run(dialect_name="postgresql", literal_binds=True, dialect_opts={"paramstyle": "named"})


def run_online() -> None:
    """Connect, lock, configure, run."""
    from app.migrate.connect import connect
    from app.migrate.history import Recorder, warn_of_edited_revisions
    from app.migrate.leftovers import refuse_leftovers
    from app.migrate.lock import take_lock
    from app.migrate.retry import run_with_retries, set_lock_timeout
    from app.migrate.settings import MigrationSettings
    from app.migrate.signals import cancelled_by_signals

    settings = MigrationSettings()
    with ExitStack() as stack:
        connection = stack.enter_context(connect(database_url(), settings.migration_connect_wait))
        if config.cmd_opts is not None:  # a program that calls Alembic has its own handlers
            stack.enter_context(cancelled_by_signals(connection))
        if not changes_database():
            run(connection=connection)
            return
        destination = context.get_revision_argument()
        # None of these leaves a transaction open: Alembic would take it for its caller's, and
        # commit nothing. The lock comes first, since a lock_timeout would cut its wait short.
        take_lock(connection, settings.migration_lock_wait)
        set_lock_timeout(connection, settings.migration_lock_timeout)
        recorder = Recorder(connection)
        warn_of_edited_revisions(connection, context.script)
        run_with_retries(
            lambda: run(connection=connection, on_version_apply=recorder),
            connection,
            settings.migration_retry_wait,
            # `upgrade +2` counts from where the database is: after one, two would be too many.
            may_go_on=lambda: not (recorder.applied and is_relative(destination)),
        )
        refuse_leftovers(connection, recorder)


if config.cmd_opts is not None and config.config_file_name is not None:
    # Only for the command line: a program that calls Alembic has its own logging.
    fileConfig(config.config_file_name, disable_existing_loggers=False)

try:
    run_offline() if context.is_offline_mode() else run_online()
except (Exception, KeyboardInterrupt) as error:
    problem = explain(error)
    if problem is None or config.cmd_opts is None or config.cmd_opts.raiseerr:
        raise
    print(problem, file=sys.stderr)
    sys.exit(problem.exit_code)

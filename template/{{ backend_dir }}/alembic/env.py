"""The way every migration goes: connect, lock, configure, run.

`alembic`, `docker compose run --rm migrate`, a call from Python and the tests all come through
here. The order of the steps matters; app/migrate/ says why, module by module.
"""

import sys
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


def run(**where: Any) -> None:
    """Configure Alembic and run the command's revisions."""
    from app.core.database import Base
    from app.migrate.autogenerate import compare_server_default

    context.configure(
        target_metadata=Base.metadata,
        compare_type=True,
        compare_server_default=compare_server_default,
        transaction_per_migration=True,  # what was done stays done; locks are short
        **where,
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
    """Migrate a database, one caller at a time."""
    from app.migrate.connect import connect
    from app.migrate.lock import take_lock
    from app.migrate.settings import MigrationSettings

    settings = MigrationSettings()
    with connect(database_url(), settings.migration_connect_wait) as connection:
        if changes_database():
            take_lock(connection, settings.migration_lock_wait)
            # After the advisory lock, whose wait it would cut short as well.
            connection.exec_driver_sql(
                f"SET lock_timeout = {int(settings.migration_lock_timeout * 1000)}"
            )
            connection.commit()  # Alembic would take an open transaction for its caller's
        run(connection=connection)


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

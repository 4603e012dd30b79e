"""How every migration runs: connect, lock, set lock_timeout, configure, run.

`alembic`, `docker compose run --rm migrate`, a call from Python and the tests all come through
here. The order of the steps matters; app/migrate/ says why, module by module.
"""

from typing import Any

from sqlalchemy import MetaData

from app.core.naming import NAMING_CONVENTION
from app.migrate.connect import connect
from app.migrate.environment import database_url, running, this_call
from app.migrate.fastpath import conclude
from app.migrate.guard import guard
from app.migrate.lock import take_lock
from app.migrate.record import Recorder
from app.migrate.retry import run_with_retries
from app.migrate.session import in_clean_sessions, refuse_leftovers, set_lock_timeout

context = this_call()  # alembic.context, safe where another thread calls Alembic too
config = context.config


def models(**options: Any) -> dict[str, Any]:
    """What is compared; or what an upgrade needs of it: the names of constraints."""
    if "revision_context" in context.context_opts:  # `check` and `revision --autogenerate`
        # Nothing else imports the models: the time of an upgrade does not grow with the
        # application, and a broken model cannot block a downgrade.
        import app.models  # noqa: F401 (its import registers every model with Base)
        from app.core.database import Base
        from app.migrate.autogenerate import comparing

        return {"target_metadata": Base.metadata, **comparing(options["connection"])}
    return {"target_metadata": MetaData(naming_convention=NAMING_CONVENTION)}


def run_migrations(**options: Any) -> None:
    """Configure Alembic and run the command's revisions."""
    context.configure(
        transaction_per_migration=True,  # what was done stays done; locks are short
        **models(**options),
        **options,
    )
    with context.begin_transaction():
        context.run_migrations()


def run_migrations_offline() -> None:
    """`--sql`: print the statements; needs no server and no settings."""
    # With psycopg2's own style of parameters every % would be doubled.
    paramstyle = {"paramstyle": "named"}
    run_migrations(dialect_name="postgresql", dialect_opts=paramstyle, literal_binds=True)


def run_migrations_online() -> None:
    """Connect, lock, set lock_timeout, configure, run."""
    from app.migrate.settings import MigrationSettings  # here an error in config.py is explained

    recorder = Recorder(context)
    settings = MigrationSettings()
    with connect(database_url(config), settings.migration_connect_wait) as connection:
        if "destination_rev" not in context.context_opts:  # no upgrade, downgrade or stamp
            run_migrations(connection=connection)
            return
        # None of these leaves a transaction open: Alembic would take it for its caller's, and
        # commit nothing. Under the lock, no other migration changes what they read.
        take_lock(connection, settings.migration_lock_wait)
        set_lock_timeout(connection, settings.migration_lock_timeout)
        steps = in_clean_sessions(context, connection)

        def run() -> None:
            recorder.begin(connection)
            hooks = [recorder, guard(context, connection)]
            run_migrations(connection=connection, on_version_apply=hooks, fn=steps)

        wait, may_go_on = settings.migration_retry_wait, recorder.may_go_on
        run_with_retries(run, connection, wait, may_go_on)
        if not recorder.reverted:  # a downgrade may be removing them
            refuse_leftovers(connection)
        conclude(connection, recorder)


with running(context):
    run_migrations_offline() if context.is_offline_mode() else run_migrations_online()

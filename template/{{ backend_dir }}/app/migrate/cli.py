"""Entry point of every command: Alembic's command line and `log`, with signals and errors."""

import os
import sys
import warnings
from argparse import Namespace
from collections.abc import Generator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

from alembic.config import CommandLine, Config
from sqlalchemy import Connection

from app.migrate.errors import BACKEND
from app.migrate.explain import explain
from app.migrate.signals import ended_by_signals


def run(arguments: list[str]) -> None:
    """Run one command; an error is printed, and ends the process with its exit code."""
    if "--yes" in arguments:  # env.py's, wherever it stands: to Alembic, `-x yes`
        arguments = ["-x", "yes", *(word for word in arguments if word != "--yes")]
    with command_line(traceback="--raiseerr" in arguments):
        alembic = _CommandLine(prog="migrate")
        alembic.register_command(log)
        alembic.register_command(backfill)
        alembic.main(arguments)


@contextmanager
def command_line(*, traceback: bool) -> Generator[None]:
    """Signals, warnings and errors of a command, the same for `alembic` and `migrate`.

    `traceback` raises an error (`--raiseerr`), in place of a sentence and an exit code.
    """
    warnings.filterwarnings("ignore", "Revision .* is not present")  # an error says it, and more
    warnings.filterwarnings("error", "Revision .* is present more than once")
    with ended_by_signals():
        try:
            yield
        except BaseException as error:  # a revision may have called sys.exit
            problem = explain(error)
            if problem is None or traceback:
                raise
            with suppress(OSError):  # whoever read it has gone
                print(problem, file=sys.stderr)
            sys.exit(problem.exit_code)


class _CommandLine(CommandLine):
    """Takes the options of `alembic`; finds this project's alembic.ini from any folder."""

    def run_cmd(self, config: Config, options: Namespace) -> None:
        """Run a command that was parsed; raises what went wrong."""
        options.raiseerr = True  # Alembic would print its own errors in one line
        if not options.config and "ALEMBIC_CONFIG" not in os.environ:
            config.config_file_name = str(BACKEND / "alembic.ini")
            config.toml_file_name = str(BACKEND / "pyproject.toml")
        super().run_cmd(config, options)


@contextmanager
def _session() -> Generator[tuple[Connection, Any]]:
    """A connection by the settings, and those of migrations."""
    from app.core.config import get_settings
    from app.migrate.connect import connect
    from app.migrate.settings import MigrationSettings

    settings = MigrationSettings()
    with connect(get_settings().database_url_sync, settings.migration_connect_wait) as connection:
        yield connection, settings


def log(config: Config) -> None:
    """Show what was applied to the database, when, by whom and from where."""
    from app.migrate.queries import SQL
    from app.migrate.record import has_history

    with _session() as (connection, _):
        if has_history(connection):
            for line in connection.exec_driver_sql(SQL["log"]).scalars():
                config.print_stdout("%s", line)


def backfill(config: Config, table: str, values: str, where: str, key: str) -> None:
    """Update the rows that match `where` in batches, in the order of `key`, such as id."""
    from logging.config import fileConfig

    from app.migrate.backfill import backfill
    from app.migrate.retry import run_with_retries
    from app.migrate.session import set_lock_timeout

    fileConfig(str(config.config_file_name), disable_existing_loggers=False)
    with _session() as (connection, settings):
        set_lock_timeout(connection, settings.migration_lock_timeout)
        session = connection.execution_options(isolation_level="AUTOCOMMIT")
        update = partial(backfill, session, table, values, where, key)
        run_with_retries(update, session, settings.migration_retry_wait, lambda: True)

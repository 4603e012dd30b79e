"""Alembic's command line with a sentence for each error, and `log` as one more command."""

import os
from argparse import Namespace

from alembic.config import CommandLine, Config

from app.migrate.environment import command_line, migration_settings
from app.migrate.errors import BACKEND


def run(arguments: list[str]) -> None:
    """Run one command.

    Raises:
        SystemExit: with the exit code of an error, which was printed.
    """
    with command_line(traceback="--raiseerr" in arguments):
        Migrate(prog="migrate").main(arguments)


class Migrate(CommandLine):
    """Takes the options of `alembic`; finds this project's alembic.ini from any folder."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog)
        self.register_command(log)

    def run_cmd(self, config: Config, options: Namespace) -> None:
        """Run a command that was parsed; raises what went wrong."""
        options.raiseerr = True  # Alembic would print its own errors in one line
        if not options.config and "ALEMBIC_CONFIG" not in os.environ:
            config.config_file_name = str(BACKEND / "alembic.ini")
            config.toml_file_name = str(BACKEND / "pyproject.toml")
        super().run_cmd(config, options)


def log(config: Config) -> None:
    """Show what was applied to the database, when, by whom and from where."""
    from app.core.config import get_settings
    from app.migrate.connect import connect
    from app.migrate.record import show

    url, wait = get_settings().database_url_sync, migration_settings().migration_connect_wait
    with connect(url, wait) as connection:
        for line in show(connection):
            config.print_stdout(line)

"""`python -m app.migrate [words of alembic]`, by default `upgrade head`: Compose's `migrate`."""

import gc
import os
import sys
import warnings

from app.migrate.heads import BACKEND
from app.migrate.shortcut import revision_at_head
from app.migrate.signals import interrupted_by_signals

TYPE_CHECKING = False  # typing's own costs as much as reading ten revisions
if TYPE_CHECKING:
    from alembic.config import Config

UPGRADE = ["upgrade", "head"]


def become_owner_of_revisions() -> None:
    """As root (in Compose's development services) become the owner of `versions/`.

    A new revision then belongs to the person who develops on the host, whatever their uid.
    """
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return
    owner = os.stat(f"{BACKEND}/alembic/versions")  # noqa: PTH116 (quicker than pathlib)
    if owner.st_uid != 0:
        os.setgroups([])
        os.setgid(owner.st_gid)
        os.setuid(owner.st_uid)


def log(config: "Config") -> None:
    """Show what was applied to the database, when, by whom and from where."""
    from app.core.config import get_settings
    from app.migrate.connect import connect
    from app.migrate.record import show
    from app.migrate.waits import MigrationSettings

    url = get_settings().database_url_sync
    with connect(url, MigrationSettings().migration_connect_wait) as connection:
        for line in show(connection):
            config.print_stdout(line)


def main(words: list[str]) -> int:
    """Run one Alembic command; the exit code is a documented one (app.migrate.explain.ExitCode)."""
    become_owner_of_revisions()
    with interrupted_by_signals():
        try:
            if words in ([], UPGRADE) and (head := revision_at_head()):
                print(f"The database is at head: {head}")
                return 0
            return long_way(words or UPGRADE)
        except KeyboardInterrupt as signal:  # before the long way began
            print("Error: interrupted; nothing was done", file=sys.stderr)
            return 128 + int(signal.args[0])


def long_way(words: list[str]) -> int:
    """Run one Alembic command by Alembic, with a sentence for each error."""
    gc.disable()  # what is imported stays: to look for garbage in it takes a fifth of all the time
    from alembic.config import CommandLine, Config

    from app.migrate.errors import ExitCode
    from app.migrate.explain import explain

    gc.freeze()
    gc.enable()
    warnings.filterwarnings("ignore", "Revision .* is not present")  # as in env.py
    command_line = CommandLine(prog="migrate")
    command_line.register_command(log)
    options = command_line.parser.parse_args(words)
    if not hasattr(options, "cmd"):
        command_line.parser.error("too few arguments")
    # Alembic prints an error of its own in one line; here every error becomes a sentence.
    options.raiseerr, traceback_asked_for = True, options.raiseerr
    config = Config(f"{BACKEND}/alembic.ini", cmd_opts=options)
    try:
        command_line.run_cmd(config, options)
    except (Exception, KeyboardInterrupt) as error:
        problem = explain(error)
        if problem is None or traceback_asked_for:
            raise
        print(problem, file=sys.stderr)
        return problem.exit_code
    return ExitCode.DONE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""`python -m app.migrate [words of alembic]`, by default `upgrade head`: Compose's `migrate`."""

import os
import sys
from pathlib import Path

BACKEND = Path(__file__).resolve().parents[2]


def become_owner_of_revisions() -> None:
    """As root (in Compose's development services) become the owner of `versions/`.

    A new revision then belongs to the person who develops on the host, whatever their uid.
    """
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return
    owner = (BACKEND / "alembic" / "versions").stat()
    if owner.st_uid != 0:
        os.setgroups([])
        os.setgid(owner.st_gid)
        os.setuid(owner.st_uid)


def main(words: list[str]) -> int:
    """Run one Alembic command; the exit code is a documented one (app.core.problems.ExitCode)."""
    become_owner_of_revisions()
    from alembic.config import CommandLine, Config

    from app.core.problems import ExitCode, explain

    command_line = CommandLine(prog="migrate")
    options = command_line.parser.parse_args(words or ["upgrade", "head"])
    if not hasattr(options, "cmd"):
        command_line.parser.error("too few arguments")
    options.raiseerr, traceback_asked_for = True, options.raiseerr
    config = Config(BACKEND / "alembic.ini", cmd_opts=options)
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

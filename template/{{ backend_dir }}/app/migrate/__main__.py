"""`python -m app.migrate [arguments of alembic]`, by default `upgrade head`."""

import gc
import os
import sys
from contextlib import suppress

from app.migrate.signals import install


def main(arguments: list[str]) -> int:
    """Run one Alembic command; the exit code is one of app.migrate.errors.ExitCode."""
    nowhere = open(os.devnull, "w")  # noqa: PTH123, SIM115 (for `>&-`)
    sys.stdout, sys.stderr = sys.stdout or nowhere, sys.stderr or nowhere
    install()  # before anything that takes time is imported
    from app.migrate.fastpath import head_by_proof

    arguments = arguments or ["upgrade", "head"]
    if head := head_by_proof(arguments):
        with suppress(OSError):  # whoever read it has gone
            print(f"The database is at head: {head}")
        return 0
    gc.disable()  # what is imported stays: to look for garbage in it takes a fifth of all the time
    from app.migrate.cli import run

    gc.freeze()
    gc.enable()
    run(arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

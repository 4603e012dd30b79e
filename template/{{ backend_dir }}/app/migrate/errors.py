"""The vocabulary of failure: what every module raises, and how a command ends."""

import os
import sys
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

BACKEND = Path(__file__).resolve().parents[2]


class ExitCode(IntEnum):
    """How a migration command ended; alembic/README.md says what to do about each."""

    DONE = 0
    UNEXPECTED = 1
    USAGE = 2
    LOCKED_OUT = 3
    UNREACHABLE = 4
    REFUSED = 5
    PENDING = 6
    DRIFT = 7
    HISTORY = 8
    BLOCKED = 9
    FAILED = 10
    INTERRUPTED = 130  # 128 + SIGINT, as shells count
    TERMINATED = 143  # 128 + SIGTERM


@dataclass(frozen=True)
class Problem:
    """What to tell a person. A `transient` one may be gone at the next attempt."""

    cause: str
    remedy: str
    exit_code: ExitCode
    transient: bool = False

    def __str__(self) -> str:
        return f"Error: {self.cause}\nNext:  {self.remedy}"


class MigrationError(Exception):
    """A problem that our own code found; it carries the sentence."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


def command(words: str) -> str:
    """The Alembic command `words` as this person types it: on the host, or through Compose."""
    return f"{os.environ.get('MIGRATE_COMMAND', 'alembic')} {words}"


def unfinished() -> str:
    """The command that does what is left: a downgrade is not answered by an upgrade."""
    return command("downgrade <revision>" if "downgrade" in sys.argv[1:] else "upgrade head")

"""The vocabulary of failure: what every module raises, and how a command ends."""

import os
import re
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

BACKEND = Path(__file__).resolve().parents[2]
AGAIN = "run the same command again; it continues after the last committed revision"


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

    def __post_init__(self) -> None:
        object.__setattr__(self, "cause", printable(self.cause))
        object.__setattr__(self, "remedy", printable(self.remedy))

    def __str__(self) -> str:
        return f"Error: {self.cause}\nNext:  {self.remedy}"


class MigrationError(Exception):
    """A problem that our own code found; it carries the sentence."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


def command(arguments: str) -> str:
    """The command line for Alembic's `arguments`: through Compose, or in this folder."""
    return f"{os.environ.get('MIGRATE_COMMAND', 'python -m app.migrate')} {arguments}"


# A statement may have been cut off within its quotes, so that their end may be missing.
_SECRETS = [
    (r"(password\s*=\s*)''.*?(?:''|\Z)", r"\1***"),  # a connection string within a statement
    (r"(password\s*=?\s*(?:E|U&)?)'(?:[^'\\]|''|\\.)*'?", r"\1'***'"),
    (r"(password\s*=?\s*)(\$\w*\$).*?(?:\2|\Z)", r"\1'***'"),
    (r"(password\s+)\"[^\"]*\"?", r"\1'***'"),
    (r"(password\s*=\s*)(?!')(?:[^\s'\"&]|'')+", r"\1***"),
    (r"(://[^\s:@/]*:)\S*@", r"\1***@"),
]


def printable(text: str) -> str:
    """`text` in one line without passwords; control characters, another session's, are escaped."""
    for pattern, replacement in _SECRETS:
        text = re.sub(pattern, replacement, text, flags=re.IGNORECASE | re.DOTALL)
    text = re.sub(r"[^\S ]+", " ", text)
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)

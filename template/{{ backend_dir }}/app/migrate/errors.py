"""The vocabulary of failure: what every module raises, and how a command ends."""

import os
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

BACKEND = Path(__file__).resolve().parents[2]
AGAIN = "run the same command again; it continues after the last committed revision"
# The command line before Alembic's arguments: through Compose, or in this folder.
MIGRATE = os.environ.get("MIGRATE_COMMAND", "python -m app.migrate")


def shorten(path: str | Path) -> str:
    """Without the backend folder in front."""
    path = Path(path)
    return (path.relative_to(BACKEND) if path.is_relative_to(BACKEND) else path).as_posix()


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
        told = f"Error: {self.cause}\nNext:  {self.remedy}"
        return told if self.exit_code else f"{self.cause}; {self.remedy}"


class MigrationError(Exception):
    """A problem that our own code found; it carries the sentence."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


@cache
def entries(file: str = "errors.toml") -> dict[str, Any]:
    """The tables of a file beside this one."""
    import tomllib  # not above: most runs go well

    return tomllib.loads(Path(__file__).with_name(file).read_text("utf-8"))


def problem(table: str, name: str, /, **values: object) -> Problem:
    """The entry `table.name` of errors.toml, with `values` in the places of their names."""
    entry = entries()[table][name]
    in_compose = "MIGRATE_COMMAND" in os.environ
    files = (folder / "docker-compose.yml" for folder in (BACKEND, *BACKEND.parents))
    remedy, is_development = entry["next"], (BACKEND / "testing").is_dir()
    if in_compose or any(map(Path.is_file, files)):
        remedy += entry.get("compose" if is_development else "production", entry.get("compose", ""))
    if not in_compose and is_development:
        remedy += entry.get("host", "")
    install = "docker compose build" if in_compose else "install it"
    values |= {"again": AGAIN, "migrate": MIGRATE, "install": install}
    # Nobody can change the code of the production image.
    values["fixed"] = AGAIN if is_development else "deploy it as a new release"

    def value(name: re.Match[str]) -> str:
        text = str(values.get(name[2], name[0]))
        return shlex.quote(text) if name[1] else text

    def filled(text: str) -> str:
        return re.sub(r"<(sh:)?(\w+)>", value, text).strip()

    exit_code, transient = ExitCode[entry["exit"]], entry.get("transient", False)
    return Problem(filled(entry["cause"]), filled(remedy), exit_code, transient)


def find(table: str, messages: Iterable[str], tag: str = "", /, **values: object) -> Problem | None:
    """By the first entry of the table that is in one of the messages, or in the tag after it."""
    for (name, entry), message in product(entries()[table].items(), messages):
        if found := re.search(entry.get("when", ""), f"{message}{tag}"):
            return problem(table, name, message=message, **values, **found.groupdict(""))
    return None


def printable(text: str) -> str:
    """`text` in one line without passwords; control characters, another session's, are escaped."""
    for pattern, replacement in entries("redactions.toml")["patterns"]:
        text = re.sub(pattern, replacement, text, flags=re.IGNORECASE | re.DOTALL)
    text = re.sub(r"[^\S ]+", " ", text)
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)

"""What is said of a revision: the hazards in it, in the words of messages.toml.

Their names are what `accepted_risks` of a revision says. locks.py and compatibility.py find them.
"""

import re
import tomllib
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

from alembic.script import Script

from testing.audit.statements import Statement, split

MESSAGES: dict[str, list[dict[str, Any]]] = tomllib.loads(
    Path(__file__).with_suffix(".toml").read_text("utf-8")
)


@dataclass(frozen=True)
class Finding:
    """One hazard, and where it is."""

    hazard: str
    statement: Statement
    what: str = ""  # the table, or whatever it is about
    blocked: str = ""  # "writes to <table>", "reads and writes of <table>"

    def __str__(self) -> str:
        message, names = self._message()
        names |= {"what": self.what, "blocked": self.blocked}

        def filled(text: str) -> str:
            return re.sub(r"<(\w+)>", lambda name: names.get(name[1], "..."), text)

        effect = message.get("effect") or MESSAGES[self.hazard][-1]["effect"]
        statement = " ".join(self.statement.text.split())
        code = filled(message.get("code", "")).strip().splitlines()
        lines = [
            f"{self.statement.place}: {self.hazard}: {filled(effect)}.",
            f"  Statement: {statement[:300]}{'...' * (len(statement) > 300)}",
            f"  Instead, {message['instead']}{':' if code else '.'}",
        ]
        for line in code:  # a name in double quotes needs others around it
            quoted = re.sub(r'execute\("(.*".*)"\)', lambda sql: f"execute({sql[1]!r})", line)
            lines.append(f"    {quoted}")
        return "\n".join(lines)

    def _message(self) -> tuple[dict[str, Any], dict[str, str]]:
        """The first message that fits, and the names in its pattern."""
        parts = [" ".join(part.split()) for part in split(self.statement.text)] or [""]
        name = r'(?P<\1>(?:"[^"]*"|[\\w.])+)'
        for message, part in product(MESSAGES[self.hazard], parts):
            pattern = re.sub(r"(?<!P)<(\w+)>", name, message.get("when", ""))
            if found := re.search(pattern, part, re.IGNORECASE):
                break
        return message, found.groupdict("") if found else {}


@dataclass
class Report:
    """What is said of one revision."""

    script: Script
    findings: list[Finding] = field(default_factory=list)
    without_rows: dict[str, str] = field(default_factory=dict)  # tables it touched -> why

    def add(self, hazard: str, statement: Statement, what: str = "", blocked: str = "") -> None:
        """Once per hazard and line: a statement in a loop may be about many tables."""
        for number, it in enumerate(self.findings):
            if (it.hazard, it.statement.place) == (hazard, statement.place):
                if what not in it.what.split(" and "):
                    self.findings[number] = replace(it, what=f"{it.what} and {what}")
                return
        self.findings.append(Finding(hazard, statement, what, blocked))

    def remaining(self, accepted: Collection[str]) -> list[Finding]:
        """What nobody has accepted, except what the remedy of another finding covers."""
        left = [it for it in self.findings if it.hazard not in accepted]
        said = {(it.statement.place, it.hazard) for it in left}

        def is_covered(it: Finding) -> bool:
            others = MESSAGES[it.hazard][-1].get("with", ())
            return any((it.statement.place, other) in said for other in others)

        return [it for it in left if not is_covered(it)]

"""The guide's table of common problems, to be held against what really happens.

A test that plays a row's situation names it: `row = guide["a wrong password"]`.
"""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from tests.migrate.service import Done, Service

TITLES = ["situation", "you see", "exit code", "what to do"]
PASSWORD = "s3cr3t-of-nobodys"  # noqa: S105 (must never be seen)


@dataclass(frozen=True)
class Row:
    """One situation. What is seen is in backticks, with <words> for what differs.

    What other programs say of a situation stands after it in parentheses, and is not checked.
    """

    situation: str
    you_see: str
    exit_code: int
    what_to_do: str

    def check(self, *runs: Done) -> None:
        """Each run ended and spoke as the row says, and together they said all of it."""
        texts = dict.fromkeys(re.findall("`(.+?)`", self.you_see), False)
        assert runs
        for done in runs:
            code = done.returncode if done.returncode >= 0 else 128 - done.returncode  # as shells
            assert code == self.exit_code, f"{self}\n{done}"
            output = " ".join(f"{done.stdout} {done.stderr}".split())
            seen = [text for text in texts if re.search(_pattern(text), output)]
            assert seen or not texts, f"{self}\n{done}"
            texts |= dict.fromkeys(seen, True)
            _check_sentence(done, explained=code not in {0, 1, 137} and "usage:" not in output)
        assert all(texts.values()), f"{self}: {texts}"

    def follow(self, service: Service, *words: str) -> Done:
        """Type what the row says in its order, as far as it is `migrate ...`; then `words`."""
        commands = re.findall("`migrate ?(.*?)`", self.what_to_do)
        for command in [*map(shlex.split, commands), words]:
            done = service.migrate(*command)
            assert done.returncode == 0, f"{self}\n{done}"
        return done


def _pattern(text: str) -> str:
    return ".+?".join(re.escape(part) for part in re.split("<[a-z]+>", text))


def _check_sentence(done: Done, *, explained: bool) -> None:
    """A cause and a next step at the end, once, and no traceback; and nothing secret."""
    lines = done.stderr.splitlines()
    said = [line[:7] for line in lines if line.startswith(("Error:", "Next:"))]
    assert said == (["Error: ", "Next:  "] if explained else []), done
    if explained:
        assert [line[:7] for line in lines[-2:]] == said, done
        assert "Traceback" not in done.stderr, done
    assert PASSWORD not in done.stdout + done.stderr, done


Guide = dict[str, Row]  # by situation


def read(path: Path) -> Guide:
    """The table in a Markdown file."""
    header = f"| {' | '.join(TITLES)} |\n{'| --- ' * len(TITLES)}|\n"
    table = path.read_text("utf-8").partition(header)[2].partition("\n\n")[0]
    rows = []
    for line in table.splitlines():
        situation, you_see, exit_code, what_to_do = line.strip("| ").split(" | ")
        rows.append(Row(situation.partition(" (")[0], you_see, int(exit_code), what_to_do))
    guide = {row.situation: row for row in rows}
    assert len(guide) == len(rows) > 0, "no table, or a situation stands there twice"
    return guide

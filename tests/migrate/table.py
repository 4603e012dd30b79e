"""The guide's tables of errors, to be compared with what really happens.

A test that plays a row's situation names it: `row = guide["a wrong password"]`.
"""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from tests.migrate.service import Done, Service

TITLES = "| message | situation | what to do |\n| --- | --- | --- |\n"
PASSWORD = "s3cr3t-of-nobodys"  # noqa: S105 (must never be seen)


@dataclass(frozen=True)
class Row:
    """One situation. What is seen is in backticks, with <words> for what differs.

    What other programs say of a situation stands after it in parentheses, and is not checked.
    """

    situation: str
    message: str
    exit_code: int
    what_to_do: str

    def check(self, *runs: Done, whole: bool = True) -> None:
        """Each run ended and spoke as the row says, and together they said the whole of it."""
        texts = dict.fromkeys(re.findall("`(.+?)`", self.message), False)
        assert runs
        for done in runs:
            code = done.returncode if done.returncode >= 0 else 128 - done.returncode  # as shells
            assert code == self.exit_code, f"{self}\n{done}"
            output = " ".join(f"{done.stdout} {done.stderr}".split())
            seen = [text for text in texts if re.search(_pattern(text), output)]
            assert seen or not texts, f"{self}\n{done}"
            texts |= dict.fromkeys(seen, True)
            explained = code not in {0, 1, 137} and "usage:" not in output
            assert len(sentence(done)) == (2 if explained else 0), done
            assert PASSWORD not in done.stdout + done.stderr, done
        assert all(texts.values()) or not whole, f"{self}: {texts}"

    def follow(self, service: Service, *words: str) -> Done:
        """Type what the row says in its order, as far as it is `migrate ...`; then `words`."""
        commands = re.findall("`migrate ?([^<]*?)`", self.what_to_do)
        for command in [*map(shlex.split, commands), words]:
            done = service.migrate(*command)
            assert done.returncode == 0, f"{self}\n{done}"
        return done


def sentence(done: Done) -> list[str]:
    """The cause and the next step, which end the run without a traceback; none of both is []."""
    lines = done.stderr.splitlines()
    said = [line for line in lines if line.startswith(("Error:", "Next:"))]
    if said:
        assert [line[:7] for line in said] == ["Error: ", "Next:  "], done
        assert lines[-2:] == said, done
        assert "Traceback" not in done.stderr, done
    return [line[7:] for line in said]


def _pattern(text: str) -> str:
    return ".+?".join(re.escape(part) for part in re.split("<[a-z]+>", text))


Guide = dict[str, Row]  # by situation


def read(path: Path) -> Guide:
    """The tables in a Markdown file: one under each heading `### Exit code 5: why`.

    Where a heading has several codes, each situation begins with its own.
    """
    text = path.read_text("utf-8")
    sections = re.findall(r"^### Exit codes? ([^:]+):.*\n\n((?:\|.*\n)+)", text, re.MULTILINE)
    rows = []
    for codes, table in sections:
        assert table.startswith(TITLES), table
        for line in table.removeprefix(TITLES).splitlines():
            message, situation, what_to_do = line.strip("| ").split(" | ")
            code, _, name = situation.partition(": ") if "," in codes else (codes, "", situation)
            rows.append(Row(name.partition(" (")[0], message, int(code), what_to_do))
    guide = {row.situation: row for row in rows}
    assert len(guide) == len(rows) > 0, "no table, or a situation stands there twice"
    return guide

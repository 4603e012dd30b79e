"""Types a guide: runs the commands of a Markdown file in order, and compares what it shows.

In a ```console block, a line that begins with `$ ` is a command; the lines after it are its output,
where a line `...` stands for any lines. A ```python block is a file to write, when the line before
it names a path in backticks, and a ```diff block a change of it; after the words "In the new
revision" it is the body of the revision that was made last: a function that it lacks stays.
"""

import difflib
import os
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

BLOCK = re.compile(
    r"(?P<before>[^\n]*)\n\n?```(?P<language>console|python|diff)\n(?P<text>.*?)```", re.DOTALL
)
VOLATILE = [
    (r"\b\d{8}_\d{4}_", "<date>_"),
    (r"(?<![0-9a-f])[0-9a-f]{12}(?![0-9a-f])", "<revision>"),
    (r"=+ \d+ passed(?:, \d+ (?:subtests passed|deselected))* in [\d.]+s =+", "... passed"),
]


@dataclass
class Command:
    """A command, and the output that the guide shows."""

    words: str
    expected: str


@dataclass
class File:
    """A file to write; no path means the newest revision."""

    path: str | None
    text: str


@dataclass
class Change:
    """Lines to put in place of others."""

    path: str
    text: str


Run = Callable[[str, Path], tuple[int, str]]
Step = Command | File | Change


def steps(markdown: str) -> Iterator[Step]:
    """What a reader would do, in order."""
    for block in BLOCK.finditer(markdown):
        text = block["text"]
        if block["language"] == "console":
            for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
                words, _, expected = part.partition("\n")
                yield Command(words, expected)
        elif "In the new revision" in block["before"]:
            yield File(None, text)
        elif path := re.search(r"`([^`]+\.py)`:$", block["before"]):
            yield (Change if block["language"] == "diff" else File)(path[1], text)


def normal(text: str) -> list[str]:
    """Lines without what differs from run to run: dates, revision ids, durations."""
    for pattern, replacement in VOLATILE:
        text = re.sub(pattern, replacement, text)
    return [line.rstrip() for line in text.replace("\r", "").splitlines() if line.strip()]


def matches(expected: list[str], actual: list[str]) -> bool:
    """Whether the output is as shown; nothing shown means nothing claimed."""
    if not expected:
        return True
    patterns = [r"(?:.*\n)*?" if line == "..." else re.escape(line) + r"\n" for line in expected]
    return re.fullmatch("".join(patterns), "".join(f"{line}\n" for line in actual)) is not None


def shell(environment: dict[str, str]) -> Run:
    """Runs what is typed, with these variables on top of this process's; `export` changes them."""

    def run(words: str, folder: Path) -> tuple[int, str]:
        if words.startswith("export "):
            environment.update(word.partition("=")[::2] for word in shlex.split(words)[1:])
            return 0, ""
        done = subprocess.run(  # noqa: S602 (a guide is typed into a shell)
            words,
            shell=True,
            cwd=folder,
            env=os.environ | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        # In a terminal they are mixed as they come, which a container's may in any order.
        return done.returncode, f"{done.stderr}\n{done.stdout}"

    return run


def follow(markdown: str, folder: Path, backend: Path, run: Run) -> int:
    """Do every step in `folder`; returns how many commands ran.

    Args:
        markdown: the guide's text.
        folder: where the reader types; paths of files are relative to it or to `backend`.
        backend: the folder of the Python code.
        run: types a command; returns its exit code and its output.

    Raises:
        AssertionError: a command failed, or printed something else than the guide shows.
    """
    count = 0
    for step in steps(markdown):
        if not isinstance(step, Command):
            _write(step, folder, backend)
            continue
        if step.words.startswith("cd "):
            folder /= step.words.removeprefix("cd ")
            continue
        code, text = run(step.words, folder)
        count += 1
        assert code == 0, f"$ {step.words}\nexit code {code}\n{text}"
        shown, came = normal(step.expected), normal(text)
        if not matches(shown, came):
            lines = "\n".join(difflib.unified_diff(shown, came, "shown", "came", lineterm="", n=99))
            raise AssertionError(f"$ {step.words}\n{lines}")
    return count


def _write(step: File | Change, folder: Path, backend: Path) -> None:
    if step.path:
        base = folder if (folder / step.path).parent.is_dir() else backend
        text = step.text
        if isinstance(step, Change):
            old, new = (_side(text, sign) for sign in "-+")
            before = (base / step.path).read_text(encoding="utf-8")
            assert before.count(old) == 1, f"{step.path} has {before.count(old)} times\n{old}"
            text = before.replace(old, new)
        (base / step.path).write_text(text, encoding="utf-8")
        return
    revisions = (backend / "alembic" / "versions").glob("*.py")
    newest = max(revisions, key=lambda path: path.stat().st_mtime_ns)
    text = newest.read_text(encoding="utf-8")
    head, *functions = re.split(r"^(?=def (?:up|down)grade\()", text, flags=re.MULTILINE)
    kept = [it for it in functions if it.partition("(")[0] not in step.text]
    newest.write_text("\n\n".join([head, step.text, *kept]), encoding="utf-8")


def _side(diff: str, sign: str) -> str:
    return "".join(f"{line[1:]}\n" for line in diff.splitlines() if line[:1] in ("", " ", sign))

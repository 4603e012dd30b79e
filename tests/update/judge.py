"""Compares four states of a project, and tells what an update lost or put in a wrong place.

base: what the old release rendered; mine: what the user made of it; new: what the new release
renders; result: what the update left. It knows nothing of how Copier or git merge: it counts lines.
"""

import re
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.update.text import lines_of, unix

# Copier's labels, and git's, which has both names of a renamed file; zdiff3 shows the base too.
START = re.compile(rb"<<<<<<< (before updating|HEAD(:.*)?)")
BASE, MIDDLE = re.compile(rb"\|{7} .*"), b"======="
END = re.compile(rb">>>>>>> (after updating|[0-9a-f]+ \(.*\)(:.*)?)")


@dataclass
class File:
    """What git can keep of one: content, or where a link points, and whether it is executable."""

    content: bytes
    executable: bool = False
    link: bool = False


Tree = dict[str, File]
Changes = tuple[list[bytes], list[bytes]]  # the lines that were added, and those that were removed
View = Callable[[bytes, bytes], Changes]


@dataclass
class Verdict:
    """What was found."""

    losses: list[str] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)  # files


NOTHING = re.compile("(?!)")


def judge(
    base: Tree,
    mine: Tree,
    new: Tree,
    result: Tree,
    unmerged: set[str],
    answers: str,
    may_vanish: re.Pattern[str] = NOTHING,
    renamed: Mapping[str, str] | None = None,
    *,
    edited_may_vanish: bool = True,
) -> Verdict:
    """Tell what is wrong with an update.

    Args:
        base: of the old release.
        mine: before the update.
        new: of the new release, without what an update may not touch, and with its stubs.
        result: after the update.
        unmerged: the files that git lists as in conflict.
        answers: the path of the answers file, which is Copier's.
        may_vanish: what the new release may take away.
        renamed: the user's name of a file -> the template's, where an update follows.
        edited_may_vanish: even if the user edited it.
    """
    verdict = Verdict()
    renamed = renamed or {}
    for path in sorted(base.keys() | mine.keys() | new.keys() | result.keys()):
        name = renamed.get(path, path)
        old, theirs, own, now = base.get(name), new.get(name), mine.get(path), result.get(path)
        if path in renamed.values() and path not in mine:
            theirs = old  # its change is judged under the user's name
        vanished = old and not theirs and not now and may_vanish.search(path)
        if vanished and (edited_may_vanish or own in (None, old)):
            continue
        marked = now is not None and now != own and any(map(START.fullmatch, lines_of(now.content)))
        if path in unmerged:
            verdict.conflicts.append(path)
        if path in unmerged and now is not None and now == own:
            continue  # all of the user's is there, and git asks
        for what in _file(old, own, theirs, now, path == answers):
            verdict.losses.append(f"{path}: {what}")
        if marked != (path in unmerged):
            verdict.losses.append(f"{path}: markers {marked}, listed by git {path in unmerged}")
    return verdict


def _file(
    base: File | None,
    mine: File | None,
    new: File | None,
    result: File | None,
    is_answers: bool,
) -> Iterator[str]:
    if is_answers:
        if result != new:
            yield "is not what the new release renders"
    elif base is None and new is None:
        if mine != result:
            yield "the user's own file changed"
    elif mine is None:
        if base is not None and result is not None:
            yield "the user deleted it, and it came back"
        elif base is None and result != new:
            yield "is new, and not what the new release renders"
    elif result is None:
        yield "vanished"
    elif mine == base:
        # What the new release no longer has is kept: docs/decisions/0008.
        if result != (new or mine):
            yield "nobody edited it, and it is not what the new release renders"
    else:
        if mine.executable and not result.executable:
            yield "is no longer executable"
        empty = File(b"")
        four = [base or empty, mine, new or base or empty, result]
        contents = [unix(file.content) for file in four]
        # Which of two equal lines is the old one is a matter of view: a loss is one in all views.
        problems: list[str] = []
        for view in VIEWS:
            problems = list(_merged(view, *contents))
            if not problems:
                break
        yield from problems


def _merged(view: View, base: bytes, mine: bytes, new: bytes, result: bytes) -> Iterator[str]:
    if new in (base, mine):
        if result != mine:
            yield "only the user changed it, and it is not as it was"
        return
    if mine == base:
        if result != new:
            yield "only the template changed it, and it is not as the new release has it"
        return
    ours, theirs, conflict = sides(lines_of(result))
    counts = {
        name: Counter(lines_of(side))
        for name, side in [("base", base), ("mine", mine), ("new", new)]
    }
    zero = Counter[bytes]()
    added, removed = _changes(view, base, new)
    own_added, own_removed = _changes(view, base, mine)
    all_lines = (
        zero + counts["base"] + counts["mine"] + counts["new"] + Counter(ours) + Counter(theirs)
    )
    in_ours, in_theirs = Counter(ours), Counter(theirs)
    for line in all_lines:
        was, own, its = (counts[name][line] for name in ("base", "mine", "new"))
        exact = own + its - was
        if not conflict:
            # Both sides may have made the same change: then it is there once.
            low = exact - min(added[line], own_added[line])
            high = exact + min(removed[line], own_removed[line])
            if not low <= in_ours[line] <= high:
                yield f"{line!r} is there {in_ours[line]} times, not {exact}"
            continue
        if not own - removed[line] <= in_ours[line] <= own + added[line]:
            yield f"{line!r} is {in_ours[line]} times on the user's side, not {own}"
        if not its - own_removed[line] <= in_theirs[line] <= its + own_added[line]:
            yield f"{line!r} is {in_theirs[line]} times on the template's side, not {its}"
    # The neighbourhood: what stands once stands in the user's order, and in the template's.
    for whose, wanted, found, others in [
        ("user", lines_of(mine), ours, counts["new"]),
        ("template", lines_of(new), theirs, counts["mine"]),
    ]:
        moved = _moved(view, base, mine if whose == "template" else new)
        once = {line for line, count in Counter(wanted).items() if count == 1}
        once &= {line for line, count in Counter(found).items() if count == 1} - moved
        once -= {line for line, count in others.items() if count > 1}
        if [line for line in wanted if line in once] != [line for line in found if line in once]:
            yield f"lines are not in the {whose}'s order"


def sides(lines: list[bytes]) -> tuple[list[bytes], list[bytes], bool]:
    """The user's side and the template's, and whether there is a conflict at all."""
    ours: list[bytes] = []
    theirs: list[bytes] = []
    state, conflict = "both", False
    for line in lines:
        if START.fullmatch(line):
            state, conflict = "ours", True
        elif BASE.fullmatch(line) and state == "ours":
            state = "base"
        elif line == MIDDLE and state in ("ours", "base"):
            state = "theirs"
        elif END.fullmatch(line) and state == "theirs":
            state = "both"
        elif state != "base":
            if state != "theirs":
                ours.append(line)
            if state != "ours":
                theirs.append(line)
    return ours, theirs, conflict


def _changes(view: View, old: bytes, new: bytes) -> tuple[Counter[bytes], Counter[bytes]]:
    """How often each line was added, and removed; a line that moved is both."""
    added, removed = view(old, new)
    return Counter(added), Counter(removed)


def _moved(view: View, old: bytes, new: bytes) -> set[bytes]:
    """Lines that were both removed and added."""
    added, removed = view(old, new)
    return set(added) & set(removed)


def _python(old: bytes, new: bytes) -> Changes:
    """By Python's difflib."""
    before, after = lines_of(old), lines_of(new)
    added: list[bytes] = []
    removed: list[bytes] = []
    for kind, i1, i2, j1, j2 in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if kind != "equal":
            removed += before[i1:i2]
            added += after[j1:j2]
    return added, removed


def _git(algorithm: str, old: bytes, new: bytes) -> Changes:
    """By git."""
    with TemporaryDirectory() as folder:
        for name, content in [("old", old), ("new", new)]:
            Path(folder, name).write_bytes(content)
        command = ["git", "diff", "--no-index", "--text", "--unified=0"]
        command += [f"--diff-algorithm={algorithm}", "--", "old", "new"]
        done = subprocess.run(command, cwd=folder, capture_output=True, check=False)
    _, _, hunks = done.stdout.partition(b"\n@@ ")
    lines = lines_of(hunks)[1:]
    return [x[1:] for x in lines if x[:1] == b"+"], [x[1:] for x in lines if x[:1] == b"-"]


VIEWS: list[View] = [_python, *(partial(_git, name) for name in ("myers", "histogram"))]

"""The judge is judged: real updates with a fault put into what they left."""

import copy
import random
import tempfile
from collections import Counter
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path

import pytest

from tests._kit.quick import quickened
from tests.conftest import WORKING_TREE
from tests.update.edits import ANSWERS
from tests.update.judge import START, File, Tree
from tests.update.releases import NEXT, recorded, repository
from tests.update.text import lines_of
from tests.update.trial import Case, Plan, Workshop, memory

SEEDS = (3, 6, 10, 16, 19, 25, 28, 36)  # all kinds of edits that a fault needs


@pytest.fixture(scope="module")
def cases(template: Path) -> Generator[list[Case]]:
    """Both ways, from an old release and from this one, and each without a loss."""
    with tempfile.TemporaryDirectory(dir=memory()) as folder, quickened():
        repository(Path(folder, "copier-postgres"), template)
        workshop = Workshop(Path(folder, "copier-postgres"), Path(folder))
        made = []
        for seed in SEEDS:
            old = recorded()[-1] if seed % 3 == 0 else WORKING_TREE
            _, case, losses = workshop.case(Plan(seed, old, NEXT, branch=seed % 2 == 0))
            assert case.verdict().losses + losses == []
            made.append(case)
        yield made


Fault = Callable[[Case, str, random.Random], bool]  # whether it could be put there


def changed(case: Case, path: str) -> bool:
    """Whether the user edited it, and git merged it without a conflict."""
    return (
        path in case.base
        and path in case.mine
        and path in case.result
        and case.mine[path] != case.base[path]
        and path not in case.unmerged
        and path not in case.renamed
        and path != ANSWERS
    )


def own_lines(case: Case, path: str) -> list[bytes]:
    """The user's lines, each of which is nowhere else."""
    count = Counter(lines_of(case.result[path].content))
    others = {*lines_of(case.base[path].content), *lines_of(case.new.get(path, File(b"")).content)}
    mine = lines_of(case.mine[path].content)
    return [line for line in mine if line not in others and count[line] == 1 and line.strip()]


def rewrite(case: Case, path: str, lines: list[bytes]) -> None:
    case.result[path].content = b"".join(line + b"\n" for line in lines)


def a_line_is_gone(case: Case, path: str, chance: random.Random) -> bool:
    if not changed(case, path) or not (mine := own_lines(case, path)):
        return False
    lines = lines_of(case.result[path].content)
    lines.remove(chance.choice(mine))
    rewrite(case, path, lines)
    return True


def a_line_is_there_twice(case: Case, path: str, chance: random.Random) -> bool:
    if not changed(case, path) or not (mine := own_lines(case, path)):
        return False
    lines = lines_of(case.result[path].content)
    line = chance.choice(mine)
    lines.insert(lines.index(line), line)
    rewrite(case, path, lines)
    return True


def a_line_is_elsewhere(case: Case, path: str, chance: random.Random) -> bool:
    if not changed(case, path) or not (mine := own_lines(case, path)):
        return False
    lines = lines_of(case.result[path].content)
    counts = Counter(lines)
    line = chance.choice(mine)
    at = lines.index(line)
    # It has to pass a line that the judge can tell from others.
    between = [
        other
        for other in lines[at + 1 : at + 40]
        if counts[other] == 1 and other in lines_of(case.base[path].content)
    ]
    if len(between) < 10:
        return False
    lines.remove(line)
    lines.insert(lines.index(between[-1]) + 1, line)
    rewrite(case, path, lines)
    return True


def a_line_is_another(case: Case, path: str, chance: random.Random) -> bool:
    if not changed(case, path) or not (mine := own_lines(case, path)):
        return False
    line = chance.choice(mine)
    case.result[path].content = case.result[path].content.replace(line, line + b"!", 1)
    return True


def the_users_edit_is_missing(case: Case, path: str, _: random.Random) -> bool:
    if not changed(case, path) or path not in case.new or not own_lines(case, path):
        return False
    case.result[path].content = case.new[path].content
    return True


def the_templates_edit_is_missing(case: Case, path: str, _: random.Random) -> bool:
    if (
        path not in case.new
        or case.new[path] == case.base.get(path)
        or case.mine.get(path) in (None, case.result.get(path))
        or path in case.unmerged
    ):
        return False
    if path not in case.base:
        return False
    case.result[path] = copy.copy(case.mine[path])
    return True


def a_file_is_gone(case: Case, path: str, _: random.Random) -> bool:
    if (
        path not in case.mine
        or path not in case.result
        or (path in case.base and path not in case.new)
    ):
        return False
    del case.result[path]
    case.unmerged.discard(path)
    return True


def an_own_file_is_another(case: Case, path: str, _: random.Random) -> bool:
    if path in case.base or path in case.new or path not in case.result or path in case.renamed:
        return False
    case.result[path].content += b" "
    return True


def a_deleted_file_is_back(case: Case, path: str, _: random.Random) -> bool:
    if path not in case.base or path in case.mine or path not in case.new:
        return False
    case.result[path] = case.new[path]
    return True


def a_new_file_is_missing(case: Case, path: str, _: random.Random) -> bool:
    if path in case.base or path in case.mine or path not in case.new:
        return False
    case.result.pop(path, None)
    return True


def a_stray_file_is_there(case: Case, path: str, _: random.Random) -> bool:
    case.result[f"{path}.rej"] = File(b"@@ -1 +1 @@\n")
    return True


def it_is_not_executable(case: Case, path: str, _: random.Random) -> bool:
    if path not in case.mine or not case.mine[path].executable or path not in case.result:
        return False
    case.result[path].executable = False
    return True


def a_conflict_is_not_listed(case: Case, path: str, _: random.Random) -> bool:
    if path not in case.unmerged or not any(
        map(START.fullmatch, lines_of(case.result[path].content))
    ):
        return False
    case.unmerged.remove(path)
    return True


def a_conflict_has_one_side(case: Case, path: str, _: random.Random) -> bool:
    if path not in case.unmerged or path not in case.new or path not in case.result:
        return False
    if case.new[path].content == case.mine[path].content:
        return False
    case.result[path].content = case.new[path].content
    return True


FAULTS: list[Fault] = [
    a_line_is_gone,
    a_line_is_there_twice,
    a_line_is_elsewhere,
    a_line_is_another,
    the_users_edit_is_missing,
    the_templates_edit_is_missing,
    a_file_is_gone,
    an_own_file_is_another,
    a_deleted_file_is_back,
    a_new_file_is_missing,
    a_stray_file_is_there,
    it_is_not_executable,
    a_conflict_is_not_listed,
    a_conflict_has_one_side,
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_fault_in_a_real_update_is_seen(cases: list[Case], fault: Fault) -> None:
    """In each case, at one place that it fits, by chance."""
    chance = random.Random(fault.__name__)  # noqa: S311
    put = 0
    for number, case in enumerate(cases):
        paths = sorted({*case.base, *case.mine, *case.new, *case.result})
        chance.shuffle(paths)
        for path in paths:
            wrong = alone(case, path)
            if fault(wrong, path, chance):
                assert wrong.verdict().losses, f"case {number}: {path}"
                put += 1
                break
    assert put >= 2, "too few places for this fault"


def alone(case: Case, path: str) -> Case:
    """The case of one file, and of that which the user has renamed it from."""
    names = {path, case.renamed.get(path, path)}

    def some(tree: Tree) -> Tree:
        return {name: copy.copy(tree[name]) for name in names & tree.keys()}

    return replace(
        case,
        base=some(case.base),
        mine=some(case.mine),
        new=some(case.new),
        result=some(case.result),
        unmerged=case.unmerged & names,
    )

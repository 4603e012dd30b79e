"""`copier update` over projects that users have changed: no line is lost.

From every recorded release and from the working tree, to the working tree and to releases to come
(tests/update/releases.py). UPDATE_PROJECTS says how many random users there are, 30 without it, and
UPDATE_SEED which is the first: `UPDATE_PROJECTS=5000 scripts/test tests/update/test_update.py`.
"""

import copy
import json
import os
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Generator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import copier
import pytest
import yaml
from copier import Settings
from sqlalchemy import URL

from tests._kit.forks import forks
from tests._kit.quick import quickened
from tests._kit.report import cannot_run
from tests._kit.support import BIN, SHAPES, NewDatabase, environment, execute, run, succeed
from tests.conftest import ROOT, WORKING_TREE, git
from tests.update import trial
from tests.update.conftest import COPIERS, type_
from tests.update.edits import ANSWERS, USUAL, User
from tests.update.judge import File, Tree, judge
from tests.update.releases import NEXT, recorded, repository
from tests.update.trial import MAY_VANISH, STARTER, Outcome, Plan, Workshop, commit, tree, update

PROJECTS = int(os.environ.get("UPDATE_PROJECTS", "30"))
SEED = int(os.environ.get("UPDATE_SEED", "0"))
RAW = 8  # releases to come that change any line
CONFIG: dict[str, Any] = yaml.safe_load((ROOT / "copier.yml").read_text())
RANDOM = "test_random_users_lose_nothing"
SOME = Plan(5, WORKING_TREE, NEXT)
COMMAND = "copier update --skip-answered --defaults --context-lines 9999"


@dataclass
class History:
    """All releases, and what two processes do with them while the tests of this module run."""

    repository: Path
    tags: list[str]
    workshop: Workshop
    plain: Tree  # what is left of SOME in a process that saves no time
    quick: Future[Tree]  # and in one that does
    random: list[Future[Outcome]]


@pytest.fixture(scope="module")
def history(template: Path, request: pytest.FixtureRequest) -> Generator[History]:
    place = Path(tempfile.mkdtemp(prefix="updates.", dir=trial.memory()))
    usual, tempfile.tempdir = tempfile.tempdir, str(place)  # for Copier in this process
    try:
        tags = repository(place / "copier-postgres", template, range(RAW))
        words = (place / "copier-postgres", place)
        plain = Workshop(*words).state_after(SOME)
        with (
            quickened(),
            ProcessPoolExecutor(2, get_context("spawn"), trial.begin, words) as pool,
        ):
            chosen = any(item.name == RANDOM for item in request.session.items)
            seeds = range(SEED, SEED + PROJECTS if chosen else SEED)
            quick = pool.submit(trial.state_after, SOME)
            random = [pool.submit(trial.run, plan(seed)) for seed in seeds]
            try:
                yield History(words[0], tags, Workshop(*words), plain, quick, random)
            finally:
                pool.shutdown(cancel_futures=True)
    finally:
        tempfile.tempdir = usual
        shutil.rmtree(place)


@pytest.fixture
def workshop(history: History) -> Workshop:
    return history.workshop


# --- nobody edited anything ----------------------------------------------------------------------


@pytest.mark.in_turn(3)
@pytest.mark.parametrize("backend_dir", SHAPES)
@pytest.mark.parametrize("old", [*recorded(), WORKING_TREE])
def test_an_untouched_project_becomes_what_a_new_one_is(
    workshop: Workshop, old: str, backend_dir: str
) -> None:
    """Except files of the user's from the first copy on, what a release let go, and stubs."""
    for new in dict.fromkeys([WORKING_TREE, NEXT]):
        if new == old:
            continue
        project = workshop.project(old, backend_dir)
        before, fresh = tree(project), tree(workshop.rendered(new, backend_dir))
        update(project, new)
        theirs = {path: file for path, file in before.items() if STARTER.search(path)}
        kept = {path: file for path, file in before.items() if path not in fresh}
        kept |= workshop.stubs(old, new, backend_dir)
        wanted = {path: file for path, file in fresh.items() if not STARTER.search(path)}
        wanted |= {p: file for p, file in kept.items() if not MAY_VANISH.search(p)} | theirs
        after = tree(project)
        assert after.keys() == wanted.keys()
        assert {path for path in wanted if after[path] != wanted[path]} == set()
        assert git(project, "ls-files", "--unmerged") == ""


def test_every_release_of_the_changelog_is_recorded() -> None:
    released = re.findall(r"^## \[(\d[\d.]*)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert [f"v{version}" for version in reversed(released)] == recorded()


# --- users who did what everybody does -----------------------------------------------------------


def test_an_update_in_a_quickened_process_is_as_any_other(history: History) -> None:
    """These processes save time (tests/_kit/quick.py); what they do stays the same."""
    assert history.quick.result() == history.plain


@pytest.mark.parametrize("backend_dir", SHAPES)
def test_the_usual_changes_meet_no_change_of_the_template(
    workshop: Workshop, backend_dir: str
) -> None:
    """All of them in one project, to a release that adds to the same files: no conflict."""
    project = workshop.project(WORKING_TREE, backend_dir)
    user = User(project, project / backend_dir, 0)
    for usual in USUAL:
        usual(user)
    commit(project)
    update(project, NEXT)
    assert git(project, "ls-files", "--unmerged") == ""
    # Each part of both is there.
    texts = "".join(file.content.decode() for file in tree(project).values())
    for mine in ["class Gadget", "greeting: str", '"fastapi', '"faker"', "http.server", "uploads:"]:
        assert mine in texts
    for newer in ["newer_pool_size", "typing-extensions", "newer-cache:", "  newer:", "#NEWER=1"]:
        assert newer in texts


# --- the judge sees what is wrong ----------------------------------------------------------------

BASE = b"".join(b"line %d\n" % number for number in range(20))
MINE = BASE.replace(b"line 3\n", b"line 3\nmine\n").replace(b"line 9\n", b"")
NEWER = BASE.replace(b"line 15\n", b"line 15 newer\n")
MERGED = MINE.replace(b"line 15\n", b"line 15 newer\n")
WRONG = {
    "an added line is gone": MERGED.replace(b"mine\n", b""),
    "an added line is elsewhere": MERGED.replace(b"mine\n", b"").replace(
        b"line 6\n", b"line 6\nmine\n"
    ),
    "an added line is there twice": MERGED.replace(b"mine\n", b"mine\nmine\n"),
    "a deleted line is back": MERGED.replace(b"line 8\n", b"line 8\nline 9\n"),
    "a line of nobody's is gone": MERGED.replace(b"line 1\n", b""),
    "the template's change is missing": MINE,
    "the user's change is missing": NEWER,
    "all is gone": b"",
    "a marker in a file without conflict": MERGED + b"<<<<<<< before updating\n",
    "a conflict without the user's line": MERGED.replace(
        b"mine\n",
        b"<<<<<<< before updating\n=======\nmine\n>>>>>>> after updating\n",
    ),
}


def verdict(result: Tree, unmerged: set[str]) -> list[str]:
    base = {"a": File(BASE), "b": File(BASE), "gone": File(BASE)}
    mine = {"a": File(MINE), "b": File(BASE, executable=True), "own": File(b"\0own\r\n")}
    new = {"a": File(NEWER), "b": File(NEWER), "gone": File(NEWER)}
    return judge(base, mine, new, result, unmerged, ANSWERS).losses


GOOD = {"a": File(MERGED), "b": File(NEWER, executable=True), "own": File(b"\0own\r\n")}


def test_the_judge_accepts_a_merge_and_a_conflict() -> None:
    assert verdict(GOOD, set()) == []
    marked = MERGED.replace(
        b"line 15 newer\n",
        b"<<<<<<< before updating\nline 15\n=======\nline 15 newer\n>>>>>>> after updating\n",
    )
    assert verdict(GOOD | {"a": File(marked)}, {"a"}) == []


@pytest.mark.parametrize("what", WRONG)
def test_the_judge_sees_a_line_that_is_wrong(what: str) -> None:
    assert verdict(GOOD | {"a": File(WRONG[what])}, {"a"} if "conflict " in what else set())


@pytest.mark.parametrize(
    ("path", "file"),
    [
        ("a", None),
        ("b", None),
        ("b", File(NEWER)),  # no longer executable
        ("own", None),
        ("own", File(b"\0own\n")),
        ("gone", File(NEWER)),  # the user had deleted it
        ("a.rej", File(b"x")),
    ],
)
def test_the_judge_sees_a_file_that_is_wrong(path: str, file: File | None) -> None:
    result = copy.copy(GOOD)
    result.pop(path, None)
    assert verdict(result | ({path: file} if file else {}), set())


# --- settings of git, other ways in --------------------------------------------------------------


@pytest.mark.parametrize("setting", ["error", "error-all", "fix"])
def test_a_setting_of_git_about_blanks_costs_no_line(workshop: Workshop, setting: str) -> None:
    """Without `* -whitespace` in .gitattributes, `error` drops every edit, with exit code 0."""
    project = workshop.project(WORKING_TREE)
    git(project, "config", "apply.whitespace", setting)
    mine = {
        project / ".env.example": b"BLANKS=1   \n\n\n",
        project / "backend" / "Dockerfile": b"# no blanks\n",
        project / "backend" / "app" / "core" / "config.py": b"\t \tx = 1 \n",
    }
    for path, line in mine.items():
        path.write_bytes(path.read_bytes() + line)
    commit(project)
    update(project, NEXT, context_lines=3)
    for path, line in mine.items():
        assert line in path.read_bytes()


def edited(workshop: Workshop) -> Path:
    """A project with all the usual changes."""
    project = workshop.project(WORKING_TREE)
    user = User(project, project / "backend", 0)
    for usual in USUAL:
        usual(user)
    commit(project)
    return project


@pytest.mark.in_turn(2)
def test_the_command_of_the_guide_updates_with_the_oldest_and_the_newest_copier(
    workshop: Workshop, copier_: list[str]
) -> None:
    project, other = edited(workshop), edited(workshop)
    assert f"\n{COMMAND}\n" in (project / "README.md").read_text()
    words = COMMAND.split()[1:]
    done = type_(project, *copier_, *words, f"--vcs-ref={NEXT}")
    assert done.returncode == 0, done.stderr
    assert COMMAND not in done.stderr, "no advice to whoever follows it"
    update(other, NEXT)
    assert tree(project) == tree(other)


@pytest.mark.in_turn(2)
def test_who_leaves_out_the_context_reads_the_whole_command(
    workshop: Workshop, copier_: list[str]
) -> None:
    project = workshop.project(WORKING_TREE)
    done = type_(project, *copier_, "update", "--defaults", f"--vcs-ref={NEXT}")
    assert done.returncode == 0, done.stderr
    assert f"\n  {COMMAND}\n" in done.stderr
    assert "git diff --name-only --diff-filter=U" in done.stderr


def test_check_update_says_whether_there_is_a_newer_release(
    history: History, workshop: Workshop
) -> None:
    check = [*COPIERS["newest"], "check-update", "--output-format=json"]
    project = workshop.project(WORKING_TREE)
    said = json.loads(type_(project, *check).stdout)
    newest = history.tags[-1].removeprefix("v")
    assert said["update_available"] is True
    assert said["latest_version"] == newest
    update(project, history.tags[-1])
    commit(project)
    assert json.loads(type_(project, *check).stdout)["update_available"] is False


def test_recopy_leaves_files_of_the_users_own_alone(workshop: Workshop) -> None:
    """And brings back no baseline that the user deleted, which would be a second head."""
    project = edited(workshop)
    [baseline] = (project / "backend" / "alembic" / "versions").glob("*baseline*.py")
    baseline.unlink()
    commit(project)
    before, managed = tree(project), tree(workshop.rendered(WORKING_TREE, "backend"))
    copier.run_recopy(
        project, vcs_ref=NEXT, defaults=True, overwrite=True, quiet=True, settings=Settings()
    )
    after, fresh = tree(project), tree(workshop.rendered(NEXT, "backend"))
    for path, file in before.items():
        if path not in managed or STARTER.search(path):
            assert after[path] == file, path
    for path, file in fresh.items():
        if not STARTER.search(path):
            assert after[path] == file, path
    assert not baseline.exists()


# --- other answers -------------------------------------------------------------------------------


def updated(capsys: pytest.CaptureFixture[str], project: Path, **answers: str) -> str:
    """Update with other answers; returns what Copier said."""
    copier.run_update(
        project,
        data=answers,
        vcs_ref=NEXT,
        defaults=True,
        skip_answered=True,
        overwrite=True,
        context_lines=9999,
        settings=Settings(),
    )
    commit(project)
    return capsys.readouterr().err


def test_another_major_version_of_postgresql_says_what_the_data_need(
    workshop: Workshop, capsys: pytest.CaptureFixture[str]
) -> None:
    project = workshop.project(WORKING_TREE, postgres_version="17")
    said = updated(capsys, project, postgres_version="18")
    assert "PostgreSQL 17 -> 18: the new server begins empty, in the volume postgres-18." in said
    title = "Another major version of PostgreSQL"
    assert f'"{title}"' in said
    assert f"\n### {title}\n" in (project / "README.md").read_text()
    compose = yaml.safe_load((project / "docker-compose.yml").read_text())
    assert "postgres-18" in compose["volumes"]


def test_the_same_answers_say_nothing_about_data(
    workshop: Workshop, capsys: pytest.CaptureFixture[str]
) -> None:
    said = updated(capsys, workshop.project(WORKING_TREE))
    assert "->" not in said
    assert "git clean --force -d ." in said


def test_a_renamed_project_keeps_its_database(
    workshop: Workshop, capsys: pytest.CaptureFixture[str]
) -> None:
    project = workshop.project(WORKING_TREE)
    before = yaml.safe_load((project / "docker-compose.yml").read_text())
    said = updated(capsys, project, project_name="Another Name")
    assert (project / "README.md").read_text().startswith("# Another Name\n")
    after = yaml.safe_load((project / "docker-compose.yml").read_text())
    postgres = after["services"]["postgres"]
    assert postgres["environment"] == before["services"]["postgres"]["environment"]
    assert "->" not in said
    # Another slug is another role, which the volume's server does not have.
    said = updated(capsys, workshop.project(WORKING_TREE), project_slug="other")
    assert "set POSTGRES_USER=demo_shop_user in .env" in said
    assert "COMPOSE_PROJECT_NAME" not in said


def test_a_project_that_compose_named_after_its_slug_keeps_its_volumes_by_a_line(
    workshop: Workshop, capsys: pytest.CaptureFixture[str]
) -> None:
    project = workshop.project(WORKING_TREE)
    answers = project / ANSWERS
    answers.write_text(answers.read_text().replace("layout: 3", "layout: 2"))
    commit(project)
    assert "set COMPOSE_PROJECT_NAME=demo-shop in .env" in updated(capsys, project)


def test_ci_is_switched_off_and_on_and_workflows_of_the_users_stay(
    workshop: Workshop, capsys: pytest.CaptureFixture[str]
) -> None:
    project = edited(workshop)
    nightly = project / ".github" / "workflows" / "nightly.yml"
    text = nightly.read_text()
    updated(capsys, project, ci="none")
    assert sorted(path.name for path in nightly.parent.iterdir()) == ["nightly.yml"]
    assert git(project, "show", "--diff-filter=D", "--name-only", "--format=", "HEAD").endswith(
        ".github/workflows/ci.yml"
    )
    updated(capsys, project, ci="github")
    fresh = tree(workshop.rendered(NEXT, "backend"))
    assert tree(project)[".github/workflows/ci.yml"] == fresh[".github/workflows/ci.yml"]
    assert nightly.read_text() == text


OPTIONS = {
    "an application": ({"api": "fastapi"}, {"api": "none"}, "backend/app/main.py"),
    "an extra": ({"extras": "[pictures]"}, {"extras": "[]"}, "backend/tests/test_pictures.py"),
}


@pytest.mark.parametrize("option", OPTIONS)
def test_an_option_is_switched_on_and_off(
    workshop: Workshop, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    on, off, file = OPTIONS[option]
    project = workshop.project(WORKING_TREE)
    updated(capsys, project, **on)
    fresh = tree(workshop.rendered(NEXT, "backend", **on))
    added = fresh.keys() - tree(workshop.rendered(NEXT, "backend")).keys()
    assert file in added
    for path in {*added, "backend/Dockerfile", "docker-compose.yml"}:
        assert tree(project)[path] == fresh[path]
    updated(capsys, project, **off)
    assert not added & tree(project).keys()


@pytest.mark.parametrize("backend_dir", SHAPES)
def test_another_backend_folder_is_refused_and_nothing_happens(
    workshop: Workshop, backend_dir: str
) -> None:
    """An update would remove the old folder's files, edited or not."""
    project = workshop.project(WORKING_TREE, backend_dir)
    before = tree(project)
    with pytest.raises(ValueError, match=re.escape(f"folder is {backend_dir} and cannot be")):
        update(project, NEXT, backend_dir="elsewhere")
    assert tree(project) == before
    # Nor does it help to edit the answers file, where every answer stands.
    answers = project / ANSWERS
    answers.write_text(answers.read_text().replace("\nbackend_dir: ", "\nbackend_dir: else/"))
    commit(project)
    before = tree(project)
    with pytest.raises(ValueError, match="cannot be changed"):
        update(project, NEXT)
    assert tree(project) == before


def test_no_release_takes_a_question_or_a_choice_away(history: History) -> None:
    """The answer would turn into the default, without a word."""
    everywhere = json.dumps(list(CONFIG.values()))
    for tag in recorded():
        before = yaml.safe_load(git(history.repository, "show", f"{tag}:copier.yml"))
        for name, question in before.items():
            if name.startswith("_"):
                continue
            assert name in CONFIG or re.search(rf"\b{name} \| default\(", everywhere), name
            now = CONFIG.get(name, {})

            def values(choices: Any) -> set[str]:
                return set(choices.values() if isinstance(choices, dict) else choices or ())

            assert values(question.get("choices")) <= values(now.get("choices")), name


def test_a_renamed_question_keeps_its_answer(workshop: Workshop) -> None:
    project = workshop.project(WORKING_TREE, db_name="orders")
    update(project, NEXT)
    answers = yaml.safe_load((project / ANSWERS).read_text())
    assert answers["database_name"] == "orders"
    assert "POSTGRES_DB:-orders}" in (project / "docker-compose.yml").read_text()


# --- users who did anything ----------------------------------------------------------------------


def plan(seed: int) -> Plan:
    """Which way the project of this seed goes; it depends on nothing else."""
    to_come = [f"v{number}.0.0" for number in range(1001, 1001 + RAW)]
    last = (recorded() or [WORKING_TREE])[-1]
    ways = [(old, WORKING_TREE) for old in recorded()]
    ways += [(last, NEXT), (WORKING_TREE, NEXT)]
    ways += [(WORKING_TREE, to_come[seed % RAW]), (last, to_come[seed // 7 % RAW])]
    old, new = ways[seed % len(ways)]
    # Bots, and people in a hurry, leave out --context-lines.
    context_lines = 3 if seed % 5 == 0 else 9999
    branch = seed // 2 % 3 != 0
    return Plan(seed, old, new, SHAPES[seed % 3], context_lines, raw=seed % 4 != 3, branch=branch)


def test_random_users_lose_nothing(
    history: History, record_property: Callable[[str, object], None]
) -> None:
    outcomes = [future.result() for future in history.random]
    edits = Counter(edit for outcome in outcomes for edit in outcome.edits)
    conflicts = sum(len(outcome.verdict.conflicts) for outcome in outcomes)
    losses = [
        f"UPDATE_SEED={outcome.plan.seed} UPDATE_PROJECTS=1: {outcome.plan}\n"
        f"  {', '.join(outcome.edits)}\n  " + "\n  ".join(outcome.verdict.losses[:5])
        for outcome in outcomes
        if outcome.verdict.losses
    ]
    count = f"updates: {PROJECTS} projects, {edits.total()} edits of {len(edits)} kinds, "
    count += f"{conflicts} files in conflict, {len(losses)} losses"
    record_property("line", count)
    print(count)
    assert not losses, "\n".join(losses[:20])
    if PROJECTS >= 30:
        assert len(edits) >= len(USUAL) + 5, "nearly all kinds of edits were made"
        assert conflicts > PROJECTS / 20, "the releases meet the edits"


# --- the updated project works -------------------------------------------------------------------


def lock(backend: Path) -> None:
    """Type the commands of pyproject.toml."""
    text = (backend / "pyproject.toml").read_text()
    commands = re.findall(r"^#   (uv pip compile .*)$", text, re.MULTILINE)
    assert len(commands) == 3
    for command in commands if (backend / "requirements-api.txt").exists() else commands[:2]:
        done = type_(backend, str(BIN / "uv"), *command.split()[1:])
        if done.returncode and "error sending request" in done.stderr:
            cannot_run("no package index answers", command)
        assert done.returncode == 0, done.stderr


def test_a_dependency_of_the_users_and_one_of_the_template_are_locked_by_the_two_commands(
    workshop: Workshop,
) -> None:
    """Those of pyproject.toml; both sides have changed the lock files too."""
    project = edited(workshop)
    lock(project / "backend")
    commit(project)
    update(project, NEXT)
    for line in git(project, "ls-files", "--unmerged").splitlines():
        assert re.search(r"\tbackend/requirements(-dev)?\.txt$", line)
        git(project, "checkout", "--theirs", line.partition("\t")[2])
    backend = project / "backend"
    lock(backend)
    for name_of_lock, names in {
        "requirements.txt": ["fastapi", "httpx", "typing-extensions"],
        "requirements-dev.txt": ["fastapi", "httpx", "typing-extensions", "faker"],
    }.items():
        locked = (backend / name_of_lock).read_text()
        for name in names:
            assert re.search(rf"^{name}==", locked, re.MULTILINE), f"{name_of_lock}: {name}"
        assert "://" not in locked
        assert "--hash=sha256:" in locked


@pytest.mark.server
def test_a_running_project_keeps_its_data_and_its_checks_pass_after_an_update(
    workshop: Workshop, new_database: NewDatabase
) -> None:
    project = edited(workshop)
    backend, url = project / "backend", new_database()
    succeed(run(backend, program="app.migrate", url=url))
    execute(url, "INSERT INTO gadgets (name) VALUES ('the first')")

    update(project, NEXT)
    assert git(project, "ls-files", "--unmerged") == ""

    succeed(run(backend, program="app.migrate", url=url))
    assert execute(url, "SELECT name FROM gadgets") == [("the first",)]
    assert execute(url, "SELECT version_num FROM alembic_version") == [("0a1b2c3d4e5f",)]
    assert succeed(run(backend, "heads", url=url)).count("(head)") == 1
    succeed(run(backend, "check", url=url))
    checks(backend, url)


@pytest.mark.in_turn(2)
@pytest.mark.server
@pytest.mark.parametrize("seed", range(3, 27, 6))
def test_the_checks_of_a_project_without_conflict_pass(
    workshop: Workshop, new_database: NewDatabase, seed: int
) -> None:
    project = workshop.project(WORKING_TREE)
    User(project, project / "backend", seed).work(raw=False)
    commit(project)
    update(project, NEXT)
    assert git(project, "ls-files", "--unmerged") == ""
    checks(project / "backend", new_database())


def checks(backend: Path, url: URL) -> None:
    """What the project's CI runs, but for the type checker."""
    given = environment(TEST_DATABASE_URL=url.render_as_string(hide_password=False))
    for module, words in [
        ("ruff", ["check", "--no-cache", "."]),
        ("ruff", ["format", "--no-cache", "--check", "."]),
        ("pytest", ["-q", "-p", "no:cacheprovider"]),
    ]:
        succeed(forks().run(module, words, backend, given))

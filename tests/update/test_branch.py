"""The recommended way, `python backend/testing/update.py`, where `copier update` loses work.

Each loss is one that was seen. The same project is updated in both ways: in place the work is gone,
as the rendered README says, or the update ends half-way; in a branch it is all there.
"""

import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

import pytest
from copier import Settings, run_update

from tests._kit.quick import quickened
from tests._kit.support import BIN, environment
from tests.conftest import ROOT, WORKING_TREE, git
from tests.update.branch import BRANCH, MERGE, git_of_here, update_in_a_branch
from tests.update.edits import ANSWERS, USUAL, User
from tests.update.releases import NEXT, recorded, repository
from tests.update.trial import Workshop, commit, configured, memory, tree, unmerged

PROGRAM = "backend/testing/update.py"
BEFORE = recorded()[-1]


@pytest.fixture(scope="module")
def workshop(template: Path) -> Generator[Workshop]:
    with tempfile.TemporaryDirectory(prefix="branches.", dir=memory()) as folder:
        place = Path(folder)
        repository(place / "copier-postgres", template)
        with quickened():
            yield Workshop(place / "copier-postgres", place)


# --- what was lost -------------------------------------------------------------------------------

Work = dict[Path, bytes]  # what must be in a file afterwards


def add(path: Path, line: bytes = b"# mine, and nowhere else\n") -> Work:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes((path.read_bytes() if path.exists() else b"") + line)
    return {path: line}


def ignored_everywhere(project: Path) -> Work:
    """`*.ini` is among the files that one ignores everywhere; git never had alembic.ini."""
    git(project, "rm", "--quiet", "--cached", "backend/alembic.ini")
    commit(project)
    return add(project / "backend" / "alembic.ini")


def added_by_force(project: Path) -> Work:
    """The same, where somebody added it."""
    work = add(project / "backend" / "alembic.ini")
    git(project, "add", "--force", "backend/alembic.ini")
    commit(project)
    return work


def own_compose_file(project: Path) -> Work:
    """Each developer has a docker-compose.yml, which git ignores."""
    git(project, "rm", "--quiet", "--cached", "docker-compose.yml")
    add(project / ".gitignore", b"docker-compose.yml\n")
    commit(project)
    return add(project / "docker-compose.yml")


def skipped_by_git(project: Path) -> Work:
    git(project, "update-index", "--skip-worktree", "docker-compose.yml")
    git(project, "update-index", "--assume-unchanged", "README.md")
    return add(project / "docker-compose.yml") | add(project / "README.md")


def ignored_on_a_new_path(project: Path) -> Work:
    """The next release has this file."""
    add(project / ".gitignore", b"newer.py\n")
    commit(project)
    return add(project / "backend" / "app" / "core" / "newer.py")


def untracked_on_a_new_path(project: Path) -> Work:
    """Hidden from `git status`, so that Copier takes the project for clean."""
    return add(project / "backend" / "app" / "core" / "newer.py")


def edit_in_conflict(project: Path) -> Work:
    """In every comment, of which the next release changes some."""
    compose = project / "docker-compose.yml"
    compose.write_text(re.sub(r"(?m)^( *# [A-Z].*)$", r"\1 (mine)", compose.read_text()))
    commit(project)
    return {compose: b" (mine)\n"}


def blank_elsewhere(project: Path) -> Work:
    """In another folder of a monorepo."""
    add(in_a_monorepo(project) / "other" / "text.md", b"trailing  \n")
    work = add(project / "backend" / "app" / "core" / "config.py", b"MINE = 1\n")
    commit(project)
    return work


def leftover_rejects(project: Path) -> Work:
    """Of an earlier update or `git apply`; git does not see them."""
    (project / ".git" / "info").mkdir(exist_ok=True)
    (project / ".git" / "info" / "exclude").write_text("*.rej\n")
    return add(project / "README.md.rej") | add(project / "gone.py.rej")


def linked_folder(project: Path) -> Work:
    """testing/ stands elsewhere in the project, with fixtures of one's own."""
    shared = project / "shared"
    shutil.move(project / "backend" / "testing", shared)
    (project / "backend" / "testing").symlink_to("../shared")
    work = add(shared / "shape.py")
    commit(project)
    return work


def new_file_in_a_folder_not_of_ascii(project: Path) -> Work:
    in_a_monorepo(project)
    project = project.rename(project.with_name("größe"))
    work = add(project / "backend" / "app" / "core" / "newer.py") | add(project / "README.md")
    commit(project)
    return work


def ignored_name_not_of_ascii(project: Path) -> Work:
    add(project / ".gitignore", "größe.txt\n".encode())
    work = add(project / "backend" / "app" / "core" / "config.py", b"MINE = 1\n")
    commit(project)
    return work | add(project / "größe.txt")


def bytes_of_another_encoding(project: Path) -> Work:
    work = add(project / "backend" / "requirements-dev.txt", "# größer\n".encode("latin-1"))
    commit(project)
    return work


def zero_byte(project: Path) -> Work:
    work = add(project / "docker-compose.yml", b"# mine: \0\n")
    commit(project)
    return work


def in_a_monorepo(project: Path) -> Path:
    """Make its parent the repository; returns that."""
    shutil.rmtree(project / ".git")
    git(project.parent, "init", "--quiet", "-b", "main")
    return project.parent


# Each with the git configuration that it needs, and with what `copier update` does.
LOSSES: list[tuple[Callable[[Path], Work], list[str], str]] = [
    (ignored_everywhere, ["excludes"], "lost"),
    (added_by_force, ["excludes"], "lost"),
    (added_by_force, ["template"], "lost"),
    (own_compose_file, [], "lost"),
    (skipped_by_git, [], "lost"),
    (ignored_on_a_new_path, [], "lost"),
    (untracked_on_a_new_path, ["untracked"], "lost"),
    (edit_in_conflict, ["untracked"], "lost"),
    (blank_elsewhere, ["whitespace"], "lost"),
    (leftover_rejects, [], "fails"),
    (linked_folder, [], "lost"),
    (new_file_in_a_folder_not_of_ascii, [], "fails"),
    (ignored_name_not_of_ascii, ["quotepath"], "fails"),
    (bytes_of_another_encoding, [], "lost"),
    (zero_byte, [], "lost"),
]


@pytest.fixture(params=LOSSES, ids=lambda loss: "-".join([loss[0].__name__, *loss[1]]))
def loss(request: pytest.FixtureRequest, workshop: Workshop) -> Generator[tuple[Path, Work, str]]:
    prepare, configuration, ending = request.param
    place = workshop.project(WORKING_TREE).parent
    with configured(Path(tempfile.mkdtemp(dir=place.parent)), *configuration):
        work = prepare(place / "demo")
        [answers] = place.glob(f"*/{ANSWERS}")
        yield answers.parent, work, ending
    shutil.rmtree(place)


def missing(work: Work) -> list[Path]:
    """Where what was there is not any more."""
    return [
        path for path, lines in work.items() if not path.exists() or lines not in path.read_bytes()
    ]


def test_an_update_in_a_branch_loses_nothing(loss: tuple[Path, Work, str]) -> None:
    project, work, _ = loss
    before = tree(project.parent)
    plain = not Path(os.environ["GIT_CONFIG_GLOBAL"]).stat().st_size
    ended = update_in_a_branch(project, f"--vcs-ref={NEXT}", fresh=not plain)
    assert ended.code == 0, ended.said
    shutil.rmtree(ended.worktree, ignore_errors=True)
    assert tree(project.parent) == before
    subprocess.run(["git", *MERGE], cwd=project, check=False)
    assert missing(work) == []


@pytest.mark.in_turn(3)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of Copier's
def test_an_update_in_place_loses_it(loss: tuple[Path, Work, str]) -> None:
    """What the rendered README says of `copier update`; if Copier learns better, so may that."""
    project, work, ending = loss
    try:
        update(project)
    except Exception:
        assert ending == "fails"
    else:
        assert ending == "lost"
        assert missing(work)


@pytest.mark.parametrize("configuration", ["excludes", "template"])
def test_an_example_of_settings_is_no_secret(workshop: Workshop, configuration: str) -> None:
    """Not even in place, and where `.env*` is ignored everywhere: .gitignore has an exception."""
    project = workshop.project(WORKING_TREE)
    with configured(project.parent, configuration):
        git(project, "rm", "--quiet", "--cached", ".env.example")
        work = add(project / ".env.example")
        commit(project)
        update(project)
        assert missing(work) == []


def update(project: Path) -> None:
    with git_of_here():
        run_update(
            project,
            vcs_ref=NEXT,
            defaults=True,
            overwrite=True,
            context_lines=9999,
            quiet=True,
            settings=Settings(),
        )


# --- moments -------------------------------------------------------------------------------------


def with_work(project: Path) -> Path:
    """A project with all the usual changes, and work in progress of each kind."""
    user = User(project, project / "backend", 0)
    for usual in USUAL:
        usual(user)
    commit(project)
    add(project / "docker-compose.yml")
    add(project / "backend" / "new.py")
    git(project, "add", "--force", "docker-compose.yml")
    add(project / "docker-compose.yml")
    return project


def state(project: Path) -> list[Any]:
    """All that an update by branch may not change: files, index, the current branch."""
    asked = ["status --porcelain --branch", "diff --cached", "stash list", "log --oneline"]
    return [tree(project), *(git(project, *words.split()) for words in asked)]


class Counter:
    """Counts commands, and ends the program before one of them."""

    def __init__(self, last: int = -1, end: Callable[[], None] = lambda: None) -> None:
        self.last, self.end, self.count = last, end, 0

    def __call__(self) -> None:
        if self.count == self.last:
            self.end()
        self.count += 1


def interrupted() -> None:
    raise KeyboardInterrupt


def fails() -> None:
    sys.exit("Error: no network")


def test_an_update_that_ends_early_leaves_nothing(workshop: Workshop) -> None:
    project = with_work(workshop.project(WORKING_TREE))
    before, number = state(project), 0
    while True:
        counter = Counter(number, interrupted if number % 2 else fails)
        try:
            ended = update_in_a_branch(project, f"--vcs-ref={NEXT}", before_each=counter)
        except KeyboardInterrupt:
            pass
        else:
            if ended.code == 0:
                break
        assert state(project) == before
        assert git(project, "branch", "--list", BRANCH) == ""
        assert git(project, "worktree", "list").count("\n") == 0
        number += 1
    assert number > 15


def test_a_killed_update_leaves_a_worktree_that_the_next_one_names(workshop: Workshop) -> None:
    project, other = (with_work(workshop.project(WORKING_TREE)) for _ in range(2))
    undisturbed = Counter()
    update_in_a_branch(other, f"--vcs-ref={NEXT}", before_each=undisturbed)
    wanted, before = git(other, "rev-parse", f"{BRANCH}^{{tree}}"), state(project)
    for number in range(0, undisturbed.count, 3):
        if os.fork() == 0:
            counter = Counter(number, lambda: os._exit(9))
            update_in_a_branch(project, f"--vcs-ref={NEXT}", before_each=counter)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.wait()[1]) == 9
        assert state(project) == before
        ended = update_in_a_branch(project, f"--vcs-ref={NEXT}")
        if ended.code:
            forget(project, str(ended.code))
            ended = update_in_a_branch(project, f"--vcs-ref={NEXT}")
        assert ended.code == 0, ended.said
        assert git(project, "rev-parse", f"{BRANCH}^{{tree}}") == wanted
        assert state(project) == before
        git(project, "branch", "--delete", "--force", BRANCH)


def forget(project: Path, said: str) -> None:
    """Type the commands of the message."""
    commands = re.findall(r"^    (git .*)$", said, re.MULTILINE)
    assert commands, said
    for command in commands:
        subprocess.run(shlex.split(command), cwd=project, check=False, capture_output=True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_at_any_time_touches_nothing_of_the_users(
    workshop: Workshop, number: signal.Signals
) -> None:
    """UPDATE_MOMENTS says how many times."""
    project = with_work(workshop.project(WORKING_TREE))
    before = state(project)
    for _ in range(int(os.environ.get("UPDATE_MOMENTS", "1"))):
        process = start(project)
        time.sleep(random.uniform(0, 6))  # noqa: S311
        os.killpg(process.pid, number)
        said = process.communicate(timeout=60)[0]
        assert "Traceback" not in said or number == signal.SIGINT
        assert state(project) == before
        forget(
            project,
            f"    git worktree remove --force {project}-{BRANCH}\n    git branch -D {BRANCH}",
        )


def start(
    project: Path, path: Path = BIN, options: Sequence[str] = (f"--vcs-ref={NEXT}",)
) -> subprocess.Popen[str]:
    """The command itself, in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, PROGRAM, *options],
        cwd=project,
        env=environment(PATH=f"{path}{os.pathsep}{os.environ['PATH']}"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def test_a_commit_that_cannot_be_signed_leaves_nothing(workshop: Workshop) -> None:
    project = with_work(workshop.project(WORKING_TREE))
    git(project, "config", "gpg.program", "false")
    git(project, "config", "commit.gpgSign", "true")
    before = state(project)
    ended = update_in_a_branch(project, f"--vcs-ref={NEXT}")
    assert str(ended.code).startswith("Error: failed (above), and nothing has changed: git commit")
    assert state(project) == before
    assert git(project, "branch", "--list", BRANCH) == ""
    assert not ended.worktree.exists()


# --- places --------------------------------------------------------------------------------------


def monorepo(project: Path, _place: Path) -> Path:
    in_a_monorepo(project)
    return project


def renamed_in_a_monorepo(project: Path, _place: Path) -> Path:
    in_a_monorepo(project)
    return project.rename(project.with_name("größe and space"))


def submodule(project: Path, place: Path) -> Path:
    git(place, "init", "--quiet", "top")
    words = ("-c", "protocol.file.allow=always", "submodule", "--quiet", "add")
    git(place / "top", *words, str(project), "demo")
    return place / "top" / "demo"


def linked_worktree(project: Path, place: Path) -> Path:
    git(project, "worktree", "add", "--quiet", "-b", "feature", str(place / "feature"))
    return place / "feature"


def shallow(project: Path, place: Path) -> Path:
    git(place, "clone", "--quiet", "--depth=1", f"file://{project}", "shallow")
    return place / "shallow"


def sparse(project: Path, _place: Path) -> Path:
    top = in_a_monorepo(project)
    add(top / "other" / "text.md")
    commit(top)
    git(top, "sparse-checkout", "set", "demo")
    assert not (top / "other").exists()
    return project


def behind_a_link(project: Path, place: Path) -> Path:
    (place / "link").symlink_to(project)
    return place / "link"


@pytest.mark.parametrize(
    "move",
    [monorepo, renamed_in_a_monorepo, submodule, linked_worktree, shallow, sparse, behind_a_link],
)
def test_a_project_is_updated_wherever_it_is(
    workshop: Workshop, tmp_path: Path, move: Callable[[Path, Path], Path]
) -> None:
    project = workshop.project(WORKING_TREE)
    add(project / "backend" / "app" / "core" / "config.py", b"MINE = 1\n")
    commit(project)
    project = move(project, tmp_path)
    if move in (monorepo, renamed_in_a_monorepo):
        add(project.parent / "other" / "text.md")
        commit(project.parent)
    elsewhere = project.parent / "other" / "text.md"
    if elsewhere.exists():
        add(elsewhere, b"not committed\n")
    before = tree(project.parent)
    ended = update_in_a_branch(project, f"--vcs-ref={NEXT}", fresh="renamed" in move.__name__)
    assert ended.code == 0, ended.said
    assert tree(project.parent) == before
    git(project, *MERGE)
    assert b"MINE = 1\n" in (project / "backend" / "app" / "core" / "config.py").read_bytes()
    assert (project / "backend" / "app" / "core" / "newer.py").exists()


def test_the_folder_of_temporary_files_may_be_behind_a_link(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on macOS, where git and Python have two names for it."""
    project = workshop.project(WORKING_TREE)
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "link"))
    ended = update_in_a_branch(project, f"--vcs-ref={NEXT}", fresh=True)
    assert ended.code == 0, ended.said


@pytest.mark.parametrize(
    "given",
    [
        {"GIT_DIR": ".git"},
        {"GIT_DIR": ".git", "GIT_INDEX_FILE": ".git/index"},
        {"GIT_DIR": ".git", "GIT_COMMON_DIR": ".git", "GIT_OBJECT_DIRECTORY": ".git/objects"},
    ],
)
def test_the_repository_of_a_hook_or_an_alias_is_left_alone(
    workshop: Workshop, given: dict[str, str]
) -> None:
    """Git names it to them in variables, which would lead each commit of a rendering there."""
    project = with_work(workshop.project(WORKING_TREE))
    before = state(project)
    with pytest.MonkeyPatch.context() as patch:
        for name, path in given.items():
            patch.setenv(name, str(project / path))
        ended = update_in_a_branch(project, f"--vcs-ref={NEXT}", fresh=True)
    assert state(project) == before
    assert ended.code == 0, ended.said


# --- what comes of it ----------------------------------------------------------------------------


def merged(project: Path, *options: str) -> str:
    """Update and merge; returns what was said."""
    ended = update_in_a_branch(project, f"--vcs-ref={NEXT}", *options)
    assert ended.code == 0, ended.said
    git(project, *MERGE)
    return ended.said


def test_an_untouched_project_becomes_what_it_becomes_in_place(workshop: Workshop) -> None:
    project, other = (workshop.project(BEFORE) for _ in range(2))
    merged(project)
    update(other)
    assert tree(project) == tree(other)


def test_improvements_follow_a_folder_that_was_renamed(workshop: Workshop) -> None:
    project = workshop.project(WORKING_TREE)
    git(project, "mv", "backend", "api")
    add(project / "api" / "app" / "core" / "config.py", b"MINE = 1\n")
    commit(project)
    merged(project)
    assert not (project / "backend").exists()
    fresh = workshop.rendered(NEXT, "backend") / "backend"
    config = (fresh / "app" / "core" / "config.py").read_bytes()
    assert (project / "api" / "app" / "core" / "config.py").read_bytes() == config + b"MINE = 1\n"
    assert (project / "api" / "app" / "core" / "newer.py").exists()


def test_in_place_none_follow(workshop: Workshop) -> None:
    """And a stray folder appears."""
    project = workshop.project(WORKING_TREE)
    git(project, "mv", "backend", "api")
    commit(project)
    update(project)
    assert (project / "backend" / "app" / "core" / "newer.py").exists()
    assert not (project / "api" / "app" / "core" / "newer.py").exists()


def test_in_place_a_conflict_in_a_reject_file_is_not_listed(workshop: Workshop) -> None:
    project = workshop.project(WORKING_TREE)
    work = edit_in_conflict(project)
    run_update(
        project, vcs_ref=NEXT, conflict="rej", defaults=True, overwrite=True, settings=Settings()
    )
    assert git(project, "diff", "--name-only", "--diff-filter=UD") == ""
    assert (project / "docker-compose.yml.rej").exists()
    assert work


def test_what_was_deleted_stays_deleted_and_what_conflicts_is_listed(workshop: Workshop) -> None:
    project = workshop.project(WORKING_TREE)
    git(project, "rm", "--quiet", "README.md", "backend/tests/test_settings.py")
    work = edit_in_conflict(project)
    ended = update_in_a_branch(project, f"--vcs-ref={NEXT}")
    assert ended.code == 0
    assert "\nU\tdocker-compose.yml\n" in ended.said
    assert str(ended.worktree) in ended.said
    place = ended.worktree
    assert unmerged(place) == {"docker-compose.yml"}
    assert not (place / "README.md").exists()
    assert not (place / "backend" / "tests" / "test_settings.py").exists()
    # Resolved as it says, it is a branch like any other, and the next one may begin.
    git(place, "checkout", "--ours", "docker-compose.yml")
    git(place, "add", "docker-compose.yml")
    git(place, "commit", "--quiet", "--message=Resolved")
    git(project, *MERGE)
    assert missing(work) == []
    forget(project, str(update_in_a_branch(project).code))
    said = update_in_a_branch(project, f"--vcs-ref={NEXT}").said
    assert said.endswith("Nothing to merge: Copier changed no file.\n")


def test_removed_and_renamed_files_are_listed(workshop: Workshop) -> None:
    project = workshop.project(BEFORE)
    said = update_in_a_branch(project, f"--vcs-ref={NEXT}", fresh=True).said
    listed = set(re.findall(r"^D\tbackend/app/migrate/(.*)$", said, re.MULTILINE))
    [named] = re.findall(r"(?s)app/migrate/ is replaced(.*?) are gone", said)
    assert listed == set(re.findall(r"\w+[.]py", named)) != set()


def test_an_edit_in_a_file_that_the_template_removed_is_a_conflict(workshop: Workshop) -> None:
    """In place, it is gone."""
    project = workshop.project(BEFORE)
    work = add(project / "backend" / "app" / "migrate" / "heads.py")
    commit(project)
    ended = update_in_a_branch(project, f"--vcs-ref={WORKING_TREE}", fresh=True)
    assert "backend/app/migrate/heads.py" in unmerged(ended.worktree)
    assert "are gone, an edited one is a conflict" in " ".join(ended.said.split())
    assert missing(work) == []


def test_going_back_after_the_merge_keeps_what_is_not_committed(workshop: Workshop) -> None:
    project = workshop.project(WORKING_TREE)
    top = in_a_monorepo(project)
    add(top / "other" / "text.md")
    commit(top)
    add(top / "other" / "text.md")
    add(top / "other" / "new.md")
    before = tree(top)
    said = merged(project)
    assert tree(top) != before
    [words] = re.findall(r"^To go back .*: (git .*)$", said, re.MULTILINE)
    git(project, *words.split()[1:])
    assert tree(top) == before


def test_a_project_of_an_older_release_has_it_from_a_clone(workshop: Workshop) -> None:
    project = workshop.project(BEFORE)
    assert not (project / PROGRAM).exists()
    words = [sys.executable, str(ROOT / "scripts" / "update"), f"--vcs-ref={WORKING_TREE}"]
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    given = environment(PATH=path)
    done = subprocess.run(words, cwd=project, env=given, check=False, capture_output=True)
    assert done.returncode == 0, done.stderr
    git(project, *MERGE)
    assert (project / PROGRAM).exists()


@pytest.mark.parametrize("name", ["demo-shop", "other"])
def test_what_is_said_of_the_folder_is_said_of_the_users(workshop: Workshop, name: str) -> None:
    """Compose names volumes after it, and the rendering is in another one."""
    project = workshop.project(BEFORE)
    project = project.rename(project.with_name(name))
    said = update_in_a_branch(project, f"--vcs-ref={WORKING_TREE}", fresh=True).said
    assert ("COMPOSE_PROJECT_NAME=demo-shop" in said) == (name == "other")


def test_other_answers_are_options(workshop: Workshop) -> None:
    project = workshop.project(WORKING_TREE, postgres_version="17")
    ended = update_in_a_branch(
        project, "--data=postgres_version=18", f"--vcs-ref={WORKING_TREE}", fresh=True
    )
    assert "PostgreSQL 17 -> 18" in ended.said
    git(project, *MERGE)
    assert "postgres-18:" in (project / "docker-compose.yml").read_text()


def test_an_option_that_changes_nothing_is_not_taken_for_the_newest_release(
    workshop: Workshop,
) -> None:
    project = workshop.project(BEFORE)
    said = update_in_a_branch(project, f"--vcs-ref={WORKING_TREE}", "--pretend", fresh=True).said
    assert "no newer release" not in said
    process = start(workshop.project(WORKING_TREE), options=["--help"])
    assert "--vcs-ref" in process.communicate()[0]
    assert process.returncode == 0


def test_a_folder_where_the_worktree_would_be_is_not_an_earlier_update(workshop: Workshop) -> None:
    project = workshop.project(WORKING_TREE)
    work = add(project.with_name(f"{project.name}-{BRANCH}") / "mine.txt")
    ended = update_in_a_branch(project, f"--vcs-ref={NEXT}")
    assert "git worktree add" in str(ended.code)
    assert missing(work) == []


@pytest.mark.parametrize("change", ["_commit: .*\n", "(?<=_src_path: ).*", "(?s).*"])
def test_a_project_that_names_no_release_is_told(workshop: Workshop, change: str) -> None:
    project = workshop.project(WORKING_TREE)
    text = (project / ANSWERS).read_text()
    (project / ANSWERS).write_text(re.sub(change, ".." * change.startswith("(?<="), text, count=1))
    commit(project)
    before = state(project)
    said = str(update_in_a_branch(project).code)
    assert "names no release" in said
    assert "README.md" in said
    assert state(project) == before


@pytest.mark.in_turn(2)
def test_the_command_itself(workshop: Workshop, copier_: list[str], tmp_path: Path) -> None:
    """With the oldest and the newest Copier, as the rendered README has it."""
    project, other = (with_work(workshop.project(WORKING_TREE)) for _ in range(2))
    assert f"$ python3 {PROGRAM}\n" in (project / "README.md").read_text()
    (tmp_path / "copier").write_text(f'#!/bin/sh\nexec {shlex.join(copier_)} "$@"\n')
    (tmp_path / "copier").chmod(0o755)
    before = state(project)
    process = start(project, path=tmp_path)
    said = process.communicate()[0]
    assert process.returncode == 0, said
    assert "In place" not in said
    assert "git clean" not in said
    assert state(project) == before
    update_in_a_branch(other, f"--vcs-ref={NEXT}")
    trees = [git(folder, "rev-parse", f"{BRANCH}^{{tree}}") for folder in (project, other)]
    assert trees[0] == trees[1]

"""One project: rendered at an old release, edited by a user, updated, judged."""

import os
import random
import re
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import copier
import yaml
from copier import Settings
from jinja2 import Template

from tests._kit.quick import quickened
from tests.conftest import git  # first: it isolates git before Copier is imported
from tests.update.branch import BRANCH, same_environment, update_in_a_branch
from tests.update.edits import ANSWERS, User
from tests.update.judge import File, Tree, Verdict, judge
from tests.update.releases import BACKEND, STUB
from tests.update.text import unix

# Written once by `copier copy`, the user's from then on.
STARTER = re.compile(r"(^|/)(alembic/versions/|app/models/(?!__init__\.py$))")
# The template's own rooms: a release may take a file away, which the message after an update names.
MAY_VANISH = re.compile(r"(^|/)(app/migrate/|testing/|\.squawk\.toml$)")
ANSWERS_TEMPLATE = "{{ _copier_conf.answers_file }}.jinja"


@dataclass(frozen=True)
class Plan:
    """What happens to one project.

    Args:
        seed: of the user.
        old: the tag of the release that it was rendered from.
        new: the tag of the release that it is updated to.
        backend_dir: the answer.
        context_lines: 9999 as we recommend it, or 3, as Copier does by itself.
        raw: whether the user does anything at all, or only what everybody does.
        branch: by testing/update.py, and the git configurations of this seed; else in place.
    """

    seed: int
    old: str
    new: str
    backend_dir: str = "backend"
    context_lines: int = 9999
    raw: bool = True
    branch: bool = False


@dataclass
class Outcome:
    """What came of it."""

    plan: Plan
    edits: list[str]
    verdict: Verdict


@dataclass
class Case:
    """What is judged."""

    base: Tree
    mine: Tree
    new: Tree
    result: Tree
    unmerged: set[str]
    renamed: dict[str, str]
    edited_may_vanish: bool

    def verdict(self) -> Verdict:
        """What the judge says."""
        return judge(
            self.base,
            self.mine,
            self.new,
            self.result,
            self.unmerged,
            ANSWERS,
            MAY_VANISH,
            self.renamed,
            edited_may_vanish=self.edited_may_vanish,
        )


def memory() -> str | None:
    """A folder in memory, where there is one with room; else None, for the usual place."""
    folder = Path("/dev/shm")  # noqa: S108
    if folder.is_dir() and shutil.disk_usage(folder).free > 2**29 and os.access(folder, os.W_OK):
        return str(folder)
    return None


class Workshop:
    """Renders and updates projects of one repository; what is rendered twice is made once."""

    def __init__(self, repository: Path, folder: Path) -> None:
        self.repository = repository
        self.folder = folder
        self.rendered = cache(self._render)

    def _render(self, tag: str, backend_dir: str, **answers: str) -> Path:
        path = Path(tempfile.mkdtemp(dir=self.folder)) / "demo"
        copier.run_copy(
            str(self.repository),
            path,
            data={"project_name": "Demo Shop", "backend_dir": backend_dir, **answers},
            vcs_ref=tag,
            defaults=True,
            quiet=True,
            settings=Settings(),
        )
        git(path, "init", "--quiet", "-b", "main")
        commit(path)
        git(path, "repack", "-adq")  # one file is copied sooner than a hundred
        return path

    def project(self, tag: str, backend_dir: str = "backend", **answers: str) -> Path:
        """A project of one's own, in git; to be removed by whoever takes it."""
        path = Path(tempfile.mkdtemp(dir=self.folder)) / "demo"
        return Path(shutil.copytree(self.rendered(tag, backend_dir, **answers), path))

    def stubs(self, old: str, new: str, backend_dir: str = "backend") -> Tree:
        """What an update leaves at the old paths of what moved in between."""
        show = partial(git, self.repository, "show")
        layout = re.search(r"'layout': (\d+)", show(f"{old}:template/{ANSWERS_TEMPLATE}"))
        before = {"layout": int(layout[1])} if layout else {}
        question = yaml.safe_load(show(f"{new}:copier.yml")).get("moved", {"default": ""})
        moved = yaml.safe_load(Template(question["default"]).render(rendered=before)) or {}
        stub = Template(show(f"{new}:{BACKEND}/{STUB}")) if moved else Template("")
        return {
            (Path(backend_dir) / path).as_posix(): File(
                f"{stub.render(old=path, moved=moved)}\n".encode()
            )
            for path in moved
        }

    def trial(self, plan: Plan) -> Outcome:
        """Carry out a plan."""
        edits, case, losses = self.case(plan)
        verdict = case.verdict()
        verdict.losses += losses
        return Outcome(plan, edits, verdict)

    def state_after(self, plan: Plan) -> Tree:
        """Carry out a plan; returns what is left."""
        return self.case(plan)[1].result

    def case(self, plan: Plan) -> tuple[list[str], Case, list[str]]:
        """Carry out a plan; returns what was edited, what to judge, and what is lost already."""
        project = self.project(plan.old, plan.backend_dir)
        try:
            return self._carry_out(plan, project)
        finally:
            shutil.rmtree(project.parent)

    def _carry_out(self, plan: Plan, project: Path) -> tuple[list[str], Case, list[str]]:
        user = User(project, project / plan.backend_dir, plan.seed)
        edits = user.work(raw=plan.raw)
        base = tree(self.rendered(plan.old, plan.backend_dir))
        new = tree(self.rendered(plan.new, plan.backend_dir))
        for rendering in (base, new):
            for path in [path for path in rendering if STARTER.search(path)]:
                del rendering[path]
        new |= self.stubs(plan.old, plan.new, plan.backend_dir)
        if plan.branch:
            return self._in_a_branch(plan, project, edits, base, new)
        commit(project)
        mine = tree(project)
        update(project, plan.new, context_lines=plan.context_lines)
        result = tree(project)
        return (
            edits,
            Case(base, mine, new, result, unmerged(project), {}, edited_may_vanish=True),
            [],
        )

    def _in_a_branch(
        self, plan: Plan, project: Path, edits: list[str], base: Tree, new: Tree
    ) -> tuple[list[str], Case, list[str]]:
        """As we recommend it, under some of the git configurations that people have."""
        chance = random.Random(plan.seed)  # noqa: S311
        names = chance.sample(sorted(CONFIGURATIONS), 3)
        with configured(project.parent, *names):
            commit(project)
            first = git(project, "rev-list", "--max-parents=0", "HEAD")
            renamed = renames(project, first)
            work = work_in_progress(project, chance)
            before, state = tree(project), git(project, "status", "--porcelain", "--branch")
            ended = update_in_a_branch(project, f"--vcs-ref={plan.new}")
            losses = [] if ended.code == 0 else [f"half done: {ended.code}\n{ended.said}"]
            if (tree(project), git(project, "status", "--porcelain", "--branch")) != (
                before,
                state,
            ):
                losses.append("the user's working tree is not as it was")
            place = ended.worktree
            os.environ["GIT_CONFIG_GLOBAL"] = os.devnull
            if not place.exists():
                git(project, "worktree", "add", "--quiet", str(place), BRANCH)
            result, listed = tracked(place), unmerged(place)
            git(place, "checkout", "--quiet", "--force", "--detach", "main")
            mine = tracked(place)
        case = Case(base, mine, new, result, listed, renamed, edited_may_vanish=False)
        return [*edits, *names, work], case, losses


CONFIGURATIONS = {
    "autocrlf": "[core]\nautocrlf = true\n",
    "attributes": "[core]\nattributesFile = {folder}/attributes\n",
    "diff": "[diff]\nnoprefix = true\nmnemonicPrefix = true\nrenames = false\n",
    "excludes": "[core]\nexcludesFile = {folder}/excludes\n",
    "hooks": "[core]\nhooksPath = {folder}/hooks\n",
    "quotepath": "[core]\nquotePath = false\n",
    "renames": "[merge]\nrenames = false\ndirectoryRenames = conflict\n",
    "rerere": "[rerere]\nenabled = true\nautoUpdate = true\n",
    "template": "[init]\ntemplateDir = {folder}/templatedir\ndefaultBranch = trunk\n",
    "untracked": "[status]\nshowUntrackedFiles = no\n",
    "whitespace": "[apply]\nwhitespace = error\n[core]\nwhitespace = tab-in-indent\n",
    "zdiff3": "[merge]\nconflictStyle = zdiff3\n",
}


@contextmanager
def configured(folder: Path, *names: str) -> Generator[None]:
    """People's global git configuration, with the files that it names."""
    (folder / "excludes").write_text(".env*\n*.ini\n*.rej\n")
    (folder / "attributes").write_text("*.py -text merge=union\n*.md -diff -merge\n")
    (folder / "hooks").mkdir()
    for name in ("pre-commit", "commit-msg", "post-checkout", "prepare-commit-msg"):
        (folder / "hooks" / name).write_text("#!/bin/sh\nexit 1\n")
        (folder / "hooks" / name).chmod(0o755)
    (folder / "templatedir" / "info").mkdir(parents=True)
    shutil.copy(folder / "excludes", folder / "templatedir" / "info" / "exclude")
    text = "".join(CONFIGURATIONS[name].format(folder=folder) for name in names)
    (folder / "gitconfig").write_text(text)
    with same_environment():
        os.environ["GIT_CONFIG_GLOBAL"] = str(folder / "gitconfig")
        os.environ.pop("GIT_TEMPLATE_DIR", None)
        yield


def work_in_progress(project: Path, chance: random.Random) -> str:
    """What is not committed, in a file of the template's or in one of one's own."""
    listed = [path for path in git(project, "ls-files", "-z").split("\0") if path]
    path = project / chance.choice([*listed, "new of mine.txt"])
    if path.is_symlink() or not (path.parent.is_dir()):
        return "nothing uncommitted"
    path.write_bytes((path.read_bytes() if path.exists() else b"") + b"not committed\n")
    if chance.random() < 0.5:
        git(project, "add", "--force", "--", str(path))
    return "work_in_progress"


def renames(project: Path, first: str) -> dict[str, str]:
    """The user's names of the template's files, as git finds them."""
    words = git(
        project, "diff", "--name-status", "--find-renames", "--diff-filter=R", "-z", first, "HEAD"
    )
    fields = words.split("\0")
    return {fields[n + 2]: fields[n + 1] for n in range(0, len(fields) - 1, 3)}


def unmerged(project: Path) -> set[str]:
    """The files that git lists as in conflict."""
    listed = git(project, "ls-files", "--unmerged", "-z").split("\0")
    return {line.partition("\t")[2] for line in listed if line}


def tracked(worktree: Path) -> Tree:
    """The files that git has, with the line endings that it keeps."""
    names = set(git(worktree, "ls-files", "-z").split("\0"))
    found = {path: file for path, file in tree(worktree).items() if path in names}
    for file in found.values():
        if b"\0" not in file.content:
            file.content = unix(file.content)
    return found


def commit(project: Path) -> None:
    """Commit all that git does not ignore."""
    for _ in range(2):  # once more, when who deletes .gitattributes has other line endings then
        git(project, "add", "--all")
        words = ("-c", f"core.hooksPath={os.devnull}", "commit", "--quiet", "--allow-empty")
        git(project, *words, "--message=edit")
        if not git(project, "status", "--porcelain"):
            break


def update(
    project: Path, tag: str, *, context_lines: int = 9999, quiet: bool = True, **answers: str
) -> None:
    """As the command that we recommend does."""
    copier.run_update(
        project,
        data=answers,
        vcs_ref=tag,
        defaults=True,
        skip_answered=True,
        overwrite=True,
        quiet=quiet,
        context_lines=context_lines,
        settings=Settings(),
    )


def tree(project: Path) -> Tree:
    """Every file on disk, ignored by git or not."""
    found: Tree = {}
    for folder, folders, files in os.walk(project):
        if ".git" in folders:
            folders.remove(".git")
        if ".git" in files:
            files.remove(".git")
        for name in [*files, *(name for name in folders if Path(folder, name).is_symlink())]:
            path = Path(folder, name)
            key = path.relative_to(project).as_posix()
            if path.is_symlink():
                found[key] = File(str(path.readlink()).encode(), link=True)
            else:
                found[key] = File(path.read_bytes(), bool(path.stat().st_mode & 0o100))
    return found


_workshop: Workshop | None = None


def begin(repository: Path, folder: Path) -> None:
    """Make a process ready for `run`."""
    global _workshop  # noqa: PLW0603
    tempfile.tempdir = str(folder)  # for Copier's own clones and renderings
    _workshop = Workshop(repository, folder)


def run(plan: Plan) -> Outcome:
    """One trial, in a process that is ready."""
    assert _workshop
    with quickened():
        return _workshop.trial(plan)


def state_after(plan: Plan) -> Tree:
    """The same twice, the second time with what is kept of the first; what the update left."""
    assert _workshop
    with quickened():
        _workshop.trial(plan)
        return _workshop.state_after(plan)

"""One project: rendered at an old release, edited by a user, updated, judged."""

import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import copier
import yaml
from copier import Settings
from jinja2 import Template

from tests._kit.quick import quickened
from tests.conftest import git  # first: it isolates git before Copier is imported
from tests.update.edits import ANSWERS, User
from tests.update.judge import File, Tree, Verdict, judge
from tests.update.releases import BACKEND, STUB

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
    """

    seed: int
    old: str
    new: str
    backend_dir: str = "backend"
    context_lines: int = 9999
    raw: bool = True


@dataclass
class Outcome:
    """What came of it."""

    plan: Plan
    edits: list[str]
    verdict: Verdict


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
        return self._trial(plan)[0]

    def state_after(self, plan: Plan) -> Tree:
        """Carry out a plan; returns what is left."""
        return self._trial(plan)[1]

    def _trial(self, plan: Plan) -> tuple[Outcome, Tree]:
        project = self.project(plan.old, plan.backend_dir)
        try:
            return self._carry_out(plan, project)
        finally:
            shutil.rmtree(project.parent)

    def _carry_out(self, plan: Plan, project: Path) -> tuple[Outcome, Tree]:
        user = User(project, project / plan.backend_dir, plan.seed)
        edits = user.work(raw=plan.raw)
        commit(project)
        base = tree(self.rendered(plan.old, plan.backend_dir))
        new = tree(self.rendered(plan.new, plan.backend_dir))
        mine = tree(project)
        for rendering in (base, new):
            for path in [path for path in rendering if STARTER.search(path)]:
                del rendering[path]
        new |= self.stubs(plan.old, plan.new, plan.backend_dir)
        update(project, plan.new, context_lines=plan.context_lines)
        listed = git(project, "ls-files", "--unmerged", "-z").split("\0")
        unmerged = {line.partition("\t")[2] for line in listed if line}
        result = tree(project)
        verdict = judge(base, mine, new, result, unmerged, ANSWERS, MAY_VANISH)
        return Outcome(plan, edits, verdict), result


def commit(project: Path) -> None:
    """Commit all that git does not ignore."""
    for _ in range(2):  # once more, when who deletes .gitattributes has other line endings then
        git(project, "add", "--all")
        git(project, "commit", "--quiet", "--allow-empty", "-m", "edit")
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

"""`python backend/testing/update.py`: the template's next release, as a branch to merge.

Type it where .copier-answers.yml is; it takes the options of `copier update`. Copier renders this
release and the next in a temporary folder, and git merges the difference in a worktree of its own:
your files, index and branches stay as they are. With conflicts, the worktree stays for their sake.
"""

import os
import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

ANSWERS, BRANCH = ".copier-answers.yml", "template-update"
# What people have in their git configuration that would change a rendering or the merge.
SETTINGS = (
    "apply.whitespace=nowarn core.attributesFile= core.excludesFile= core.hooksPath=/dev/null "
    "core.quotePath=true merge.directoryRenames=true merge.renames=true rerere.enabled=false "
    "status.showUntrackedFiles=normal"
)
NEXT = """
    git diff HEAD...template-update
    git merge --ff-only --no-overwrite-ignore template-update
    docker compose build
    docker compose run --rm test

To go back after the merge: git reset --keep ORIG_HEAD"""


def run(*words: str | Path, folder: str | Path = ".", codes: tuple[int, ...] = (0,)) -> str:
    """Run a command that exits with one of these codes; returns what git printed."""
    try:
        stdout = None if words[0] == "copier" else subprocess.PIPE  # Copier's is its --help
        done = subprocess.run(words, cwd=folder, stdout=stdout, check=False)
    except FileNotFoundError:
        sys.exit(f"Error: {words[0]} is not installed. Next: uv tool install {words[0]}")
    if done.returncode not in codes:
        sys.exit(f"Error: failed (above), and nothing has changed: {' '.join(map(str, words))}")
    return (done.stdout or b"").decode("utf-8", "surrogateescape").strip("\n")


def render(*words: str, project: Path) -> None:
    """Run Copier, and commit, since it updates nothing else."""
    run("copier", *words, "--defaults", "--skip-answered", project)
    run("git", "add", "--all", "--force", ".", folder=project)
    robot = ("-c", "user.name=robot", "-c", "user.email=robot", "-c", "commit.gpgSign=false")
    run("git", *robot, "commit", "--quiet", "--allow-empty", "--message=x", folder=project)


def snapshot(rendering: Path, worktree: Path, prefix: str, parent: str) -> str:
    """A commit like HEAD, but with the rendering in place of the project."""
    git = ("git", f"--git-dir={worktree / '.git'}", f"--work-tree={rendering}")
    run(*git, "add", "--all", "--force", "--", prefix or ".", folder=rendering)
    return run(*git, "commit-tree", "-p", parent, "-m", BRANCH, run(*git, "write-tree"))


def merge(base: str, target: str, worktree: Path) -> None:
    """Merge what changed from base to target into the worktree, which is at HEAD."""
    run("git", "reset", "--quiet", "--hard", folder=worktree)
    run("git", "cherry-pick", "--no-commit", target, folder=worktree, codes=(0, 1))
    known = run("git", "ls-tree", "-rz", "--name-only", base, folder=worktree).split("\0")
    for entry in run("git", "status", "--porcelain", "-z", folder=worktree).split("\0"):
        if entry.startswith("DU "):  # what you deleted stays so; what moved from there is new
            run("git", "rm" if entry[3:] in known else "add", "--", entry[3:], folder=worktree)


def update(options: list[str], worktree: Path, prefix: str) -> None:
    """Render this release and the next, and merge the difference."""
    run("git", "worktree", "add", "--quiet", "-B", BRANCH, worktree, "HEAD")
    given = worktree / prefix / ANSWERS
    answers = given.read_bytes() if given.is_file() else b""
    if not re.search(rb"(?m)^_commit: ", answers) or re.search(rb"(?m)^_src_path: \.", answers):
        sys.exit(f"Error: {ANSWERS} is not committed here, or names no release: README.md")
    with TemporaryDirectory(prefix=f"{BRANCH}.", ignore_cleanup_errors=True) as folder:
        # What copier.yml says depends on both names: this folder's, and that of the project's.
        root = Path(folder).resolve() / worktree.name.removesuffix(f"-{BRANCH}")
        project = root / prefix
        project.mkdir(parents=True)
        run("git", "init", "--quiet", root)
        (project / ANSWERS).write_bytes(answers)
        render("recopy", "--quiet", "--overwrite", "--vcs-ref=:current:", project=project)
        base = snapshot(root, worktree, prefix, "HEAD")
        render("update", *options, project=project)
        merge(base, snapshot(root, worktree, prefix, base), worktree)


def main(options: list[str]) -> None:
    """Update in a worktree, which a failure takes along; say what to do next."""
    first = int(os.environ.get("GIT_CONFIG_COUNT", "0"))
    for number, setting in enumerate(SETTINGS.split(), first):
        name, _, value = setting.partition("=")
        os.environ |= {f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value}
        os.environ["GIT_CONFIG_COUNT"] = str(number + 1)
    os.environ |= {"GIT_LITERAL_PATHSPECS": "1", "GIT_TEMPLATE_DIR": ""}
    for name in ("DIR", "COMMON_DIR", "INDEX_FILE", "OBJECT_DIRECTORY", "WORK_TREE"):
        os.environ.pop(f"GIT_{name}", None)  # a hook's or an alias's, for its repository alone
    top = Path(run("git", "rev-parse", "--show-toplevel"))
    worktree = top.with_name(f"{top.name}-{BRANCH}")
    remove = ("git", "worktree", "remove", "--force", str(worktree))
    forget = ("git", "branch", "--delete", "--force", BRANCH)
    if (worktree / ".git").exists() or run("git", "branch", "--list", BRANCH, "--no-merged"):
        commands = f'    git worktree remove --force "{worktree}"\n    {" ".join(forget)}'
        sys.exit(f"Error: an earlier update is not merged. To forget it:\n\n{commands}")
    try:
        update(options, worktree, run("git", "rev-parse", "--show-prefix"))
        if not run("git", "status", "--porcelain", folder=worktree):
            print("Nothing to merge: Copier changed no file.")
            sys.exit()
        options = ["--cached", "--name-status", "--diff-filter=DRU"]
        listed = run("git", "diff", *options, folder=worktree)
        conflict = run("git", "ls-files", "--unmerged", folder=worktree)
        if not conflict:
            run("git", "commit", "--quiet", "-m", "Update from the template", folder=worktree)
            run(*remove)
    except BaseException:
        for words in (remove, forget):
            subprocess.run(words, check=False, capture_output=True)
        raise
    print(f"\nConflicts (U), removed (D), renamed (R):\n\n{listed or 'none'}\n")
    if conflict:
        print(f"Resolve the conflicts in {worktree}, git add them, git commit. Then:")
    print(NEXT)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit("Interrupted, and nothing has changed.")

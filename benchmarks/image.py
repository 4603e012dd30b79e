"""Images, `copier copy` and `copier update`."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import copier
from copier import Settings
from sqlalchemy import URL

from benchmarks.figures import Figure, alternate, figure
from benchmarks.project import Compose, add_revisions, render, why_no_docker
from tests._kit.support import BIN, environment
from tests.conftest import git

TITLE = "Images, copies and updates"


def measure(folder: Path, server: URL, runs: int) -> Iterator[Figure]:
    """Seconds and megabytes."""
    del server
    render(folder)  # makes the copy of the template
    template = folder / "template"
    git(template, "init", "--quiet")
    git(template, "add", "--all")
    git(template, "commit", "--quiet", "-m", "template")
    copies = iter(range(1000))
    taken = alternate(runs, ours=lambda: _copy(template, folder / f"copy{next(copies)}"))
    yield figure("copier copy, in the process", taken, target=0.8)
    for number in (0, 300):
        project = folder / f"update{number}"
        _copy(template, project)
        if number:
            add_revisions(project / "backend", 1, number)
        git(project, "init", "--quiet")
        git(project, "add", "--all")
        git(project, "commit", "--quiet", "-m", "project")
        taken = alternate(max(runs // 5, 2), ours=partial(_update, project))
        yield figure(f"an update, {number} revisions", taken)
    if why := why_no_docker():
        yield Figure("images", 0, others={"why_not": why})
        return
    compose = Compose(render(folder))
    build = ["build", "--quiet", f"--tag={compose.name}", "backend"]
    try:
        yield Figure("runtime image, cold build", compose.seconds(*build, "--no-cache"))
        main = compose.folder / "backend/app/core/naming.py"
        edits = iter(range(1000))

        def after_a_change() -> float:
            main.write_text(main.read_text() + f"# {next(edits)}\n")
            return compose.seconds(*build)

        taken = alternate(max(runs // 5, 2), ours=after_a_change)
        yield figure("runtime image, after a change of code", taken)
        size = int(compose("image", "inspect", "--format={{.Size}}", compose.name))
        yield Figure("runtime image", size / 1e6, "MB", others=_layers(compose))
    finally:
        compose("rmi", "--force", compose.name)


def _copy(template: Path, project: Path) -> float:
    start = time.perf_counter()
    copier.run_copy(
        str(template), project, vcs_ref="HEAD", defaults=True, quiet=True, settings=Settings()
    )
    return time.perf_counter() - start


def _update(project: Path) -> float:
    """By the recommended way; nothing is newer, which costs the same renderings."""
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "backend/testing/update.py"],
        cwd=project,
        env=environment(PATH=f"{BIN}{os.pathsep}{os.environ['PATH']}"),
        capture_output=True,
        text=True,
        check=False,
    )
    taken = time.perf_counter() - start
    if done.returncode:
        sys.exit(f"the update failed:\n{done.stdout}{done.stderr}")
    return taken


def _layers(compose: Compose) -> dict[str, str]:
    """Where the megabytes are: the largest packages, and what the base has."""
    du = "du -sm /usr /opt/site-packages/* | sort -rn | head -8"
    printed = compose("run", "--rm", "--user=0", compose.name, "sh", "-c", du)
    rows = [line.split() for line in printed.splitlines()]
    return {"where": ", ".join(f"{path.rpartition('/')[2]} {size}" for size, path in rows)}

"""Where the time goes in the cases that miss their targets, by cProfile.

Seconds under the profiler, which slows Python's own part: read the shares. A function's time is
that of all that it calls; a package's is its own, and waiting for the server is psycopg2's.
"""

import os
import pstats
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import URL

from benchmarks.checks import NEW, add_steps, release
from benchmarks.figures import Figure
from benchmarks.project import add_revisions, ended, new_database, process, render
from tests._kit.support import environment

TITLE = "Where the time goes"
REVISIONS = int(os.environ.get("BENCH_REVISIONS", "1000").split(",")[-1])
LINES = 10
MODULE = ["-m", "app.migrate"]
TESTS = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/test_migrations.py"]
TESTS += ["--deselect=tests/test_migrations.py::test_models_and_revisions_make_the_same_schema"]


def measure(folder: Path, server: URL, runs: int) -> Iterator[Figure]:
    """Of each case its packages, and the functions of ours that take longest."""
    del runs
    backend, url = render(folder) / "backend", new_database(server)
    add_revisions(backend, 1, REVISIONS)
    yield from _profile(f"{REVISIONS:,} revisions from empty", backend, url, MODULE)
    process([sys.executable, *MODULE], backend, url)  # stores the proof
    yield from _profile(f"Nothing to do, {REVISIONS:,} revisions", backend, url, MODULE)
    backend = render(folder) / "backend"
    add_steps(backend, 0, 100)
    yield from _profile("The checks of 100 revisions", backend, None, TESTS)
    add_steps(backend, 100, REVISIONS)
    release(backend, f"r{REVISIONS - NEW - 1:03}")
    title = f"The checks of {NEW} revisions after {REVISIONS - NEW:,} released"
    yield from _profile(title, backend, None, TESTS)


def _profile(title: str, backend: Path, url: URL | None, words: list[str]) -> Iterator[Figure]:
    file = backend / "profile"
    command = [sys.executable, "-m", "cProfile", "-o", str(file), *words]
    done = ended(command, backend, environment(url))
    if done.code:
        sys.exit(done.output[-3000:])
    functions, packages = dict[str, float](), defaultdict[str, float](float)
    for (path, _, name), (_, _, own, all_of_it, _) in pstats.Stats(str(file)).stats.items():  # type: ignore[attr-defined]
        packages[_package(path, name, backend)] += own
        if path.startswith(str(backend)) and name != "<module>":
            place = f"`{name}`, {Path(path).relative_to(backend)}"
            functions[place] = functions.get(place, 0) + all_of_it
    total = sum(packages.values())
    for what in packages, functions:
        longest = sorted(what.items(), key=lambda item: -item[1])
        # What is all of it, such as `main`, says nothing; nor does the end of a greenlet.
        some = [it for it in longest if 0.01 <= it[1] / total <= 0.9][:LINES]
        for name, seconds in some:
            share = {"share": f"{seconds / total:.0%}"}
            kind = "by package" if what is packages else "by function of ours"
            yield Figure(name, seconds, others=share, part=f"{title}, {kind}")


def _package(path: str, name: str, backend: Path) -> str:
    if "psycopg2" in name or "psycopg2" in path:
        return "psycopg2, and waiting for the server"
    if path.startswith(str(backend)):
        return "/".join(Path(path).relative_to(backend).parts[:2])
    parts = Path(path).parts
    if "site-packages" in parts:
        return parts[parts.index("site-packages") + 1]
    return "Python"

"""Measure the cases that the command line names, print each figure, keep all in docs/."""

import argparse
import inspect
import os
import tempfile
from importlib import import_module
from pathlib import Path

from benchmarks.figures import line, store
from tests._kit.support import template_module

CASES = [
    "start",
    "noop",
    "upgrade",
    "locks",
    "backfill",
    "suite",
    "checks",
    "image",
    "histories",
    "profile",
]


def main() -> None:
    """Measure, print, store."""
    parser = argparse.ArgumentParser("scripts/bench")
    parser.add_argument("cases", nargs="*", metavar="case", help=", ".join(CASES))
    parser.add_argument("--peer", type=Path)
    parser.add_argument("--history", type=Path, action="append")
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--no-write", action="store_true")
    given = parser.parse_args()
    if unknown := set(given.cases) - set(CASES):
        parser.error(f"no case {', '.join(sorted(unknown))}; there are {', '.join(CASES)}")
    others = {
        "peer": given.peer and given.peer.absolute(),
        "history": [path.absolute() for path in given.history or []],
    }
    for name in given.cases or CASES:
        case = import_module(f"benchmarks.{name}")
        takes = inspect.signature(case.measure).parameters
        more = {name: value for name, value in others.items() if name in takes}
        launcher = template_module("testing.server")
        with tempfile.TemporaryDirectory() as folder, launcher.postgres_server() as (url, source):
            print(f"{case.TITLE}; {source}; load average {os.getloadavg()[0]:.1f}", flush=True)
            figures = []
            for figure in case.measure(Path(folder), url, given.runs, **more):
                print(f"  {line(figure)}", flush=True)
                figures.append(figure)
            if not given.no_write:
                store(name, case.TITLE, source, figures)


if __name__ == "__main__":
    main()

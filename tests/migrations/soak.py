"""Kill migrations and their server for as long as one likes: `python -m tests.migrations.soak 30`.

What test_faults.py does at twenty moments of each kind, until the minutes are over; and the random
graphs of test_shortcut.py, with a new seed each time. It stops at the first failure, whose seed is
printed.
"""

import itertools
import os
import secrets
import subprocess
import sys
import time
from pathlib import Path


def main(minutes: float) -> int:
    """Run the tests again and again; the exit code is the first that is not 0."""
    deadline = time.monotonic() + minutes * 60
    for number in itertools.count(1):
        seed = secrets.randbelow(10**6)
        os.environ |= {"FAULT_SEED": str(seed), "GRAPH_SEED": str(seed)}
        left = deadline - time.monotonic()
        if left <= 0:
            print(f"soak: {number - 1} rounds in {minutes:g} minutes, all well")
            return 0
        print(f"soak: round {number}, seed {seed}, {left / 60:.0f} minutes left", flush=True)
        words = ["-q", "-s", "-x", str(Path(__file__).parent)]
        which = ["-k", "any_moment or never_says or ten_replicas"]
        code = subprocess.run(
            [sys.executable, "-m", "pytest", *words, *which], check=False
        ).returncode
        if code:
            print(f"soak: failed with seed {seed}: FAULT_SEED={seed} GRAPH_SEED={seed}")
            return code
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("Error: how many minutes?\nNext:  python -m tests.migrations.soak 30")
    sys.exit(main(float(sys.argv[1])))

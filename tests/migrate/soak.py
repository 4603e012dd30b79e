"""Kill migrations and their servers for as long as one likes: `scripts/test --soak 30`.

Every round has a new seed: for the moments at which clients, servers and containers are killed, and
for the random histories. The first failure ends it, and prints the seed.
"""

import itertools
import os
import secrets
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HISTORIES = "test_the_fast_path_and_alembic_never_disagree"
TESTS = [
    "tests/migrate/test_faults.py",
    "tests/migrate/test_lock.py::test_ten_replicas_take_each_step_once",
    f"tests/migrate/test_fastpath.py::{HISTORIES}",
    "tests/docker/test_faults.py",  # which needs an engine
]
INTERRUPTED = 130


def main(minutes: float, words: list[str]) -> int:
    """Run the tests until the minutes are over; a round that has begun is finished.

    Args:
        minutes: how long.
        words: more words for pytest, such as -k.

    Returns:
        0, or the exit code of the round that failed.
    """
    tests = [name for name in TESTS if (ROOT / name.partition("::")[0]).exists()]
    start = time.monotonic()
    for number in itertools.count(1):
        passed = (time.monotonic() - start) / 60
        if passed >= minutes:
            print(f"soak: {number - 1} rounds in {passed:.1f} minutes, all well")
            break
        seed = secrets.randbelow(10**6)
        print(f"soak: round {number}, seed {seed}, {minutes - passed:.1f} minutes left", flush=True)
        code = run([*tests, *words], {"FAULT_SEED": str(seed), "GRAPH_SEED": str(seed)})
        if code == INTERRUPTED:
            print(f"soak: {number - 1} rounds, all well, and one that was interrupted")
            return code
        if code:
            print(f"soak: round {number} failed, with exit code {code}. Its seed again:")
            print(f"FAULT_SEED={seed} GRAPH_SEED={seed} scripts/test -n 0 -s {' '.join(tests)}")
            return code
    return 0


def run(words: list[str], seeds: dict[str, str]) -> int:
    """One round; Ctrl-C reaches pytest as well, which has servers to stop."""
    command = [sys.executable, "-m", "pytest", "-q", "-s", "-x", *words]
    with subprocess.Popen(command, cwd=ROOT, env=os.environ | seeds) as pytest:
        try:
            return pytest.wait()
        except KeyboardInterrupt:
            pytest.wait()
            return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), sys.argv[2:]))

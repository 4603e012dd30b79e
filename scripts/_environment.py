"""The virtual environment of the scripts: `.venv`, made from requirements.txt when that changes."""

import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BACKEND = ROOT / "template" / "{{ backend_dir }}"
VENV = ROOT / ".venv"


def python() -> Path:
    """The environment's interpreter; makes or renews the environment first where needed."""
    if sys.version_info < (3, 11):
        sys.exit(f"Error: Python {sys.version.split()[0]} is too old.\nNext:  use Python 3.11 or later")
    interpreter = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    lock = ROOT / "requirements.txt"
    wanted = hashlib.sha256(lock.read_bytes()).hexdigest()
    stamp = VENV / "requirements.sha256"
    if not stamp.exists() or stamp.read_text() != wanted:
        print(f"Setting up {VENV.relative_to(ROOT)} (once per change of requirements.txt) ...", flush=True)
        venv.create(VENV, clear=True, with_pip=True)
        subprocess.run(
            [interpreter, "-m", "pip", "install", "-qq", "--disable-pip-version-check",
             "--require-hashes", "--requirement", lock],
            check=True,
        )  # fmt: skip
        stamp.write_text(wanted)
    return interpreter

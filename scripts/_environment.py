"""What the scripts share: their virtual environment, and how they speak."""

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parents[1]
BACKEND = ROOT / "template" / "{{ backend_dir }}"
# SCRIPTS_VENV names another one where this tree cannot be written: see docker-compose.yml.
VENV = Path(os.environ.get("SCRIPTS_VENV") or ROOT / ".venv")


def fail(cause: str, remedy: str) -> NoReturn:
    """End with one sentence for the cause and one for what to do."""
    sys.exit(f"Error: {cause}\nNext:  {remedy}")


if sys.version_info < (3, 11):  # noqa: UP036 (whoever starts a script decides)
    fail(f"Python {sys.version.split()[0]} is too old", "use Python 3.11 or later")


def show_help(text: str | None) -> None:
    """Print the script's docstring and end, if that is what the caller asked for."""
    if {"-h", "--help"} & set(sys.argv[1:]):
        print((text or "").strip())
        sys.exit()


def python() -> Path:
    """The interpreter of `.venv`, which is made or renewed first when requirements.txt changed."""
    return environment(VENV, ROOT / "requirements.txt")


def environment(folder: Path, lock: Path) -> Path:
    """The interpreter of the virtual environment `folder`, which holds what `lock` says."""
    interpreter = _interpreter(folder)
    stamp = folder / "requirements.sha256"
    wanted = hashlib.sha256(lock.read_bytes()).hexdigest()
    if interpreter.exists() and stamp.exists() and stamp.read_text() == wanted:
        return interpreter
    print(f"Setting up {folder} (once per change of {lock.name}) ...", flush=True)
    if not (interpreter.exists() and stamp.exists()):  # not there, or only half
        _have_ensurepip()
        venv.create(folder, clear=not interpreter.exists(), with_pip=True)
    install = ["install", "--quiet", "--require-hashes", "--requirement"]
    pip = [str(interpreter), "-m", "pip", "--disable-pip-version-check", *install]
    # uv takes a fifth of pip's time, but knows nothing of pip's settings, such as another index.
    uv = [str(_interpreter(VENV)), "-m", "uv", "pip", *install, str(lock), "--compile-bytecode"]
    if pinned := re.search(r"^uv==(.*\\\n)*.*\n", lock.read_text(), re.MULTILINE):
        subprocess.run([*pip, "/dev/stdin"], input=pinned[0], text=True, check=False)
    done = subprocess.run([*uv, "--python", str(interpreter)], check=False, capture_output=True)
    if done.returncode and subprocess.run([*pip, str(lock)], check=False).returncode:
        fail(f"{lock} could not be installed", "check the network, then try again")
    stamp.write_text(wanted)
    return interpreter


def _have_ensurepip() -> None:
    """Debian's Python has it in a package of its own, which root may install."""
    package, apt = "python3-venv", shutil.which("apt-get")
    if importlib.util.find_spec("ensurepip") is None and apt and os.geteuid() == 0:
        print(f"Installing {package}, which this Python needs ...", flush=True)
        for words in (["update"], ["install", "--yes", "--no-install-recommends", package]):
            subprocess.run([apt, "-qq", *words], check=False, stdout=subprocess.DEVNULL)
        importlib.invalidate_caches()
    if importlib.util.find_spec("ensurepip") is None:
        fail("this Python cannot make virtual environments", f"sudo apt-get install {package}")


def _interpreter(folder: Path) -> Path:
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

"""Copier's command, the oldest that the template accepts and the newest."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests._kit.report import cannot_run
from tests._kit.support import BIN, environment
from tests.conftest import ROOT

OLDEST = yaml.safe_load((ROOT / "copier.yml").read_text())["_min_copier_version"]
COPIERS = {
    "newest": [str(BIN / "copier")],
    OLDEST: [
        *[str(BIN / "uv"), "tool", "run", "--quiet", "--python", sys.executable],
        *["--from", f"copier=={OLDEST}", "copier"],
    ],
}


def type_(project: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Type a command in a project, with no settings of Copier's."""
    return subprocess.run(
        words,
        cwd=project,
        env=environment(COPIER_SETTINGS_PATH=os.devnull),
        check=False,
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module", params=COPIERS)
def copier_(request: pytest.FixtureRequest) -> list[str]:
    """The command of the oldest and of the newest Copier."""
    words = COPIERS[request.param]
    if type_(ROOT, *words, "--version").returncode:
        cannot_run(f"copier {request.param} cannot be installed here", " ".join(words))
    return words

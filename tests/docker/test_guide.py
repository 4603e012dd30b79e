"""The guides of the rendered project, typed word by word."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.docker.conftest import Service
from tests.guide import Command, follow, steps


@pytest.mark.parametrize("name", ["README.md", "alembic/README.md"])
def test_a_newcomer_sees_what_the_guide_shows(name: str, service: Callable[..., Service]) -> None:
    here = service()
    folder = here.path if name == "README.md" else here.project.backend
    text = (folder / name).read_text(encoding="utf-8")
    commands = [step for step in steps(text) if isinstance(step, Command)]
    assert len(commands) > 5, "the guide has more commands than that"
    environment = here.caller["env"]
    # `copier`, as a reader has it who rendered the project
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    follow(text, here.path, here.project.backend, environment)

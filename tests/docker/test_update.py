"""Updates of a project that runs: its data stay, and its database goes on."""

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import WORKING_TREE
from tests.docker.conftest import Service
from tests.docker.test_guide import with_copier
from tests.update.releases import NEXT, repository

GIT = {name: value for name, value in os.environ.items() if name.startswith("GIT_")}
MODEL = """\
from sqlalchemy.orm import Mapped, mapped_column

from app.core.database import Base


class Note(Base):
    __tablename__ = "notes"

    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str]
"""


def typed(here: Service, command: str) -> str:
    """Type a command into a shell in the project; returns what it printed."""
    done = subprocess.run(  # noqa: S602 (a guide is typed into a shell)
        command,
        shell=True,
        cwd=here.path,
        env=with_copier(here.caller["env"]) | GIT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"$ {command}\n{done.stdout}"
    return done.stdout


def with_notes(here: Service) -> None:
    """A table of the user's own, by a revision of theirs, with a row; all committed."""
    here.write(f"{here.project.answers.get('backend_dir', 'backend')}/app/models/note.py", MODEL)
    here.migrate()
    here.migrate("revision", "--autogenerate", "-m", "add notes")
    here.migrate()
    here.rows("INSERT INTO notes (text) VALUES ('still here')")
    typed(here, "git add --all && git commit --quiet --message 'notes'")


@pytest.mark.in_turn(2, of="running projects")
def test_a_running_project_is_updated_migrated_and_green(
    service: Callable[..., Service], template: Path, tmp_path: Path
) -> None:
    here = service()
    with_notes(here)
    repository(tmp_path / "releases", template)
    answers = here.path / ".copier-answers.yml"
    text = re.sub(r"(?m)^_src_path: .*$", f"_src_path: {tmp_path}/releases", answers.read_text())
    here.write(".copier-answers.yml", text)
    typed(here, "git commit --quiet --all --message 'the template has moved'")
    assert f"_commit: {WORKING_TREE}" in text
    typed(
        here,
        "copier update --skip-answered --defaults --context-lines 9999 "
        f"--vcs-ref {NEXT} && git diff --exit-code --name-only --diff-filter=U",
    )
    assert f"_commit: {NEXT}" in answers.read_text()
    here.migrate()
    assert here.rows("SELECT text FROM notes") == [("still here",)]
    here.compose("run", "--rm", "test")


@pytest.mark.in_turn(2, of="running projects")
def test_the_guides_way_to_another_major_version_keeps_the_data(
    service: Callable[..., Service],
) -> None:
    here = service(postgres_version="17")
    with_notes(here)
    guide = (here.path / "README.md").read_text(encoding="utf-8")
    block = re.search(r"### Another major version.*?```sh\n(.*?)```", guide, re.DOTALL)
    assert block
    for command in block[1].splitlines():
        typed(here, command)
    assert here.rows("SELECT text FROM notes") == [("still here",)]
    [(version,)] = here.rows("SHOW server_version")
    assert version.startswith("18"), "the new server has them"
    here.migrate("check")

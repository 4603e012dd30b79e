"""AGENTS.md: short, and each line of it is true of what was rendered."""

import re
from pathlib import Path

import pytest

from tests._kit.guide import Command, steps
from tests._kit.support import template_module
from tests.conftest import Project, Render


@pytest.fixture(scope="module")
def project(rendered: Render) -> Project:
    """A project with all defaults."""
    return rendered()


@pytest.fixture(scope="module")
def agents(project: Project) -> str:
    """What an assistant reads."""
    assert (project.path / "CLAUDE.md").read_text() == "@AGENTS.md\n"
    return (project.path / "AGENTS.md").read_text()


@pytest.fixture(scope="module")
def guides(project: Project) -> list[str]:
    """What tests/docker/test_guide.py types."""
    files = [project.path / "README.md", project.backend / "alembic" / "README.md"]
    return [path.read_text() for path in files]


def test_it_is_short(agents: str) -> None:
    assert agents.count("\n") < 40


def test_its_commands_are_typed_by_the_tests_of_the_guides(agents: str, guides: list[str]) -> None:
    typed = {
        step.words.partition(" # ")[0].strip()
        for text in guides
        for step in steps(text)
        if isinstance(step, Command)
    }
    commands = set(re.findall(r"`(docker compose .*?)`", agents))
    assert len(commands) > 8
    assert commands <= typed


def test_what_it_points_to_is_there(agents: str, guides: list[str], project: Project) -> None:
    paths = re.findall(r"`((?:app|alembic|tests|testing)\b[\w/.]*|pyproject.toml)`", agents)
    assert len(paths) > 8
    for path in paths:
        assert Path(project.backend, path).exists(), path
    headings = set(re.findall(r"^#+ (.*)$", "\n".join(guides), re.MULTILINE))
    assert set(re.findall(r'"([A-Z][a-z ]+)"', agents)) <= headings


def test_its_exit_codes_are_those_of_the_guide(agents: str, guides: list[str]) -> None:
    said: dict[str, str] = {}
    for codes, meanings in re.findall(r"^\| ([\d, ]+) \| (.*?) \|", agents, re.MULTILINE):
        numbers, words = codes.split(", "), meanings.split("; ")
        said |= dict(zip(numbers, words * (len(numbers) // len(words)), strict=True))
    sections = re.findall(r"^### Exit codes? ([\d, ]+): (.*)$", guides[1], re.MULTILINE)
    assert said == {code: words for codes, words in sections for code in codes.split(", ")}
    codes = template_module("app.migrate.errors").ExitCode
    assert {int(code) for code in said} == {*codes, 137}
    retried = re.search(r"^\| ([\d, ]+) \|.*\| retry \|$", agents, re.MULTILINE)
    assert retried
    transient = {
        codes[entry["exit"]]
        for entries in template_module("app.migrate.errors").entries().values()
        for entry in entries.values()
        if entry.get("transient")
    }
    assert transient <= {int(code) for code in retried[1].split(", ")}

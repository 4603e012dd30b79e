"""The guide's recipes, typed; the suite follows each, with what came before as released.

On the host: what is typed in containers is the same, and tests/docker types enough of it.
"""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import URL

from tests._kit.forks import forks
from tests._kit.guide import follow
from tests._kit.support import NewDatabase, environment, execute
from tests.conftest import Render

pytestmark = pytest.mark.server
IN_COMPOSE = ["docker", "compose", "run", "--rm"]


def recipes(folder: Path) -> Iterator[tuple[str, str]]:
    """Heading -> text of each section that changes a schema; a model stands in the one before."""
    guide, more = ((folder / name).read_text() for name in ("README.md", "RECIPES.md"))
    guide = guide[guide.index("## A data migration") : guide.index("## What autogenerate writes")]
    shared, *parts = re.split(r"^## (.*)\n", guide + more, flags=re.MULTILINE)
    assert not shared
    return zip(parts[::2], parts[1::2], strict=True)


@pytest.mark.in_turn(2, of="a whole project again")
def test_the_suite_is_green_after_each_recipe(
    render: Render, new_database: NewDatabase, server: URL
) -> None:
    backend, url = render().backend, new_database()
    given = server.render_as_string(hide_password=False)
    env = {"migrate": environment(url), "test": environment(TEST_DATABASE_URL=given)}
    tested = []

    def run(words: str, folder: Path) -> tuple[int, str]:
        typed = shlex.split(words, comments=True)
        assert typed[:4] == IN_COMPOSE
        module = {"migrate": "app.migrate", "test": "pytest"}[typed[4]]
        done = forks().run(module, typed[5:], folder, env[typed[4]])
        tested.append(typed[4])
        output = f"{done.stderr}\n{done.stdout}"
        return done.returncode, output.replace(str(backend), "/srv")

    run(shlex.join([*IN_COMPOSE, "migrate"]), backend)
    settings = backend / "pyproject.toml"
    head = "baseline"
    for heading, text in recipes(backend / "alembic"):
        before = settings.read_text()
        settings.write_text(re.sub('(?m)^released = ".*"', f'released = "{head}"', before))
        tested.clear()
        try:
            follow(text, backend, backend, run)
        except AssertionError as error:
            raise AssertionError(f"{heading}: {error}") from error
        assert "test" in tested, f"{heading}: no suite follows"
        [[head]] = execute(url, "SELECT version_num FROM alembic_version")

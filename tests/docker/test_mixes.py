"""Random answers in containers: `up --wait` exits 0 and the suite is green; broken, it is not.

More than one, and all options off and all on come first.

MIXES=20 scripts/test tests/docker/test_mixes.py
"""

import os
import random
from collections.abc import Callable

import pytest

from tests._kit.revision import write_revision
from tests._kit.support import free_port
from tests.conftest import ROOT, git
from tests.docker.conftest import Service
from tests.docker.test_acceptance import the_suite_is_green
from tests.render.test_render import ALL_MIXES

OFF = {"ci": "none", "api": "none", "deploy": "none", "extras": "[]"}
COUNT = int(os.environ.get("MIXES", "1"))
MIXES = random.Random(git(ROOT, "rev-parse", "HEAD")).sample(ALL_MIXES, COUNT)  # noqa: S311
if COUNT > 1:  # all options off, and all on
    MIXES = [ALL_MIXES[0] | OFF, ALL_MIXES[-1], *MIXES]


@pytest.mark.parametrize("mix", MIXES, ids=lambda mix: "-".join(mix.values()))
def test_a_mix_boots_and_a_broken_revision_stops_it(
    mix: dict[str, str], service: Callable[..., Service], slug: str
) -> None:
    image = f"{slug}-api" if mix["api"] == "fastapi" else slug
    # Without a registry there is one image of Python.
    shop = service(**mix | {"python_version": "3.13", "project_slug": image})
    shop.environment["API_PORT"] = str(free_port())
    shop.compose("up", "--detach", "--wait")
    assert shop.version() == ["baseline"]
    the_suite_is_green(shop)
    write_revision(shop.project.backend, "broken", "baseline", "raise RuntimeError")
    done = shop.compose("up", "--detach", "--wait", status=None)
    assert done.returncode != 0, done.stderr
    assert shop.version() == ["baseline"]

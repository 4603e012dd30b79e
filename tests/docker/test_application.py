"""`api: fastapi` in containers: healthy after the migration, reloaded, and patient at its end."""

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from tests._kit.guide import follow, shell
from tests._kit.support import free_port, until
from tests.docker.conftest import PATIENCE, Service
from tests.docker.test_acceptance import SOMEBODY, new_revision, the_caller_owns_everything

SLOW = '''

begun: list[int] = []


@app.get("/slow")
async def slow() -> str:
    """Takes its time."""
    begun.append(1)
    await asyncio.sleep(3)
    return "done"


@app.get("/begun")
async def has_begun() -> int:
    """Whether somebody waits for that."""
    return len(begun)


@app.get("/broken")
async def broken() -> None:
    """Fails."""
    raise ValueError("broken")
'''


@pytest.mark.in_turn(2, of="a whole project again")
def test_an_application_is_ready_reloads_and_ends_gracefully(
    service: Callable[..., Service], slug: str
) -> None:
    shop = service(**SOMEBODY, api="fastapi", project_slug=f"{slug}-api")
    port = free_port()
    shop.environment["API_PORT"] = str(port)

    def get(path: str) -> tuple[int, str]:
        try:
            with urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as response:
                return response.status, response.read().decode()
        except HTTPError as error:
            return error.code, error.read().decode()
        except OSError:  # between two starts
            return 0, ""

    def becomes(path: str, status: int) -> str:
        deadline = time.monotonic() + PATIENCE
        while (found := get(path))[0] != status:
            assert time.monotonic() < deadline, found
            time.sleep(0.2)
        return found[1]

    shop.compose("up", "--detach", "--wait")
    assert get("/health/ready")[0] == 200, "--wait waits for it"
    readme = (shop.path / "README.md").read_text()
    section = readme.partition("## The application")[2].partition("\n## ")[0]
    section = section.replace("localhost:8000", f"localhost:{port}")
    assert follow(section, shop.path, shop.project.backend, shell(shop.caller["env"])) == 2

    main = shop.project.backend / "app" / "main.py"
    main.write_text(f"import asyncio\n{main.read_text()}{SLOW}")
    assert becomes("/begun", 200) == "0"
    assert get("/broken")[0] == 500

    with ThreadPoolExecutor() as pool:
        last = pool.submit(get, "/slow")
        until(lambda: get("/begun")[1] == "1")
        shop.compose("stop", "api")
        assert last.result() == (200, '"done"')

    revision = new_revision(shop, "-m", "add nothing")
    shop.container("api").start()
    answer = json.loads(becomes("/health/ready", 503))
    assert revision.stem in answer["cause"]
    assert answer["next"] == "docker compose run --rm migrate upgrade head"
    shop.migrate()
    becomes("/health/ready", 200)

    shop.compose("stop", "--timeout", "1", "postgres")
    assert "PostgreSQL" in becomes("/health/ready", 503)
    assert get("/health/live")[0] == 200
    logs = shop.compose("logs", "--no-log-prefix", "api").stdout.splitlines()
    lines = [json.loads(line) for line in logs if line.startswith("{")]
    assert any(line["message"] == "request" and line["request_id"] for line in lines)
    [error] = [line for line in lines if "exception" in line]  # once, and of its request
    assert "ValueError: broken" in error["exception"]
    assert error["request_id"]
    the_caller_owns_everything(
        shop, [" M backend/app/main.py", f"?? backend/alembic/versions/{revision.name}"]
    )

"""docs/example: what a fresh project has, to look at without rendering one.

Where it differs, `EXAMPLE=write scripts/test tests/render/test_example.py` writes it again.
"""

import os

from tests.conftest import ROOT, Render

EXAMPLE = ROOT / "docs" / "example"


def test_the_example_is_what_is_rendered(rendered: Render) -> None:
    files = {name: text.decode() for name, text in rendered().files().items()}
    listing = "".join(f"{name}\n" for name in sorted(files))
    wanted = {"files.txt": listing, "docker-compose.yml": files["docker-compose.yml"]}
    if os.environ.get("EXAMPLE") == "write":
        for name, text in wanted.items():
            (EXAMPLE / name).write_text(text, encoding="utf-8")
    found = {path.name: path.read_text(encoding="utf-8") for path in EXAMPLE.iterdir()}
    assert found == wanted, "type: EXAMPLE=write scripts/test tests/render/test_example.py"

"""The models. Every module of this package is imported here, so that none can be forgotten.

A model in a file of this folder is seen by `alembic revision --autogenerate` with no list to keep.
"""

from importlib import import_module
from pathlib import Path

_here = Path(__file__).parent

# By files, not by pkgutil: that one skips a sub-folder without an __init__.py in silence, and a
# model that is not imported looks to autogenerate like a table to drop.
for _file in sorted(_here.rglob("*.py")):
    _parts = _file.relative_to(_here).with_suffix("").parts
    if not any(part.startswith(".") for part in _parts):  # those are editors'
        import_module(".".join((__name__, *_parts)).removesuffix(".__init__"))

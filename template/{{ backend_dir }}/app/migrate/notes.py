"""What `revision` says at its end: what nobody can know who sees the models alone."""

import re
from collections.abc import Collection, Iterator
from difflib import SequenceMatcher
from itertools import product
from pathlib import Path
from typing import Any

from alembic.operations import ops

from app.migrate.comparison import Comparison, Facts, plain
from app.migrate.trial import leaves

Item = tuple[str, str, str]  # "table", "column" or "value"; of which table or enum; its name


def notes(
    comparison: Comparison, upgrade: ops.UpgradeOps, written: Collection[str]
) -> Iterator[str]:
    """One line each. `written` are the paths of the revisions."""
    old, new = _items(comparison.old), _items(comparison.new)
    tables = {it[2] for it in new if it[0] == "table"} | comparison.dropped
    gone = [it for it in old if it not in new and (it[0] == "value" or tables & {*it[1:]})]
    come = [it for it in new if it not in old]
    if comparison.dropped and not new:
        yield "app/models has no model, and this drops every table: copy the models there first"

    def alike(pair: tuple[Item, Item]) -> float:
        was, now = old[pair[0]], new[pair[1]]
        if pair[0][:2] != pair[1][:2]:
            return 0
        if isinstance(was, set):
            return len(was & now) / len(was | now)
        ratio = SequenceMatcher(None, pair[0][2], pair[1][2]).ratio()
        return 0.5 + ratio / 2 if was == now else ratio - 0.25

    renamed = set[Item]()
    for pair in sorted(product(gone, come), key=alike, reverse=True):
        if alike(pair) >= 0.5 and not renamed & {*pair}:
            renamed |= {*pair}
            (what, _, was), (_, _, now) = pair
            said = f"drops {what} {was} and adds {what} {now}"
            yield f"{said}: if this is a rename, write {_code(*pair)}"
    for (what, table, name), (_, other, also) in product(gone, come):
        is_same = what == "column" and name == also != "id" and table != other
        of_renamed = renamed & {("table", "", table), ("table", "", other)}
        if is_same and not of_renamed and old["column", table, name] == new["column", other, name]:
            said = f"drops {table}.{name} and adds {other}.{name}"
            yield f"{said}: if values move, write an UPDATE in between, by op.execute()"
    for op in (op for _, _, op in leaves(upgrade) if isinstance(op, ops.AddColumnOp)):
        if not (op.column.nullable or op.column.server_default):
            yield f"{comparison.subject(op)} requires a value, and fails where rows are"
    for schema, names in comparison.other_schemas.items():
        has_schema = re.compile(rf"schema=['\"]{re.escape(schema)}['\"]")
        if names and any(has_schema.search(Path(path).read_text("utf-8")) for path in written):
            said = f"schema {schema} has no model any more, and keeps {', '.join(sorted(names))}"
            yield f"{said}: write op.drop_table(), or ALTER TABLE ... SET SCHEMA by op.execute()"
    for name in comparison.missing_views:
        yield f"view {name} does not exist: write op.execute('CREATE VIEW {name} AS ...')"


def _items(facts: Facts) -> dict[Item, Any]:
    """What may be renamed, and what else says that it is the same."""
    items = dict[Item, Any]()
    for (kind, name, item), fact in facts.items():
        table, column = plain(name), plain(item)
        if kind == "type":
            items["column", table, column] = fact.definition
            items.setdefault(("table", "", table), set()).add((column, fact.definition))
        elif kind == "labels":
            items |= {("value", name, label): number for number, label in enumerate(fact.make)}
    return items


def _code(was: Item, now: Item) -> str:
    what, of, name = was
    schema, _, table = (of or name).rpartition(".")
    more = f", schema={schema!r}" if schema else ""
    if what == "value":
        sql = f"ALTER TYPE {of} RENAME VALUE {name} TO {now[2]}"
        return f"op.execute({sql!r})"
    if what == "column":
        return f"op.alter_column({table!r}, {name!r}, new_column_name={now[2]!r}{more})"
    new_schema, _, new_table = now[2].rpartition(".")
    if schema != new_schema:
        return f'op.execute("ALTER TABLE {name} SET SCHEMA {new_schema or "public"}")'
    return f"op.rename_table({table!r}, {new_table!r}{more})"

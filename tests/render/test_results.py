"""What docs/RESULTS.md says is what was measured, and a missed target has a reason."""

import json

from benchmarks.figures import BEGIN, STORE, TABLES, missed, tables


def test_the_tables_are_those_of_the_stored_figures() -> None:
    text = TABLES.read_text("utf-8").partition(BEGIN)[2]
    assert text.startswith(tables(json.loads(STORE.read_text("utf-8")))), "scripts/bench writes it"


def test_a_target_that_is_missed_has_a_reason() -> None:
    found = missed(json.loads(STORE.read_text("utf-8")))
    assert [(case, it.what) for case, it, why in found if not why] == []

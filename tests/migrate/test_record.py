"""The record of what was applied, and the warning of what was changed afterwards."""
# ruff: noqa: E501

import hashlib
import re
from pathlib import Path
from typing import Any

import pytest

from tests.migrate.service import Service
from tests.migrate.table import Guide


def test_each_revision_is_recorded_in_its_own_transaction(service: Service) -> None:
    service.add("one", 'op.execute("CREATE TABLE one ()")', 'op.execute("DROP TABLE one")')
    wrong = service.add("wrong", 'op.execute("CREATE TABLE two ()")\nop.execute("SELEC")')
    assert service.migrate().returncode == 10
    rows = service.sql(
        "SELECT revision, direction, milliseconds >= 0, length(sha256), role, host <> '',"
        " applied_at > now() - interval '1 hour' FROM alembic_history ORDER BY id"
    )
    expected = [(name, "upgrade", True, 64, "postgres", True, True) for name in ("baseline", "one")]
    assert rows == expected, "nothing of the revision that failed"
    late = """
        op.execute("CREATE TABLE two (id int UNIQUE DEFERRABLE INITIALLY DEFERRED)")
        op.execute("INSERT INTO two VALUES (1), (1)")
        """  # which fails at its commit, after the record was written
    wrong.unlink()
    service.head = "one"
    service.add("late", late)
    done = service.migrate()
    assert (done.returncode, "duplicate key" in done.stderr) == (10, True), done
    assert service.sql("SELECT count(*) FROM alembic_history") == [(2,)]
    assert service.version() == ["one"]


def test_what_is_reverted_and_stamped_is_recorded_too(service: Service) -> None:
    service.add("one", 'op.execute("CREATE TABLE one ()")', 'op.execute("DROP TABLE one")')
    for words in (["upgrade", "head"], ["downgrade", "-1"], ["stamp", "one"], ["stamp", "base"]):
        done = service.migrate(*words)
        assert done.returncode == 0, done
    rows = service.sql("SELECT revision, direction FROM alembic_history ORDER BY id")
    assert rows[:4] == [
        ("baseline", "upgrade"),
        ("one", "upgrade"),
        ("one", "downgrade"),
        ("one", "upgrade (stamp)"),
    ]
    assert rows[4:]
    assert all(direction == "downgrade (stamp)" for _, direction in rows[4:]), rows
    shown = service.migrate("log")
    assert shown.returncode == 0, shown
    lines = shown.stdout.splitlines()
    assert len(lines) == len(rows)
    line = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC  downgrade +one  \d+ ms  postgres@\S+"
    assert re.fullmatch(line, lines[2]), lines


def test_the_log_of_a_database_without_one_is_empty(service: Service) -> None:
    done = service.migrate("log")
    assert (done.returncode, done.stdout) == (0, ""), done


CHANGED = "was changed after it was applied to this database"


def is_warned(service: Service, *words: str) -> bool:
    """Run a command; whether a revision was said to be edited."""
    done = service.migrate(*words)
    assert done.returncode == 0, done
    return CHANGED in done.stderr


def test_a_revision_edited_after_it_was_applied_is_named(service: Service, guide: Guide) -> None:
    row = guide["an applied revision was edited"]
    path = service.add("one", 'op.execute("CREATE TABLE one ()")', 'op.execute("DROP TABLE one")')
    service.add("two", "pass")
    assert service.migrate().returncode == 0
    text = path.read_text()
    path.write_text(text.replace("TABLE one ()", "TABLE one (id int)"))
    for words in ([], ["upgrade", "head"], ["downgrade", "-1"], ["upgrade", "head"]):
        done = service.migrate(*words)
        row.check(done)
        assert done.stderr.count(f"{path.name} {CHANGED}") == 1, done
        for cure in (
            "'python -m app.migrate downgrade baseline'",
            "write a new revision",
            "'python -m app.migrate stamp heads'",
        ):
            assert cure in done.stderr, done
    path.write_text(text)
    assert not is_warned(service)


@pytest.mark.parametrize("words", [["downgrade", "baseline"], ["stamp", "heads"]])
def test_what_the_warning_advises_ends_it(service: Service, words: list[str]) -> None:
    path = service.add("one", 'op.execute("CREATE TABLE one ()")', 'op.execute("DROP TABLE one")')
    service.add("two", "pass")
    assert not is_warned(service)
    path.write_text(path.read_text().replace("TABLE one ()", "TABLE one (id int)"))
    assert is_warned(service)
    is_warned(service, *words)
    assert not is_warned(service)
    shown = service.migrate("log").stdout
    assert ("upgrade (stamp)    one" in shown) == (words[0] == "stamp"), shown


# What changes nothing that was applied; some of it our own checks demand after it was applied.
HARMLESS = {
    "crlf": lambda text: text.replace("\n", "\r\n"),
    "docstring": lambda text: text.replace("Made by a test", "Made by a careful test"),
    "comments": lambda text: text.replace("    rows =", "    # ours\n    rows =") + "# a second thought\n",
    "format": lambda text: text.replace('rows = "CREATE TABLE one ()"', "rows = (\n    'CREATE TABLE one ()'\n    )"),
    "accepted_risks": lambda text: text + 'accepted_risks = {"not-concurrent": "three rows"}\n',
    "data_loss": lambda text: text + 'data_loss = "nobody reads it"\n',
    "downgrade": lambda text: text.replace("    pass\n", '    op.execute("DROP TABLE one")\n'),
    "import": lambda text: text.replace("import time\n", ""),
    "parent": lambda text: text.replace("branch_labels = None", "branch_labels: str | None = None"),
    "a function of its downgrade": lambda text: text + "\n\ndef drop() -> None:\n    pass\n",
    "docstring of upgrade": lambda text: text.replace("    rows =", '    """Create it."""\n    rows ='),
}  # fmt: skip
# What may have changed what was applied.
HARMFUL = {
    "statement": lambda text: text.replace("TABLE one ()", "TABLE one (id int)"),
    "one more": lambda text: text.replace("    execute(rows)", "    execute(rows)\n    execute(rows)"),
    "function": lambda text: text.replace("op.execute(what)", "op.execute(what + SUFFIX)"),
    "constant": lambda text: text.replace('SUFFIX = ""', 'SUFFIX = " "'),
    "import": lambda text: text.replace("from alembic import context, op", "from alembic import op as op2\nop = op2"),
    "in a block": lambda text: text + "\nif True:\n    SUFFIX = ' '\n",
}  # fmt: skip


def write(service: Service) -> Path:
    """A revision whose upgrade uses a function, which uses a constant."""
    path = service.add("one", 'rows = "CREATE TABLE one ()"\nexecute(rows)')
    more = '\n\nSUFFIX = ""\n\n\ndef execute(what):\n    op.execute(what)\n    SUFFIX.strip()\n'
    path.write_text(path.read_text() + more)
    return path


@pytest.mark.parametrize("edits", [HARMLESS, HARMFUL], ids=["harmless", "harmful"])
def test_only_what_upgrade_does_is_compared(service: Service, edits: dict[str, Any]) -> None:
    path = write(service)
    assert not is_warned(service)
    text = path.read_text()
    for name, edit in edits.items():
        edited = edit(text)
        assert edited != text, name
        path.write_text(edited, newline="")
        assert is_warned(service) == (edits is HARMFUL), name
    path.write_text(text)
    assert not is_warned(service)


def test_what_an_earlier_release_recorded_is_compared_as_it_did(service: Service) -> None:
    """The SHA-256 of the whole text."""
    path = write(service)
    assert not is_warned(service)
    text = path.read_bytes()
    service.sql(
        "UPDATE alembic_history SET sha256 = %s WHERE revision = 'one'",
        hashlib.sha256(text).hexdigest(),
    )
    assert not is_warned(service)
    path.write_bytes(text.replace(b"\n", b"\r\n"))
    assert not is_warned(service, "upgrade", "one")
    path.write_bytes(text.replace(b"TABLE one ()", b"TABLE one (id int)"))
    assert is_warned(service)


def test_a_file_that_is_edited_while_it_runs_is_recorded_as_it_ran(service: Service) -> None:
    path = service.add(
        "one",
        """
        from pathlib import Path
        file = Path(__file__)
        op.execute("CREATE TABLE one ()")
        file.write_text(file.read_text().replace("TABLE one ()", "TABLE one (id int)"))
        """,
    )
    text = path.read_text()
    assert not is_warned(service)
    assert path.read_text() != text
    assert is_warned(service), "it is not what was applied"
    path.write_text(text)
    assert not is_warned(service)


def test_an_old_file_in_another_encoding_can_be_recorded(service: Service) -> None:
    path = service.add("one", "pass")
    text = "# -*- coding: latin-1 -*-\n" + path.read_text().replace("Made", "Gemäß")
    path.write_bytes(text.encode("latin-1"))
    for _ in range(2):
        done = service.migrate()
        assert done.returncode == 0, done
    assert service.version() == ["one"]

"""The record of what was applied, and the warning of what was changed afterwards."""

import re

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


def test_a_revision_edited_after_it_was_applied_is_named(service: Service, guide: Guide) -> None:
    row = guide["an applied revision was edited"]
    path = service.add("one", 'op.execute("CREATE TABLE one ()")', 'op.execute("DROP TABLE one")')
    service.add("two", "pass")
    warning = f"{path.name} was changed after it was applied to this database"
    assert service.migrate().returncode == 0
    text = path.read_bytes()
    path.write_bytes(text.replace(b"\n", b"\r\n"))
    for words in ([], ["upgrade", "two"]):
        done = service.migrate(*words)
        assert (done.returncode, "was changed" in done.stderr) == (0, False), done
    path.write_bytes(text + b"# a second thought\n")
    for words in ([], ["upgrade", "head"], ["downgrade", "-1"], ["upgrade", "head"]):
        done = service.migrate(*words)
        row.check(done)
        assert done.stderr.count("was changed after") == 1, done
        assert warning in done.stderr
        assert "write a new revision" in done.stderr
    assert service.migrate("downgrade", "baseline").returncode == 0
    done = service.migrate()  # applied in its new text
    assert (done.returncode, "was changed" in done.stderr) == (0, False), done


def test_an_old_file_in_another_encoding_can_be_recorded(service: Service) -> None:
    path = service.add("one", "pass")
    text = "# -*- coding: latin-1 -*-\n" + path.read_text().replace("Made", "Gemäß")
    path.write_bytes(text.encode("latin-1"))
    for _ in range(2):
        done = service.migrate()
        assert done.returncode == 0, done
    assert service.version() == ["one"]

"""The Job's podFailurePolicy, applied to real runs of the migration: which are tried again."""

import signal
import threading
from collections.abc import Callable
from contextlib import closing
from typing import Any

import psycopg2
import pytest
import yaml
from sqlalchemy import URL

from tests._kit.support import template_module
from tests.conftest import Render
from tests.migrate.service import Done, Service
from tests.migrate.table import Guide


@pytest.fixture(scope="module")
def job(rendered: Render) -> dict[str, Any]:
    """The rendered Job's `spec`."""
    path = rendered(deploy="kubernetes").path / "kubernetes" / "migrate.yaml"
    spec: dict[str, Any] = yaml.safe_load(path.read_text())["spec"]
    return spec


def play(job: dict[str, Any], attempt: Callable[[int], Done]) -> tuple[str, list[int]]:
    """The Job's condition, and the exit codes of its pods, one after the other.

    As https://kubernetes.io/docs/concepts/workloads/controllers/job/#pod-failure-policy says:
    the first rule that matches counts; without one, a failure counts against backoffLimit.
    """
    assert job["template"]["spec"]["restartPolicy"] == "Never"  # or the policy is rejected
    codes: list[int] = []
    while len(codes) <= job["backoffLimit"]:
        done = attempt(len(codes))
        code = done.returncode if done.returncode >= 0 else 128 - done.returncode
        codes.append(code)
        if code == 0:
            return "Complete", codes
        for rule in job["podFailurePolicy"]["rules"]:
            on = rule.get("onExitCodes")
            if on and (code in on["values"]) == (on["operator"] == "In"):
                assert rule["action"] == "FailJob"
                return "PodFailurePolicy", codes
    return "BackoffLimitExceeded", codes


def attempts(service: Service, **first: str) -> Callable[[int], Done]:
    """The first pod with these variables, later ones without."""
    return lambda number: service.migrate(**({} if number else first))


def test_what_passes_by_itself_is_tried_again(service: Service, job: dict[str, Any]) -> None:
    service.add("items", 'op.execute("CREATE TABLE items (id int)")')
    assert play(job, attempts(service, DATABASE_URL="postgresql://a:b@127.0.0.1:1/c")) == (
        "Complete",
        [4, 0],
    )
    service.add("more", 'op.execute("ALTER TABLE items ADD x int")')
    url = service.url.render_as_string(hide_password=False)
    with closing(psycopg2.connect(url)) as holder:
        holder.cursor().execute("LOCK items")

        def locked(number: int) -> Done:
            if number:
                holder.rollback()
            return service.migrate(MIGRATION_LOCK_TIMEOUT="0.05", MIGRATION_RETRY_WAIT="0.2")

        assert play(job, locked) == ("Complete", [9, 0])
    service.add("last", 'op.execute("ALTER TABLE items ADD y int")')
    with closing(psycopg2.connect(url)) as other:
        other.autocommit = True
        other.cursor().execute(template_module("app.migrate.queries").SQL["try_lock"])

        def locked_out(number: int) -> Done:
            if number:
                other.cursor().execute("SELECT pg_advisory_unlock_all()")
            return service.migrate(MIGRATION_LOCK_WAIT="0.1")

        assert play(job, locked_out) == ("Complete", [3, 0])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_what_is_interrupted_is_run_again(
    service: Service, job: dict[str, Any], number: signal.Signals
) -> None:
    """A pod that is evicted, or killed for its memory."""
    service.add("slow", "import os\nop.execute(f'SELECT pg_sleep({os.environ[\"SECONDS\"]})')")

    def interrupted(attempt: int) -> Done:
        running = service.start(SECONDS="0" if attempt else "600")
        if not attempt:
            service.until("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'")
            running.kill(number)
        return running.wait()

    assert play(job, interrupted) == ("Complete", [128 + number, 0])


def test_what_a_human_has_to_fix_is_tried_once(service: Service, job: dict[str, Any]) -> None:
    wrong: URL = service.url.set(database="nowhere")
    given = wrong.render_as_string(hide_password=False)
    assert play(job, lambda _: service.migrate(DATABASE_URL=given)) == ("PodFailurePolicy", [5])
    unset = {"DATABASE_URL": "nonsense"}
    assert play(job, lambda _: service.migrate(**unset)) == ("PodFailurePolicy", [2])
    service.add("broken", 'op.execute("SELECT nothing")')
    assert play(job, attempts(service)) == ("PodFailurePolicy", [10])
    service.head = "baseline"
    service.add("second", "pass")
    assert play(job, attempts(service)) == ("PodFailurePolicy", [8])


def test_a_release_has_nothing_to_do_where_the_next_one_has_migrated(
    service: Service, guide: Guide
) -> None:
    """Its pod starts again, with its init container."""
    service.variables["ENVIRONMENT"] = "production"
    service.add("one", "pass")
    assert service.migrate().returncode == 0
    later = service.add("two", "pass")
    assert service.migrate().returncode == 0
    later.unlink()
    for _ in range(2):
        done = service.migrate()
        assert done.returncode == 0, done
        guide["a newer release has migrated, and this one starts, in production"].check(done)
    assert service.version() == ["two"]
    assert service.migrate("upgrade", "+1").returncode == 8
    assert service.migrate(ENVIRONMENT="development").returncode == 8
    # Nor is that so of another branch, or where this code's head was reverted.
    service.head = "baseline"
    (service.versions / service.add("other", "pass").name).rename(later)
    for path in service.versions.glob("*_one_*"):
        path.unlink()
    done = service.migrate()
    assert done.returncode == 8, done
    service.sql(
        "INSERT INTO alembic_history (revision, direction, milliseconds, sha256, host)"
        " VALUES ('other', 'upgrade', 1, '', ''), ('other', 'downgrade', 1, '', '')"
    )
    assert service.migrate().returncode == 8


def test_retries_end(service: Service, job: dict[str, Any]) -> None:
    nowhere = {"DATABASE_URL": "postgresql://a:b@127.0.0.1:1/c"}
    condition, codes = play(job, lambda _: service.migrate(**nowhere))
    assert (condition, set(codes), len(codes)) == ("BackoffLimitExceeded", {4}, 7)


def test_two_jobs_at_once_migrate_once(service: Service, job: dict[str, Any]) -> None:
    service.add("slow", 'op.execute("SELECT pg_sleep(1)")')
    ends: list[str] = []
    jobs = [
        threading.Thread(target=lambda: ends.append(play(job, lambda _: service.run())[0]))
        for _ in range(2)
    ]
    for thread in jobs:
        thread.start()
    for thread in jobs:
        thread.join()
    assert ends == ["Complete", "Complete"]
    assert service.sql("SELECT count(*) FROM alembic_history WHERE revision = 'slow'") == [(1,)]

"""The chore is done again and again, whatever happens in one of its turns."""

import time
from pathlib import Path
from threading import Event

import pytest

from core.db import locks, schema
from core.db.sessions import Sessions
from core.domain.identity import DEFAULT
from core.domain.jobs import JobState, QueueName
from core.errors import Unavailable
from core.execution.supervisor import Supervisor
from core.execution.sweeper import Sweeper
from core.services import jobs
from tests.unit.execution.bench import Bench, eventually, job_of, settings_for, submit


def test_a_failed_sweep_is_not_the_last() -> None:
    turns = iter([Unavailable("away"), RuntimeError("a bug"), None])
    enough = Event()

    def sweep() -> None:
        error = next(turns, None)
        if error is not None:
            raise error
        enough.set()

    sweeper = Sweeper(sweep, seconds=0.01)
    sweeper.start()
    assert enough.wait(10)
    sweeper.stop()


def test_stop_before_start_is_harmless() -> None:
    Sweeper(lambda: None, seconds=1).stop()


def test_stop_does_not_wait_for_the_next_turn() -> None:
    done = Event()
    sweeper = Sweeper(done.set, seconds=3600)
    sweeper.start()
    assert done.wait(10)
    sweeper.stop()


def test_a_round_that_takes_too_long_is_left_to_itself() -> None:
    began, end = Event(), Event()

    def wait() -> None:
        began.set()
        end.wait(60)

    sweeper = Sweeper(wait, seconds=3600)
    sweeper.start()
    assert began.wait(10)
    started = time.monotonic()
    sweeper.stop(patience=0.05)
    assert time.monotonic() - started < 10
    end.set()
    sweeper.stop()


def test_a_chore_that_fails_keeps_no_other_from_its_turn() -> None:
    done = Event()

    def fail() -> None:
        raise Unavailable("away")

    sweeper = Sweeper(fail, done.set, seconds=3600)
    sweeper.start()
    assert done.wait(10)
    sweeper.stop()


@pytest.mark.services
def test_a_sweep_is_left_to_whoever_is_at_it(tmp_path: Path, postgres_url: str) -> None:
    schema.migrate(postgres_url)
    sessions = Sessions(postgres_url).within(DEFAULT)
    job_id = submit(sessions)
    with sessions.begin() as session:
        assert jobs.claim(session, queue=QueueName.CPU, owner="dead:1", lease_seconds=0.01)
    settings = settings_for(tmp_path, database_url=postgres_url)
    supervisor = Supervisor(sessions, settings, "test:1")
    with sessions.begin() as busy:
        assert locks.alone(busy, "sweep")
        for _ in range(5):
            supervisor.sweep()
        assert job_of(sessions, job_id).state is JobState.RUNNING
    eventually(lambda: supervisor.sweep() or job_of(sessions, job_id).state is JobState.QUEUED)
    sessions.dispose()


def test_a_sweep_rings_once_for_all_it_took_back(bench: Bench) -> None:
    many = {submit(bench.sessions, f"embedder-{number}") for number in range(3)}
    with bench.sessions.begin() as session:
        for _ in many:
            assert jobs.claim(session, queue=QueueName.CPU, owner="dead:1", lease_seconds=0.01)
    time.sleep(0.1)
    bench.supervisor("succeed").sweep()
    assert all(bench.job(job_id).state is JobState.QUEUED for job_id in many)
    assert len(bench.rings) == 1
    assert set(bench.rings) <= many

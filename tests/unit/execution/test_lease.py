"""How soon a cancel is known and obeyed, by a clock that moves only when somebody waits."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import pytest
from sqlalchemy.orm import Session

from core.config import CANCEL_SECONDS, JobTimings
from core.db.sessions import Sessions
from core.domain.datasets import Embedding
from core.domain.jobs import Job, JobRecord, JobState, Progress, QueueName
from core.domain.work import EmbedOutcome
from core.errors import LeaseLost, Unavailable
from core.execution import protocol
from core.execution.attempt import Attempt
from core.execution.lease import Lease
from core.services import datasets, jobs, wire
from tests.unit.execution.bench import Bench, settings_for

DEFAULT = JobTimings()
# The slowest that the settings allow.
SLOWEST = (
    JobTimings(cancel_poll=4.0, cancel_grace=5.0),
    JobTimings(cancel_poll=8.0, cancel_grace=1.0),
    JobTimings(cancel_poll=60.0, heartbeat=4.0, cancel_grace=5.0),
)


@dataclass
class Clock:
    """Stands in for the module `time`."""

    now: float = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@dataclass
class DeafChild:
    """Stays silent until the moment comes, heeds no request to stop, and ends when killed."""

    clock: Clock
    moment: float
    then: Callable[[], list[protocol.Event]]
    killed_at: float | None = None
    asked_at: float | None = None
    expired: bool = False
    stuck: bool = False
    pid: int = 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def events(self, timeout: float) -> Iterator[protocol.Event]:
        end = self.clock.now + timeout
        if self.clock.now <= self.moment < end:
            self.clock.now = self.moment
            yield from self.then()
        self.clock.now = end
        if self.killed_at is not None:
            yield protocol.Exited(-9)

    def keep_until(self, deadline: float) -> None:
        pass

    def terminate(self) -> None:
        self.asked_at = self.clock.now

    def kill(self) -> None:
        self.killed_at = self.killed_at or self.clock.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    for module in ("lease", "attempt"):
        monkeypatch.setattr(f"core.execution.{module}.time", made)
    return made


def claimed(bench: Bench) -> Job:
    bench.submit()
    with bench.sessions.begin() as session:
        job = jobs.claim(session, queue=QueueName.CPU, owner="w", lease_seconds=60.0)
    assert job is not None
    return job


def attempt(bench: Bench, job: Job, timings: JobTimings) -> Attempt:
    return Attempt(
        job,
        sessions=bench.sessions,
        settings=settings_for(bench.folder / "home", timings),
        command=(),
        draining=lambda: False,
    )


def given(child: DeafChild, *_: object, **__: object) -> DeafChild:
    return child


def cancel(bench: Bench, job: Job) -> list[protocol.Event]:
    with bench.sessions.begin() as session:
        jobs.cancel(session, job.id)
    return []


@pytest.mark.parametrize("timings", [DEFAULT, *SLOWEST])
def test_a_silent_child_is_gone_in_time_whenever_the_cancel_comes(
    bench: Bench, clock: Clock, monkeypatch: pytest.MonkeyPatch, timings: JobTimings
) -> None:
    for after in (0.0, 0.1, 1.95, 2.05, 3.999, 9.7, 9.95, 10.15, 11.9):
        job = claimed(bench)
        child = DeafChild(clock, clock.now + after, partial(cancel, bench, job))
        monkeypatch.setattr("core.execution.attempt.ChildProcess", partial(given, child))
        assert attempt(bench, job, timings).run() is False
        assert child.asked_at is not None
        assert child.killed_at is not None
        assert child.killed_at - child.asked_at >= timings.cancel_grace  # to stop by itself
        assert child.killed_at - child.moment <= CANCEL_SECONDS
        assert bench.job(job.id).state is JobState.CANCELLED


def test_what_was_finished_after_the_cancel_was_accepted_never_appears(
    bench: Bench, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = claimed(bench)
    assert job.dataset_id is not None
    made = Embedding(job.dataset_id, "default", "key", "0" * 64, 4, 10, 1.0)  # type: ignore[arg-type]
    done = protocol.Finished(wire.dump(EmbedOutcome(made)))
    line = protocol.Reported(Progress("work", 0.5), JobRecord("work", 1, {}))

    def race() -> list[protocol.Event]:
        cancel(bench, job)
        return [line, done]

    child = DeafChild(clock, clock.now + 0.5, race)
    monkeypatch.setattr("core.execution.attempt.ChildProcess", partial(given, child))
    assert attempt(bench, job, DEFAULT).run() is False
    seen = bench.job(job.id)
    assert (seen.state, seen.result, seen.error_code) == (JobState.CANCELLED, None, None)
    with bench.sessions.read() as session:
        assert datasets.embedding(session, made.dataset_id, "default") is None
        assert len(jobs.records(session, job.id)) == 1  # its history stays


def count(patch: pytest.MonkeyPatch, name: str) -> list[int]:
    """Counts the transactions of one kind."""
    real: Callable[[Sessions], AbstractContextManager[Session]] = getattr(Sessions, name)
    counted: list[int] = []

    def counting(self: Sessions) -> AbstractContextManager[Session]:
        counted.append(1)
        return real(self)

    patch.setattr(Sessions, name, counting)
    return counted


def test_a_silent_minute_costs_six_writes_and_few_reads(
    bench: Bench, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = Lease(claimed(bench), sessions=bench.sessions, timings=DEFAULT)
    writes, reads = count(monkeypatch, "begin"), count(monkeypatch, "read")
    for _ in range(600):
        clock.sleep(0.1)
        lease.keep()
    assert len(writes) in {5, 6}
    assert 60 / DEFAULT.cancel_poll / 2 < len(reads) <= 60 / DEFAULT.cancel_poll
    assert not lease.cancel_requested


def test_a_look_keeps_nothing_alive_and_finds_out_who_lost_the_lease(
    bench: Bench, clock: Clock
) -> None:
    job = claimed(bench)
    lease = Lease(job, sessions=bench.sessions, timings=DEFAULT)
    before = lease.deadline
    clock.sleep(DEFAULT.cancel_poll)
    lease.keep()
    assert lease.deadline == before
    with bench.sessions.begin() as session:
        jobs.release(session, job.id, job.fence, reason="x", delay_seconds=0, charge=True)
    clock.sleep(DEFAULT.cancel_poll)
    with pytest.raises(LeaseLost):
        lease.keep()


def test_a_look_that_gets_no_answer_is_made_again_later(
    bench: Bench, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = claimed(bench)
    lease = Lease(job, sessions=bench.sessions, timings=DEFAULT)
    cancel(bench, job)
    tries: list[int] = []

    def refused(self: Sessions) -> None:
        tries.append(1)
        clock.sleep(4.0)  # as long as a connection may take to be refused
        raise Unavailable("The database does not answer.")

    with monkeypatch.context() as patch:
        patch.setattr(Sessions, "read", refused)
        clock.sleep(DEFAULT.cancel_poll)
        lease.keep()
        lease.keep()
        assert (len(tries), lease.cancel_requested) == (1, False)
    clock.sleep(DEFAULT.cancel_poll)
    lease.keep()
    assert lease.cancel_requested


@pytest.mark.parametrize(
    "clocks",
    [
        {"cancel_poll": 4.5},
        {"cancel_grace": 7.5},
        {"cancel_poll": 60.0},
        {"cancel_poll": 60.0, "heartbeat": 4.5},
    ],
)
def test_settings_that_cancel_too_late_are_refused(clocks: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="cancel_poll"):
        JobTimings(**clocks)


def test_a_quick_heartbeat_leaves_more_for_the_grace() -> None:
    assert JobTimings(heartbeat=1.0, cancel_grace=8.0).cancel_grace == 8.0

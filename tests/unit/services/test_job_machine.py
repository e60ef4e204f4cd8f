"""The job protocol against a model of it: any order of moves, the same answers."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy.orm import Session

from core.db.sessions import Sessions
from core.domain.jobs import (
    REACHABLE_FROM,
    TERMINAL,
    Checkpoint,
    JobId,
    JobRecord,
    JobState,
    QueueName,
)
from core.errors import CancelRequested, IllegalTransition, LeaseLost
from core.services import jobs
from tests.unit.services.samples import LEASE, expire, queued

S = JobState
BEHIND = st.sampled_from((0, 0, 0, 1))  # claims since the fence was given


@dataclass
class Expected:
    """What a job should look like, kept without a database."""

    max_attempts: int
    order: tuple[int, int]
    state: JobState = S.QUEUED
    attempt: int = 0
    fence: int = 0
    asked: bool = False
    expired: bool = False
    code: str | None = None
    records: dict[int, int] = field(default_factory=dict)
    checkpoints: set[tuple[int, int]] = field(default_factory=set)
    moves: int = 1

    def holds(self, behind: int) -> bool:
        """Whether a fence that many claims old is the lease's."""
        return behind == 0 and self.state is S.RUNNING

    def move(self, to: JobState) -> None:
        assert self.state in REACHABLE_FROM[to]
        self.state, self.expired = to, False
        self.moves += 1

    def give_back(self, *, charge: bool) -> None:
        if self.asked:
            self.move(S.CANCELLED)
        elif charge and self.attempt >= self.max_attempts:
            self.code = "worker_lost"
            self.move(S.FAILED)
        else:
            self.attempt -= not charge
            self.move(S.QUEUED)


class Protocol(RuleBasedStateMachine):
    """Rules are what clients, workers and sweepers may do; fences may be stale."""

    sessions: Sessions
    made = Bundle("made")

    @initialize(target=made)
    def begin(self) -> Any:
        """Two jobs that run, one of them asked to stop, and two that wait."""
        self.jobs: dict[JobId, Expected] = {}
        made = [self.submitted(attempts, 0) for attempts in (1, 3, 2, 3)]
        self.claim()
        self.claim()
        self.cancel(made[1])
        return multiple(*made)

    def teardown(self) -> None:
        """Compare what was written; leave nothing that the next run could claim or reap."""
        try:
            with self.sessions.read() as session:
                for id_, expected in self.jobs.items():
                    self.check_history(session, id_, expected)
        finally:
            self.write(self.end_all)

    def end_all(self, session: Session) -> None:
        for id_ in self.jobs:
            job = jobs.get(session, id_)
            if job.state is S.QUEUED:
                jobs.cancel(session, id_)
            elif job.state is S.RUNNING:
                jobs.mark_cancelled(session, id_, job.fence)

    def check_history(self, session: Session, id_: JobId, expected: Expected) -> None:
        events = jobs.events(session, id_)
        assert len(events) == expected.moves
        for before, after in pairwise(events):
            assert after.from_state is before.to_state
            assert before.to_state in REACHABLE_FROM[after.to_state]
        written = {r.step: r.values["fence"] for r in jobs.records(session, id_)}
        assert written == expected.records
        kept = [(each.fence, each.step) for each in jobs.checkpoints(session, id_)]
        assert kept == sorted(expected.checkpoints, reverse=True)

    def write(self, act: Callable[[Any], Any]) -> Any:
        with self.sessions.begin() as session:
            return act(session)

    def as_holder(self, job: JobId, behind: int, act: Callable[[Any, int], Any]) -> bool:
        """Act with a fence that many claims old; whether that was, rightly, allowed."""
        expected = self.jobs[job]
        fence = expected.fence - behind
        allowed = expected.holds(behind)
        if allowed:
            self.write(lambda session: act(session, fence))
        else:
            with pytest.raises(LeaseLost):
                self.write(lambda session: act(session, fence))
        return allowed

    @rule(target=made, attempts=st.integers(1, 3), priority=st.integers(-1, 1))
    def submit(self, attempts: int, priority: int) -> JobId:
        return self.submitted(attempts, priority)

    def submitted(self, attempts: int, priority: int) -> JobId:
        job = self.write(lambda s: queued(s, max_attempts=attempts, priority=priority))
        self.jobs[job.id] = Expected(attempts, (-priority, len(self.jobs)))
        time.sleep(0.002)  # two of one millisecond would have no order on SQLite
        return job.id

    @rule()
    def claim(self) -> None:
        claimed = self.write(
            lambda s: jobs.claim(s, queue=QueueName.CPU, owner="w", lease_seconds=LEASE)
        )
        waiting = [e for e in self.jobs.values() if e.state is S.QUEUED]
        if not waiting:
            assert claimed is None
            return
        expected = self.jobs[claimed.id]
        assert expected.order == min(e.order for e in waiting)
        expected.move(S.RUNNING)
        expected.attempt += 1
        expected.fence += 1

    @rule(job=made, behind=BEHIND)
    def beat(self, job: JobId, behind: int) -> None:
        asked: list[bool] = []
        terms: dict[str, Any] = {"lease_seconds": LEASE, "cost_seconds": 1.0, "progress": None}
        if self.as_holder(job, behind, lambda s, f: asked.append(jobs.beat(s, job, f, **terms))):
            assert asked == [self.jobs[job].asked]
            self.jobs[job].expired = False

    @rule(job=made, behind=BEHIND, step=st.integers(0, 2))
    def add_record(self, job: JobId, behind: int, step: int) -> None:
        def act(session: Any, fence: int) -> None:
            jobs.add_records(session, job, fence, [JobRecord("x", step, {"fence": fence})])

        if self.as_holder(job, behind, act):
            self.jobs[job].records[step] = self.jobs[job].fence

    @rule(job=made, behind=BEHIND, charge=st.booleans())
    def release(self, job: JobId, behind: int, charge: bool) -> None:
        terms: dict[str, Any] = {"reason": "r", "delay_seconds": 0, "charge": charge}
        if self.as_holder(job, behind, lambda s, f: jobs.release(s, job, f, **terms)):
            self.jobs[job].give_back(charge=charge)

    @rule(job=made, behind=BEHIND, end=st.sampled_from(sorted(TERMINAL)))
    def end(self, job: JobId, behind: int, end: JobState) -> None:
        acts: dict[JobState, Callable[[Any, int], Any]] = {
            S.SUCCEEDED: lambda s, f: jobs.finish(s, job, f, {"end": len(self.jobs)}),
            S.FAILED: lambda s, f: jobs.fail(s, job, f, "diverged", "No."),
            S.CANCELLED: lambda s, f: jobs.mark_cancelled(s, job, f),
        }
        expected = self.jobs[job]
        if end is S.SUCCEEDED and expected.state is S.SUCCEEDED and behind == 0:
            return  # saying it again is allowed, and tested elsewhere
        if end is S.SUCCEEDED and expected.holds(behind) and expected.asked:
            with pytest.raises(CancelRequested):
                self.write(lambda session: acts[end](session, expected.fence))
            return
        if self.as_holder(job, behind, acts[end]):
            end = S.CANCELLED if expected.asked else end
            expected.code = "diverged" if end is S.FAILED else None
            expected.move(end)

    def running(self, *, asked: bool) -> list[JobId]:
        found = self.jobs.items()
        return [id_ for id_, e in found if e.state is S.RUNNING and e.asked is asked]

    @precondition(lambda self: self.running(asked=False))
    @rule(pick=st.integers(0, 9))
    def cancel_what_runs(self, pick: int) -> None:
        able = self.running(asked=False)
        self.cancel(able[pick % len(able)])

    @precondition(lambda self: self.running(asked=True))
    @rule(end=st.sampled_from((S.FAILED, S.CANCELLED, S.QUEUED)))
    def end_what_was_asked_to_stop(self, end: JobState) -> None:
        job = self.running(asked=True)[0]
        if end is S.QUEUED:
            self.release(job, 0, charge=False)
        else:
            self.end(job, 0, end)

    @rule(job=made, behind=BEHIND)
    def look(self, job: JobId, behind: int) -> None:
        seen: list[bool] = []
        if self.as_holder(job, behind, lambda s, f: seen.append(jobs.cancel_requested(s, job, f))):
            assert seen == [self.jobs[job].asked]

    @rule(job=made, behind=BEHIND, step=st.integers(0, 2))
    def add_checkpoint(self, job: JobId, behind: int, step: int) -> None:
        def act(session: Any, fence: int) -> None:
            made = Checkpoint(fence, step, f"{fence}/{step}", "0" * 64, 1)
            jobs.add_checkpoint(session, job, fence, made)

        if self.as_holder(job, behind, act):
            self.jobs[job].checkpoints.add((self.jobs[job].fence, step))

    @rule()
    def forget_owner(self) -> None:
        """Who knows that the owner is dead need not wait for its leases to run out."""
        held = {id_ for id_, e in self.jobs.items() if e.state is S.RUNNING}
        assert {job.id for job in self.write(lambda s: jobs.forget_owner(s, "w"))} == held
        for id_ in held:
            self.jobs[id_].give_back(charge=True)

    @rule(job=made)
    def cancel(self, job: JobId) -> None:
        expected = self.jobs[job]
        if expected.state in TERMINAL - {S.CANCELLED}:
            with pytest.raises(IllegalTransition):
                self.write(lambda s: jobs.cancel(s, job))
            return
        self.write(lambda s: jobs.cancel(s, job))
        if expected.state is S.QUEUED:
            expected.move(S.CANCELLED)
        elif expected.state is S.RUNNING:
            expected.asked = True
            self.end(job, 0, S.SUCCEEDED)  # its holder may not have heard of it yet

    @rule(job=made)
    def let_expire(self, job: JobId) -> None:
        if self.jobs[job].state is S.RUNNING:
            self.write(lambda s: expire(s, job))
            self.jobs[job].expired = True

    @rule()
    def reap(self) -> None:
        reaped = self.write(lambda s: jobs.reap(s, retry_delays=(0.0,)))
        due = {id_ for id_, e in self.jobs.items() if e.expired}
        assert {job.id for job in reaped} == due
        for id_ in due:
            self.jobs[id_].give_back(charge=True)

    @invariant()
    def the_rows_are_as_expected(self) -> None:
        with self.sessions.read() as session:
            for id_, expected in self.jobs.items():
                job = jobs.get(session, id_)
                seen = (job.state, job.attempt, job.fence, job.error_code, job.cancel_requested)
                assert seen == (
                    expected.state,
                    expected.attempt,
                    expected.fence,
                    expected.code,
                    expected.asked,
                )
                if job.cancel_requested:  # neither queued again nor ended in any other way
                    assert job.state in {S.RUNNING, S.CANCELLED}


def test_any_order_of_moves(sessions: Sessions) -> None:
    Protocol.sessions = sessions
    run_state_machine_as_test(
        Protocol,
        settings=settings(
            max_examples=15,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )

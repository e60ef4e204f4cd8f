"""One job that stands for many: it ends with the last of them, whoever ends it and whenever."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text, update
from sqlalchemy.orm import Session

from core.db.job_tables import JobRow
from core.db.sessions import Sessions
from core.domain.datasets import DatasetId
from core.domain.groups import PretrainEach
from core.domain.jobs import TERMINAL, Job, JobId, JobKind, JobState, Progress, QueueName
from core.domain.searches import SpaceSpec, Training
from core.errors import Conflict, IllegalTransition, InvalidInput, NotFound
from core.services import fanout, jobs, searches
from tests.chaos import checker
from tests.unit.services.samples import EMBEDDER, LEASE, dataset, expire, queued

S = JobState


def group(sessions: Sessions, size: int = 3, **terms: Any) -> tuple[JobId, list[Job]]:
    """A group and its children, in the order in which they will be claimed."""
    with sessions.begin() as session:
        made = queued(session, kind=JobKind.GROUP)
        children = [queued(session, parent_id=made.id, **terms) for _ in range(size)]
    return made.id, sorted(children, key=lambda each: (each.created_at, each.id))


def claim(sessions: Sessions) -> Job:
    with sessions.begin() as session:
        job = jobs.claim(session, queue=QueueName.CPU, owner="w", lease_seconds=LEASE)
    assert job is not None
    return job


def job_of(sessions: Sessions, job_id: JobId) -> Job:
    with sessions.read() as session:
        return jobs.get(session, job_id)


def act(sessions: Sessions, change: Callable[..., object], *given: object, **named: Any) -> None:
    with sessions.begin() as session:
        change(session, *given, **named)


def judge(sessions: Sessions) -> None:
    """The independent judge finds nothing: events, fences and rows agree."""
    with sessions.begin() as session:
        assert checker.check(session) == ()


def test_a_group_ends_well_with_its_last_child(sessions: Sessions) -> None:
    group_id, _ = group(sessions, 3)
    for ended in range(3):
        job = job_of(sessions, group_id)
        assert (job.state, job.result) == (S.RUNNING, None)
        child = claim(sessions)
        with sessions.begin() as session:
            beat = {"lease_seconds": LEASE, "cost_seconds": 2.0}
            jobs.beat(session, child.id, child.fence, progress=Progress("embed", 0.5), **beat)
        with sessions.read() as session:
            standing = fanout.children(session, [job])
            seen = fanout.shown(job, standing)
        assert seen.progress == pytest.approx((ended + 0.5) / 3)
        assert seen.cost_seconds == pytest.approx(2.0 * (ended + 1))
        expected = {S.QUEUED: 2 - ended, S.RUNNING: 1, S.SUCCEEDED: ended}
        assert standing[group_id].counts == {s: n for s, n in expected.items() if n}
        act(sessions, jobs.finish, child.id, child.fence, {})
    job = job_of(sessions, group_id)
    assert (job.state, job.result, job.progress) == (S.SUCCEEDED, {"jobs": 3}, 1.0)
    assert (job.cost_seconds, job.stage) == (pytest.approx(6.0), "done")
    judge(sessions)


def test_nobody_computes_a_group_or_takes_it_back(sessions: Sessions) -> None:
    group_id, _ = group(sessions, 1)
    child = claim(sessions)
    assert child.id != group_id
    with sessions.begin() as session:
        for queue in QueueName:
            assert jobs.claim(session, queue=queue, owner="w", lease_seconds=1) is None
        jobs.reap(session, retry_delays=())
    assert job_of(sessions, group_id).state is S.RUNNING


def test_a_group_names_the_children_that_failed(sessions: Sessions) -> None:
    group_id, children = group(sessions, 8)
    for place, child in enumerate(children):
        held = claim(sessions)
        if place == 0:
            act(sessions, jobs.finish, held.id, held.fence, {})
        else:
            act(sessions, jobs.fail, child.id, held.fence, "diverged", "It did.")
    job = job_of(sessions, group_id)
    assert (job.state, job.error_code) == (S.FAILED, "children_failed")
    assert job.error_message is not None
    assert job.error_message.startswith("7 of 8 jobs did not succeed: ")
    assert job.error_message.endswith(" and 2 more.")
    named = [each for each in children if f"{each.id} (diverged)" in job.error_message]
    assert len(named) == 5
    assert children[0] not in named
    judge(sessions)


def test_cancelling_a_group_cancels_its_children(sessions: Sessions) -> None:
    group_id, children = group(sessions, 4)
    first, second = claim(sessions), claim(sessions)
    act(sessions, jobs.finish, first.id, first.fence, {})
    with sessions.begin() as session:
        asked = jobs.cancel(session, group_id)
    assert (asked.state, asked.cancel_requested) == (S.RUNNING, True)
    states = [job_of(sessions, each.id).state for each in children]
    assert states == [S.SUCCEEDED, S.RUNNING, S.CANCELLED, S.CANCELLED]
    assert job_of(sessions, second.id).cancel_requested
    act(sessions, jobs.mark_cancelled, second.id, second.fence)
    assert job_of(sessions, group_id).state is S.CANCELLED
    with sessions.begin() as session:
        assert jobs.cancel(session, group_id).state is S.CANCELLED
    judge(sessions)


def test_a_group_that_only_waited_is_cancelled_at_once(sessions: Sessions) -> None:
    group_id, children = group(sessions, 3)
    with sessions.begin() as session:
        assert jobs.cancel(session, group_id).state is S.CANCELLED
    assert {job_of(sessions, each.id).state for each in children} == {S.CANCELLED}
    judge(sessions)


def test_a_child_of_its_own_accord(sessions: Sessions) -> None:
    """Cancelled alone it fails its group; taken back for the last time, too."""
    group_id, (one, _) = group(sessions, 2, max_attempts=1)
    act(sessions, jobs.cancel, one.id)
    lost = claim(sessions)
    with sessions.begin() as session:
        expire(session, lost.id)
        jobs.reap(session, retry_delays=())
    job = job_of(sessions, group_id)
    assert (job.state, job.error_code) == (S.FAILED, "children_failed")
    assert job.error_message == (
        f"2 of 2 jobs did not succeed: {one.id} (cancelled), {lost.id} (worker_lost)."
    )


def test_a_rolled_back_end_settles_nothing(sessions: Sessions) -> None:
    group_id, _ = group(sessions, 1)
    child = claim(sessions)

    def end_and_die(session: Session) -> None:
        jobs.finish(session, child.id, child.fence, {})
        raise Conflict("killed before the commit")

    with pytest.raises(Conflict):
        act(sessions, end_and_die)
    assert job_of(sessions, group_id).state is S.RUNNING
    act(sessions, jobs.finish, child.id, child.fence, {})
    assert job_of(sessions, group_id).state is S.SUCCEEDED


def test_the_sweep_settles_what_others_left(sessions: Sessions) -> None:
    """A worker of an earlier version ends a child and knows of no group."""
    group_id, (only,) = group(sessions, 1)
    other, _ = group(sessions, 1)
    child = claim(sessions)
    assert child.id == only.id
    with sessions.begin() as session:
        session.execute(update(JobRow).where(JobRow.id == only.id).values(parent_id=None))
        jobs.finish(session, child.id, child.fence, {})
        session.execute(text("DROP TRIGGER jobs_finished_update" + (
            " ON jobs" if session.get_bind().dialect.name == "postgresql" else "")))  # fmt: skip
        session.execute(update(JobRow).where(JobRow.id == only.id).values(parent_id=group_id))
    assert job_of(sessions, group_id).state is S.RUNNING
    act(sessions, jobs.reap, retry_delays=())
    assert job_of(sessions, group_id).state is S.SUCCEEDED
    assert job_of(sessions, other).state is S.RUNNING


def test_two_last_children_at_once(sessions: Sessions) -> None:
    group_id, _ = group(sessions, 2)
    one, two = claim(sessions), claim(sessions)

    def end(child: Job) -> None:
        act(sessions, jobs.finish, child.id, child.fence, {})

    with ThreadPoolExecutor(1) as pool:
        with sessions.begin() as session:
            jobs.finish(session, one.id, one.fence, {})
            second = pool.submit(end, two)
            with pytest.raises(TimeoutError):
                second.result(0.2)  # it waits for the group, or on one file for everything
        second.result(20)
    assert job_of(sessions, group_id).state is S.SUCCEEDED
    judge(sessions)


def test_ends_cancels_and_sweeps_race_to_one_end(sessions: Sessions) -> None:
    made = [group(sessions, 4) for _ in range(2)]
    held = [claim(sessions) for _ in range(6)]
    gate = threading.Barrier(8)

    def move(number: int) -> None:
        gate.wait()
        try:
            if number < 6:
                act(sessions, jobs.fail, held[number].id, held[number].fence, "diverged", "")
            elif number == 6:
                act(sessions, jobs.cancel, made[0][0])
            else:
                act(sessions, jobs.cancel, made[1][0])
        except IllegalTransition:
            pass

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(move, range(8)))
    for group_id, children in made:
        job = job_of(sessions, group_id)
        assert all(job_of(sessions, each.id).state in TERMINAL for each in children)
        assert job.state in {S.CANCELLED, S.FAILED}
        assert (job.state is S.CANCELLED) == job.cancel_requested
    judge(sessions)


ENDS = st.lists(st.sampled_from(("finish", "fail", "cancel", "drain", "reap")), max_size=12)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@given(ends=ENDS, size=st.integers(1, 4), cancelled_at=st.none() | st.integers(0, 6))
@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_a_group_has_ended_when_its_children_have(
    sessions: Sessions, ends: Sequence[str], size: int, cancelled_at: int | None
) -> None:
    group_id, children = group(sessions, size, max_attempts=2)
    try:
        for place, way in enumerate(ends):
            if place == cancelled_at and not job_of(sessions, group_id).finished:
                act(sessions, jobs.cancel, group_id)
            with sessions.begin() as session:
                job = jobs.claim(session, queue=QueueName.CPU, owner="w", lease_seconds=LEASE)
                if job is not None:
                    end(session, job, way)
            check(sessions, group_id, children)
        judge(sessions)
    finally:
        if not job_of(sessions, group_id).finished:
            act(sessions, jobs.cancel, group_id)


def end(session: Session, job: Job, way: str) -> None:
    if way == "finish":
        jobs.finish(session, job.id, job.fence, {})
    elif way == "fail":
        jobs.fail(session, job.id, job.fence, "diverged", "")
    elif way == "cancel":
        jobs.cancel(session, job.id)
        jobs.mark_cancelled(session, job.id, job.fence)
    elif way == "drain":
        terms: dict[str, Any] = {"reason": "drained", "delay_seconds": 0, "charge": False}
        jobs.release(session, job.id, job.fence, **terms)
    else:
        expire(session, job.id)
        jobs.reap(session, retry_delays=())


def check(sessions: Sessions, group_id: JobId, children: Sequence[Job]) -> None:
    """What the model says of a group: nothing but its children and whether it was cancelled."""
    states = [job_of(sessions, each.id).state for each in children]
    job = job_of(sessions, group_id)
    if not set(states) <= TERMINAL:
        expected = S.RUNNING
    elif job.cancel_requested:
        expected = S.CANCELLED
    else:
        expected = S.SUCCEEDED if set(states) == {S.SUCCEEDED} else S.FAILED
    assert job.state is expected


def each_of(ids: Sequence[DatasetId]) -> PretrainEach:
    return PretrainEach(tuple(ids), EMBEDDER, SpaceSpec(), Training(epochs=1, seed=4), 0.1)


def test_pretraining_many_datasets(sessions: Sessions) -> None:
    with sessions.begin() as session:
        sources = [dataset(session, name) for name in ("a", "b", "c")]
        made = searches.submit_pretrain_each(
            session, each_of([each.id for each in sources]), priority=7
        )
    assert (made.kind, made.state, made.dataset_id) == (JobKind.GROUP, S.RUNNING, None)
    with sessions.read() as session:
        children, _ = jobs.listing(session, limit=9, parent_id=made.id)
        assert jobs.listing(session, limit=9, kind=JobKind.GROUP)[0] == (made,)
    assert {each.kind for each in children} == {JobKind.PRETRAIN}
    told = {(each.dataset_id, each.spec["name"]) for each in children}
    assert told == {(each.id, each.name) for each in sources}
    assert {each.spec["training"]["seed"] for each in children} == {4}
    with sessions.begin() as session:
        claimed = jobs.claim(session, queue=QueueName.GPU, owner="w", lease_seconds=1)
    assert claimed is not None
    assert claimed.parent_id == made.id


def test_one_dataset_too_many_queues_nothing(sessions: Sessions) -> None:
    with sessions.begin() as session:
        there = dataset(session)
    unknown = DatasetId(UUID(int=0))
    with pytest.raises(NotFound, match="0000"), sessions.begin() as session:
        searches.submit_pretrain_each(session, each_of([there.id, unknown]))
    bad = PretrainEach((there.id,), EMBEDDER, SpaceSpec(channels=-2), Training(), 0.1)
    with pytest.raises(InvalidInput), sessions.begin() as session:
        searches.submit_pretrain_each(session, bad)
    with sessions.read() as session:
        assert jobs.listing(session, limit=9) == ((), None)

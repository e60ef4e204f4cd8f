"""What becomes of a job that was asked to stop, on both databases."""

import pytest

from core.db.sessions import Sessions
from core.domain.jobs import (
    JobState,
    QueueName,
)
from core.domain.searches import EmbedSpec
from core.domain.work import EmbedOutcome
from core.errors import CancelRequested, IllegalTransition, LeaseLost
from core.services import datasets, jobs, searches, work
from tests.unit.services.samples import (
    EMBEDDER,
    claimed,
    dataset,
    embedding,
    expire,
    queued,
    running,
)

S = JobState


def test_cancel_a_waiting_job(sessions: Sessions) -> None:
    with sessions.begin() as session:
        job = queued(session)
        gone = jobs.cancel(session, job.id)
        assert (gone.state, gone.started_at) == (S.CANCELLED, None)
        assert gone.finished_at is not None
        assert jobs.claim(session, queue=QueueName.CPU, owner="w", lease_seconds=1) is None
        assert jobs.cancel(session, job.id) == gone  # the first answer may have been lost


def test_cancel_a_running_job_asks_its_worker(sessions: Sessions) -> None:
    job = running(sessions)
    with sessions.begin() as session:
        assert jobs.cancel(session, job.id).cancel_requested
        assert jobs.cancel(session, job.id).state is S.RUNNING  # twice does no harm
        assert jobs.cancel_requested(session, job.id, job.fence)
        gone = jobs.mark_cancelled(session, job.id, job.fence)
        assert gone.state is S.CANCELLED
        assert jobs.cancel(session, job.id) == gone


@pytest.mark.parametrize("way", ["release", "reap"])
def test_a_job_asked_to_stop_is_never_queued_again(sessions: Sessions, way: str) -> None:
    job = running(sessions)
    with sessions.begin() as session:
        jobs.cancel(session, job.id)
        if way == "release":
            jobs.release(session, job.id, 1, reason="drained", delay_seconds=0, charge=False)
        else:
            expire(session, job.id)
            jobs.reap(session, retry_delays=())
        assert jobs.get(session, job.id).state is S.CANCELLED


def test_a_job_asked_to_stop_cannot_succeed_and_nothing_of_it_appears(sessions: Sessions) -> None:
    with sessions.begin() as session:
        target = dataset(session)
        searches.submit_embed(session, EmbedSpec(target.id, EMBEDDER))
        job = claimed(session)
    with sessions.begin() as session:
        jobs.cancel(session, job.id)
    with pytest.raises(CancelRequested), sessions.begin() as session:
        work.record(session, job, EmbedOutcome(embedding(target)))
    with sessions.read() as session:
        assert jobs.get(session, job.id).state is S.RUNNING
        assert datasets.embedding(session, target.id, EMBEDDER) is None
    with sessions.begin() as session:
        gone = jobs.mark_cancelled(session, job.id, job.fence)
        assert (gone.state, gone.result) == (S.CANCELLED, None)
        with pytest.raises(LeaseLost):
            jobs.finish(session, job.id, job.fence, {})


def test_a_failure_of_a_job_asked_to_stop_is_a_cancel(sessions: Sessions) -> None:
    job = running(sessions)
    with sessions.begin() as session:
        jobs.cancel(session, job.id)
        gone = jobs.fail(session, job.id, job.fence, "diverged", "No.")
        assert (gone.state, gone.error_code) == (S.CANCELLED, None)
        assert jobs.events(session, job.id)[-1].reason == "diverged"


@pytest.mark.parametrize("end", ["finish", "fail"])
def test_cancel_comes_too_late(sessions: Sessions, end: str) -> None:
    job = running(sessions)
    with sessions.begin() as session:
        if end == "finish":
            jobs.finish(session, job.id, 1, {})
        else:
            jobs.fail(session, job.id, 1, "diverged", "No.")
        with pytest.raises(IllegalTransition, match="already ended"):
            jobs.cancel(session, job.id)

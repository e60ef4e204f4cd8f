"""The job protocol, move by move, on both databases."""

import base64
import json
import time
from datetime import UTC, timedelta
from uuid import uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from core.db.sessions import Sessions
from core.domain.jobs import (
    Checkpoint,
    Job,
    JobKind,
    JobRecord,
    JobState,
    Progress,
    QueueName,
)
from core.errors import InvalidInput, LeaseLost, NotFound
from core.services import jobs
from tests.unit.services.samples import (
    LEASE,
    claimed,
    expire,
    queued,
    running,
)

S = JobState


def beat(session, job: Job, progress: Progress | None = None) -> bool:
    return jobs.beat(
        session, job.id, job.fence, lease_seconds=LEASE, cost_seconds=3.5, progress=progress
    )


def moves_of(sessions: Sessions, job: Job) -> list[tuple[JobState | None, JobState]]:
    with sessions.read() as session:
        events = jobs.events(session, job.id)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    return [(event.from_state, event.to_state) for event in events]


def test_a_submitted_job_waits_in_its_kinds_queue(sessions: Sessions) -> None:
    with sessions.begin() as session:
        job = queued(session, kind=JobKind.SEARCH, spec={"rates": (0.1, 0.2)})
    assert (job.state, job.queue, job.attempt, job.fence) == (S.QUEUED, QueueName.GPU, 0, 0)
    assert job.spec == {"rates": [0.1, 0.2]}
    assert job.created_at.tzinfo is UTC
    with sessions.read() as session:
        assert jobs.get(session, job.id) == job
        assert [e.reason for e in jobs.events(session, job.id)] == ["submitted"]


def test_a_claim_gives_attempt_fence_and_lease(sessions: Sessions) -> None:
    with sessions.begin() as session:
        queued(session)
        job = claimed(session, owner="here", lease=12.5)
    assert (job.state, job.attempt, job.fence, job.lease_owner) == (S.RUNNING, 1, 1, "here")
    assert job.started_at is not None
    assert job.lease_until is not None
    length = job.lease_until - job.started_at
    assert abs(length - timedelta(seconds=12.5)) < timedelta(seconds=0.5)
    assert moves_of(sessions, job) == [(None, S.QUEUED), (S.QUEUED, S.RUNNING)]


def test_nothing_waits_nothing_claimed(sessions: Sessions) -> None:
    with sessions.begin() as session:
        queued(session, kind=JobKind.SEARCH)  # another queue
        assert jobs.claim(session, queue=QueueName.CPU, owner="w", lease_seconds=1) is None


def _tick(sessions: Sessions) -> None:
    """Let SQLite's clock, which has milliseconds, move on."""
    time.sleep(0.002)


def test_a_beat_renews_the_lease_and_tells_progress(sessions: Sessions) -> None:
    job = running(sessions)
    with sessions.begin() as session:
        expire(session, job.id)
        assert beat(session, job, Progress("search", 0.25, 9.0)) is False
        assert jobs.reap(session, retry_delays=()) == ()
    with sessions.read() as session:
        now = jobs.get(session, job.id)
    assert (now.stage, now.progress, now.eta_seconds) == ("search", 0.25, 9.0)
    assert now.cost_seconds == 3.5


@pytest.mark.parametrize(
    ("fraction", "eta", "seen"),
    [(7.0, None, (1.0, None)), (-1.0, 2.0, (0.0, 2.0)), (float("nan"), float("inf"), (0.0, None))],
)
def test_progress_stays_within_bounds(sessions: Sessions, fraction, eta, seen) -> None:
    job = running(sessions)
    with sessions.begin() as session:
        beat(session, job, Progress("search", fraction, eta))
        now = jobs.get(session, job.id)
    assert (now.progress, now.eta_seconds) == seen


def test_a_stale_fence_can_write_nothing(sessions: Sessions) -> None:
    old = running(sessions)
    with sessions.begin() as session:
        jobs.release(session, old.id, old.fence, reason="lost", delay_seconds=0, charge=True)
        new = claimed(session)
    assert new.id == old.id
    attempts = [
        lambda s: beat(s, old),
        lambda s: jobs.add_records(s, old.id, old.fence, [JobRecord("a", 1, {})]),
        lambda s: jobs.add_records(s, old.id, old.fence, []),
        lambda s: jobs.add_checkpoint(s, old.id, 1, Checkpoint(1, 1, "k", "0" * 64, 1)),
        lambda s: jobs.finish(s, old.id, old.fence, {}),
        lambda s: jobs.fail(s, old.id, old.fence, "diverged", "No."),
        lambda s: jobs.mark_cancelled(s, old.id, old.fence),
        lambda s: jobs.release(s, old.id, old.fence, reason="", delay_seconds=0, charge=False),
    ]
    for attempt in attempts:
        with pytest.raises(LeaseLost), sessions.begin() as session:
            attempt(session)
    with sessions.read() as session:
        assert jobs.get(session, old.id) == new
        assert jobs.records(session, old.id) == ()
        assert jobs.checkpoints(session, old.id) == ()


def test_unknown_jobs(sessions: Sessions) -> None:
    with sessions.begin() as session:
        for look in (jobs.get, jobs.cancel):
            with pytest.raises(NotFound):
                look(session, uuid4())
        with pytest.raises(LeaseLost):
            jobs.finish(session, uuid4(), 1, {})
        assert jobs.events(session, uuid4()) == ()


def test_finish_keeps_the_result_and_may_be_repeated(sessions: Sessions) -> None:
    job = running(sessions)
    with sessions.begin() as session:
        done = jobs.finish(session, job.id, job.fence, {"model_id": "m", "loss": float("nan")})
    assert (done.state, done.progress, done.lease_until) == (S.SUCCEEDED, 1.0, None)
    assert done.result == {"model_id": "m", "loss": None}
    assert done.finished_at is not None
    with sessions.begin() as session:
        again = jobs.finish(session, job.id, job.fence, {"model_id": "m", "loss": float("nan")})
        with pytest.raises(LeaseLost):
            jobs.finish(session, job.id, job.fence, {"model_id": "other"})
    assert again == done
    assert len(moves_of(sessions, job)) == 3


def test_fail_keeps_code_and_words(sessions: Sessions) -> None:
    job = running(sessions)
    with sessions.begin() as session:
        failed = jobs.fail(session, job.id, job.fence, "diverged", "Loss\x00 is \ud800 NaN.")
    assert (failed.state, failed.error_code) == (S.FAILED, "diverged")
    with sessions.read() as session:
        assert jobs.get(session, job.id).error_message == "Loss is ? NaN."


def test_a_drained_attempt_does_not_count(sessions: Sessions) -> None:
    job = running(sessions, max_attempts=1)
    for fence in range(1, 5):
        with sessions.begin() as session:
            back = jobs.release(
                session, job.id, fence, reason="drained", delay_seconds=0, charge=False
            )
            assert (back.state, back.attempt) == (S.QUEUED, 0)
            assert (back.resume_reason, back.lease_owner) == ("drained", None)
            again = claimed(session)
        assert (again.attempt, again.fence) == (1, fence + 1)


def test_charged_attempts_run_out(sessions: Sessions) -> None:
    job = running(sessions, max_attempts=2)
    with sessions.begin() as session:
        back = jobs.release(session, job.id, 1, reason="lost", delay_seconds=0, charge=True)
        assert (back.state, back.attempt) == (S.QUEUED, 1)
        claimed(session)
        dead = jobs.release(session, job.id, 2, reason="lost", delay_seconds=0, charge=True)
    assert (dead.state, dead.error_code, dead.attempt) == (S.FAILED, "worker_lost", 2)
    assert dead.error_message == "Gave up after 2 attempts; the last one ended with: lost."


def test_reap_takes_back_what_expired_until_the_cap(sessions: Sessions) -> None:
    alive = running(sessions)
    with sessions.begin() as session:
        job = queued(session, max_attempts=2)
        claimed(session)
        expire(session, job.id)
        (first,) = jobs.reap(session, retry_delays=(0.0, 30.0))
        assert (first.id, first.state, first.resume_reason) == (job.id, S.QUEUED, "worker_lost")
        assert jobs.reap(session, retry_delays=(0.0, 30.0)) == ()
        claimed(session)
        expire(session, job.id)
        (second,) = jobs.reap(session, retry_delays=(0.0, 30.0))
        assert (second.state, second.error_code) == (S.FAILED, "worker_lost")
        assert jobs.get(session, alive.id).state is S.RUNNING
        actors = [event.actor for event in jobs.events(session, job.id)]
    assert actors == ["client", "worker-1", "sweeper", "worker-1", "sweeper"]


def test_a_lease_ends_by_the_databases_clock_to_the_millisecond(sessions: Sessions) -> None:
    with sessions.begin() as session:
        queued(session)
        claimed(session, lease=0.25)
    with sessions.begin() as session:
        assert jobs.reap(session, retry_delays=()) == ()
    time.sleep(0.3)
    with sessions.begin() as session:
        assert len(jobs.reap(session, retry_delays=())) == 1


def test_forget_owner_takes_back_that_owners_jobs_alone(sessions: Sessions) -> None:
    with sessions.begin() as session:
        for owner in ("host-1:7", "host-1:8", "HOST-1:9", "host-10:1"):
            queued(session)
            claimed(session, owner=owner)
        taken = jobs.forget_owner(session, "host-1:")
        assert len(taken) == 2
        assert {job.state for job in taken} == {S.QUEUED}
        with pytest.raises(ValueError, match="empty"):
            jobs.forget_owner(session, "")


@pytest.mark.parametrize("end", [S.SUCCEEDED, S.FAILED, S.CANCELLED])
@pytest.mark.parametrize("change", ["UPDATE jobs SET stage = 'x'", "DELETE FROM jobs"])
def test_a_finished_row_cannot_change_even_by_sql(sessions: Sessions, end, change) -> None:
    job = running(sessions)
    with sessions.begin() as session:
        if end is S.SUCCEEDED:
            jobs.finish(session, job.id, 1, {})
        elif end is S.FAILED:
            jobs.fail(session, job.id, 1, "diverged", "No.")
        else:
            jobs.mark_cancelled(session, job.id, 1)
    with pytest.raises(IntegrityError, match="a finished job cannot"), sessions.begin() as session:
        session.execute(text(change))


@pytest.mark.parametrize("change", ["UPDATE job_events SET actor = 'x'", "DELETE FROM job_events"])
def test_events_cannot_be_rewritten(sessions: Sessions, change: str) -> None:
    running(sessions)
    with pytest.raises(IntegrityError, match="job events cannot"), sessions.begin() as session:
        session.execute(text(change))


@pytest.mark.parametrize(
    "change",
    ["progress = 2", "attempt = max_attempts + 1", "lease_until = NULL", "state = 'queued'"],
)
def test_impossible_rows_are_refused(sessions: Sessions, change: str) -> None:
    running(sessions)
    with pytest.raises(IntegrityError), sessions.begin() as session:
        session.execute(text(f"UPDATE jobs SET {change}"))


def test_a_resumed_attempt_overwrites_the_records_it_repeats(sessions: Sessions) -> None:
    job = running(sessions)
    with sessions.begin() as session:
        lines = [JobRecord("search", step, {"loss": step, "by": 1}) for step in range(3)]
        jobs.add_records(session, job.id, 1, [*lines, JobRecord("search", 2, {"loss": 9})])
        jobs.add_records(session, job.id, 1, [JobRecord("retrain", 0, {"nan": float("nan")})])
        jobs.release(session, job.id, 1, reason="lost", delay_seconds=0, charge=True)
        claimed(session)
    _tick(sessions)
    with sessions.begin() as session:
        jobs.add_records(session, job.id, 2, [JobRecord("search", 2, {"loss": 2, "by": 2})])
    with sessions.read() as session:
        search = jobs.records(session, job.id, stage="search")
        assert [line.values["loss"] for line in search] == [0, 1, 2]
        assert search[2].values == {"loss": 2, "by": 2}
        assert len(jobs.records(session, job.id)) == 4
        assert jobs.records(session, job.id, stage="retrain")[0].values == {"nan": None}


def test_checkpoints_newest_first(sessions: Sessions) -> None:
    job = running(sessions)
    made = [Checkpoint(1, step, f"k{step}", f"{step}" * 64, 2**40) for step in (1, 2)]
    with sessions.begin() as session:
        for checkpoint in (*made, made[1]):  # told twice: known once
            jobs.add_checkpoint(session, job.id, 1, checkpoint)
        jobs.release(session, job.id, 1, reason="lost", delay_seconds=0, charge=True)
        claimed(session)
        later = Checkpoint(2, 1, "again", "3" * 64, 1)
        jobs.add_checkpoint(session, job.id, 2, later)
        with pytest.raises(ValueError, match="fence"):
            jobs.add_checkpoint(session, job.id, 2, made[0])
    with sessions.read() as session:
        assert jobs.checkpoints(session, job.id) == (later, made[1], made[0])


def test_listing_filters(sessions: Sessions) -> None:
    with sessions.begin() as session:
        search = queued(session, kind=JobKind.SEARCH)
        embed = queued(session)
        jobs.cancel(session, embed.id)
        found = jobs.listing(session, limit=10, kind=JobKind.SEARCH)[0]
        assert [job.id for job in found] == [search.id]
        found = jobs.listing(session, limit=10, states=[S.CANCELLED])[0]
        assert [job.id for job in found] == [embed.id]
        assert jobs.listing(session, limit=10, dataset_id=uuid4()) == ((), None)


@pytest.mark.parametrize("limit", [1, 3, 7, 8])
def test_pages_hold_every_row_once(sessions: Sessions, limit: int) -> None:
    with sessions.begin() as session:
        made = {queued(session).id for _ in range(7)}
    seen, token = [], None
    while True:
        with sessions.begin() as session:
            rows, token = jobs.listing(session, limit=limit, after=token)
            queued(session)  # newer than all of them: never seen
        assert len(rows) == limit or token is None
        seen += [job.id for job in rows]
        if token is None:
            break
    first_page_extra = set(seen) - made
    assert not first_page_extra
    assert len(seen) == 7
    assert set(seen) == made


BAD_TOKENS = [
    "",
    "x",
    "!!!!",
    "bnVsbA",
    "WzEsMl0",
    "W10",
    "é",
    "A" * 9,
    "e30",
    "WyIyMDI2LTAxLTAxIiwiMDAiXQ",
    *(
        base64.urlsafe_b64encode(json.dumps([moment, "0" * 32]).encode()).decode()
        for moment in ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00")
    ),
]


@pytest.mark.parametrize("token", BAD_TOKENS)
def test_a_made_up_page_token_is_refused(sessions: Sessions, token: str) -> None:
    with sessions.read() as session, pytest.raises(InvalidInput) as caught:
        jobs.listing(session, limit=5, after=token)
    assert caught.value.details[0].place == "page_token"


@pytest.mark.parametrize("limit", [0, -1, 1001])
def test_page_sizes_have_bounds(sessions: Sessions, limit: int) -> None:
    with sessions.read() as session, pytest.raises(InvalidInput):
        jobs.listing(session, limit=limit)

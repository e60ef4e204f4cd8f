"""Which job is next, and how long one that failed must wait, on both databases."""

import time
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import select, text

from core.db.clock import now
from core.db.job_tables import JobRow
from core.db.sessions import Sessions
from core.domain.jobs import (
    JobState,
    QueueName,
)
from core.domain.searches import EmbedSpec, PretrainSpec, RankSpec, SearchSpec
from core.errors import InvalidInput
from core.services import jobs, moves, searches
from tests.unit.services.samples import (
    EMBEDDER,
    LEASE,
    claimed,
    dataset,
    expire,
    queued,
    running,
)

S = JobState


def test_urgent_jobs_first_then_in_order_of_arrival(sessions: Sessions) -> None:
    submitted = []
    for priority in (0, 0, 5, -1):
        with sessions.begin() as session:
            submitted.append(queued(session, priority=priority).id)
            session.execute(text("SELECT 1"))
        time.sleep(0.002)  # SQLite's clock has milliseconds
    with sessions.begin() as session:
        order = [claimed(session).id for _ in submitted]
    assert order == [submitted[i] for i in (2, 0, 1, 3)]


@pytest.mark.parametrize("priority", [-101, 101, 2**40])
def test_a_priority_has_bounds(sessions: Sessions, priority: int) -> None:
    with sessions.begin() as session:
        assert queued(session, priority=100).id == claimed(session).id
        with pytest.raises(InvalidInput, match="-100 to 100") as caught:
            queued(session, priority=priority)
    assert caught.value.details[0].place == "priority"


def test_every_request_can_be_urgent(sessions: Sessions) -> None:
    with sessions.begin() as session:
        here = dataset(session).id
    requests = {
        QueueName.CPU: [
            (searches.submit_embed, EmbedSpec(here, EMBEDDER)),
            (searches.submit_rank, RankSpec(here, EMBEDDER)),
        ],
        QueueName.GPU: [
            (searches.submit_pretrain, PretrainSpec(here, "net", EMBEDDER)),
            (lambda *a, **k: searches.submit_search(*a, **k)[1], SearchSpec(here, EMBEDDER)),
        ],
    }
    for queue, submits in requests.items():
        for submit, spec in submits:
            with sessions.begin() as session:
                plain, urgent = submit(session, spec), submit(session, spec, priority=3)
                for expected in (urgent, plain):
                    got = jobs.claim(session, queue=queue, owner="w", lease_seconds=LEASE)
                    assert got is not None
                    assert got.id == expected.id


def test_a_delayed_job_is_not_claimed_before_its_time(sessions: Sessions) -> None:
    job = running(sessions)
    with sessions.begin() as session:
        jobs.release(session, job.id, job.fence, reason="x", delay_seconds=0.2, charge=True)
        assert jobs.claim(session, queue=QueueName.CPU, owner="w", lease_seconds=1) is None
    time.sleep(0.2 * (1 + moves.JITTER) + 0.01)
    with sessions.begin() as session:
        assert claimed(session).fence == 2


@pytest.mark.parametrize("way", ["release", "reap"])
def test_who_failed_at_one_moment_does_not_come_back_at_one_moment(sessions, way: str) -> None:
    failed = [running(sessions) for _ in range(5)]
    with sessions.begin() as session:
        before = session.scalar(select(now()))
        for job in failed:
            if way == "release":
                terms = {"reason": "unavailable", "delay_seconds": 30.0, "charge": True}
                jobs.release(session, job.id, job.fence, **terms)
            else:
                expire(session, job.id)
        jobs.reap(session, retry_delays=(30.0,))
        after = session.scalar(select(now()))
        due = dict(session.execute(select(JobRow.id, JobRow.not_before)).all())
    slack = timedelta(milliseconds=2)  # SQLite rounds
    for job in failed:
        delay = timedelta(seconds=moves.spread(30.0, job.id, job.fence))
        assert before + delay - slack <= due[job.id] <= after + delay + slack
    assert len(set(due.values())) == 5


def test_a_delay_is_never_shortened_and_grows_by_a_quarter_at_most() -> None:
    delays = sorted(moves.spread(120.0, UUID(int=n), n % 3) for n in range(400))
    assert 120.0 <= delays[0] < 122.0
    assert 148.0 < delays[-1] < 150.0
    assert 133.0 < delays[200] < 137.0  # as many in each half
    assert moves.spread(120.0, UUID(int=7), 1) != moves.spread(120.0, UUID(int=7), 2)
    assert moves.spread(0.0, UUID(int=7), 1) == 0.0


def test_reap_waits_longer_after_each_attempt(sessions: Sessions) -> None:
    job = running(sessions, max_attempts=9)
    delays = (0.0, 30.0)
    seen = []
    for _ in range(3):
        with sessions.begin() as session:
            expire(session, job.id)
            jobs.reap(session, retry_delays=delays)
            seen.append(jobs.claim(session, queue=QueueName.CPU, owner="w", lease_seconds=1))
            if seen[-1] is None:
                past = "datetime('now', '-1 second')"
                if session.get_bind().dialect.name == "postgresql":
                    past = "now() - interval '1 second'"
                session.execute(text(f"UPDATE jobs SET not_before = {past}"))
                claimed(session)
    assert [found is not None for found in seen] == [True, False, False]

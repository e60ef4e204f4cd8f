"""A job's log: bounded, written by who holds the job alone, gone with its dataset."""

from datetime import UTC, datetime
from uuid import UUID

import pytest
from sqlalchemy.orm import Session

from core.db.sessions import Sessions
from core.domain.jobs import LogLevel, LogLine
from core.errors import LeaseLost
from core.services import datasets, job_logs, jobs
from tests.unit.services.samples import claimed, dataset, queued, running

AT = datetime(2026, 1, 31, 12, tzinfo=UTC)


def lines(fence: int, first: int, last: int) -> list[LogLine]:
    numbers = range(first, last + 1)
    return [LogLine(fence, each, AT, LogLevel.INFO, f"line {each}") for each in numbers]


def kept(session: Session, job_id: UUID) -> list[tuple[int, int]]:
    found, token = job_logs.page(session, job_id, limit=1_000)
    assert token is None
    return [(each.fence, each.number) for each in found]


def test_lines_come_back_page_by_page(sessions: Sessions) -> None:
    job = running(sessions)
    with sessions.begin() as session:
        job_logs.add(session, job.id, job.fence, lines(job.fence, 1, 3))
        job_logs.add(session, job.id, job.fence, lines(job.fence, 3, 4))  # an answer was lost
        job_logs.add(session, job.id, job.fence, [])
    with sessions.read() as session:
        first, token = job_logs.page(session, job.id, limit=3)
        rest, end = job_logs.page(session, job.id, limit=3, after=token)
        newest, _ = job_logs.page(session, job.id, limit=1, order="newest")
    assert [*first, *rest] == lines(job.fence, 1, 4)
    assert (end, newest) == (None, (lines(job.fence, 4, 4)[0],))


def test_of_each_of_the_last_attempts_the_last_lines_are_kept(
    sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_logs, "LINES", 2)
    other = running(sessions)
    with sessions.begin() as session:
        job_logs.add(session, other.id, other.fence, lines(other.fence, 1, 1))
        job = queued(session)
    for attempt in range(1, 5):
        with sessions.begin() as session:
            held = claimed(session)
            assert held.fence == attempt
            job_logs.add(session, job.id, attempt, lines(attempt, 1, 2))
            job_logs.add(session, job.id, attempt, lines(attempt, 3, 3))
            terms = {"reason": "drained", "delay_seconds": 0.0, "charge": False}
            jobs.release(session, job.id, attempt, **terms)
    with sessions.read() as session:
        assert kept(session, job.id) == [(f, n) for f in (2, 3, 4) for n in (2, 3)]
        assert kept(session, other.id) == [(other.fence, 1)]


def test_who_has_lost_the_job_writes_nothing(sessions: Sessions) -> None:
    job = running(sessions)
    with sessions.begin() as session:
        jobs.fail(session, job.id, job.fence, "diverged", "It diverged.")
    for fence in (job.fence, job.fence - 1):
        with pytest.raises(LeaseLost), sessions.begin() as session:
            job_logs.add(session, job.id, fence, lines(fence, 1, 1))
    with sessions.read() as session:
        assert kept(session, job.id) == []


def test_they_go_with_the_dataset(sessions: Sessions) -> None:
    with sessions.begin() as session:
        found = [dataset(session, name) for name in ("gone", "kept")]
        made = []
        for each in found:
            queued(session, dataset_id=each.id)
            made.append(job := claimed(session))
            job_logs.add(session, job.id, job.fence, lines(job.fence, 1, 1))
            jobs.fail(session, job.id, job.fence, "diverged", "It diverged.")
        datasets.delete(session, found[0].id)
    with sessions.read() as session:
        assert [len(kept(session, each.id)) for each in made] == [0, 1]

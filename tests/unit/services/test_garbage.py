"""What is spent and what is garbage, case by case; `tests/integration` has any history."""

from uuid import uuid4

import pytest

from core.db.sessions import Sessions
from core.domain import keys
from core.domain.identity import DEFAULT
from core.domain.jobs import Checkpoint, JobId
from core.services import garbage, jobs
from tests.unit.services.samples import claimed, queued, running

SOMEBODY = "0c9d1f1e-7b0a-4b5e-9a53-5e6a4f6b2d10"  # fixed: tests are named after it


def checkpointed(sessions: Sessions, job_id: JobId, fence: int, *steps: int) -> None:
    with sessions.begin() as session:
        for step in steps:
            key = keys.attempt(DEFAULT, job_id, fence, f"checkpoints/{step}.bin")
            jobs.add_checkpoint(session, job_id, fence, Checkpoint(fence, step, key, "0" * 64, 5))


def drained(sessions: Sessions, job_id: JobId, fence: int) -> int:
    """Given back and claimed again: the next fence."""
    with sessions.begin() as session:
        terms = {"reason": "drained", "delay_seconds": 0.0, "charge": False}
        jobs.release(session, job_id, fence, **terms)  # type: ignore[arg-type]
        return claimed(session).fence


def spent(sessions: Sessions, *, ended_seconds: float | None = None) -> set[tuple[int, int]]:
    with sessions.read() as session:
        found = garbage.spent(session, ended_seconds=ended_seconds)
    assert all(each.size == 5 for each in found)
    return {(each.fence, each.step) for each in found}


def test_two_checkpoints_of_each_of_two_attempts_are_kept(sessions: Sessions) -> None:
    job = running(sessions)
    assert spent(sessions) == set()
    checkpointed(sessions, job.id, 1, 1, 2)
    assert spent(sessions) == set()
    checkpointed(sessions, job.id, 1, 10)
    assert spent(sessions) == {(1, 1)}
    second = drained(sessions, job.id, 1)
    checkpointed(sessions, job.id, second, 3)
    # Of the first attempt two are left: what the second has written may prove to be corrupt.
    assert spent(sessions) == {(1, 1)}
    fourth = drained(sessions, job.id, drained(sessions, job.id, second))
    checkpointed(sessions, job.id, fourth, 3, 4, 5)
    assert spent(sessions) == {(1, 1), (1, 2), (1, 10), (4, 3)}


def test_those_of_a_job_that_ended_go_after_the_grace(sessions: Sessions) -> None:
    job = running(sessions)
    checkpointed(sessions, job.id, 1, 1, 2, 3)
    with sessions.begin() as session:
        jobs.finish(session, job.id, 1, {})
    assert spent(sessions) == set()
    assert spent(sessions, ended_seconds=3600.0) == set()
    assert spent(sessions, ended_seconds=0.0) == {(1, 1), (1, 2), (1, 3)}


def test_what_is_forgotten_is_what_was_said(sessions: Sessions) -> None:
    job, other = running(sessions), running(sessions)
    for each in (job, other):
        checkpointed(sessions, each.id, 1, 1, 2, 3)
    with sessions.begin() as session:
        found = garbage.spent(session, ended_seconds=None, limit=1)
        garbage.forget(session, found)
        garbage.forget(session, ())
    assert len(found) == 1
    with sessions.read() as session:
        left = {each: len(jobs.checkpoints(session, each)) for each in (job.id, other.id)}
    assert left == {
        each: 2 if each == found[0].job_id else 3 for each in (JobId(job.id), JobId(other.id))
    }


def judged(sessions: Sessions, *found: str) -> tuple[set[str], set[str]]:
    with sessions.read() as session:
        verdict = garbage.judge(session, found)
    return set(verdict.garbage), set(verdict.unknown)


def test_the_attempt_under_way_may_write_what_it_likes(sessions: Sessions) -> None:
    job = running(sessions)
    second = drained(sessions, job.id, 1)
    first, now, later = (
        keys.attempt(DEFAULT, job.id, fence, "model/a/b") for fence in (1, second, 3)
    )
    assert judged(sessions, first, now, later) == ({first}, set())


def test_a_waiting_jobs_attempts_are_all_over(sessions: Sessions) -> None:
    with sessions.begin() as session:
        waiting = queued(session)
        taken = claimed(session)
        terms = {"reason": "drained", "delay_seconds": 0.0, "charge": False}
        jobs.release(session, taken.id, taken.fence, **terms)  # type: ignore[arg-type]
    over, next_one = (keys.attempt(DEFAULT, waiting.id, fence, "x") for fence in (1, 2))
    assert judged(sessions, over, next_one) == ({over}, set())


def test_an_ended_jobs_files_are_garbage_unless_named(sessions: Sessions) -> None:
    job = running(sessions)
    checkpointed(sessions, job.id, 1, 1)
    with sessions.begin() as session:
        jobs.fail(session, job.id, 1, "diverged", "It diverged.")
    named, other = (
        keys.attempt(DEFAULT, job.id, 1, "checkpoints/1.bin"),
        keys.attempt(DEFAULT, job.id, 1, "x"),
    )
    assert judged(sessions, named, other) == ({other}, set())


@pytest.mark.parametrize(
    "name", ["not-an-id/a1/x", f"{SOMEBODY}/b1/x", f"{SOMEBODY}/a1", f"{SOMEBODY.upper()}/a1/x"]
)
def test_what_nobody_here_wrote_is_unknown(sessions: Sessions, name: str) -> None:
    key = f"{keys.jobs(DEFAULT)}/{name}"
    assert judged(sessions, key) == (set(), {key})


def test_the_files_of_unknown_jobs_are_unknown(sessions: Sessions) -> None:
    key = keys.attempt(DEFAULT, JobId(uuid4()), 1, "x")
    assert judged(sessions, key) == (set(), {key})
    assert judged(sessions) == (set(), set())

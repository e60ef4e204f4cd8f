"""Many threads at one database: every race has one winner, on both kinds."""

import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar
from uuid import UUID

import pytest

from core.db import schema
from core.db.sessions import Sessions
from core.domain.jobs import Job, JobState, QueueName
from core.errors import IllegalTransition, LeaseLost
from core.services import datasets, jobs
from tests.unit.services.samples import dataset, expire, queued, running, sha256_of

T = TypeVar("T")


def together(n: int, work: Callable[[int], T]) -> list[T]:
    """Run `work(0) … work(n-1)` in threads that begin at the same moment."""
    gate = threading.Barrier(n)

    def begin(i: int) -> T:
        gate.wait()
        return work(i)

    with ThreadPoolExecutor(n) as pool:
        return list(pool.map(begin, range(n)))


def claim(opened: Sessions, owner: int) -> Job | None:
    with opened.begin() as session:
        return jobs.claim(
            session, queue=QueueName.CPU, owner=f"worker-{owner}", lease_seconds=60.0
        )


def test_one_job_many_claimants(sessions: Sessions) -> None:
    with sessions.begin() as session:
        queued(session)
    won = [job for job in together(8, lambda i: claim(sessions, i)) if job is not None]
    assert len(won) == 1
    with sessions.read() as session:
        assert len(jobs.events(session, won[0].id)) == 2


def test_many_jobs_each_claimed_once(sessions: Sessions) -> None:
    n_jobs, n_workers = 200, 16
    with sessions.begin() as session:
        made = {queued(session).id for _ in range(n_jobs)}

    def take_until_empty(owner: int) -> list[UUID]:
        taken = []
        while (job := claim(sessions, owner)) is not None:
            taken.append(job.id)
        return taken

    taken = Counter(id_ for ids in together(n_workers, take_until_empty) for id_ in ids)
    assert set(taken) == made
    assert set(taken.values()) == {1}


def test_many_sweepers_reap_a_job_once(sessions: Sessions) -> None:
    made = [running(sessions) for _ in range(10)]
    with sessions.begin() as session:
        for job in made:
            expire(session, job.id)

    def reap(_: int) -> tuple[Job, ...]:
        with sessions.begin() as session:
            return jobs.reap(session, retry_delays=(0.0,))

    reaped = Counter(job.id for found in together(8, reap) for job in found)
    assert reaped == Counter({job.id: 1 for job in made})


def test_finish_and_cancel_and_reap_race_to_one_end(sessions: Sessions) -> None:
    job = running(sessions)
    with sessions.begin() as session:
        expire(session, job.id)

    def finish(_: int) -> str:
        with sessions.begin() as session:
            jobs.finish(session, job.id, job.fence, {})
        return "finished"

    def cancel(_: int) -> str:
        with sessions.begin() as session:
            jobs.cancel(session, job.id)
        return "asked"

    def reap(_: int) -> str:
        with sessions.begin() as session:
            return "reaped" if jobs.reap(session, retry_delays=()) else "nothing"

    def attempt(i: int) -> str:
        try:
            return (finish, cancel, reap)[i % 3](i)
        except (LeaseLost, IllegalTransition):
            return "refused"

    said = together(9, attempt)
    with sessions.read() as session:
        now = jobs.get(session, job.id)
        ends = [e for e in jobs.events(session, job.id) if e.to_state is now.state]
    assert len(ends) <= 2  # queued twice at most: submitted, and reaped
    assert ("finished" in said) == (now.state is JobState.SUCCEEDED)
    assert ("reaped" in said) == (now.state in {JobState.QUEUED, JobState.CANCELLED})


def test_identical_uploads_race_to_one_dataset(sessions: Sessions) -> None:
    with sessions.begin() as session:
        report = dataset(session, "another").report

    def register(i: int) -> tuple[UUID, bool]:
        with sessions.begin() as session:
            made, created = datasets.register(
                session,
                sha256=sha256_of("same"),
                name=f"upload {i}",
                classes=("a",),
                train_counts=(1,),
                test_counts=(1,),
                channels=3,
                report=report,
            )
            queued(session, dataset_id=made.id)  # the transaction is still good
            return made.id, created

    results = together(8, register)
    assert len({id_ for id_, _ in results}) == 1
    assert sum(created for _, created in results) == 1
    with sessions.read() as session:
        assert len(jobs.listing(session, limit=50, dataset_id=results[0][0])[0]) == 8


def test_threads_that_start_at_once_migrate_once(empty_url: str) -> None:
    together(3, lambda _: schema.migrate(empty_url))
    assert not schema.pending(empty_url)


def test_servers_that_start_at_once_migrate_once(empty_url: str) -> None:
    code = "import sys; from core.db import schema; schema.migrate(sys.argv[1])"
    command = [sys.executable, "-W", "error", "-c", code, empty_url]
    ended = together(2, lambda _: subprocess.run(command, capture_output=True, check=False))
    assert [(server.returncode, server.stderr) for server in ended] == [(0, b"")] * 2
    assert not schema.pending(empty_url)


def test_a_registration_that_lost_after_it_looked(
    sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The unique constraint decides even when the look before it found nothing."""
    with sessions.begin() as session:
        first = dataset(session, "same")
    real = datasets.find
    blind = [True]

    def look(session, sha256):  # type: ignore[no-untyped-def]
        return None if blind and blind.pop() else real(session, sha256)

    monkeypatch.setattr(datasets, "find", look)
    with sessions.begin() as session:
        assert dataset(session, "same") == first
        queued(session, dataset_id=first.id)

"""What a project may use: refused in the transaction that would use more."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Barrier, BrokenBarrierError

import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session

from core.config import QueueLimits, Settings, UploadLimits
from core.db.clock import now
from core.db.job_tables import JobRow
from core.db.sessions import Sessions
from core.domain.identity import DEFAULT, Limits, ProjectId
from core.domain.jobs import JobKind, QueueName
from core.errors import LimitReached, TooLarge
from core.services import jobs, projects, quotas, uploads
from tests.unit.services.samples import claimed, queued

DAY = 86_400.0
ALONE, KEYS = Settings(), Settings(auth="keys", queue=QueueLimits(jobs=4, active_jobs=2))


def limited(sessions: Sessions, **limits: float) -> Sessions:
    """Sessions of a project with these limits."""
    with sessions.begin() as session:
        projects.limit(session, DEFAULT, Limits(**limits))  # type: ignore[arg-type]
    return sessions.within(DEFAULT)


def refusal(
    mine: Sessions, make: Callable[[Session], object], settings: Settings = ALONE
) -> LimitReached:
    with pytest.raises(LimitReached) as caught:
        fits(mine, make, settings)
    return caught.value


def fits(mine: Sessions, make: Callable[[Session], object], settings: Settings = ALONE) -> None:
    with mine.begin() as session:
        make(session)
        quotas.check(session, settings)


def rank(session: Session) -> object:
    return queued(session, kind=JobKind.RANK)


def search(session: Session) -> object:
    return queued(session, kind=JobKind.SEARCH)


def test_so_many_jobs_and_no_more(sessions: Sessions) -> None:
    mine = limited(sessions, active_jobs=2)
    fits(mine, rank)
    fits(mine, search)
    refused = refusal(mine, rank)
    assert (refused.stable_code, refused.retry_after) == ("too_many_jobs", quotas.SOON)
    assert "2 jobs" in refused.message
    with mine.read() as session:
        assert quotas.used(session).active_jobs == 2  # what was refused is not there
    with mine.begin() as session:
        ended = claimed(session)
        jobs.finish(session, ended.id, ended.fence, {})
    fits(mine, rank)


def test_what_makes_no_job_is_never_refused(sessions: Sessions) -> None:
    with sessions.within(DEFAULT).begin() as session:
        made = [queued(session) for _ in range(3)]
    mine = limited(sessions, active_jobs=1, gpu_seconds=0)
    fits(mine, lambda session: jobs.cancel(session, made[0].id))
    refusal(mine, search)


def spent(
    mine: Sessions, seconds: float, *, days_ago: float | None, kind: JobKind = JobKind.SEARCH
) -> None:
    """A GPU job that took so long, and ended then; or runs."""
    with mine.begin() as session:
        search(session)
        job = jobs.claim(session, queue=QueueName.GPU, owner="worker", lease_seconds=60)
        assert job is not None
        ended = {} if days_ago is None else {"finished_at": now(-days_ago * DAY)}
        told = {"cost_seconds": seconds, "kind": kind, **ended}
        session.execute(update(JobRow).where(JobRow.id == job.id).values(told))


def test_gpu_time_comes_back_after_thirty_days(sessions: Sessions) -> None:
    mine = limited(sessions, gpu_seconds=100)
    spent(mine, 80, days_ago=31)
    spent(mine, 60, days_ago=29)
    fits(mine, search)
    spent(mine, 40, days_ago=None)
    refused = refusal(mine, search)
    assert refused.stable_code == "gpu_seconds_spent"
    assert refused.retry_after == pytest.approx(DAY, abs=60)
    fits(mine, rank)  # it needs no GPU
    with mine.read() as session:
        assert quotas.used(session).gpu_seconds == 100


def test_a_groups_gpu_time_is_its_childrens(sessions: Sessions) -> None:
    mine = limited(sessions, gpu_seconds=100)
    spent(mine, 60, days_ago=1)
    spent(mine, 60, days_ago=1, kind=JobKind.GROUP)
    with mine.read() as session:
        assert quotas.used(session).gpu_seconds == 60


def test_jobs_that_run_say_not_when(sessions: Sessions) -> None:
    mine = limited(sessions, gpu_seconds=10)
    spent(mine, 10, days_ago=None)
    assert refusal(mine, search).retry_after == quotas.LATER


@pytest.mark.parametrize(("most", "size"), [(None, 250), (40, 40), (400, 400)])
def test_a_project_s_bytes_come_before_everybody_s(
    sessions: Sessions, most: int | None, size: int
) -> None:
    mine = limited(sessions, stored_bytes=most)  # type: ignore[arg-type]
    limits = UploadLimits(stored_bytes=250)
    with mine.begin() as session:
        uploads.check_room(session, size, limits)
        with pytest.raises(TooLarge) as caught:
            uploads.check_room(session, size + 1, limits)
    assert caught.value.stable_code == "quota_exceeded"


def test_another_project_s_are_its_own(sessions: Sessions) -> None:
    with sessions.begin() as session:
        other: ProjectId = projects.create(session, "other", Limits(active_jobs=1)).id
    fits(limited(sessions, active_jobs=1), rank)
    fits(sessions.within(other), rank)
    assert refusal(sessions.within(other), rank).stable_code == "too_many_jobs"
    with sessions.within(other).read() as session:
        assert quotas.used(session).active_jobs == 1


def projects_of(sessions: Sessions, number: int) -> list[Sessions]:
    with sessions.begin() as session:
        made = [projects.create(session, f"p{each}").id for each in range(number)]
    return [sessions.within(each) for each in made]


def test_where_keys_are_asked_for_every_project_has_a_limit(sessions: Sessions) -> None:
    mine = sessions.within(DEFAULT)
    for _ in range(2):
        fits(mine, rank, KEYS)
    assert refusal(mine, rank, KEYS).stable_code == "too_many_jobs"
    fits(mine, rank)  # nobody but this machine asks here
    limited(sessions, active_jobs=9)
    fits(mine, rank, KEYS)  # its own comes first
    with mine.read() as session:
        assert quotas.allowed(session, KEYS) == Limits(9, KEYS.uploads.stored_bytes, None)
        assert quotas.allowed(session, ALONE).active_jobs == 9
    (other,) = projects_of(sessions, 1)
    with other.read() as session:
        assert quotas.allowed(session, KEYS).active_jobs == 2
        assert quotas.allowed(session, ALONE).active_jobs is None


def test_all_projects_together_fill_one_queue(sessions: Sessions) -> None:
    one, two, three = projects_of(sessions, 3)
    for mine in (one, one, two, two):
        fits(mine, search, KEYS)
    refused = refusal(three, rank, KEYS)
    assert (refused.stable_code, refused.retry_after) == ("queue_full", quotas.SOON)
    with one.begin() as session:
        assert jobs.claim(session, queue=QueueName.GPU, owner="worker", lease_seconds=60)
    fits(three, rank, KEYS)  # what runs does not wait
    with three.begin() as session:
        queued(session)
        with pytest.raises(LimitReached):
            quotas.check(session, KEYS)
        assert len(jobs.listing(session, limit=9)[0]) == 2  # it sees its own, as before
        session.rollback()


def test_who_fills_the_queue_at_once_does_not_overfill_it(sessions: Sessions) -> None:
    settings = KEYS.model_copy(update={"queue": QueueLimits(jobs=4)})

    all_have_made_theirs = Barrier(8)

    def make(session: Session) -> None:
        rank(session)
        with suppress(BrokenBarrierError):  # SQLite lets one write at a time
            all_have_made_theirs.wait(1)

    def admitted(mine: Sessions) -> bool:
        try:
            fits(mine, make, settings)
        except LimitReached:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(admitted, projects_of(sessions, 8)))
    assert sorted(found) == [False] * 4 + [True] * 4

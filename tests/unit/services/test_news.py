"""What is new of a job since when: nothing is told late, twice or never, however it is read."""

from collections.abc import Iterator

import pytest
from sqlalchemy import update

from core.db.job_tables import JobRecordRow
from core.db.sessions import Sessions
from core.domain.jobs import Job, JobKind, JobRecord, Progress
from core.services import fanout, jobs, news
from core.services.news import START, News, Place
from tests.unit.services.samples import running

Lines = dict[tuple[str, int], object]


def beat(sessions: Sessions, job: Job, *steps: int, stage: str = "search") -> None:
    """What a lease writes in one transaction: a beat, and lines of history."""
    lines = [JobRecord(stage, step, {"fence": job.fence, "step": step}) for step in steps]
    with sessions.begin() as session:
        jobs.beat(
            session,
            job.id,
            job.fence,
            lease_seconds=60,
            cost_seconds=jobs.get(session, job.id).cost_seconds + 1,
            progress=Progress(stage, 0.5),
        )
        jobs.add_records(session, job.id, job.fence, lines)


def lived(sessions: Sessions) -> Job:
    """A job that was given back once, repeated what it had done, and succeeded."""
    job = running(sessions)
    for batch in ((0,), (1, 2, 3), (4,)):
        beat(sessions, job, *batch)
    with sessions.begin() as session:
        jobs.release(session, job.id, job.fence, reason="drained", delay_seconds=0, charge=False)
    with sessions.begin() as session:
        again = jobs.claim(session, queue=job.queue, owner="w2", lease_seconds=60)
    assert again is not None
    beat(sessions, again, 3, 4)
    beat(sessions, again, *range(5, 12))
    with sessions.begin() as session:
        return jobs.finish(session, job.id, again.fence, {"done": True})


def reading(sessions: Sessions, job: Job, place: Place = START, **options: int) -> Iterator[News]:
    """Batch after batch until there is no more."""
    while True:
        with sessions.read() as session:
            found = news.since(session, job.id, place, **options)
        yield found
        if not found.more:
            return
        place = found.place


def lines(*batches: News) -> Lines:
    """By key, the last one counts: as clients read them."""
    return {(r.stage, r.step): r.values for found in batches for r in found.records}


@pytest.mark.parametrize("limit", [1, 2, 3, 500])
def test_whoever_is_cut_off_anywhere_reads_the_same(sessions: Sessions, limit: int) -> None:
    job = lived(sessions)
    whole = list(reading(sessions, job, limit=limit))
    with sessions.read() as session:
        events, records = jobs.events(session, job.id), jobs.records(session, job.id)
    assert tuple(event for found in whole for event in found.events) == events
    assert tuple(record for found in whole for record in found.records) == records
    for cut, last in enumerate(whole, 1):
        bare = Place(last.place.seq, last.place.at)  # as a frame's id spells it
        rest = list(reading(sessions, job, bare, limit=limit))
        told = [*whole[:cut], *rest]
        assert tuple(event for found in told for event in found.events) == events
        assert lines(*told) == lines(*whole)


def test_more_is_said_only_where_there_is_more(sessions: Sessions) -> None:
    job = lived(sessions)
    for limit in range(1, 20):
        *_, before, last = [News((), (), START, True), *reading(sessions, job, limit=limit)]
        assert before.more
        assert last.events or last.records
        assert list(reading(sessions, job, last.place)) == [News((), (), last.place, False)]


def test_a_line_of_the_very_moment_that_was_read_is_not_missed(sessions: Sessions) -> None:
    job = running(sessions)
    beat(sessions, job, 0)
    (first,) = reading(sessions, job)
    beat(sessions, job, 1)
    with sessions.begin() as session:  # a clock that counts in milliseconds can say so
        session.execute(update(JobRecordRow).values(at=first.place.at))
    (second,) = reading(sessions, job, first.place)
    assert [record.step for record in second.records] == [1]
    (third,) = reading(sessions, job, second.place)
    assert third.records == ()


def test_versions_are_those_of_the_jobs_and_change_with_every_write(sessions: Sessions) -> None:
    job, seen = running(sessions), set()

    def version() -> str:
        with sessions.read() as session:
            found = news.versions(session, [job.id])[job.id]
            now = jobs.get(session, job.id)
            assert found == news.version(now, fanout.children(session, [now]))
            assert found == news.versions(session, [job.id])[job.id]
        return found

    seen.add(version())
    beat(sessions, job, 0)
    seen.add(version())
    with sessions.begin() as session:
        jobs.cancel(session, job.id)
    seen.add(version())
    with sessions.begin() as session:
        jobs.mark_cancelled(session, job.id, job.fence)
    seen.add(version())
    assert len(seen) == 4


def test_a_group_changes_with_its_children(sessions: Sessions) -> None:
    with sessions.begin() as session:
        group = jobs.submit(session, kind=JobKind.GROUP, spec={}, dataset_id=None)
        for _ in range(2):
            jobs.submit(
                session, kind=JobKind.PRETRAIN, spec={}, dataset_id=None, parent_id=group.id
            )
    seen = set()

    def look() -> None:
        with sessions.read() as session:
            seen.add(news.versions(session, [group.id])[group.id])

    look()
    with sessions.begin() as session:
        child = jobs.claim(session, queue=group.queue, owner="w", lease_seconds=60)
    assert child is not None
    look()
    beat(sessions, child, 0)
    look()
    with sessions.begin() as session:
        jobs.finish(session, child.id, child.fence, {})
    look()
    assert len(seen) == 4

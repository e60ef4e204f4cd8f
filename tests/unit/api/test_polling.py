"""Polls: who asks together is answered together, of one project's rows, and shares its failure."""

import asyncio
import json
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy.orm import Session

from api import polling
from api.polling import Polls
from core.db import schema
from core.db.sessions import Sessions
from core.domain.identity import DEFAULT, ProjectId
from core.domain.jobs import Job, JobId, JobKind
from core.errors import NotFound, Unavailable
from core.services import jobs

OTHER = ProjectId(UUID(int=77))


class Counted(Sessions):
    """Counts what is opened for reading; fails while it shall."""

    opened = 0
    down = False

    def within(self, project: ProjectId) -> "Sessions":
        view: Any = super().within(project)

        @contextmanager
        def read() -> Iterator[Session]:
            self.opened += 1
            if self.down:
                raise Unavailable("The database does not answer; try again in a moment.")
            with Sessions.read(view) as session:
                yield session

        view.read = read
        return view


@pytest.fixture
def sessions(tmp_path: Path) -> Iterator[Counted]:
    url = f"sqlite:///{tmp_path / 'polls.db'}"
    schema.migrate(url)
    made = Counted(url)
    yield made
    made.dispose()


def queued(sessions: Sessions, project: ProjectId = DEFAULT) -> JobId:
    with sessions.within(project).begin() as session:
        return jobs.submit(session, kind=JobKind.EMBED, spec={}, dataset_id=None).id


def polls_of(sessions: Sessions) -> Polls:
    return Polls(sessions, ThreadPoolExecutor(1))


def test_who_asks_together_shares_a_read(sessions: Counted) -> None:
    ids = [queued(sessions) for _ in range(30)]

    async def ask() -> list[JobId]:
        polls = polls_of(sessions)
        found = await asyncio.gather(*(polls.job(DEFAULT, each) for each in ids * 2))
        return [each.job.id for each in found]

    assert asyncio.run(ask()) == ids * 2
    assert sessions.opened == 1


def test_who_asks_later_sees_what_happened_meanwhile(sessions: Counted) -> None:
    job_id = queued(sessions)

    async def ask() -> list[bool]:
        polls, seen = polls_of(sessions), []
        for _ in range(2):
            seen.append((await polls.job(DEFAULT, job_id)).job.cancel_requested)
            with sessions.within(DEFAULT).begin() as session:
                jobs.cancel(session, job_id)
        return [*seen, (await polls.job(DEFAULT, job_id)).job.finished]

    assert asyncio.run(ask())[-1]


@pytest.mark.parametrize(("lately", "reads"), [(60.0, 1), (0.0, 2)])
def test_open_pages_share_what_was_read_a_moment_ago(
    sessions: Counted, lately: float, reads: int
) -> None:
    job_id = queued(sessions)

    async def ask() -> None:
        polls = Polls(sessions, ThreadPoolExecutor(1), lately=lately)
        first = await polls.lately(DEFAULT, job_id)
        assert (await polls.lately(DEFAULT, job_id)).version == first.version
        assert sessions.opened == reads
        with pytest.raises(NotFound):  # what another project has read is not its own
            await polls.lately(OTHER, job_id)
        with sessions.within(DEFAULT).begin() as session:
            jobs.cancel(session, job_id)
        assert (await polls.job(DEFAULT, job_id)).job.finished  # who asks for now has now
        assert (await polls.lately(DEFAULT, job_id)).job.finished

    asyncio.run(ask())


def test_a_job_is_read_once_for_each_version(
    sessions: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids, read = [queued(sessions) for _ in range(3)], []
    several = jobs.several

    def counted(session: Session, wanted: Collection[UUID]) -> tuple[Job, ...]:
        read.append(sorted(wanted))
        return several(session, wanted)

    monkeypatch.setattr(jobs, "several", counted)

    async def ask() -> None:
        polls = polls_of(sessions)
        before = await asyncio.gather(*(polls.job(DEFAULT, each) for each in ids))
        assert await asyncio.gather(*(polls.job(DEFAULT, each) for each in ids)) == before
        with sessions.within(DEFAULT).begin() as session:
            jobs.cancel(session, ids[1])
        after = await asyncio.gather(*(polls.job(DEFAULT, each) for each in ids))
        assert [one == other for one, other in zip(before, after, strict=True)] == [
            True,
            False,
            True,
        ]
        assert json.loads(before[1].body)["state"] == "queued"
        assert json.loads(after[1].body)["state"] == "cancelled"

    asyncio.run(ask())
    assert read == [sorted(ids), [ids[1]]]


def test_what_is_kept_of_jobs_has_an_end(
    sessions: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(polling, "KEPT", 2)
    ids = [queued(sessions) for _ in range(5)]

    async def ask() -> Polls:
        polls = polls_of(sessions)
        found = await asyncio.gather(*(polls.job(DEFAULT, each) for each in ids))
        assert [each.job.id for each in found] == ids
        return polls

    assert len(asyncio.run(ask())._kept) == 2


def test_another_projects_job_is_none(sessions: Counted) -> None:
    mine, theirs = queued(sessions), queued(sessions, OTHER)

    async def ask() -> list[Any]:
        polls = polls_of(sessions)
        asked = [(DEFAULT, mine), (DEFAULT, theirs), (OTHER, theirs), (OTHER, JobId(uuid4()))]
        return await asyncio.gather(*(polls.job(*each) for each in asked), return_exceptions=True)

    found = asyncio.run(ask())
    assert [isinstance(each, NotFound) for each in found] == [False, True, False, True]
    assert found[0].job.id == mine
    assert found[2].job.id == theirs


def test_a_read_that_fails_fails_for_those_alone_who_asked(sessions: Counted) -> None:
    job_id = queued(sessions)

    async def ask() -> list[Any]:
        polls = polls_of(sessions)
        sessions.down = True
        both = (polls.job(DEFAULT, job_id) for _ in range(2))
        lost = await asyncio.gather(*both, return_exceptions=True)
        sessions.down = False
        return [*lost, await polls.job(DEFAULT, job_id)]

    first, second, after = asyncio.run(ask())
    assert isinstance(first, Unavailable)
    assert isinstance(second, Unavailable)
    assert after.job.id == job_id


def test_who_goes_away_takes_nothing_from_others(sessions: Counted) -> None:
    job_id = queued(sessions)

    async def ask() -> JobId:
        polls = polls_of(sessions)
        gone, stays = (asyncio.ensure_future(polls.job(DEFAULT, job_id)) for _ in range(2))
        await asyncio.sleep(0)
        gone.cancel()
        return (await stays).job.id

    assert asyncio.run(ask()) == job_id

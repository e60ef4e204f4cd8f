"""The only file that knows where a request keeps its container, session and announcements."""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Annotated, cast

from fastapi import Depends, Request
from sqlalchemy.orm import Session

from api.identity import identity_of
from api.polling import Polls
from api.watching import Watcher
from core import crash_points
from core.bootstrap import Container
from core.domain.jobs import Job
from core.inference.batching import Inference
from core.services import quotas


@dataclass(frozen=True, slots=True)
class UnitOfWork:
    """One write transaction, and the jobs to announce once it is committed."""

    session: Session
    jobs: list[Job] = field(default_factory=list)

    def announce(self, job: Job) -> Job:
        """Ring for this job after the commit; never when the transaction fails."""
        self.jobs.append(job)
        return job


# Not plain functions: each request would wait for a thread of the pool to call them.
async def container_of(request: Request) -> Container:
    """The container that `create_app` was given, as far as it is the caller's project's."""
    whole = cast(Container, request.app.state.container)
    return replace(whole, sessions=whole.sessions.within(identity_of(request).project_id))


async def watcher_of(request: Request) -> Watcher:
    """Who waits for news of jobs, for all requests."""
    return cast(Watcher, request.app.state.watcher)


async def polls_of(request: Request) -> Polls:
    """Who reads single jobs, for all requests."""
    return cast(Polls, request.app.state.polls)


async def inference_of(request: Request) -> Inference:
    """Who computes with finished models, for all requests."""
    return cast(Inference, request.app.state.inference)


@contextmanager
def working(container: Container) -> Iterator[UnitOfWork]:
    """A write transaction for code that must do slow work before it opens one."""
    with container.sessions.begin() as session:
        work = UnitOfWork(session)
        yield work
        quotas.check(session, container.settings)
    for job in work.jobs:  # lost here? a worker's next look finds the row
        crash_points.reach("before_announce")
        container.queue.announce(job.id, job.queue)


def unit_of_work(container: "ContainerDep") -> Iterator[UnitOfWork]:
    """The request's transaction: committed, then announced, then answered."""
    with working(container) as work:
        yield work


def read_session(container: "ContainerDep") -> Iterator[Session]:
    """A session that cannot write."""
    with container.sessions.read() as session:
        yield session


async def turn() -> AsyncIterator[None]:
    """Held while files are fetched or made: that can take seconds of a thread."""
    yield


FILES = 12  # of 40 threads: the others are for what is answered at once
FileTurn = Depends(turn, scope="function", max_concurrency=FILES)
# Together fewer than the connections of a pool (15). Who has one waits for a thread yet, in which
# its answer is checked; with all threads waiting for connections nobody would go on.
READERS, WRITERS = 8, 6
# `scope="function"` ends the dependency before the response is sent: a caller never holds a 202
# for a row that did not commit.
ContainerDep = Annotated[Container, Depends(container_of)]
PollsDep = Annotated[Polls, Depends(polls_of)]
WatcherDep = Annotated[Watcher, Depends(watcher_of)]
InferenceDep = Annotated[Inference, Depends(inference_of)]
WorkDep = Annotated[UnitOfWork, Depends(unit_of_work, scope="function", max_concurrency=WRITERS)]
SessionDep = Annotated[Session, Depends(read_session, scope="function", max_concurrency=READERS)]

"""The only file that knows where a request keeps its container, session and announcements."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Annotated, cast

from fastapi import Depends, Query, Request
from sqlalchemy.orm import Session

from api.watching import Watcher
from core import crash_points
from core.bootstrap import Container
from core.domain.jobs import Job


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
    """The container that `create_app` was given."""
    return cast(Container, request.app.state.container)


async def watcher_of(request: Request) -> Watcher:
    """Who waits for news of jobs, for all requests."""
    return cast(Watcher, request.app.state.watcher)


@contextmanager
def working(container: Container) -> Iterator[UnitOfWork]:
    """A write transaction for code that must do slow work before it opens one."""
    with container.sessions.begin() as session:
        work = UnitOfWork(session)
        yield work
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


@dataclass(frozen=True, slots=True)
class Page:
    """Which page of a list the caller asks for."""

    limit: int
    after: str | None


def page(
    page_size: Annotated[int, Query(ge=1, le=100)] = 20,
    page_token: Annotated[str | None, Query(max_length=200)] = None,
) -> Page:
    """Reads `page_size` and `page_token`."""
    return Page(page_size, page_token)


# `scope="function"` ends the dependency before the response is sent: a caller never holds a 202
# for a row that did not commit.
ContainerDep = Annotated[Container, Depends(container_of)]
WatcherDep = Annotated[Watcher, Depends(watcher_of)]
WorkDep = Annotated[UnitOfWork, Depends(unit_of_work, scope="function")]
SessionDep = Annotated[Session, Depends(read_session, scope="function")]
PageDep = Annotated[Page, Depends(page)]

"""A job's news as Server-Sent Events: told in batches, each ending with the place to resume from.

A batch has its moves, its lines of history, and the job as it then stands. Its last frame alone
has an id, so that whoever was cut off within one gets all of it again.
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from sqlalchemy.orm import Session

from api.views.jobs import EventView, JobView, RecordView
from api.views.shapes import View
from api.watching import Watcher
from core.domain.identity import ProjectId
from core.domain.jobs import TERMINAL, Children, Job, JobId
from core.errors import AppError, Detail, InvalidInput
from core.services import fanout, jobs, news
from core.services.news import News, Place

# Of silence: then a comment shows that the connection lives. With the seconds that a key is
# recognised for, that is how long a stream outlives its key.
PING_SECONDS = 10.0
PLACE = re.compile(
    r"(?P<seq>\d{1,9})-(?P<at>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z)?", re.ASCII
)


@dataclass(frozen=True, slots=True)
class Batch:
    """All that was written after a place, and the job as it was no earlier than that."""

    job: Job
    standing: Mapping[JobId, Children]
    news: News

    @property
    def last(self) -> bool:
        """Whether nothing can follow."""
        return self.job.finished and not self.news.more

    def adds_to(self, place: Place) -> bool:
        """Whether it has anything later than this place."""
        reached = self.news.place
        return (reached.seq, reached.at) != (place.seq, place.at)


def read(session: Session, *, job_id: JobId, place: Place, limit: int = news.AT_ONCE) -> Batch:
    """What is new of the job. Raises NotFound."""
    job = jobs.get(session, job_id)
    found = news.since(session, job_id, place, limit=limit)
    if not job.finished and any(each.to_state in TERMINAL for each in found.events):
        job = jobs.get(session, job_id)  # it ended between the two looks
    return Batch(job, fanout.children(session, [job]), found)


async def after(watcher: Watcher, project: ProjectId, job_id: JobId, place: Place) -> Batch:
    """As `read`, in the watcher's thread, of a project's job."""
    look = partial(read, job_id=job_id, place=place)
    return await watcher.read(look, project=project, name=(job_id, repr(place)))


async def follow(
    watcher: Watcher, batch: Batch, still: Callable[[], Awaitable[None]]
) -> AsyncIterator[bytes]:
    """Frames from this batch on to the job's end; or until `still` raises that the caller's key
    has ended, the service leaves or its database is lost: then the caller comes again."""
    job = batch.job
    with watcher.place():
        while True:
            for frame in frames(batch):
                yield frame
            if batch.last:
                return
            version = news.version(batch.job, batch.standing)
            try:
                while not batch.news.more and not await watcher.changed(
                    job.id, version, patience=PING_SECONDS
                ):
                    if watcher.leaving:
                        return
                    await still()
                    yield KEEPALIVE_COMMENT
                await still()
                batch = await after(watcher, job.project_id, job.id, batch.news.place)
            except AppError:
                return


def frames(batch: Batch) -> Iterator[bytes]:
    """One batch."""
    told: list[tuple[str, View]] = [
        *(("move", EventView.model_validate(each)) for each in batch.news.events),
        *(("record", RecordView.model_validate(each)) for each in batch.news.records),
    ]
    if not batch.news.more:
        told.append(("end" if batch.last else "job", JobView.of(batch.job, batch.standing)))
    for number, (event, view) in enumerate(told, 1):
        id_ = spelled(batch.news.place) if number == len(told) else None
        yield format_sse_event(data_str=view.model_dump_json(), event=event, id=id_)


def spelled(place: Place) -> str:
    """A place as the id of a frame."""
    if place.at is None:
        return f"{place.seq}-"
    return f"{place.seq}-{place.at.astimezone(UTC).replace(tzinfo=None).isoformat()}Z"


def place_of(id_: str) -> Place:
    """The place that an id names. Raises InvalidInput."""
    found = PLACE.fullmatch(id_)
    try:
        if found is None:
            raise ValueError(id_)
        at = found["at"]
        return Place(int(found["seq"]), None if at is None else datetime.fromisoformat(at))
    except ValueError:
        message = "Send as Last-Event-ID the id of a frame of this stream, or leave it out."
        detail = Detail("header.last-event-id", "bad_event_id", message)
        raise InvalidInput(message, code="bad_event_id", details=[detail]) from None

"""Jobs as streams of events, for those who would rather hear than ask."""

from functools import partial
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Header, Request, Response
from fastapi.responses import StreamingResponse

from api import contract, streaming
from api.deps import ContainerDep, WatcherDep
from api.identity import known_still
from core.domain.jobs import JobId
from core.errors import Unavailable
from core.services.news import START

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

UNBUFFERED = {
    "X-Accel-Buffering": {
        "schema": {"type": "string", "enum": ["no"]},
        "description": "Tells nginx to pass every frame on at once.",
    }
}
HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
LAST_EVENT_ID = "The `id` of the last frame that came, to go on after it."
EXAMPLE = """\
event: move
data: {"seq":2,"at":"2026-01-31T12:00:01Z","from_state":"queued","to_state":"running","fence":1,\
"actor":"worker-1","reason":"claimed"}

event: record
data: {"stage":"search:0","step":4,"values":{"valid_accuracy":0.81}}
id: 2-2026-01-31T12:04:10.123456Z

"""


class EventStream(StreamingResponse):
    """Server-Sent Events (HTML Living Standard, 9.2)."""

    media_type = "text/event-stream"


@router.get(
    "/{job_id:uuid}/stream",
    operation_id="jobs_stream",
    response_class=EventStream,
    responses={
        200: {
            "description": "Frames, until the job has ended.",
            "content": {"text/event-stream": {"example": EXAMPLE}},
            "headers": contract.headers("Cache-Control")["headers"] | UNBUFFERED,
        },
        204: {"description": "The job has ended, and all of it came before `Last-Event-ID`."},
        **contract.refusals("not_found", "bad_event_id", "busy"),
    },
)
async def stream(
    job_id: UUID,
    request: Request,
    container: ContainerDep,
    watcher: WatcherDep,
    last_event_id: Annotated[str | None, Header(description=LAST_EVENT_ID)] = None,
) -> Response:
    """A job's life as Server-Sent Events, from its beginning or after `Last-Event-ID`. `move` is a
    change of state, `record` a line of history, `job` the job as it stands; `end` is the job as it
    ended, after which the stream closes. A line may come again: the last of one stage and step
    counts."""
    place = START if not last_event_id else streaming.place_of(last_event_id)
    if watcher.full:
        message = "As many as this service lets watch are watching, or it stops: try again."
        raise Unavailable(message, code="busy")
    batch = await streaming.after(watcher, container.sessions.project, JobId(job_id), place)
    if batch.last and not batch.adds_to(place):
        return Response(status_code=204)
    still = partial(known_still, request)
    return EventStream(streaming.follow(watcher, batch, still), headers=HEADERS)

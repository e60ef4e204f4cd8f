"""Jobs: how the work is going, and stopping it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from sqlalchemy.orm import Session

from api import conditional, contract, watching
from api.deps import ContainerDep, PageDep, SessionDep, WatcherDep, WorkDep
from api.views.jobs import EventView, JobView, RecordView
from api.views.shapes import Listed, PageView
from core.bootstrap import Container
from core.domain.jobs import Children, Job, JobId, JobKind, JobState
from core.services import fanout, jobs, news

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

CACHE = "no-cache"
PREFER = contract.sends(
    "Prefer",
    f"`wait=N`: answer as soon as the job has changed, and after N seconds (at most "
    f"{conditional.LONGEST_WAIT}) at the latest. Followed if the answer says "
    "`Preference-Applied`; else it came at once.",
)


@router.get("", operation_id="jobs_list")
def index(
    session: SessionDep,
    page: PageDep,
    kind: JobKind | None = None,
    state: JobState | None = None,
    dataset_id: UUID | None = None,
    parent_id: UUID | None = None,
) -> PageView[JobView]:
    """Jobs, newest first; of one group, if asked."""
    found, token = jobs.listing(
        session,
        limit=page.limit,
        after=page.after,
        kind=kind,
        state=state,
        dataset_id=dataset_id,
        parent_id=parent_id,
    )
    standing = fanout.children(session, found)
    items = [JobView.of(each, standing) for each in found]
    return PageView(items=items, next_page_token=token)


@router.get(
    "/{job_id}",
    operation_id="jobs_get",
    response_model=JobView,
    responses={
        200: contract.headers("ETag", "Cache-Control", "Preference-Applied"),
        **contract.unchanged("Cache-Control", "Preference-Applied"),
    },
    openapi_extra=contract.takes(contract.IF_NONE_MATCH, PREFER),
)
async def show(
    job_id: UUID,
    request: Request,
    response: Response,
    container: ContainerDep,
    watcher: WatcherDep,
) -> JobView | Response:
    """One job; `poll_after_ms` says when asking again makes sense. With `Prefer: wait=N` the
    answer comes when the job has changed, in N seconds at the latest: since the answer that
    `If-None-Match` names, or since the request."""
    id_ = JobId(job_id)
    look = partial(_seen, job_id=id_)
    patience = conditional.wait_of(request)
    if not patience or watcher.full:
        seen = await run_in_threadpool(_read, container, look)
    else:
        response.headers["Preference-Applied"] = f"wait={patience}"
        with watcher.place():
            seen = await watcher.read(look, name=id_)
            known = "if-none-match" not in request.headers or seen.is_known_to(request)
            if known and not seen.job.finished:
                waiting = watcher.changed(id_, seen.version, patience=patience)
                if await watching.while_heard(request, waiting):
                    seen = await watcher.read(look, name=id_)
    if seen.is_known_to(request):
        unchanged = conditional.unchanged(seen.tag(request), cache=CACHE)
        unchanged.headers.update(response.headers)
        return unchanged
    response.headers["ETag"], response.headers["Cache-Control"] = seen.tag(request), CACHE
    return JobView.of(seen.job, seen.standing)


@router.get("/{job_id}/records", operation_id="jobs_records")
def records(
    job_id: UUID,
    session: SessionDep,
    stage: Annotated[str | None, Query(max_length=64)] = None,
) -> Listed[RecordView]:
    """The job's history so far, an epoch a line."""
    jobs.get(session, JobId(job_id))
    found = jobs.records(session, JobId(job_id), stage=stage)
    return Listed(items=[RecordView.model_validate(each) for each in found])


@router.get("/{job_id}/events", operation_id="jobs_events")
def events(job_id: UUID, session: SessionDep) -> Listed[EventView]:
    """Every move of the job, and why."""
    jobs.get(session, JobId(job_id))
    found = jobs.events(session, JobId(job_id))
    return Listed(items=[EventView.model_validate(each) for each in found])


@router.post(
    "/{job_id}:cancel",
    operation_id="jobs_cancel",
    status_code=202,
    responses={
        200: {"model": JobView, "description": "It was cancelled before."},
        **contract.refusals("illegal_transition"),
    },
)
def cancel(job_id: UUID, work: WorkDep, response: Response) -> JobView:
    """Ask the job to stop. A running one stops at its next report, a group when all its jobs
    have stopped; 200 when it was cancelled before, 409 when it has succeeded or failed."""
    if jobs.get(work.session, job_id).state is JobState.CANCELLED:
        response.status_code = 200
    job = jobs.cancel(work.session, job_id)
    return JobView.of(job, fanout.children(work.session, [job]))


@dataclass(frozen=True, slots=True)
class Seen:
    """A job as it stood at one moment."""

    job: Job
    standing: Mapping[JobId, Children]

    @property
    def version(self) -> str:
        """What changes with it."""
        return news.version(self.job, self.standing)

    def tag(self, request: Request) -> str:
        """The entity tag of its view; another release may show the same job otherwise."""
        return f'"{request.app.version}-{self.version}"'

    def is_known_to(self, request: Request) -> bool:
        """Whether the caller has this view of it."""
        return conditional.matches(request, self.tag(request))


def _seen(session: Session, *, job_id: JobId) -> Seen:
    job = jobs.get(session, job_id)
    return Seen(job, fanout.children(session, [job]))


def _read(container: Container, look: Callable[[Session], Seen]) -> Seen:
    with container.sessions.read() as session:
        return look(session)

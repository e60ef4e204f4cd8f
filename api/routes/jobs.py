"""Jobs: how the work is going, and stopping it."""

import hashlib
from collections.abc import Mapping
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from api import contract
from api.deps import PageDep, SessionDep, WorkDep
from api.views.jobs import EventView, JobView, RecordView
from api.views.shapes import Listed, PageView
from core.domain.jobs import Children, Job, JobId, JobKind, JobState
from core.services import fanout, jobs

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])


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
        200: contract.headers("ETag", "Cache-Control"),
        **contract.unchanged("Cache-Control"),
    },
    openapi_extra=contract.takes(contract.IF_NONE_MATCH),
)
def show(
    job_id: UUID, session: SessionDep, request: Request, response: Response
) -> JobView | Response:
    """One job; `poll_after_ms` says when asking again makes sense."""
    job = jobs.get(session, JobId(job_id))
    standing = fanout.children(session, [job])
    etag = version(job, standing)
    response.headers["ETag"] = etag
    response.headers["Cache-Control"] = "no-cache"
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers={"ETag": etag, "Cache-Control": "no-cache"})
    return JobView.of(job, standing)


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
    responses=contract.refusals("illegal_transition"),
)
def cancel(job_id: UUID, work: WorkDep) -> JobView:
    """Ask the job to stop. A running one stops at its next report, a group when all its jobs
    have stopped; 409 when it has ended."""
    job = jobs.cancel(work.session, JobId(job_id))
    return JobView.of(job, fanout.children(work.session, [job]))


def version(job: Job, standing: Mapping[JobId, Children]) -> str:
    """An entity tag that changes with anything a watcher would notice."""
    job = fanout.shown(job, standing)
    counts = sorted(standing[job.id].counts.items()) if job.id in standing else ()
    seen = (job.state, job.fence, job.stage, job.progress, job.eta_seconds, job.cancel_requested,
            job.cost_seconds, job.error_code, job.resume_reason, counts)  # fmt: skip
    return f'"{hashlib.sha256(repr(seen).encode()).hexdigest()[:24]}"'

"""Jobs: how the work is going, and stopping it."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from api import conditional, contract, watching
from api.deps import ContainerDep, PollsDep, SessionDep, WatcherDep, WorkDep
from api.identity import known_still
from api.lists import ByTime, Labels, LongPageDep, Moment, PageDep, States, labelled
from api.views.jobs import EventView, JobView, LogLineView, RecordView
from api.views.shapes import PageView
from core.domain.jobs import JobId, JobKind, JobState
from core.services import fanout, history, job_logs, jobs

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

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
    order: ByTime = "newest",
    kind: JobKind | None = None,
    state: States = (),
    label: Labels = (),
    dataset_id: UUID | None = None,
    parent_id: UUID | None = None,
    created_after: Annotated[Moment | None, Query(description="At this time, or later.")] = None,
    created_before: Annotated[Moment | None, Query(description="Before this time.")] = None,
) -> PageView[JobView]:
    """Jobs; of one kind, in some states, of one dataset or group, of some days, if asked."""
    found, token = jobs.listing(
        session,
        limit=page.limit,
        after=page.after,
        order=order,
        kind=kind,
        states=state,
        labels=labelled(label),
        dataset_id=dataset_id,
        parent_id=parent_id,
        created_after=created_after,
        created_before=created_before,
    )
    standing = fanout.children(session, found)
    return page.of([JobView.of(each, standing) for each in found], token)


@router.get(
    "/{job_id:uuid}",
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
    container: ContainerDep,
    polls: PollsDep,
    watcher: WatcherDep,
) -> Response:
    """One job; `poll_after_ms` says when asking again makes sense. With `Prefer: wait=N` the
    answer comes when the job has changed, in N seconds at the latest: since the answer that
    `If-None-Match` names, or since the request."""
    project, id_ = container.sessions.project, JobId(job_id)
    seen, headers = await polls.job(project, id_), {"Cache-Control": conditional.NO_CACHE}
    patience = conditional.wait_of(request)
    if patience and not watcher.full:
        headers["Preference-Applied"] = f"wait={patience}"
        known = "if-none-match" not in request.headers or seen.is_known_to(request)
        if known and not seen.job.finished:
            with watcher.place():
                waiting = watcher.changed(id_, seen.version, patience=patience)
                changed = await watching.while_heard(request, waiting)
                await known_still(request)
                if changed:
                    seen = await polls.job(project, id_)
    headers["ETag"] = seen.tag(request)
    if seen.is_known_to(request):
        return Response(status_code=304, headers=headers)
    # Ready to be sent: the framework would check and convert it once more for each who polls.
    return Response(seen.body, media_type=contract.JSON, headers=headers)


@router.get("/{job_id:uuid}/records", operation_id="jobs_records")
def records(
    job_id: UUID,
    session: SessionDep,
    page: LongPageDep,
    order: ByTime = "oldest",
    stage: Annotated[str | None, Query(max_length=64)] = None,
) -> PageView[RecordView]:
    """The job's history so far, an epoch a line. A line that a resumed attempt has written again
    comes where that attempt is: who pages through a running job takes the last of each stage and
    step."""
    jobs.get(session, job_id)
    found, token = history.records(
        session, job_id, stage=stage, limit=page.limit, after=page.after, order=order
    )
    return page.of([RecordView.model_validate(each) for each in found], token)


@router.get("/{job_id:uuid}/events", operation_id="jobs_events")
def events(
    job_id: UUID, session: SessionDep, page: LongPageDep, order: ByTime = "oldest"
) -> PageView[EventView]:
    """Every move of the job, and why."""
    jobs.get(session, job_id)
    found, token = history.events(session, job_id, limit=page.limit, after=page.after, order=order)
    return page.of([EventView.model_validate(each) for each in found], token)


@router.get("/{job_id:uuid}/logs", operation_id="jobs_logs")
def logs(
    job_id: UUID, session: SessionDep, page: LongPageDep, order: ByTime = "oldest"
) -> PageView[LogLineView]:
    """What its workers said of it: the last 200 lines of each of its last three attempts, which
    come with the job's signs of life, every ten seconds."""
    jobs.get(session, job_id)
    found, token = job_logs.page(session, job_id, limit=page.limit, after=page.after, order=order)
    return page.of([LogLineView.model_validate(each) for each in found], token)


@router.post(
    "/{job_id:uuid}:cancel",
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

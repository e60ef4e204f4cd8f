"""A job's page: how far, how long still, at what cost; refreshed while it runs."""

from typing import Any
from uuid import UUID

from fastapi import APIRouter
from sqlalchemy.orm import Session
from starlette.responses import Response

from api.deps import ContainerDep, SessionDep, WorkDep
from api.web import charts, forms, metrics, pages, problem_rows, race_rows
from api.web.dataset_pages import FormDep
from core.domain.datasets import DatasetId
from core.domain.jobs import Job, JobId, JobKind, JobState
from core.domain.searches import IngestSpec
from core.errors import Conflict, Gone, NotFound
from core.services import datasets, fanout, jobs, searches, uploads, wire

router = APIRouter(prefix="/jobs")

PAGE = 50
MOST = 500  # jobs that a group's page lists


@router.get("")
def index(session: SessionDep, page_token: str | None = None) -> Response:
    """All jobs, newest first."""
    found, token = jobs.listing(session, limit=PAGE, after=page_token)
    names = _names(session)
    standing = fanout.children(session, found)
    shown = [fanout.shown(each, standing) for each in found]
    return pages.render("jobs.html", jobs=shown, names=names, token=token)


@router.get("/{job_id}")
def show(job_id: UUID, session: SessionDep) -> Response:
    """One job, live."""
    return pages.render("job.html", **_seen(session, job_id))


@router.get("/{job_id}/live")
def live(job_id: UUID, session: SessionDep) -> Response:
    """The moving part of the job's page alone."""
    seen = _seen(session, job_id)
    page = pages.render("job_live.html", **seen)
    made = seen["dataset"] if seen["job"].kind is JobKind.INGEST else None
    if made is not None and made.deleted_at is None:
        page.headers["HX-Redirect"] = f"/datasets/{made.id}"
    elif seen["job"].finished:
        page.headers["HX-Refresh"] = "true"  # once more, whole: history and result link too
    return page


@router.post("/{job_id}/cancel")
def cancel(job_id: UUID, work: WorkDep) -> Response:
    """Ask the job to stop, and keep watching."""
    job = jobs.cancel(work.session, JobId(job_id))
    return pages.see(f"/jobs/{job.id}")


@router.post("/{job_id}/again")
def again(job_id: UUID, sent: FormDep, work: WorkDep, container: ContainerDep) -> Response:
    """Read the same uploads once more, with other options."""
    job = jobs.get(work.session, JobId(job_id))
    if job.kind is not JobKind.INGEST:
        raise Conflict("Only an intake can be tried again with other options.")
    spec = forms.ingest(sent, wire.load(IngestSpec, job.spec))
    made = work.announce(
        searches.submit_ingest(work.session, spec.to_spec(container.settings.embedder))
    )
    return pages.see(f"/jobs/{made.id}")


def _names(session: Session) -> dict[DatasetId, str]:
    known, _ = datasets.listing(session, limit=1_000)
    return {each.id: each.name for each in known}


def _seen(session: Session, job_id: UUID) -> dict[str, Any]:
    job = jobs.get(session, JobId(job_id))
    job = fanout.shown(job, fanout.children(session, [job]))
    records = jobs.records(session, job.id)
    epochs = [each for each in records if each.stage != race_rows.STAGE]
    rates = metrics.sequence(job.spec.get("learning_rates"))
    dataset = None
    if (of := job.dataset_id or (job.result or {}).get("dataset_id")) is not None:
        dataset = datasets.remembered(session, DatasetId(UUID(str(of))))
    grouped = job.kind is JobKind.GROUP
    return {
        "job": job,
        "children": jobs.listing(session, limit=MOST, parent_id=job.id)[0] if grouped else (),
        "names": _names(session) if grouped else {},
        "dataset": dataset,
        "rates": rates,
        "curves": charts.live_curves(records, rates),
        "latest": epochs[-1] if epochs else None,
        "race": race_rows.running(records),
        "events": jobs.events(session, job.id),
        "model_id": _model_id(session, job),
        "refused": tuple(problem_rows.refused(records)) if job.finished else (),
        "asked": _may_be_tried_again(session, job),
    }


def _may_be_tried_again(session: Session, job: Job) -> IngestSpec | None:
    """What was asked of an intake that failed, while its uploads are here."""
    if job.kind is not JobKind.INGEST or job.state is not JobState.FAILED:
        return None
    asked: IngestSpec = wire.load(IngestSpec, job.spec)
    try:
        for upload_id in asked.uploads:
            uploads.get(session, upload_id)
    except (NotFound, Gone):
        return None
    return asked


def _model_id(session: Session, job: Job) -> UUID | None:
    if job.kind is not JobKind.SEARCH:
        return None
    try:
        return searches.by_job(session, job.id).model_id
    except NotFound:
        return None

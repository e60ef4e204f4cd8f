"""Prunings: ask for a smaller known network, look at what came of it, and fetch its files."""

from uuid import UUID

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from api import contract, downloads, submissions
from api.deps import ContainerDep, FileTurn, SessionDep
from api.lists import ByTime, PageDep
from api.pruning_bodies import PruningBody
from api.submissions import SubmissionDep
from api.views.jobs import JobView
from api.views.results import PruningView, SubmittedPruningView
from api.views.shapes import PageView
from core.domain.jobs import JobKind
from core.services import prunings

router = APIRouter(prefix="/v1/prunings", tags=["prunings"])

REFUSALS = (
    "dataset_deleted",
    "not_finished",
    "not_found",
    "statistics_only",
    "upload_expired",
    "upload_incomplete",
)


@router.post(
    "",
    operation_id="prunings_create",
    status_code=202,
    responses=submissions.answers(*REFUSALS),
)
def submit(
    body: PruningBody, request: SubmissionDep, container: ContainerDep
) -> SubmittedPruningView:
    """Prune a known network for a dataset; poll the job at `Location`."""
    session, spec = request.work.session, body.to_spec(container.settings.embedder)
    job = request.queue(
        (JobKind.PRUNE, spec, body.priority),
        lambda: prunings.submit(session, spec, priority=body.priority)[1],
        retry_after=2,
    )
    shown = PruningView.of(prunings.by_job(session, job.id)).model_dump()
    return SubmittedPruningView(**shown, job=JobView.of(job))


@router.get("", operation_id="prunings_list")
def index(
    session: SessionDep, page: PageDep, order: ByTime = "newest", dataset_id: UUID | None = None
) -> PageView[PruningView]:
    """Prunings; of one dataset, if asked."""
    found, token = prunings.listing(
        session, limit=page.limit, after=page.after, order=order, dataset_id=dataset_id
    )
    return page.of([PruningView.of(each) for each in found], token)


@router.get("/{pruning_id:uuid}", operation_id="prunings_get")
def show(pruning_id: UUID, session: SessionDep) -> PruningView:
    """One pruning: what was asked, and once its job has succeeded mask, metrics and files."""
    return PruningView.of(prunings.get(session, pruning_id))


@router.get(
    "/{pruning_id:uuid}/artifacts/{name}",
    operation_id="prunings_download",
    dependencies=[FileTurn],
    response_class=StreamingResponse,
    openapi_extra=contract.takes(contract.IF_NONE_MATCH),
    responses=downloads.ARTIFACT,
)
def download(pruning_id: UUID, name: str, request: Request, container: ContainerDep) -> Response:
    """One file of a pruning; its bytes are checked against their checksum on the way."""
    with container.sessions.read() as session:
        artifact = prunings.artifact(session, pruning_id, name)
    return downloads.answered(request, container.store, artifact)

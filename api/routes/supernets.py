"""Supernets: the registry of pretrained sources."""

from uuid import UUID

from fastapi import APIRouter

from api import submissions
from api.deps import ContainerDep, SessionDep
from api.lists import ByName, PageDep
from api.schemas import PretrainBody, PretrainEachBody
from api.submissions import SubmissionDep
from api.views.jobs import JobView
from api.views.results import SupernetView
from api.views.shapes import PageView
from core.domain.jobs import JobKind
from core.domain.supernets import SupernetId
from core.services import fanout, searches, supernets

router = APIRouter(tags=["supernets"])


@router.post(
    "/v1/supernets",
    operation_id="supernets_create",
    status_code=202,
    responses=submissions.answers(*submissions.ON_A_DATASET),
)
def pretrain(body: PretrainBody, request: SubmissionDep, container: ContainerDep) -> JobView:
    """Train a supernet on a dataset and register it; poll the job at `Location`."""
    spec = body.to_spec(container.settings.embedder)
    session = request.work.session
    job = request.queue(
        (JobKind.PRETRAIN, spec), lambda: searches.submit_pretrain(session, spec), retry_after=2
    )
    return JobView.of(job)


@router.post(
    "/v1/supernets:pretrain",
    operation_id="supernets_pretrain",
    status_code=202,
    responses=submissions.answers(*submissions.ON_A_DATASET),
)
def pretrain_each(
    body: PretrainEachBody, request: SubmissionDep, container: ContainerDep
) -> JobView:
    """Train a supernet on each of many datasets: all of these jobs are queued, or none.

    The job at `Location` stands for them: it shows how many are in which state
    (`GET /v1/jobs?parent_id=` lists them), cancelling it cancels them, and it ends with the last
    of them: well if all did, else with `children_failed`."""
    spec = body.to_spec(container.settings.embedder)
    session = request.work.session
    job = request.queue(
        (JobKind.GROUP, spec),
        lambda: searches.submit_pretrain_each(session, spec),
        retry_after=2,
    )
    return JobView.of(job, fanout.children(session, [job]))


@router.get("/v1/supernets", operation_id="supernets_list")
def index(
    session: SessionDep, page: PageDep, order: ByName = "newest", dataset_id: UUID | None = None
) -> PageView[SupernetView]:
    """Supernets; those trained on one dataset, if asked."""
    found, token = supernets.listing(
        session, limit=page.limit, after=page.after, order=order, dataset_id=dataset_id
    )
    return page.of([SupernetView.model_validate(each) for each in found], token)


@router.get("/v1/supernets/{supernet_id:uuid}", operation_id="supernets_get")
def show(supernet_id: UUID, session: SessionDep) -> SupernetView:
    """One supernet with its lineage and training record."""
    return SupernetView.model_validate(supernets.get(session, SupernetId(supernet_id)))

"""Supernets: the registry of pretrained sources."""

from uuid import UUID

from fastapi import APIRouter

from api import submissions
from api.deps import ContainerDep, PageDep, SessionDep
from api.schemas import PretrainBody
from api.submissions import SubmissionDep
from api.views.jobs import JobView
from api.views.results import SupernetView
from api.views.shapes import PageView
from core.domain.jobs import JobKind
from core.domain.supernets import SupernetId
from core.services import searches, supernets

router = APIRouter(prefix="/v1/supernets", tags=["supernets"])


@router.post("", status_code=202, responses=submissions.RESPONSES)
def pretrain(body: PretrainBody, request: SubmissionDep, container: ContainerDep) -> JobView:
    """Train a supernet on a dataset and register it; poll the job at `Location`."""
    spec = body.to_spec(container.settings.embedder)
    session = request.work.session
    job = request.queue(
        (JobKind.PRETRAIN, spec), lambda: searches.submit_pretrain(session, spec), retry_after=2
    )
    return JobView.of(job)


@router.get("")
def index(session: SessionDep, page: PageDep) -> PageView[SupernetView]:
    """All supernets, newest first."""
    found, token = supernets.listing(session, limit=page.limit, after=page.after)
    shown = [SupernetView.model_validate(each) for each in found]
    return PageView(items=shown, next_page_token=token)


@router.get("/{supernet_id}")
def show(supernet_id: UUID, session: SessionDep) -> SupernetView:
    """One supernet with its lineage and training record."""
    return SupernetView.model_validate(supernets.get(session, SupernetId(supernet_id)))

"""Searches: ask for an architecture, look at the evidence."""

from uuid import UUID

from fastapi import APIRouter

from api import submissions
from api.deps import ContainerDep, PageDep, SessionDep
from api.schemas import SearchBody
from api.submissions import SubmissionDep
from api.views.jobs import JobView
from api.views.results import SearchView, SubmittedSearchView
from api.views.shapes import PageView
from core.domain.datasets import DatasetId
from core.domain.jobs import JobKind
from core.domain.searches import SearchId
from core.services import searches

router = APIRouter(prefix="/v1/searches", tags=["searches"])


@router.post(
    "",
    operation_id="searches_create",
    status_code=202,
    responses=submissions.answers(*submissions.ON_A_DATASET),
)
def submit(
    body: SearchBody, request: SubmissionDep, container: ContainerDep
) -> SubmittedSearchView:
    """Search an architecture for a dataset; poll the job at `Location`."""
    spec = body.to_spec(container.settings.embedder)
    session = request.work.session
    job = request.queue(
        (JobKind.SEARCH, spec), lambda: searches.submit_search(session, spec)[1], retry_after=2
    )
    shown = SearchView.model_validate(searches.by_job(session, job.id)).model_dump()
    return SubmittedSearchView(**shown, job=JobView.of(job))


@router.get("", operation_id="searches_list")
def index(
    session: SessionDep, page: PageDep, dataset_id: UUID | None = None
) -> PageView[SearchView]:
    """Searches, newest first; of one dataset, if asked."""
    found, token = searches.listing(
        session,
        limit=page.limit,
        after=page.after,
        dataset_id=None if dataset_id is None else DatasetId(dataset_id),
    )
    shown = [SearchView.model_validate(each) for each in found]
    return PageView(items=shown, next_page_token=token)


@router.get("/{search_id}", operation_id="searches_get")
def show(search_id: UUID, session: SessionDep) -> SearchView:
    """One search: its ranking, where it started, and its model when there is one."""
    return SearchView.model_validate(searches.get(session, SearchId(search_id)))

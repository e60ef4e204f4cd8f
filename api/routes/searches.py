"""Searches: ask for an architecture, look at the evidence."""

from dataclasses import replace
from typing import Any
from uuid import UUID

from fastapi import APIRouter
from pydantic import ValidationError

from api import contract, submissions
from api.deps import ContainerDep, SessionDep
from api.lists import ByTime, Labels, PageDep, States, labelled
from api.problems import invalid
from api.search_bodies import CloneBody, ReplayBody, SearchBody, merged
from api.submissions import SubmissionDep
from api.views.estimates import EstimateView
from api.views.jobs import JobView
from api.views.results import SearchView, SubmittedSearchView
from api.views.shapes import PageView
from core.domain.jobs import JobKind
from core.domain.searches import SearchId, SearchSpec
from core.services import jobs, repeating, searches

router = APIRouter(prefix="/v1/searches", tags=["searches"])

NO_PATCH = CloneBody()

ANSWERS = submissions.answers(*submissions.ON_A_DATASET, "budget_too_small")


def _queued(
    spec: SearchSpec, priority: int, request: SubmissionDep, container: ContainerDep
) -> SubmittedSearchView:
    session = request.work.session
    terms: dict[str, Any] = {"priority": priority, "device": container.settings.device}
    job = request.queue(
        (JobKind.SEARCH, spec, priority),
        lambda: searches.submit_search(session, spec, **terms)[1],
        retry_after=2,
    )
    shown = SearchView.model_validate(searches.by_job(session, job.id)).model_dump()
    return SubmittedSearchView(**shown, job=JobView.of(job))


@router.post("", operation_id="searches_create", status_code=202, responses=ANSWERS)
def submit(
    body: SearchBody, request: SubmissionDep, container: ContainerDep
) -> SubmittedSearchView:
    """Search an architecture for a dataset; poll the job at `Location`."""
    return _queued(body.to_spec(container.settings.embedder), body.priority, request, container)


@router.post(
    ":estimate",
    operation_id="searches_estimate",
    responses=contract.refusals(*submissions.ON_A_DATASET, "budget_too_small"),
)
def estimate(body: SearchBody, session: SessionDep, container: ContainerDep) -> EstimateView:
    """What the same request would take, and what would be tried; nothing is queued."""
    spec, settings = body.to_spec(container.settings.embedder), container.settings
    found = searches.estimate(session, spec, device=settings.device)
    return EstimateView.model_validate(found)


@router.post(":replay", operation_id="searches_replay", status_code=202, responses=ANSWERS)
def replay(
    body: ReplayBody, request: SubmissionDep, container: ContainerDep
) -> SubmittedSearchView:
    """Search again as a model's `config.json` tells: the same images, start, settings and seed."""
    spec = repeating.replayed(request.work.session, body.config)
    spec = replace(spec, labels=body.labels)
    return _queued(spec, body.priority, request, container)


@router.post(
    "/{search_id:uuid}:clone",
    operation_id="searches_clone",
    status_code=202,
    responses=ANSWERS,
)
def clone(
    search_id: UUID,
    request: SubmissionDep,
    container: ContainerDep,
    body: CloneBody = NO_PATCH,
) -> SubmittedSearchView:
    """A new search like that one, but for what the body says; without a body the same again. The
    deadline is not taken over."""
    session = request.work.session
    search = searches.get(session, SearchId(search_id))
    priority = jobs.get(session, search.job_id).priority
    asked = {**search.spec, "deadline": None, "priority": priority}
    embedder = asked.pop("embedder")
    try:
        found = SearchBody.model_validate(
            merged(asked, body.model_dump(mode="json", exclude_unset=True))
        )
    except ValidationError as error:
        raise invalid(error.errors()) from error
    return _queued(found.to_spec(embedder), found.priority, request, container)


@router.get("", operation_id="searches_list")
def index(
    session: SessionDep,
    page: PageDep,
    order: ByTime = "newest",
    dataset_id: UUID | None = None,
    state: States = (),
    label: Labels = (),
) -> PageView[SearchView]:
    """Searches; of one dataset, with these labels, or whose jobs are in these states, if asked."""
    found, token = searches.listing(
        session,
        limit=page.limit,
        after=page.after,
        order=order,
        dataset_id=dataset_id,
        states=state,
        labels=labelled(label),
    )
    return page.of([SearchView.model_validate(each) for each in found], token)


@router.get("/{search_id:uuid}", operation_id="searches_get")
def show(search_id: UUID, session: SessionDep) -> SearchView:
    """One search: its ranking, where it started, and its model when there is one."""
    return SearchView.model_validate(searches.get(session, SearchId(search_id)))

"""The form of a search: what it would take while it is typed, and the search itself."""

from typing import Any
from uuid import UUID

from fastapi import APIRouter
from sqlalchemy.orm import Session
from starlette.responses import Response

from api import problems
from api.deps import ContainerDep, SessionDep, WorkDep
from api.web import forms, pages, words
from core.domain.datasets import Dataset, DatasetId
from core.domain.jobs import JobId, JobKind
from core.domain.searches import Budget, SearchSpec, StartPolicy
from core.errors import InvalidInput, NotFound
from core.services import controls, datasets, jobs, moves, searches, supernets

router = APIRouter(prefix="/datasets/{dataset_id}")

MOST_STARTS = 100


def about(session: Session, dataset: Dataset, told: forms.Typed | None = None) -> dict[str, Any]:
    """What the form needs to be shown, with what was typed before."""
    return {
        "search": SearchSpec(dataset.id, ""),
        "told": told or {},
        # A dataset's own supernet is a start one may name, never a neighbour of itself.
        "sources": supernets.listing(session, limit=MOST_STARTS)[0],
        "choices": words.CHOICES,
    }


@router.get("/search")
def show(dataset_id: UUID, session: SessionDep, like: UUID | None = None) -> Response:
    """The form alone, as an earlier search was asked for, to be changed."""
    dataset = datasets.get(session, DatasetId(dataset_id))
    datasets.check_images(dataset)
    told: forms.Typed = {}
    if like is not None:
        job = jobs.get(session, JobId(like))
        if job.kind is not JobKind.SEARCH:
            raise NotFound(f"There is no search that job {like} works on.")
        told = forms.asked(job.spec, job.priority)
    return pages.render("search.html", dataset=dataset, **about(session, dataset, told))


@router.post("/search")
def search(
    dataset_id: UUID, sent: forms.FormDep, work: WorkDep, container: ContainerDep
) -> Response:
    """Start a search, with its control if that is wanted, and watch it. What cannot be accepted
    is told beside what was typed."""
    session = work.session
    try:
        body = forms.search(sent, dataset_id)
        spec = body.to_spec(container.settings.embedder)
        wanted = [spec]
        if forms.with_control(sent) and spec.policy is not StartPolicy.COLD:
            wanted.append(controls.of(spec))
        terms: dict[str, Any] = {"priority": body.priority, "device": container.settings.device}
        with moves.attempt(session):
            made = [searches.submit_search(session, each, **terms)[1] for each in wanted]
    except InvalidInput as error:
        dataset, problem = datasets.get(session, DatasetId(dataset_id)), problems.of_error(error)
        told = about(session, dataset, forms.typed(sent))
        return pages.render(
            "search.html", status=problem.status, dataset=dataset, problem=problem, **told
        )
    for job in made:
        work.announce(job)
    return pages.see(f"/jobs/{made[0].id}")


@router.post("/estimate")
def estimate(
    dataset_id: UUID, sent: forms.FormDep, session: SessionDep, container: ContainerDep
) -> Response:
    """What the search form as it stands would take, or what is wrong with it, alone."""
    device, control = container.settings.device, None
    try:
        spec = forms.search(sent, dataset_id).to_spec(container.settings.embedder)
        found = searches.estimate(session, spec, device=device)
        if forms.with_control(sent) and spec.policy is not StartPolicy.COLD:
            control = searches.estimate(session, controls.of(spec), device=device)
    except InvalidInput as error:
        problem = problems.of_error(error)
        return pages.render("mistakes.html", status=problem.status, problem=problem)
    return pages.render(
        "estimate.html",
        estimate=found,
        starts=[each.name for each in found.trial.starts],
        control=control,
        bounded=spec.budget != Budget() or spec.deadline is not None,
    )

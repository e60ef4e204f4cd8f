"""A dataset's page: its images, its report, its neighbours, and what can be done with it."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from sqlalchemy.orm import Session
from starlette.datastructures import FormData
from starlette.responses import Response

from api.deps import ContainerDep, SessionDep, WorkDep
from api.web import (
    charts,
    forms,
    model_rows,
    neighbourhood,
    pages,
    problem_rows,
    version_pages,
    words,
)
from core.domain.datasets import Dataset, DatasetId
from core.domain.jobs import Job
from core.domain.searches import PretrainSpec, RankSpec, SearchSpec
from core.errors import InvalidInput
from core.services import datasets, jobs, models, searches, supernets

router = APIRouter(prefix="/datasets/{dataset_id}")

SHOWN_CLASSES = 40
FORM_TYPES = frozenset({"application/x-www-form-urlencoded", "multipart/form-data"})


async def form(request: Request) -> FormData:
    """The fields of a small form."""
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media not in FORM_TYPES:  # would read as a form with every field left to its default
        raise InvalidInput("This address takes a form.", code="unsupported_media_type")
    return await request.form(max_files=0, max_fields=40)


FormDep = Annotated[FormData, Depends(form)]


@router.get("")
def show(
    dataset_id: UUID, session: SessionDep, container: ContainerDep, source: UUID | None = None
) -> Response:
    """The dataset; of its neighbours the nearest, or `source`, is explained."""
    dataset = datasets.get(session, DatasetId(dataset_id))
    ranking = datasets.ranking(session, dataset.id)
    sources, _ = supernets.listing(session, limit=100)
    return pages.render(
        "dataset.html",
        dataset=dataset,
        counts=charts.class_counts(dataset),
        shown_classes=SHOWN_CLASSES,
        problem_kinds=tuple(problem_rows.kinds(datasets.report(session, dataset.id))),
        rankable=_rankable(session, dataset, container.settings.embedder),
        versions=version_pages.rows(session, dataset),
        near=neighbourhood.told(ranking, dataset, closer=source),
        # A dataset's own supernet is a start one may name, never a neighbour of itself.
        sources=sources,
        jobs=_recent_jobs(session, dataset),
        models=model_rows.rows(
            session, models.listing(session, limit=20, dataset_id=dataset.id)[0]
        ),
        search=SearchSpec(dataset.id, ""),
        methods=words.METHODS.items(),
        selections=words.SELECTIONS.items(),
        objectives=words.OBJECTIVES.items(),
        cell_spaces=words.CELL_SPACES.items(),
        pretrain=PretrainSpec(dataset.id, dataset.name, ""),
    )


@router.post("/search")
def search(dataset_id: UUID, sent: FormDep, work: WorkDep, container: ContainerDep) -> Response:
    """Start a search and watch it."""
    spec = forms.search(sent, dataset_id).to_spec(container.settings.embedder)
    _, job = searches.submit_search(work.session, spec)
    work.announce(job)
    return pages.see(f"/jobs/{job.id}")


@router.post("/pretrain")
def pretrain(dataset_id: UUID, sent: FormDep, work: WorkDep, container: ContainerDep) -> Response:
    """Start a pretraining and watch it."""
    spec = forms.pretrain(sent, dataset_id).to_spec(container.settings.embedder)
    job = work.announce(searches.submit_pretrain(work.session, spec))
    return pages.see(f"/jobs/{job.id}")


@router.post("/rank")
def rank(dataset_id: UUID, work: WorkDep, container: ContainerDep) -> Response:
    """Rank the sources and watch."""
    spec = RankSpec(DatasetId(dataset_id), container.settings.embedder)
    job = work.announce(searches.submit_rank(work.session, spec))
    return pages.see(f"/jobs/{job.id}")


def _rankable(session: Session, dataset: Dataset, embedder: str) -> bool:
    """Whether the default embedder has seen it, or can still."""
    seen = datasets.embedding(session, dataset.id, embedder) is not None
    return seen or not dataset.statistics_only


def _recent_jobs(session: Session, dataset: Dataset) -> tuple[Job, ...]:
    found, _ = jobs.listing(session, limit=8, dataset_id=dataset.id)
    return found

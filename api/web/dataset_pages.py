"""A dataset's page: its images, its report, its neighbours, and what can be done with it."""

from uuid import UUID

from fastapi import APIRouter
from sqlalchemy.orm import Session
from starlette.responses import Response

from api.deps import ContainerDep, SessionDep, WorkDep
from api.web import (
    charts,
    forms,
    model_rows,
    neighbourhood,
    pages,
    pruning_pages,
    search_pages,
    version_pages,
)
from core.domain.datasets import Dataset, DatasetId
from core.domain.jobs import Job
from core.domain.searches import PretrainSpec, RankSpec
from core.services import datasets, jobs, models, searches

router = APIRouter(prefix="/datasets/{dataset_id}")


@router.get("")
def show(
    dataset_id: UUID,
    session: SessionDep,
    container: ContainerDep,
    source: UUID | None = None,
    row: str | None = None,
    column: str | None = None,
) -> Response:
    """The dataset; of its neighbours the nearest, or `source`, is explained, with its matched
    images of the classes `row` and `column`, or all."""
    if datasets.remembered(session, dataset_id).deleted_at is not None:
        return _deleted(session, dataset_id)
    dataset = datasets.get(session, DatasetId(dataset_id))
    ranking = datasets.ranking(session, dataset.id)
    return pages.render(
        "dataset.html",
        dataset=dataset,
        counts=charts.class_counts(dataset),
        shown_classes=charts.SHOWN_CLASSES,
        rankable=_rankable(session, dataset, container.settings.embedder),
        versions=version_pages.rows(session, dataset),
        near=neighbourhood.told(
            ranking,
            dataset,
            neighbourhood.pictured(session, ranking),
            closer=source,
            classes=None if row is None or column is None else (row, column),
        ),
        jobs=_recent_jobs(session, dataset),
        models=model_rows.rows(
            session, models.listing(session, limit=20, dataset_id=dataset.id)[0]
        ),
        pretrain=PretrainSpec(dataset.id, dataset.name, ""),
        **search_pages.about(session, dataset),
        **pruning_pages.about(session, dataset),
    )


@router.post("/pretrain")
def pretrain(
    dataset_id: UUID, sent: forms.FormDep, work: WorkDep, container: ContainerDep
) -> Response:
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


def _deleted(session: Session, dataset_id: UUID) -> Response:
    """What remains of it, and what was made of it."""
    found, _ = models.listing(session, limit=20, dataset_id=dataset_id)
    return pages.render(
        "deleted.html",
        status=410,
        dataset=datasets.remembered(session, dataset_id),
        models=model_rows.rows(session, found),
    )


def _rankable(session: Session, dataset: Dataset, embedder: str) -> bool:
    """Whether the default embedder has seen it, or can still."""
    seen = datasets.embedding(session, dataset.id, embedder) is not None
    return seen or not dataset.statistics_only


def _recent_jobs(session: Session, dataset: Dataset) -> tuple[Job, ...]:
    found, _ = jobs.listing(session, limit=8, dataset_id=dataset.id)
    return found

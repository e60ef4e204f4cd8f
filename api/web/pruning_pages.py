"""Prunings of known networks: the form that asks for one, all of them, and what came of each."""

from typing import Any
from uuid import UUID

from fastapi import APIRouter
from sqlalchemy.orm import Session
from starlette.responses import Response

from api.deps import ContainerDep, SessionDep, WorkDep
from api.web import forms, pages, pruning_rows
from core.domain.datasets import Dataset, DatasetId
from core.domain.prunings import HALF, Architecture, Counted, PruneSpec
from core.services import datasets, jobs, prunings

router = APIRouter()

PAGE = 50
MOST_SOURCES, MOST_MASKS = 100, 20


def about(session: Session, dataset: Dataset) -> dict[str, Any]:
    """What the form needs to be shown."""
    others, _ = datasets.listing(session, limit=MOST_SOURCES)
    found, _ = prunings.listing(session, limit=MOST_MASKS)
    return {
        "pruned": PruneSpec(dataset.id, Architecture.RESNET18, share=HALF),
        "architectures": list(Architecture),
        "measures": list(Counted),
        "teachers": [e for e in others if e.id != dataset.id and not e.statistics_only],
        "masks": pruning_rows.rows(session, [each for each in found if each.mask is not None]),
    }


@router.post("/datasets/{dataset_id}/prune")
def prune(
    dataset_id: UUID, sent: forms.FormDep, work: WorkDep, container: ContainerDep
) -> Response:
    """Start a pruning and watch it."""
    body = forms.prune(sent, dataset_id)
    spec = body.to_spec(container.settings.embedder)
    made = prunings.submit(work.session, spec, priority=body.priority)[1]
    return pages.see(f"/jobs/{work.announce(made).id}")


@router.get("/prunings")
def index(
    session: SessionDep, page_token: str | None = None, dataset_id: UUID | None = None
) -> Response:
    """All prunings, newest first; of one dataset with what size costs in accuracy."""
    found, token = prunings.listing(session, limit=PAGE, after=page_token, dataset_id=dataset_id)
    of = None if dataset_id is None else datasets.remembered(session, DatasetId(dataset_id))
    return pages.render(
        "prunings.html",
        prunings=pruning_rows.rows(session, found),
        token=token,
        dataset=of,
        front=None if of is None else pruning_rows.front(found),
    )


@router.get("/prunings/{pruning_id}")
def show(pruning_id: UUID, session: SessionDep) -> Response:
    """One pruning with its evidence; before its job has succeeded, where to watch that."""
    pruning = prunings.get(session, pruning_id)
    if pruning.metrics is None:
        return pages.see(f"/jobs/{pruning.job_id}")
    source = pruning.spec["source_id"] or pruning.dataset_id
    return pages.render(
        "pruning.html",
        pruning=pruning,
        job=jobs.get(session, pruning.job_id),
        dataset=datasets.remembered(session, DatasetId(pruning.dataset_id)),
        source=datasets.remembered(session, DatasetId(UUID(str(source)))),
        networks=pruning_rows.networks(pruning.metrics),
        accuracies=pruning_rows.accuracies(pruning.metrics),
        taken=pruning.metrics.get("taken") or [],
        groups=pruning_rows.groups(pruning.metrics),
        course=pruning_rows.course(pruning.metrics),
    )

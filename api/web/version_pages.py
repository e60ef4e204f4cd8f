"""A dataset's versions, what changed between two, and the way to delete it."""

from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

from fastapi import APIRouter
from sqlalchemy.orm import Session
from starlette.responses import Response

from api import comparing
from api.deps import ContainerDep, FileTurn, SessionDep
from api.web import pages
from core.domain.datasets import Dataset, DatasetId
from core.execution import deletion
from core.services import datasets, jobs, models

router = APIRouter(prefix="/datasets/{dataset_id}")

SHOWN_JOBS = 20


@dataclass(frozen=True, slots=True)
class Version:
    """A line of the table: `more` images than what it came of, which may be compared with it."""

    dataset: Dataset
    parent: Dataset | None
    more: int
    comparable: bool


def rows(session: Session, dataset: Dataset) -> list[Version]:
    """The dataset's family, the first version first."""
    return list(_rows(datasets.versions(session, dataset.id)))


def _rows(family: tuple[Dataset, ...]) -> Iterator[Version]:
    known = {each.id: each for each in family}
    for each in family:
        parent = None if each.parent_id is None else known.get(each.parent_id)
        both = (each,) if parent is None else (each, parent)
        whole = not any(one.deleted_at or one.statistics_only for one in both)
        more = 0 if parent is None else _images(each) - _images(parent)
        yield Version(each, parent, more, parent is not None and whole)


def _images(dataset: Dataset) -> int:
    return dataset.n_train + dataset.n_test


@router.get("/diff", dependencies=[FileTurn])
def show_changes(dataset_id: UUID, against: UUID, container: ContainerDep) -> Response:
    """What changed from the dataset `against` to this one."""
    before, after = comparing.both(container, against, dataset_id)
    found = comparing.changes(container, before, after)
    changed = [each for each in found.classes if each.before != each.after]
    return pages.render("diff.html", before=before, after=after, found=found, changed=changed)


@router.get("/delete")
def ask(dataset_id: UUID, session: SessionDep) -> Response:
    """Whether it is meant, and what goes and stays."""
    dataset = datasets.get(session, DatasetId(dataset_id), report=False)
    made, _ = models.listing(session, limit=100, dataset_id=dataset.id)
    waiting = jobs.unfinished(session, naming=dataset.id)[:SHOWN_JOBS]
    return pages.render("delete.html", dataset=dataset, jobs=waiting, models=len(made))


@router.post("/delete")
def delete(dataset_id: UUID, container: ContainerDep) -> Response:
    """Delete it, as its page was asked to."""
    home = container.settings.home
    deletion.delete(container.sessions, container.store, home, DatasetId(dataset_id))
    return pages.see("/")

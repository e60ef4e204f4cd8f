"""Versions of datasets, what changed between them, and their end."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response

from api import comparing, contract
from api.deps import ContainerDep, SessionDep
from api.views.versions import DifferenceView, VersionView
from core.domain.datasets import DatasetId
from core.execution import deletion
from core.services import datasets

router = APIRouter(prefix="/v1/datasets/{dataset_id}", tags=["datasets"])

RESPONSES: contract.Answers = {
    202: {"description": "Deleted; the store did not answer, and its files go later."},
    **contract.refusals("dataset_deleted", "dataset_in_use"),
}


@router.get(
    "/versions",
    operation_id="datasets_versions",
    responses=contract.refusals("dataset_deleted"),
)
def versions(dataset_id: UUID, session: SessionDep) -> list[VersionView]:
    """The dataset and all that were registered as later or earlier versions of it (`parent_id`),
    the first version first; deleted ones keep their place."""
    found = datasets.versions(session, DatasetId(dataset_id))
    return [VersionView.model_validate(each) for each in found]


@router.get(
    "/diff",
    operation_id="datasets_diff",
    responses=contract.refusals("busy", "corrupt_object", "dataset_deleted", "statistics_only"),
)
def diff(
    dataset_id: UUID,
    container: ContainerDep,
    against: Annotated[UUID, Query(description="The dataset to compare with: the earlier one.")],
) -> DifferenceView:
    """What changed from the dataset `against` to this one: images by their files' checksums.

    409 `statistics_only` where the images of either are not here.
    """
    before, after = comparing.both(container, against, dataset_id)
    found = comparing.changes(container, before, after)
    return DifferenceView.of(found, dataset_id=after.id, against=before.id)


@router.delete("", operation_id="datasets_delete", status_code=204, responses=RESPONSES)
def delete(dataset_id: UUID, container: ContainerDep) -> Response:
    """Delete the dataset's images, everything computed from them, and their copies in caches.

    Models and supernets made of it stay and go on naming it. What remains of itself is its id,
    name, counts, licence, source and version: every address of it answers 410 `dataset_deleted`.
    The same images, uploaded again, are the same dataset again.
    """
    home = container.settings.home
    whole = deletion.delete(container.sessions, container.store, home, DatasetId(dataset_id))
    return Response(status_code=204 if whole else 202)

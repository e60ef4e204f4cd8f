"""Versions of datasets, what changed between them, and their end."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response

from api import comparing, contract, submissions
from api.deps import ContainerDep, FileTurn, SessionDep
from api.schemas import LeaveOutBody
from api.submissions import SubmissionDep
from api.views.jobs import JobView
from api.views.versions import DifferenceView, VersionView
from core.domain.datasets import DatasetId
from core.execution import deletion
from core.services import datasets, searches

router = APIRouter(prefix="/v1/datasets/{dataset_id:uuid}", tags=["datasets"])

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
    dependencies=[FileTurn],
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


@router.post(
    ":leave-out",
    operation_id="datasets_leave_out",
    status_code=202,
    responses=submissions.answers(
        "dataset_deleted", "quota_exceeded", "statistics_only", "unknown_embedder", "unknown_image"
    ),
)
def leave_out(
    dataset_id: UUID, body: LeaveOutBody, request: SubmissionDep, container: ContainerDep
) -> JobView:
    """Make the next version of this dataset, without some of its images; nothing of this one
    changes. Every other image keeps its class and its split.

    The images are read and judged once more, in a job like that of an upload: poll it at
    `Location`; its `result` names the new dataset.
    """
    session, settings = request.work.session, container.settings
    job = request.queue(
        ("leave_out", str(dataset_id), body.model_dump()),
        lambda: searches.submit_leave_out(
            session,
            dataset_id,
            body.places(),
            embedder=settings.embedder,
            limits=settings.uploads,
            name=body.name,
        ),
        retry_after=1,
    )
    return JobView.of(job)


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

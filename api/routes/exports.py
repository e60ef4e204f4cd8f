"""Datasets to take away."""

from enum import StrEnum
from io import BufferedReader
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse
from starlette.responses import Response

from api import contract, downloads
from api.deps import ContainerDep, FileTurn
from core.bootstrap import Container
from core.domain import keys
from core.domain.datasets import Dataset, DatasetId
from core.execution import scratch
from core.pipelines import objects
from core.services import datasets

router = APIRouter(prefix="/v1/datasets", tags=["datasets"])


class Form(StrEnum):
    """How a dataset is written: class folders in a zip, or one file in Hugging Face's layout."""

    IMAGE_FOLDER = "imagefolder"
    PARQUET = "parquet"


MEDIA = {Form.IMAGE_FOLDER: "application/zip", Form.PARQUET: "application/vnd.apache.parquet"}
SUFFIX = {Form.IMAGE_FOLDER: "zip", Form.PARQUET: "parquet"}
BINARY: Any = {"schema": {"type": "string", "format": "binary"}}
RESPONSES: contract.Answers = {
    200: {"content": dict.fromkeys(MEDIA.values(), BINARY), **downloads.HEADERS},
    **contract.unchanged("Cache-Control"),
    **contract.refusals("corrupt_object", "dataset_deleted", "statistics_only"),
}


@router.get(
    "/{dataset_id:uuid}/export",
    operation_id="datasets_export",
    dependencies=[FileTurn],
    response_class=StreamingResponse,
    openapi_extra=contract.takes(contract.IF_NONE_MATCH),
    responses=RESPONSES,
)
def export(
    dataset_id: UUID,
    request: Request,
    container: ContainerDep,
    form: Annotated[Form, Query(alias="format")] = Form.IMAGE_FOLDER,
) -> Response:
    """The images as they were uploaded, with their classes and splits. Uploaded again they are
    the same dataset."""
    with container.sessions.read() as session:
        dataset = datasets.with_images(session, DatasetId(dataset_id))
    return downloads.made(
        request,
        lambda: _written(dataset, form, container),
        tag=f"{dataset.sha256}-{form}",
        name=f"{dataset.name}.{SUFFIX[form]}",
        media_type=MEDIA[form],
    )


def _written(dataset: Dataset, form: Form, container: Container) -> BufferedReader:
    """The file, open; its name is gone already, and it goes when it is closed."""
    with scratch.folder(container.settings.home, "export-") as folder:
        path = folder / "originals.parquet"
        objects.fetch(container.store, keys.originals(dataset.project_id, dataset.sha256), path)
        if form is Form.IMAGE_FOLDER:
            from core.data import exporting  # pyarrow, for those who ask

            exporting.image_folder(path, folder / "images.zip")
            path = folder / "images.zip"
        return path.open("rb")

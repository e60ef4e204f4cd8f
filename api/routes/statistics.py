"""Datasets whose images stay with their owner: registered by class statistics alone."""

from collections.abc import AsyncIterator
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from api import contract, registration, uploads
from api.deps import ContainerDep
from api.schemas import Name
from api.uploads import Expected, Received
from api.views.datasets import FullDatasetView
from core.data.class_statistics import LARGEST_FILE

router = APIRouter(tags=["datasets"])

BINARY = "application/octet-stream"
EXPECTED = Expected("statistics file", LARGEST_FILE, frozenset({BINARY}), BINARY)
BODY = {
    **contract.takes(uploads.CONTENT_DIGEST),
    "requestBody": {
        "required": True,
        "description": "Class statistics in a safetensors file, as `headstart statistics` makes.",
        "content": {BINARY: {"schema": {"type": "string", "format": "binary"}}},
    },
}


def upload_name(name: Annotated[Name, Query(description="What to call the dataset.")]) -> str:
    """Read before the body, so that a bad name costs no transfer."""
    return name


async def statistics_file(request: Request, container: ContainerDep) -> AsyncIterator[Received]:
    """The request's body as a file."""
    room = partial(registration.check_room, container)
    async with uploads.received(request, container.settings, EXPECTED, room=room) as found:
        yield found


NameDep = Annotated[str, Depends(upload_name)]
FileDep = Annotated[Received, Depends(statistics_file, scope="function")]


@router.post(
    "/v1/datasets:statistics",
    operation_id="datasets_register_statistics",
    status_code=201,
    openapi_extra=BODY,
    responses={
        200: {
            "model": FullDatasetView,
            "description": "The content is known already.",
            **contract.headers("Location"),
        },
        201: contract.headers("Location"),
        **contract.refusals(
            "bad_statistics",
            "quota_exceeded",
            "statistics_file_too_large",
            "unknown_embedder",
            "wrong_dimension",
            *uploads.REFUSALS,
        ),
    },
)
def register(
    name: NameDep, file: FileDep, container: ContainerDep, response: Response
) -> FullDatasetView:
    """Register a dataset by its class statistics; no image leaves its owner."""
    dataset, created = registration.register_statistics(container, file.path, name=name)
    response.status_code = 201 if created else 200
    response.headers["Location"] = f"/v1/datasets/{dataset.id}"
    return FullDatasetView.model_validate(dataset)

"""Supernets in and out of the registry, each as one file."""

from collections.abc import AsyncIterator
from functools import partial
from io import BufferedReader
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import StreamingResponse

from api import contract, downloads, registration, uploads
from api.deps import ContainerDep, FileTurn
from api.uploads import Expected, Received
from api.views.results import SupernetView
from core.bootstrap import Container
from core.data.bundle import LARGEST_FILE
from core.data.manifests import FORMAT
from core.domain.supernets import Supernet, SupernetId
from core.execution import scratch
from core.services import supernets
from core.zoo import entry

router = APIRouter(tags=["supernets"])

BINARY = "application/octet-stream"
EXPECTED = Expected("bundle", LARGEST_FILE, frozenset({BINARY}), BINARY)
CONTENT: dict[str, Any] = {BINARY: {"schema": {"type": "string", "format": "binary"}}}
BODY = {
    **contract.takes(uploads.CONTENT_DIGEST),
    "requestBody": {
        "required": True,
        "description": "A supernet in a safetensors file, as `GET /v1/supernets/{id}/bundle` has.",
        "content": CONTENT,
    },
}


async def bundle_file(request: Request, container: ContainerDep) -> AsyncIterator[Received]:
    """The request's body as a file."""
    room = partial(registration.check_room, container)
    async with uploads.received(request, container.settings, EXPECTED, room=room) as found:
        yield found


FileDep = Annotated[Received, Depends(bundle_file, scope="function")]


@router.post(
    "/v1/supernets:import",
    operation_id="supernets_import",
    status_code=201,
    openapi_extra=BODY,
    responses={
        200: {
            "model": SupernetView,
            "description": "The file is registered already.",
            **contract.headers("Location"),
        },
        201: contract.headers("Location"),
        **contract.refusals("bad_bundle", "bundle_too_large", "quota_exceeded", *uploads.REFUSALS),
    },
)
def enter(file: FileDep, container: ContainerDep, response: Response) -> SupernetView:
    """Register the supernet in the body; the same file is the same supernet."""
    supernet, created = entry.enter(
        file.path,
        sessions=container.sessions,
        store=container.store,
        limits=container.settings.uploads,
    )
    response.status_code = 201 if created else 200
    response.headers["Location"] = f"/v1/supernets/{supernet.id}"
    return SupernetView.model_validate(supernet)


@router.get(
    "/v1/supernets/{supernet_id:uuid}/bundle",
    operation_id="supernets_bundle",
    dependencies=[FileTurn],
    response_class=StreamingResponse,
    openapi_extra=contract.takes(contract.IF_NONE_MATCH),
    responses={
        200: {"content": CONTENT, **downloads.HEADERS},
        **contract.unchanged("Cache-Control"),
        **contract.refusals("corrupt_object"),
    },
)
def export(supernet_id: UUID, request: Request, container: ContainerDep) -> Response:
    """The supernet as a file that any Headstart can import: bfloat16, without its classifier."""
    with container.sessions.read() as session:
        supernet = supernets.get(session, SupernetId(supernet_id))
    return downloads.made(
        request,
        lambda: _written(supernet, container),
        tag=f"{supernet.sha256}-{FORMAT}",
        name=f"{supernet.name}.safetensors",
        media_type=BINARY,
    )


def _written(supernet: Supernet, container: Container) -> BufferedReader:
    """The bundle, open; its name is gone already, and it goes when it is closed."""
    with scratch.folder(container.settings.home, "bundle-") as folder:
        path = folder / "supernet.safetensors"
        entry.bundle_of(supernet, path, store=container.store)
        return path.open("rb")

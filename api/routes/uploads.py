"""Uploads that survive a broken connection (tus 1.0); `POST /v1/datasets?upload=ID` reads one."""

from uuid import UUID

from fastapi import APIRouter, Request, Response

from api import pieces, tus
from api.deps import ContainerDep, SessionDep, WorkDep
from api.views.uploads import UploadInPiecesView
from core.errors import InvalidInput
from core.services import uploads

router = APIRouter(prefix="/v1/uploads", tags=["uploads"], route_class=tus.TusRoute)


@router.options("", status_code=204)
def abilities(container: ContainerDep) -> Response:
    """What this server can: version, extensions, the largest upload."""
    return Response(status_code=204, headers=tus.abilities(container.settings.uploads))


@router.post("", status_code=201)
def create(request: Request, work: WorkDep, container: ContainerDep) -> Response:
    """Begin an upload of `Upload-Length` bytes. `Upload-Metadata` has its `filename` and, if the
    whole is to be checked, its `sha256` in hexadecimal digits. Send the bytes to `Location`."""
    told = tus.metadata(request.headers.get("upload-metadata", ""))
    upload = uploads.create(
        work.session,
        name=told.get("filename") or told.get("name") or "upload",
        length=tus.number(request, "Upload-Length"),
        sha256=told.get("sha256") or None,
        limits=container.settings.uploads,
    )
    headers = {"Location": f"/v1/uploads/{upload.id}", **tus.state(upload)}
    return Response(status_code=201, headers=headers)


@router.head("/{upload_id}")
def tell(upload_id: UUID, session: SessionDep) -> Response:
    """How far the upload is: where to go on from."""
    return Response(status_code=200, headers=tus.state(uploads.get(session, upload_id)))


@router.get("/{upload_id}")
def show(upload_id: UUID, session: SessionDep) -> UploadInPiecesView:
    """The same, to be read."""
    return UploadInPiecesView.model_validate(uploads.get(session, upload_id))


@router.patch("/{upload_id}", status_code=204)
async def add(upload_id: UUID, request: Request, container: ContainerDep) -> Response:
    """Add the body's bytes from `Upload-Offset` on; what arrives of a request that is cut off
    counts, unless it names an `Upload-Checksum`."""
    if request.headers.get("content-type", "") != tus.MEDIA_TYPE:
        words = f"Send the bytes with Content-Type {tus.MEDIA_TYPE}."
        raise InvalidInput(words, code="unsupported_media_type")
    offset = tus.number(request, "Upload-Offset")
    checksum = tus.checksum(request.headers.get("upload-checksum"))
    upload = await pieces.receive(request.stream(), container, upload_id, offset, checksum)
    return Response(status_code=204, headers=tus.state(upload))


@router.delete("/{upload_id}", status_code=204)
def drop(upload_id: UUID, container: ContainerDep) -> Response:
    """Delete the upload and what came of it."""
    pieces.forget(container, upload_id)
    return Response(status_code=204)

"""Uploads that survive a broken connection (tus 1.0); `POST /v1/datasets?upload=ID` reads one."""

from uuid import UUID

from fastapi import APIRouter, Request, Response

from api import contract, pieces, tus
from api.deps import ContainerDep, SessionDep, WorkDep
from api.lists import ByTime, PageDep
from api.views.shapes import PageView
from api.views.uploads import UploadInPiecesView
from core.errors import InvalidInput
from core.services import uploads

router = APIRouter(prefix="/v1/uploads", tags=["uploads"], route_class=tus.TusRoute)

SPEAKS = contract.sends("Tus-Resumable", "The version of tus.", required=True, enum=[tus.VERSION])
METADATA = contract.sends(
    "Upload-Metadata",
    "Pairs `KEY BASE64`, with commas between them: the `filename`, the `sha256` of the whole.",
    maxLength=tus.MOST_METADATA,
    examples=["filename ZGlnaXRzLnppcA=="],
)
CHECKSUM = contract.sends(
    "Upload-Checksum",
    "`sha256 BASE64` or `sha1 BASE64`, of this body: all of it counts, or nothing (460).",
    examples=["sha256 47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="],
)
LENGTH = contract.sends(
    "Upload-Length", "Bytes of the whole upload.", required=True, type="integer", minimum=1
)
OFFSET = contract.sends(
    "Upload-Offset", "Where the bytes belong.", required=True, type="integer", minimum=0
)
PIECE = {
    "requestBody": {
        "required": True,
        "description": "The bytes from `Upload-Offset` on, as many as there are or fewer.",
        "content": {tus.MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}},
    }
}
STATE = contract.headers(
    "Tus-Resumable", "Upload-Offset", "Upload-Length", "Upload-Expires", "Cache-Control"
)
ABILITIES = contract.headers(
    "Tus-Resumable", "Tus-Version", "Tus-Extension", "Tus-Max-Size", "Tus-Checksum-Algorithm"
)


@router.options("", operation_id="uploads_options", status_code=204, responses={204: ABILITIES})
def abilities(container: ContainerDep) -> Response:
    """What this server can: version, extensions, the largest upload."""
    return Response(status_code=204, headers=tus.abilities(container.settings.uploads))


@router.get("", operation_id="uploads_list", responses={200: contract.headers("Tus-Resumable")})
def index(
    session: SessionDep, page: PageDep, order: ByTime = "newest"
) -> PageView[UploadInPiecesView]:
    """What is under way or waits to be used."""
    found, token = uploads.listing(session, limit=page.limit, after=page.after, order=order)
    return page.of([UploadInPiecesView.model_validate(each) for each in found], token)


@router.post(
    "",
    operation_id="uploads_create",
    status_code=201,
    response_class=Response,
    openapi_extra=contract.takes(SPEAKS, METADATA, LENGTH),
    responses={
        201: contract.also(STATE, contract.headers("Location")),
        **contract.refusals(
            "archive_too_large",
            "invalid_header",
            "invalid_input",
            "quota_exceeded",
            "too_many_uploads",
            "unsupported_version",
        ),
    },
)
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


@router.head(
    "/{upload_id:uuid}",
    operation_id="uploads_head",
    response_class=Response,
    openapi_extra=contract.takes(SPEAKS),
    responses={200: STATE, **contract.refusals("unsupported_version", "upload_expired")},
)
def tell(upload_id: UUID, session: SessionDep) -> Response:
    """How far the upload is: where to go on from."""
    return Response(status_code=200, headers=tus.state(uploads.get(session, upload_id)))


@router.get(
    "/{upload_id:uuid}",
    operation_id="uploads_get",
    responses={
        200: contract.headers("Tus-Resumable"),
        **contract.refusals("upload_expired"),
    },
)
def show(upload_id: UUID, session: SessionDep) -> UploadInPiecesView:
    """The same, to be read."""
    return UploadInPiecesView.model_validate(uploads.get(session, upload_id))


@router.patch(
    "/{upload_id:uuid}",
    operation_id="uploads_append",
    status_code=204,
    openapi_extra={
        **contract.takes(SPEAKS, OFFSET, CHECKSUM),
        **PIECE,
    },
    responses={
        204: STATE,
        **contract.refusals(
            "archive_too_large",
            "checksum_mismatch",
            "incomplete_body",
            "invalid_header",
            "storage_full",
            "too_many_parts",
            "unsupported_version",
            "upload_busy",
            "upload_complete",
            "upload_expired",
            "wrong_offset",
        ),
    },
)
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


@router.delete(
    "/{upload_id:uuid}",
    operation_id="uploads_delete",
    status_code=204,
    openapi_extra=contract.takes(SPEAKS),
    responses={
        204: contract.headers("Tus-Resumable"),
        **contract.refusals("unsupported_version", "upload_busy"),
    },
)
def drop(upload_id: UUID, container: ContainerDep) -> Response:
    """Delete the upload and what came of it."""
    pieces.forget(container, upload_id)
    return Response(status_code=204)

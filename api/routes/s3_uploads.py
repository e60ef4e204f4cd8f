"""Uploads by way of S3: fetched from a caller's bucket, or sent straight into ours."""

from typing import TYPE_CHECKING, Annotated
from uuid import UUID

from fastapi import APIRouter, Request, Response
from pydantic import AfterValidator, Field, SecretStr

from api import contract, fetching
from api.deps import ContainerDep, WorkDep
from api.schemas import Body, Whole
from api.views.uploads import PresignedView, UploadInPiecesView
from core.config import Settings

if TYPE_CHECKING:
    from core.storage.s3_import import Source

router = APIRouter(prefix="/v1/uploads", tags=["uploads"])

LONGEST_SECRET = 8_192  # session tokens are the longest


def fit_for_a_header(secret: SecretStr) -> SecretStr:
    """The secret itself. Raises ValueError, which does not repeat it."""
    text = secret.get_secret_value()
    if not (0 < len(text) <= LONGEST_SECRET and text.isascii() and text.isprintable()):
        raise ValueError(f"give 1 to {LONGEST_SECRET} printable ASCII characters")
    if text != text.strip():
        raise ValueError("it has blanks before or after it")
    return secret


Secret = Annotated[SecretStr, AfterValidator(fit_for_a_header)]
Url = Annotated[str, Field(max_length=2_048)]
Region = Annotated[str, Field(pattern=r"^[a-z0-9-]{1,32}$")]


class S3Body(Body):
    """An object to fetch. The credentials are used for this request alone and kept nowhere; let
    them be allowed to read this object and nothing else."""

    uri: Annotated[Url, Field(description="s3://BUCKET/KEY, one archive or Parquet file.")]
    endpoint: Annotated[
        Url, Field(description="https://HOST[:PORT], one of those that the service may reach.")
    ]
    region: Region = "us-east-1"
    access_key: Secret
    secret_key: Secret
    session_token: Secret | None = None
    sha256: str | None = None
    name: str | None = None

    def to_source(self, settings: Settings) -> "Source":
        """Which object this means. Raises InvalidInput."""
        from core.storage import s3_import  # what signs its requests takes a while

        bucket, key = s3_import.parsed(self.uri)
        return s3_import.Source(
            endpoint=s3_import.allowed_endpoint(self.endpoint, settings.s3_endpoints),
            region=self.region,
            bucket=bucket,
            key=key,
            access_key=self.access_key,
            secret_key=self.secret_key,
            session_token=self.session_token,
        )


class PresignBody(Body):
    """A file to send straight to the bucket."""

    length: Whole
    name: str
    sha256: str | None = None


@router.post(
    ":s3",
    operation_id="uploads_from_s3",
    status_code=201,
    responses={
        201: contract.headers("Location"),
        **contract.refusals(
            "archive_too_large",
            "busy",
            "digest_mismatch",
            "empty_object",
            "fetch_failed",
            "incomplete_body",
            "invalid_s3_uri",
            "quota_exceeded",
            "s3_access_denied",
            "s3_bad_answer",
            "s3_not_found",
            "s3_object_changed",
            "s3_refused",
            "too_many_uploads",
            "url_not_allowed",
        ),
    },
)
async def fetch(
    body: S3Body, request: Request, container: ContainerDep, response: Response
) -> UploadInPiecesView:
    """Fetch an object from a bucket with the caller's own credentials, as a complete upload.

    The answer comes when all of it is here; whoever leaves earlier gets nothing. Redirects are
    not followed.
    """
    source = body.to_source(container.settings)
    upload = await fetching.fetched(
        container, source, name=body.name, sha256=body.sha256, gone=request.is_disconnected
    )
    response.headers["Location"] = f"/v1/uploads/{upload.id}"
    return UploadInPiecesView.model_validate(upload)


@router.post(
    ":presign",
    operation_id="uploads_presign",
    status_code=201,
    responses={
        201: contract.headers("Location", "Cache-Control"),
        **contract.refusals(
            "archive_too_large", "not_supported", "quota_exceeded", "too_many_uploads"
        ),
    },
)
def presign(
    body: PresignBody, work: WorkDep, container: ContainerDep, response: Response
) -> PresignedView:
    """Begin an upload of `length` bytes that goes to the bucket itself: POST `fields`, then the
    bytes as `file`, to `url` as multipart/form-data until `expires_at`, and complete it then."""
    upload, form = fetching.presigned(
        container, work.session, name=body.name, length=body.length, sha256=body.sha256
    )
    response.headers["Location"] = f"/v1/uploads/{upload.id}"
    response.headers["Cache-Control"] = "no-store"
    return PresignedView(
        upload_id=upload.id, url=form.url, fields=dict(form.fields), expires_at=form.expires_at
    )


@router.post(
    "/{upload_id:uuid}:complete",
    operation_id="uploads_complete",
    responses=contract.refusals(
        "busy",
        "digest_mismatch",
        "fetch_failed",
        "not_supported",
        "size_mismatch",
        "upload_busy",
        "upload_expired",
        "upload_incomplete",
    ),
)
async def complete(upload_id: UUID, container: ContainerDep) -> UploadInPiecesView:
    """Read what was sent to the bucket, compare it with its length and SHA-256, and keep it."""
    return UploadInPiecesView.model_validate(await fetching.completed(container, upload_id))

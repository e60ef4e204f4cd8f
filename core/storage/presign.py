"""Forms by which somebody without credentials stores one object (S3's POST, signed as SigV4)."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from core.ports import Presigned

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


def form(client: "S3Client", bucket: str, key: str, *, length: int, seconds: float) -> Presigned:
    """A form for `length` bytes under this key, no more and no fewer.

    The store refuses fields that its signed policy does not name, so nobody adds metadata, a
    redirect or an access list. Raises what botocore raises when there are no credentials.
    """
    lasts = max(1, int(seconds))
    expires_at = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=lasts)
    made = client.generate_presigned_post(
        Bucket=bucket,
        Key=key,
        Conditions=[["content-length-range", length, length]],
        ExpiresIn=lasts,
    )
    return Presigned(made["url"], made["fields"], expires_at)

"""What tus 1.0 says in headers (https://tus.io/protocols/resumable-upload, version 1.0.0)."""

import base64
import binascii
import hashlib
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC
from email.utils import format_datetime
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from api.problems import as_json, of_error
from core.config import UploadLimits
from core.domain.uploads import Upload
from core.errors import AppError, InvalidInput

VERSION = "1.0.0"
EXTENSIONS = "creation,expiration,checksum,termination"
MEDIA_TYPE = "application/offset+octet-stream"
ALGORITHMS: dict[str, Callable[[], Any]] = {"sha256": hashlib.sha256, "sha1": hashlib.sha1}
MOST_METADATA = 4_096

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class TusRoute(APIRoute):
    """Speaks one version of tus, says so in every answer, and refuses others (412)."""

    def get_route_handler(self) -> Handler:
        """The handler, within the protocol."""
        handle = super().get_route_handler()

        async def within(request: Request) -> Response:
            try:
                if request.method not in {"GET", "OPTIONS"}:
                    _check_version(request.headers.get("tus-resumable"))
                response = await handle(request)
            except AppError as error:
                response = as_json(of_error(error))
            response.headers["Tus-Resumable"] = VERSION
            if response.status_code == 412:
                response.headers["Tus-Version"] = VERSION
            return response

        return within


def abilities(limits: UploadLimits) -> dict[str, str]:
    """What this server can, for who asks before the first upload."""
    return {
        "Tus-Version": VERSION,
        "Tus-Extension": EXTENSIONS,
        "Tus-Max-Size": str(limits.archive_bytes),
        "Tus-Checksum-Algorithm": ",".join(ALGORITHMS),
    }


def state(upload: Upload) -> dict[str, str]:
    """How far an upload is, and until when it is kept."""
    return {
        "Upload-Offset": str(upload.received),
        "Upload-Length": str(upload.length),
        "Upload-Expires": format_datetime(upload.expires_at.astimezone(UTC), usegmt=True),
        "Cache-Control": "no-store",
    }


def number(request: Request, header: str) -> int:
    """A header that holds a size or a place. Raises InvalidInput."""
    text = request.headers.get(header, "")
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise InvalidInput(f"{header}: give a whole number of bytes.", code="invalid_header")
    return int(text)


def metadata(header: str) -> dict[str, str]:
    """Upload-Metadata: keys with their values in base64. Raises InvalidInput."""
    if len(header) > MOST_METADATA:
        words = f"Upload-Metadata: give at most {MOST_METADATA:,} characters."
        raise InvalidInput(words, code="invalid_header")
    found = {}
    for pair in header.split(",") if header.strip() else ():
        key, _, value = pair.strip().partition(" ")
        try:
            found[key] = base64.b64decode(value, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            words = f"Upload-Metadata: the value of {key[:40]!a} is no text in base64."
            raise InvalidInput(words, code="invalid_header") from None
    return found


@dataclass(frozen=True, slots=True)
class Checksum:
    """What the bytes of one request must hash to."""

    algorithm: str
    digest: bytes

    def begin(self) -> Any:
        """A hash object to feed."""
        return ALGORITHMS[self.algorithm]()


def checksum(header: str | None) -> Checksum | None:
    """Upload-Checksum: an algorithm and a digest in base64. Raises InvalidInput."""
    if header is None:
        return None
    algorithm, _, value = header.partition(" ")
    try:
        digest = base64.b64decode(value.strip(), validate=True)
    except binascii.Error:
        digest = b""
    if algorithm not in ALGORITHMS or len(digest) != ALGORITHMS[algorithm]().digest_size:
        words = f"Upload-Checksum: give one of {', '.join(ALGORITHMS)} and its digest in base64."
        raise InvalidInput(words, code="invalid_header")
    return Checksum(algorithm, digest)


def _check_version(spoken: str | None) -> None:
    if spoken != VERSION:
        words = f"This address speaks tus {VERSION}: say so in Tus-Resumable."
        raise InvalidInput(words, code="unsupported_version")

"""Sending stored files: never a byte too many, never a whole file that is not the recorded one."""

import base64
import hashlib
import re
import tempfile
from collections.abc import Callable, Iterator
from typing import IO, BinaryIO

from fastapi import Request
from fastapi.responses import StreamingResponse
from starlette.responses import Response

from api import conditional, contract
from core.domain.searches import Artifact
from core.errors import CorruptObject
from core.ports import ObjectStore

HEADERS = contract.headers("ETag", "Cache-Control", "Content-Digest", "Content-Disposition")
CHUNK = 256 * 1024
CHECKED_FIRST = 64 * 1024 * 1024


def verified(store: ObjectStore, artifact: Artifact) -> Iterator[bytes]:
    """The file's bytes. Small files are checked before the first byte leaves (CorruptObject);
    of large ones the last chunk is held back until the checksum is known to match."""
    stream = store.open(artifact.key)
    if artifact.size > CHECKED_FIRST:
        return _held_back(stream, artifact)
    checked = tempfile.SpooledTemporaryFile(max_size=8 * 1024 * 1024)  # noqa: SIM115 - closed below
    try:
        for chunk in _held_back(stream, artifact):
            checked.write(chunk)
    except BaseException:
        checked.close()
        raise
    return whole(checked)


def whole(file: IO[bytes]) -> Iterator[bytes]:
    """An open file from its beginning; closed at its end, or when nobody listens any more."""
    file.seek(0)
    return _drained(file)


def made(
    request: Request, make: Callable[[], IO[bytes]], *, tag: str, name: str, media_type: str
) -> Response:
    """A file that never changes, made only for those who do not have it yet."""

    def sent() -> Response:
        file = make()
        digest = hashlib.sha256()
        while chunk := file.read(CHUNK):
            digest.update(chunk)
        encoded = base64.b64encode(digest.digest()).decode()
        headers = {
            "Content-Digest": f"sha-256=:{encoded}:",
            "Content-Disposition": f'attachment; filename="{file_name(name)}"',
            "Content-Length": str(file.tell()),
        }
        return StreamingResponse(whole(file), media_type=media_type, headers=headers)

    return conditional.answered(request, f'"{tag}"', sent)


def file_name(name: str) -> str:
    """A name that is safe inside a header and on any disk."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", name).lstrip(".") or "download"


def _held_back(stream: BinaryIO, artifact: Artifact) -> Iterator[bytes]:
    digest, held = hashlib.sha256(), b""
    with stream:
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
            if held:
                yield held
            held = chunk
    if digest.hexdigest() != artifact.sha256:
        raise CorruptObject(f"the stored bytes of {artifact.key} are not the recorded ones")
    yield held


def _drained(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        while chunk := file.read(CHUNK):
            yield chunk

"""Sending stored files: never a byte too many, never a whole file that is not the recorded one."""

import base64
import hashlib
import re
import tempfile
from collections.abc import Callable, Generator
from typing import IO, Any, BinaryIO, Final

from fastapi import Request
from fastapi.responses import StreamingResponse
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from api import conditional, contract
from core.domain.searches import Artifact
from core.errors import CorruptObject
from core.ports import ObjectStore

HEADERS = contract.headers("ETag", "Cache-Control", "Content-Digest", "Content-Disposition")
FILE: Final = {"schema": {"type": "string", "format": "binary"}}
ARTIFACT: Final[contract.Answers] = {
    200: {
        "content": {
            "application/json": {"schema": {"type": "object"}},
            "application/octet-stream": FILE,
            "text/html": FILE,
            "text/markdown": FILE,
        },
        **contract.headers("ETag", "Cache-Control", "Content-Disposition"),
    },
    **contract.unchanged("Cache-Control", "Content-Disposition"),
    **contract.refusals("corrupt_object"),
}
CHUNK = 256 * 1024
CHECKED_FIRST = 64 * 1024 * 1024


class Sent(StreamingResponse):
    """Pieces that are let go of at their end, or when nobody listens any more: at once, where a
    file would stay open until the collector of garbage comes by."""

    def __init__(self, pieces: Generator[bytes, None, None], **more: Any) -> None:
        super().__init__(pieces, **more)
        self._pieces = pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send them."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._pieces.close()


def answered(request: Request, store: ObjectStore, artifact: Artifact) -> Response:
    """A stored file to be saved, or that the caller's copy of it still is the right one."""

    def sent() -> Response:
        content = verified(store, artifact)
        length = {"Content-Length": str(artifact.size)}
        return Sent(content, media_type=artifact.media_type, headers=length)

    answer = conditional.answered(request, f'"{artifact.sha256}"', sent)
    answer.headers["Content-Disposition"] = f'attachment; filename="{file_name(artifact.name)}"'
    return answer


def verified(store: ObjectStore, artifact: Artifact) -> Generator[bytes, None, None]:
    """The file's bytes. Small files are checked before the first byte leaves (CorruptObject);
    of large ones the last chunk is held back until the checksum is known to match."""
    stream = _begun(_held_back(store.open(artifact.key), artifact))
    if artifact.size > CHECKED_FIRST:
        return stream
    checked = tempfile.SpooledTemporaryFile(max_size=8 * 1024 * 1024)  # noqa: SIM115 - closed below
    try:
        for chunk in stream:
            checked.write(chunk)
    except BaseException:
        checked.close()
        raise
    return whole(checked)


def whole(file: IO[bytes]) -> Generator[bytes, None, None]:
    """An open file from its beginning; closed at its end, or when nobody listens any more."""
    file.seek(0)
    return _begun(_drained(file))


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
        return Sent(whole(file), media_type=media_type, headers=headers)

    return conditional.answered(request, f'"{tag}"', sent)


def file_name(name: str) -> str:
    """A name that is safe inside a header and on any disk."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", name).lstrip(".") or "download"


def _held_back(stream: BinaryIO, artifact: Artifact) -> Generator[bytes, None, None]:
    digest, held = hashlib.sha256(), b""
    with stream:
        yield b""
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
            if held:
                yield held
            held = chunk
    if digest.hexdigest() != artifact.sha256:
        raise CorruptObject(f"the stored bytes of {artifact.key} are not the recorded ones")
    yield held


def _drained(file: IO[bytes]) -> Generator[bytes, None, None]:
    with file:
        yield b""
        while chunk := file.read(CHUNK):
            yield chunk


def _begun(sent: Generator[bytes, None, None]) -> Generator[bytes]:
    """Past the empty first piece: one that has begun closes its file, listened to or not."""
    next(sent)
    return sent

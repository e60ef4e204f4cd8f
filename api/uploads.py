"""Receiving an archive: streamed to a file, hashed and counted as it flows, gone afterwards.

The one asynchronous corner of the service: a slow client must not hold a thread.
"""

import base64
import errno
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from fastapi import Request
from fastapi.concurrency import contextmanager_in_threadpool
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from api import contract, security
from core.config import Settings
from core.errors import InvalidInput, TooLarge, Unavailable
from core.execution import scratch

MEDIA_TYPES = frozenset(
    {
        "application/zip",
        "application/x-zip-compressed",
        "application/x-tar",
        "application/gzip",
        "application/x-gzip",
        "application/zstd",
        "application/vnd.apache.parquet",
        "application/octet-stream",
    }
)
BUFFER = 1024 * 1024
CONTENT_DIGEST = contract.sends(
    "Content-Digest",
    "`sha-256=:BASE64:` (RFC 9530): a body with another SHA-256 was damaged and is refused.",
)
# Of whoever receives a file, beside its own.
REFUSALS = (
    "digest_mismatch",
    "empty_body",
    "incomplete_body",
    "invalid_digest",
    "storage_full",
)


Room = Callable[[int], None]  # raises where there is none for so many bytes


@dataclass(frozen=True, slots=True)
class Expected:
    """What a body is to be: its noun for messages and codes, its size, its media types."""

    noun: str
    limit: int
    media_types: frozenset[str]
    spelled: str


def archive_of(settings: Settings) -> Expected:
    """An archive of images."""
    spelled = "application/zip, application/x-tar, application/gzip or application/octet-stream"
    return Expected("archive", settings.uploads.archive_bytes, MEDIA_TYPES, spelled)


@dataclass(frozen=True, slots=True)
class Received:
    """An upload on disk, for the length of its request."""

    path: Path
    size: int
    sha256: str


class Sink:
    """A file that counts and hashes what is written to it, and refuses to pass its limit."""

    def __init__(self, file: IO[bytes], expected: Expected) -> None:
        self._file = file
        self._expected = expected
        self._digest = hashlib.sha256()
        self._waiting = bytearray()
        self.size = 0

    async def write(self, data: bytes) -> None:
        """Take bytes; written out by the megabyte, off the event loop."""
        self.size += len(data)
        if self.size > self._expected.limit:
            raise _too_large(self._expected)
        self._waiting += data
        if len(self._waiting) >= BUFFER:
            await self.flush()

    async def flush(self) -> None:
        """Write out what waits."""
        data = bytes(self._waiting)
        self._waiting.clear()
        if data:
            await run_in_threadpool(self._store, data)

    def _store(self, data: bytes) -> None:
        self._digest.update(data)
        try:
            self._file.write(data)
            self._file.flush()
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise Unavailable(
                f"The server has no room for this {self._expected.noun} now.",
                code="storage_full",
            ) from error

    def digest(self) -> bytes:
        """The SHA-256 of everything written out."""
        return self._digest.digest()


@asynccontextmanager
async def spooled(
    settings: Settings, expected: Expected | None = None
) -> AsyncIterator[tuple[Sink, Path]]:
    """A sink over a temporary file that is removed at the end of the block, come what may."""
    # Off the event loop: to remove a large file takes its time.
    async with contextmanager_in_threadpool(scratch.folder(settings.home, "incoming-")) as folder:
        path = folder / "body"
        with path.open("wb") as file:
            yield Sink(file, expected or archive_of(settings)), path


@asynccontextmanager
async def received(
    request: Request, settings: Settings, expected: Expected, *, room: Room | None = None
) -> AsyncIterator[Received]:
    """The body as a file, when it is what was expected; `room` is asked for as many bytes as are
    announced before one of them is received."""
    noun = expected.noun
    _check_media_type(request, expected)
    digest = _content_digest(request.headers.get("content-digest"))
    _check_announced_length(request, expected)
    if room is not None:
        await run_in_threadpool(room, security.announced(request.headers) or 0)
    async with spooled(settings, expected) as (sink, path):
        async for chunk in body(request):
            await sink.write(chunk)
        await sink.flush()
        if sink.size == 0:
            raise InvalidInput(
                f"The body is empty: send the {noun} as the body.", code="empty_body"
            )
        if digest is not None and sink.digest() != digest:
            raise InvalidInput(
                f"The {noun} does not match its Content-Digest; it was damaged on the way.",
                code="digest_mismatch",
            )
        yield Received(path, sink.size, sink.digest().hex())


async def body(request: Request) -> AsyncIterator[bytes]:
    """The body's chunks; a client that leaves early is an incomplete body."""
    try:
        async for chunk in request.stream():
            yield chunk
    except ClientDisconnect as error:
        raise InvalidInput(
            "The upload ended before its end; nothing was kept.", code="incomplete_body"
        ) from error


def _check_media_type(request: Request, expected: Expected) -> None:
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media not in expected.media_types:
        raise InvalidInput(
            f"Send the {expected.noun} itself as the body, with Content-Type {expected.spelled}.",
            code="unsupported_media_type",
        )


def _check_announced_length(request: Request, expected: Expected) -> None:
    if (security.announced(request.headers) or 0) > expected.limit:
        raise _too_large(expected)


def _too_large(expected: Expected) -> TooLarge:
    return TooLarge(
        f"The {expected.noun} is larger than the {expected.limit:,} bytes this server accepts.",
        code=f"{expected.noun.replace(' ', '_')}_too_large",
    )


def _content_digest(header: str | None) -> bytes | None:
    """The SHA-256 of an RFC 9530 Content-Digest, when it lists one."""
    for entry in (header or "").split(","):
        name, _, value = entry.strip().partition("=")
        if name.lower() != "sha-256":
            continue
        try:
            digest = base64.b64decode(value.strip().strip(":"), validate=True)
        except ValueError as error:  # not base64, or not even ASCII
            raise InvalidInput(
                "Content-Digest is not spelled sha-256=:base64:.", code="invalid_digest"
            ) from error
        if len(digest) != hashlib.sha256().digest_size:
            raise InvalidInput("Content-Digest holds no SHA-256.", code="invalid_digest")
        return digest
    return None

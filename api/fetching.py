"""Uploads whose bytes lie in a bucket: they are read from there, judged, and stored as parts."""

import hashlib
import os
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager, suppress
from typing import TYPE_CHECKING, BinaryIO
from uuid import UUID

from fastapi.concurrency import contextmanager_in_threadpool
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from api import pieces
from api.turns import turn
from core.bootstrap import Container
from core.domain import keys
from core.domain.uploads import Upload
from core.errors import AppError, Conflict, InvalidInput, NotFound, Unavailable
from core.ports import DirectStore, Presigned
from core.services import uploads

if TYPE_CHECKING:
    from core.storage.s3_import import Source

Bytes = AsyncGenerator[bytes, None]
READ_BYTES = 256 * 1024
LOOK_SECONDS = 1.0  # between looks whether who asked is still there
SIGNED_SECONDS = 3600.0  # that a form for the bucket can be used


async def fetched(
    container: Container,
    source: "Source",
    *,
    name: str | None,
    sha256: str | None,
    gone: Callable[[], Awaitable[bool]],
) -> Upload:
    """The object as a complete upload; nothing of it stays if it does not come to that.

    Raises what `uploads.create` and `s3_import` raise, Unavailable (`busy`) while as many are
    being read as may be, and InvalidInput (`digest_mismatch`).
    """
    from core.storage import s3_import  # what signs its requests takes a while

    called = name or source.key.rsplit("/", 1)[-1][-uploads.NAME_LENGTH :]
    with turn(container.fetches, "Other files are being fetched"):
        async with s3_import.opened(source) as found:
            begun = await run_in_threadpool(_begun, container, called, found.length, sha256)
            chunks = _wanted(found.chunks(container.settings.uploads.part_bytes), gone)
            try:
                async with aclosing(_judged(chunks, begun)) as judged:
                    return await pieces.receive(judged, container, begun.id, 0)
            except BaseException:
                await run_in_threadpool(pieces.abandon, container, begun.id)
                raise


def presigned(
    container: Container, session: Session, *, name: str, length: int, sha256: str | None
) -> tuple[Upload, Presigned]:
    """An upload to be sent to the bucket by a form, and the form.

    Raises Conflict (`not_supported`) where there is no bucket, and as `uploads.create` does.
    """
    store, limits = _direct(container), container.settings.uploads
    upload = uploads.create(session, name=name, length=length, sha256=sha256, limits=limits)
    seconds = min(SIGNED_SECONDS, limits.expiry_seconds)
    key = keys.sent_directly(upload.project_id, upload.id)
    return upload, store.presign(key, length=length, seconds=seconds)


async def completed(container: Container, upload_id: UUID) -> Upload:
    """The upload with what its sender put into the bucket, read and stored as parts of ours.

    Whoever may write under a key may do so again: so what was judged is copied, not trusted to
    stay. Raises Conflict (`not_supported`, `upload_incomplete`, `upload_busy`), InvalidInput
    (`size_mismatch`, `digest_mismatch`: then it is to be sent again), Unavailable (`busy`) and
    as `uploads.get` does.
    """
    _direct(container)
    upload = await run_in_threadpool(_known, container, upload_id)
    if upload.received == upload.length:
        return upload
    with turn(container.fetches, "Other files are being fetched"):
        async with contextmanager_in_threadpool(_sent(container, upload)) as stream:
            await run_in_threadpool(_rewind, container, upload_id)
            async with aclosing(_judged(_read(stream), upload)) as judged:
                return await pieces.receive(judged, container, upload_id, 0)


def _begun(container: Container, name: str, length: int, sha256: str | None) -> Upload:
    if length == 0:
        raise InvalidInput("The object is empty.", code="empty_object")
    limits = container.settings.uploads
    with container.sessions.begin() as session:
        return uploads.create(session, name=name, length=length, sha256=sha256, limits=limits)


def _known(container: Container, upload_id: UUID) -> Upload:
    with container.sessions.read() as session:
        return uploads.get(session, upload_id)


def _rewind(container: Container, upload_id: UUID) -> None:
    """Drop what an earlier try has copied: the object may be another by now."""
    with container.sessions.begin() as session:
        parts = uploads.rewind(session, upload_id)
    container.store.delete(part.key for part in parts)


def _direct(container: Container) -> DirectStore:
    if isinstance(container.store, DirectStore):
        return container.store
    words = (
        "This service keeps its files itself, in no bucket: send the bytes to POST /v1/uploads."
    )
    raise Conflict(words, code="not_supported")


@contextmanager
def _sent(container: Container, upload: Upload) -> Iterator[BinaryIO]:
    """What lies in the bucket; taken away at the end, unless trying once more may help."""
    key = keys.sent_directly(upload.project_id, upload.id)
    try:
        stream = container.store.open(key)
    except NotFound:
        words = f"Nothing of '{upload.name}' has come into the bucket: send it by the form first."
        raise Conflict(words, code="upload_incomplete") from None
    try:
        with stream:
            size = stream.seek(0, os.SEEK_END)
            if size != upload.length:
                words = f"{size:,} bytes lie in the bucket, not the {upload.length:,} announced."
                raise InvalidInput(f"{words} Send it again.", code="size_mismatch")
            stream.seek(0)
            yield stream
    except InvalidInput:
        container.store.delete([key])
        raise
    with suppress(AppError):  # it is collected later
        container.store.delete([key])


async def _read(stream: BinaryIO) -> Bytes:
    while chunk := await run_in_threadpool(stream.read, READ_BYTES):
        yield chunk


async def _wanted(chunks: Bytes, gone: Callable[[], Awaitable[bool]]) -> Bytes:
    """The same, for as long as somebody waits for the answer."""
    looked = time.monotonic()
    async with aclosing(chunks):
        async for chunk in chunks:
            if time.monotonic() - looked > LOOK_SECONDS:
                if await gone():
                    raise InvalidInput("Nobody waits for this any more.", code="incomplete_body")
                looked = time.monotonic()
            yield chunk


async def _judged(chunks: Bytes, upload: Upload) -> Bytes:
    """The same, the last of them only if all together are what they were said to be."""
    digest, left = hashlib.sha256(), upload.length
    async with aclosing(chunks):
        async for chunk in chunks:
            left -= len(chunk)
            digest.update(chunk)
            if left == 0 and upload.sha256 not in (None, digest.hexdigest()):
                words = f"'{upload.name}' does not have the SHA-256 that was said."
                raise InvalidInput(words, code="digest_mismatch")
            yield chunk
    if left > 0:
        raise Unavailable("The file ended before its end; try again.", code="fetch_failed")

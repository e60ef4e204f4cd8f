"""A file that arrives in pieces: each is an object of its own before it counts.

What was stored need never be sent again: a request that is cut off leaves the bytes that it has
brought. Only where it names a checksum all of them count, or none.
"""

import secrets
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from uuid import UUID

from fastapi.concurrency import contextmanager_in_threadpool
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from api.tus import Checksum
from api.uploads import Expected, Received, Sink
from core.bootstrap import Container
from core.domain import keys
from core.domain.uploads import Part, Upload
from core.errors import AppError, InvalidInput, TooLarge
from core.execution import scratch
from core.pipelines import assembling
from core.services import uploads

RENEW_SECONDS = 20.0  # of a hold, which lasts for three times as long


async def receive(
    chunks: AsyncIterator[bytes],
    container: Container,
    upload_id: UUID,
    offset: int,
    checksum: Checksum | None = None,
) -> Upload:
    """Add what comes, such as a request's body, to the upload; how far it is then.

    Raises what `core.services.uploads` raises, TooLarge for more than was announced, and
    InvalidInput: `checksum_mismatch`, or `incomplete_body` after a cut, which keeps what came.
    """
    token = secrets.token_hex(16)
    held = _Held(container, token)
    upload = await run_in_threadpool(held.take, upload_id, offset)
    try:
        # Off the event loop: to remove large files takes its time.
        home = container.settings.home
        async with contextmanager_in_threadpool(scratch.folder(home, "piece-")) as folder:
            return await _Receiver(held, upload, checksum, folder / "piece").receive(chunks)
    finally:
        await run_in_threadpool(held.release, upload_id)


@contextmanager
def assembled(container: Container, upload_ids: Sequence[UUID]) -> Iterator[tuple[Path, ...]]:
    """Complete uploads as files on disk, while the block runs.

    Raises NotFound, Gone, Conflict (`upload_incomplete`), InvalidInput (`digest_mismatch`), and
    CorruptObject when a part is not what was received.
    """
    with scratch.folder(container.settings.home, "upload-") as folder:
        yield tuple(
            _assembled(container, upload_id, folder / str(number))
            for number, upload_id in enumerate(upload_ids)
        )


def _assembled(container: Container, upload_id: UUID, folder: Path) -> Path:
    with container.sessions.read() as session:
        uploads.get(session, upload_id)
        upload, parts = uploads.contents(session, upload_id)
    return assembling.assemble(container.store, upload, parts, folder)


def adopted(container: Container, received: Received, *, name: str) -> Upload:
    """A file that came whole, kept as an upload of one part: for a job to read.

    Raises as `core.services.uploads.create` does.
    """
    with container.sessions.begin() as session:
        upload = uploads.create(
            session,
            name=name,
            length=received.size,
            sha256=received.sha256,
            limits=container.settings.uploads,
        )
    held = _Held(container, secrets.token_hex(16))
    try:
        held.take(upload.id, 0)
        kept = held.append(upload.id, 0, received.path, received.size, received.sha256)
        held.release(upload.id)
    except BaseException:
        abandon(container, upload.id)
        raise
    return kept


def forget(container: Container, upload_id: UUID) -> None:
    """Delete the upload and its objects. Raises NotFound, and Conflict while a job reads it."""
    with container.sessions.begin() as session:
        parts = uploads.drop(session, upload_id)
    container.store.delete(
        [*(part.key for part in parts), keys.sent_directly(container.sessions.project, upload_id)]
    )


def abandon(container: Container, upload_id: UUID) -> None:
    """Forget an upload that nobody knows of; if that fails it expires."""
    with suppress(AppError):
        forget(container, upload_id)


@dataclass(frozen=True, slots=True)
class _Held:
    """The right to add to an upload, under a token of its own."""

    container: Container
    token: str

    def take(self, upload_id: UUID, offset: int) -> Upload:
        with self.container.sessions.begin() as session:
            return uploads.take(session, upload_id, offset=offset, token=self.token)

    def append(self, upload_id: UUID, start: int, path: Path, size: int, sha256: str) -> Upload:
        """Store the piece, then count it."""
        project = self.container.sessions.project
        key = keys.upload_part(project, upload_id, start, self.token)
        self.container.store.put(key, path)
        most = self.container.settings.uploads.most_parts
        try:
            with self.container.sessions.begin() as session:
                part = Part(key, start, size, sha256)
                return uploads.append(session, upload_id, self.token, part, most_parts=most)
        except AppError:
            self.container.store.delete([key])
            raise

    def release(self, upload_id: UUID) -> None:
        with self.container.sessions.begin() as session:
            uploads.release(session, upload_id, self.token)


class _Receiver:
    """One request's bytes, on their way into objects."""

    def __init__(self, held: _Held, upload: Upload, checksum: Checksum | None, path: Path) -> None:
        self._held, self._upload, self._path = held, upload, path
        self._checksum = checksum
        self._sums: Any = None if checksum is None else checksum.begin()
        # One that must match as a whole is one object, however large.
        self._largest = held.container.settings.uploads.part_bytes if checksum is None else None
        self._left = upload.length - upload.received
        self._renewed = time.monotonic()

    async def receive(self, chunks: AsyncIterator[bytes]) -> Upload:
        """Take what comes, piece by piece, into the file at hand and from there to the store."""
        cut = False
        with self._path.open("w+b") as file:
            sink = await self._sink(file)
            try:
                async for chunk in chunks:
                    await self._take(chunk, sink)
                    if self._largest is not None and sink.size >= self._largest:
                        await self._keep(sink)
                        sink = await self._sink(file)
            except ClientDisconnect:
                cut = True
            if not cut:
                self._check()
            if self._checksum is None or not cut:
                await self._keep(sink)
        if cut:
            words = "The request ended before its body; ask how far the upload is, and go on."
            raise InvalidInput(words, code="incomplete_body")
        return self._upload

    async def _sink(self, file: IO[bytes]) -> Sink:
        await run_in_threadpool(file.seek, 0)
        await run_in_threadpool(file.truncate)
        return Sink(file, Expected("upload", self._left, frozenset(), ""))

    async def _take(self, chunk: bytes, sink: Sink) -> None:
        self._left -= len(chunk)
        if self._left < 0:
            words = f"More bytes came than the {self._upload.length:,} that were announced."
            raise TooLarge(words, code="archive_too_large")
        if self._sums is not None:
            self._sums.update(chunk)
        await sink.write(chunk)
        if time.monotonic() - self._renewed > RENEW_SECONDS:
            await run_in_threadpool(self._held.take, self._upload.id, self._upload.received)
            self._renewed = time.monotonic()

    def _check(self) -> None:
        if self._checksum is not None and self._sums.digest() != self._checksum.digest:
            words = "The bytes do not match their Upload-Checksum; send them again."
            raise InvalidInput(words, code="checksum_mismatch")

    async def _keep(self, sink: Sink) -> None:
        """Store what is in the file, and count it; nothing if nothing is."""
        await sink.flush()
        if not sink.size:
            return
        piece = (self._path, sink.size, sink.digest().hex())
        add, start = self._held.append, self._upload.received
        self._upload = await run_in_threadpool(add, self._upload.id, start, *piece)
        self._renewed = time.monotonic()

"""Files on their way: down whole or not at all, up in one request or in pieces (tus 1.0)."""

import base64
import hashlib
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx

from headstart import operations
from headstart._async import running
from headstart._async.connection import OUTAGE, SLOW, AsyncConnection, Query, parsed
from headstart.bars import Sent
from headstart.operations import Operation
from headstart.patience import Patience
from headstart.problems import Problem

CHUNK = 1024 * 1024
TUS = {"Tus-Resumable": "1.0.0"}
# The server still believes a broken request, or has not all that was sent.
GOES_ON = frozenset({"incomplete_body", "upload_busy", "wrong_offset"})


async def download(
    at: AsyncConnection,
    path: str,
    target: Path,
    *,
    query: Query | None = None,
    sha256: str | None = None,
    told: Sent,
) -> None:
    """Fetch a file; it appears under its name only when whole and with the right checksum: the
    one given, else the one the server announces. Begins anew when the connection breaks."""
    partial = target.with_name(f".{uuid4().hex}.partial")  # others may fetch the same
    patience = Patience(OUTAGE)
    try:
        while True:
            try:
                announced = await _fetch(at, path, query, partial, told, patience)
                break
            except Problem as problem:
                if not problem.passing:
                    raise
                await running.sleep(patience.pause(problem))
        if (await running.run(_sha256, partial)).hex() != (sha256 or announced):
            raise Problem(f"{target.name} arrived damaged; try again.", code="corrupt_object")
        await running.run(partial.replace, target)
    finally:
        partial.unlink(missing_ok=True)


async def _fetch(
    at: AsyncConnection,
    path: str,
    query: Query | None,
    partial: Path,
    told: Sent,
    patience: Patience,
) -> str:
    """A file from its first byte; the checksum that the server announces."""
    headers = {"Accept-Encoding": "identity"}
    async with at.opened("GET", path, query=query, headers=headers) as answer:
        done, total = 0, int(answer.headers.get("content-length") or 0)
        with partial.open("wb") as file:
            async for piece in answer.aiter_bytes():
                await running.run(file.write, piece)
                done += len(piece)
                patience.reached(done)
                told(done, max(done, total))
        return _announced(answer)


async def upload(
    at: AsyncConnection, operation: Operation, file: Path, *, told: Sent, query: Query
) -> Any:
    """What is made of a file that is sent in one request, checked by its digest on arrival."""
    digest = base64.b64encode(await running.run(_sha256, file)).decode()
    headers = {
        "Content-Type": "application/octet-stream",
        "Content-Length": str(file.stat().st_size),
        "Content-Digest": f"sha-256=:{digest}:",
    }
    content = _pieces(file, 0, told)
    answer = await at.call(operation, query=query, headers=headers, content=content, timeout=SLOW)
    return parsed(answer)


async def send(at: AsyncConnection, file: Path, *, told: Sent) -> str:
    """Send a file in pieces; the id of the upload. A broken connection costs what was on its
    way; the server checks the whole by its digest."""
    address = await _begun(at, file)
    upload_id = address.rsplit("/", 1)[1]
    try:
        await _to_the_end(at, file, address, told)
    except BaseException:
        await give_up(at, upload_id)
        raise
    return upload_id


async def give_up(at: AsyncConnection, upload_id: str) -> None:
    """Leave nothing of an upload, if the server can be told so now; else it expires."""
    ids = {"upload_id": upload_id}
    with suppress(Problem):
        await at.call(operations.UPLOADS_DELETE, ids=ids, headers=TUS, retry_for=0.0)


async def _to_the_end(at: AsyncConnection, file: Path, address: str, told: Sent) -> None:
    length, patience = file.stat().st_size, Patience(OUTAGE)
    there = 0
    while there < length:
        try:
            there = await _offset(at, address)
            patience.reached(there)
            headers = {
                **TUS,
                "Content-Type": "application/offset+octet-stream",
                "Upload-Offset": str(there),
                "Content-Length": str(length - there),
            }
            content = _pieces(file, there, told)
            async with at.opened("PATCH", address, headers=headers, content=content) as answer:
                there = int(answer.headers["upload-offset"])
        except Problem as problem:
            if not (problem.passing or problem.code in GOES_ON):
                raise
            await running.sleep(patience.pause(problem))


async def _begun(at: AsyncConnection, file: Path) -> str:
    sha256 = (await running.run(_sha256, file)).hex()
    named = {"filename": file.name, "sha256": sha256}
    # A name may hold bytes that are no text.
    pairs = {
        key: base64.b64encode(value.encode(errors="replace")).decode()
        for key, value in named.items()
    }
    told = ",".join(f"{key} {value}" for key, value in pairs.items())
    headers = {**TUS, "Upload-Length": str(file.stat().st_size), "Upload-Metadata": told}
    # Where the answer was lost an empty upload is left, which expires.
    answer = await at.call(
        operations.UPLOADS_CREATE, headers=headers, again=True, retry_for=OUTAGE
    )
    return httpx.URL(answer.headers["location"]).path


async def _offset(at: AsyncConnection, address: str) -> int:
    """How many bytes the server has."""
    async with at.opened("HEAD", address, headers=TUS) as answer:
        return int(answer.headers["upload-offset"])


async def _pieces(file: Path, start: int, told: Sent) -> AsyncIterator[bytes]:
    length, done = file.stat().st_size, start
    with file.open("rb") as opened:
        opened.seek(start)
        while piece := await running.run(opened.read, CHUNK):
            yield piece
            done += len(piece)
            told(done, length)


def _announced(answer: httpx.Response) -> str:
    """The SHA-256 of a Content-Digest (RFC 9530) that is spelled as this service does."""
    encoded = answer.headers.get("content-digest", "").removeprefix("sha-256=:").removesuffix(":")
    try:
        return base64.b64decode(encoded, validate=True).hex()
    except ValueError:
        return ""


def _sha256(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()

"""Sending stored files: never a byte too many, never a whole file that is not the recorded one."""

import hashlib
import re
import tempfile
from collections.abc import Iterator
from typing import IO, BinaryIO

from core.domain.searches import Artifact
from core.errors import CorruptObject
from core.ports import ObjectStore

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

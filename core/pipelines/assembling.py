"""Uploads that came in pieces become files again, checked piece by piece and as a whole."""

import hashlib
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from core.domain.uploads import Part, Upload
from core.errors import Conflict, CorruptObject, InvalidInput
from core.ports import ObjectStore

CHUNK = 1024 * 1024


def assemble(
    store: ObjectStore,
    upload: Upload,
    parts: Sequence[Part],
    folder: Path,
    *,
    heard: Callable[[int], None] = lambda _: None,
) -> Path:
    """The upload as a file in `folder` (which must not be there yet), called much as its sender's
    was; `heard` is told of the bytes as they are read.

    Raises Conflict (`upload_incomplete`), InvalidInput (`digest_mismatch`), and CorruptObject when
    a part is not what was received.
    """
    if upload.received < upload.length:
        words = (
            f"Of '{upload.name}' {upload.received:,} of {upload.length:,} bytes are here: "
            "send the others."
        )
        raise Conflict(words, code="upload_incomplete")
    folder.mkdir()
    path = folder / _file_name(upload.name)
    digest = _joined(store, parts, path, heard)
    if upload.sha256 not in (None, digest):
        words = f"'{upload.name}' does not match its SHA-256; send it again."
        raise InvalidInput(words, code="digest_mismatch")
    return path


def _file_name(name: str) -> str:
    """A name for a file of ours that says what the sender's did (`train.zip`), and no more."""
    last = re.split(r"[/\\]", name)[-1]
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", last)[-80:].lstrip(".-")
    return plain or "archive"


def _joined(
    store: ObjectStore, parts: Sequence[Part], path: Path, heard: Callable[[int], None]
) -> str:
    whole = hashlib.sha256()
    with path.open("wb") as target:
        for part in parts:
            digest = hashlib.sha256()
            with store.open(part.key) as source:
                while chunk := source.read(CHUNK):
                    digest.update(chunk)
                    whole.update(chunk)
                    target.write(chunk)
                    heard(len(chunk))
            if digest.hexdigest() != part.sha256:
                raise CorruptObject(f"A part of the upload was altered in the store: {part.key}")
    return whole.hexdigest()

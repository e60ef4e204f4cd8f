"""Files in and out of the object store, with their checksums."""

import hashlib
import shutil
from pathlib import Path

from core.domain.searches import Artifact
from core.errors import CorruptObject
from core.ports import Heard, ObjectStore, unheard

_CHUNK = 1 << 20


def fetch(store: ObjectStore, key: str, destination: Path, *, sha256: str | None = None) -> Path:
    """Copy an object to `destination`. Raises NotFound, or CorruptObject on another checksum."""
    with store.open(key) as source, destination.open("wb") as target:
        shutil.copyfileobj(source, target, _CHUNK)
    if sha256 is not None and checksum(destination) != sha256:
        raise CorruptObject(f"the stored object {key} does not match its recorded SHA-256")
    return destination


def checksum(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def stored_checksum(store: ObjectStore, key: str, *, heard: Heard = unheard) -> str:
    """SHA-256 of an object, in hexadecimal. Raises NotFound."""
    digest = hashlib.sha256()
    with store.open(key) as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
            heard(len(chunk))
    return digest.hexdigest()


def publish(store: ObjectStore, key: str, path: Path, *, media_type: str) -> Artifact:
    """Store a finished file and describe it."""
    store.put(key, path)
    return Artifact(path.name, key, checksum(path), path.stat().st_size, media_type)

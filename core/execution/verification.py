"""Reads every object that a row names and compares it with what the row says of it."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import StrEnum

from core.db.sessions import Sessions
from core.errors import CorruptObject, NotFound
from core.ports import ObjectStore
from core.services import inventory
from core.services.inventory import Named

CHUNK_BYTES = 1024 * 1024


class Fault(StrEnum):
    """What can be wrong with an object."""

    MISSING = "missing"
    ALTERED = "altered"
    MANIFEST = "manifest"  # whole, and does not list the files that its model has


@dataclass(frozen=True, slots=True)
class Problem:
    """One object that is not what its row says, and whose it is."""

    fault: Fault
    owner: str
    key: str


def verify(sessions: Sessions, store: ObjectStore, *, tell: Callable[[Problem], None]) -> int:
    """Tell of every object that is missing or altered; how many were read.

    What is registered meanwhile may be left out. Raises Unavailable when the store does not
    answer: then nothing is known of the rest.
    """
    with sessions.read() as session:
        wanted = tuple(inventory.named(session))
    for each in wanted:
        fault = _fault(store, each)
        if fault is not None:
            tell(Problem(fault, each.owner, each.key))
    return len(wanted)


def _fault(store: ObjectStore, wanted: Named) -> Fault | None:
    digest, kept = hashlib.sha256(), bytearray()
    try:
        with store.open(wanted.key) as stream:
            while chunk := stream.read(CHUNK_BYTES):
                digest.update(chunk)
                if wanted.lists is not None:
                    kept += chunk
    except NotFound:
        return Fault.MISSING
    except CorruptObject:
        return Fault.ALTERED
    if wanted.sha256 is not None and digest.hexdigest() != wanted.sha256:
        return Fault.ALTERED
    if wanted.lists is not None and not _lists(kept, wanted):
        return Fault.MANIFEST
    return None


def _lists(manifest: bytes | bytearray, wanted: Named) -> bool:
    try:
        said = json.loads(manifest)
    except ValueError:
        return False
    return bool(said == [asdict(each) for each in wanted.lists or ()])

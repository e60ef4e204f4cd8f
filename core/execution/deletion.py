"""Datasets go for good: their rows first, then their objects, and never what came back meanwhile.

Objects are deleted while the tombstone is held, and whoever registers content makes sure of its
objects while holding its row: so either the objects go first, and the upload is asked for once
more, or the dataset is back first, and its objects stay. Killed between rows and objects, the
collector finds the tombstone.
"""

from pathlib import Path

import structlog

from core.data.prepared import DEFAULT_RESOLUTION
from core.db.sessions import Sessions
from core.domain import keys
from core.domain.datasets import DatasetId
from core.domain.identity import ProjectId
from core.errors import DeletedMeanwhile, Unavailable
from core.execution import caches
from core.ports import ObjectStore, Stored
from core.services import datasets, tombstones

log = structlog.stdlib.get_logger(__name__)


def delete(sessions: Sessions, store: ObjectStore, home: Path, dataset_id: DatasetId) -> bool:
    """Delete the dataset, in this machine's caches too; whether its objects are gone as well, or
    the store did not answer and they are the collector's.

    Raises as `core.services.datasets.delete` does.
    """
    with sessions.begin() as session:
        sha256 = datasets.delete(session, dataset_id)
    caches.forget(home, sha256)
    try:
        take_away(sessions, store, dataset_id)
    except Unavailable:
        log.warning("objects_left", dataset_id=str(dataset_id))
        return False
    return True


def take_away(sessions: Sessions, store: ObjectStore, dataset_id: DatasetId) -> tuple[Stored, ...]:
    """Delete every object of a deleted dataset, of one that came back none; those that went."""
    with sessions.begin() as session:
        folder = tombstones.held(session, dataset_id)
        found = () if folder is None else tuple(store.listing(folder))
        for each in found:
            # One by one: a server that has let go of the row meanwhile says so here.
            tombstones.held(session, dataset_id)
            store.delete([each.key])
    return found


def check_stored(store: ObjectStore, *wanted: str) -> None:
    """Raise DeletedMeanwhile unless these objects are there.

    For the transaction that registers their dataset: they were found in place and not stored again
    while a deletion was under way.
    """
    if not all(map(store.exists, wanted)):
        message = "The same images were deleted while these were read: send them once more."
        raise DeletedMeanwhile(message)


def of_images(project: ProjectId, sha256: str) -> tuple[str, str]:
    """What intake stores of a dataset."""
    return keys.originals(project, sha256), keys.packed(project, sha256, DEFAULT_RESOLUTION)

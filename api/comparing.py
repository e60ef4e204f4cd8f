"""What changed between two stored datasets, for the API and the pages."""

from threading import BoundedSemaphore
from typing import TYPE_CHECKING
from uuid import UUID

from api.turns import turn
from core.bootstrap import Container
from core.domain import keys
from core.domain.datasets import Dataset, DatasetId
from core.errors import CorruptObject
from core.services import datasets

if TYPE_CHECKING:  # pyarrow, for those who ask
    from core.data.versions import Difference

AT_ONCE = 2  # each takes some tens of MiB for a dataset of the largest size
PATIENCE_SECONDS = 10.0

_turns = BoundedSemaphore(AT_ONCE)


def both(container: Container, before: UUID, after: UUID) -> tuple[Dataset, Dataset]:
    """The two, with their images here. Raises NotFound, Gone, and Conflict (`statistics_only`)."""
    with container.sessions.read() as session:
        first = datasets.with_images(session, DatasetId(before))
        return first, datasets.with_images(session, DatasetId(after))


def changes(container: Container, before: Dataset, after: Dataset) -> "Difference":
    """Read off the files of both. Raises NotFound, CorruptObject, and Unavailable (`busy`)."""
    import pyarrow as pa

    from core.data import versions

    with (
        turn(_turns, "Other datasets are being compared", patience=PATIENCE_SECONDS),
        container.store.open(keys.originals(before.project_id, before.sha256)) as old,
        container.store.open(keys.originals(after.project_id, after.sha256)) as new,
    ):
        try:
            return versions.difference(versions.read(old), versions.read(new))
        except (pa.ArrowException, OSError, KeyError) as error:
            words = f"the originals of {before.sha256} or {after.sha256} cannot be read"
            raise CorruptObject(words) from error

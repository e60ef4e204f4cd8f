"""Which embedders there are, those of registered supernets' trunks included."""

import hashlib
from functools import lru_cache
from pathlib import Path

from sqlalchemy.orm import Session

from core.domain import embedders
from core.domain.embedders import EmbedderEntry
from core.domain.work import Trunk
from core.errors import Detail, InvalidInput, NotFound
from core.services import datasets, supernets, tombstones
from core.services.paging import NamedOrder

SOURCE_DELETED = "source_deleted"


def trunk(session: Session, identifier: str) -> Trunk | None:
    """The supernet whose trunk this names; None for other embedders. Raises InvalidInput:
    `unknown_embedder`, or `source_deleted` where its dataset is no more."""
    try:
        supernet_id = embedders.trunk_of(identifier)
        if supernet_id is None:
            return None
        found = supernets.get(session, supernet_id)
        if found.dataset_id is None:  # its trunk normalises by the images it was trained on
            raise NotFound(f"The supernet '{found.name}' was not trained on one dataset here.")
    except (ValueError, NotFound) as error:
        message = f"There is no embedder '{identifier}': {error}"
        details = [Detail("embedder", "unknown_embedder", message)]
        raise InvalidInput(message, code="unknown_embedder", details=details) from error
    source = datasets.remembered(session, found.dataset_id)
    if source.deleted_at is not None:
        message = (
            f"The supernet '{found.name}' cannot embed any more: it normalises by the images of "
            f"'{source.name}', which was deleted. Name another embedder."
        )
        details = [Detail("embedder", SOURCE_DELETED, message)]
        raise InvalidInput(message, code=SOURCE_DELETED, details=details)
    return Trunk(
        supernet_id=found.id,
        space=found.space,
        resolution=found.resolution,
        key=found.key,
        sha256=found.sha256,
        source=source,
    )


def check(session: Session, identifier: str) -> None:
    """Raise InvalidInput when this names the trunk of a supernet that is not registered, or whose
    dataset was deleted."""
    trunk(session, identifier)


def listing(
    session: Session,
    *,
    default: str,
    resnet18_weights: Path | None,
    limit: int,
    after: str | None = None,
    order: NamedOrder = "newest",
) -> tuple[tuple[EmbedderEntry, ...], str | None]:
    """A page of embedders and the token of the next: those built in come first, on top of the
    first page's supernets. Raises InvalidInput."""
    found, token = supernets.listing(session, limit=limit, after=after, order=order)
    gone = tombstones.names(session, [each.dataset_id for each in found if each.dataset_id])
    trunks = [
        EmbedderEntry(
            name=embedders.TRUNK,
            version=str(each.id),
            summary=f"Trunk of the supernet '{each.name}'.",
            default=embedders.of_trunk(each.id) == default,
            supernet_id=each.id,
        )
        for each in found
        if each.dataset_id is not None and each.dataset_id not in gone
    ]
    return (*(() if after else _built_in(default, resnet18_weights)), *trunks), token


def _built_in(default: str, resnet18_weights: Path | None) -> tuple[EmbedderEntry, ...]:
    entries = []
    for each in embedders.BUILT_IN:
        version = each.version or _weights_version(resnet18_weights)
        identifier = f"{each.name}@{version}"
        entries.append(EmbedderEntry(each.name, version, each.summary, identifier == default))
    return tuple(entries)


def _weights_version(weights: Path | None) -> str | None:
    """As `core.ot.resnet_embedder` says it; None when the file is not here."""
    if weights is None or not weights.is_file():
        return None
    state = weights.stat()
    return _digested(weights, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=4)
def _digested(weights: Path, *_changed: int) -> str:
    with weights.open("rb") as file:
        return f"1-{hashlib.file_digest(file, 'sha256').hexdigest()[:12]}"

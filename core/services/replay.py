"""A shared supernet that goes on learning: what it may go on from, and what is replayed."""

from collections.abc import Iterator
from dataclasses import replace

from sqlalchemy.orm import Session

from core.domain.datasets import DatasetId
from core.domain.searches import PretrainSpec
from core.domain.supernets import Supernet, SupernetId
from core.errors import Detail, InvalidInput
from core.nas.space import Space
from core.services import datasets, specs, supernets

PLACE = "continue_from"


def joined(session: Session, spec: PretrainSpec, parent_id: SupernetId) -> PretrainSpec:
    """The request with all of its parent's datasets that are here among the others.

    Settled when the job is asked for: whatever is registered meanwhile, every attempt trains on
    the same. Raises NotFound, InvalidInput.
    """
    parent = supernets.get(session, parent_id)
    _check(parent, spec)
    known = _datasets(parent)
    asked = (spec.dataset_id, *spec.others)
    held = [each for each in _held(session, known) if each not in asked]
    shas = {datasets.get(session, each).sha256 for each in asked}
    if len(known | shas) > specs.MOST_DATASETS:
        raise _refused(f"With its own it would know more than {specs.MOST_DATASETS} datasets.")
    return replace(spec, others=(*spec.others, *held))


def _check(parent: Supernet, spec: PretrainSpec) -> None:
    if parent.dataset_id is not None or len(_datasets(parent)) == 1:
        raise _refused(
            f"The supernet '{parent.name}' was trained on one dataset; name one of several."
        )
    wanted = specs.space_of(spec.space, spec.training.method)
    own = {**Space.from_dict(parent.space).to_dict(), "resolution": parent.resolution}
    new = {**wanted.to_dict(), "resolution": spec.space.resolution}
    details = tuple(
        Detail(f"space.{name}", "not_the_parents", f"It is {own[name]}, not {new[name]}.")
        for name in new
        if own[name] != new[name]
    )
    if details:
        message = f"The supernet '{parent.name}' has another space; ask for that one."
        raise InvalidInput(message, details=details)


def _datasets(parent: Supernet) -> set[str]:
    return {str(each["sha256"]) for each in parent.lineage.get("datasets", ())}


def _held(session: Session, known: set[str]) -> Iterator[DatasetId]:
    for sha256 in sorted(known):
        found = datasets.find(session, sha256)
        if found is not None and not found.statistics_only:
            yield found.id


def _refused(message: str) -> InvalidInput:
    return InvalidInput(message, details=[Detail(PLACE, "cannot_be_continued", message)])

"""Supernets that searches leave to the registry, where their requests agreed to it."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from core.domain.searches import Search, SearchSpec
from core.domain.supernets import LineageKind, Supernet, lineage
from core.domain.work import PretrainOutcome, SearchOutcome
from core.services import datasets, supernets, wire


def register(
    session: Session, search: Search, outcome: SearchOutcome, *, spec: SearchSpec
) -> Supernet | None:
    """The supernet that the search ended with, registered as a source of its dataset; None where
    the request did not agree to that."""
    given = outcome.contribution
    if not spec.contribute or given is None:
        return None
    dataset = datasets.get(session, search.dataset_id)
    began = outcome.start["supernet_id"]
    parents = [] if began is None else [supernets.get(session, UUID(began)).sha256]
    training = _training(search, outcome, given, spec=spec)
    made, _ = supernets.register(
        session,
        name=_named(dataset.name, search),
        dataset_id=dataset.id,
        job_id=search.job_id,
        space=given.space,
        resolution=given.resolution,
        key=given.key,
        sha256=given.sha256,
        metrics=given.metrics,
        seconds=given.seconds,
        lineage=lineage([dataset], kind=LineageKind.SEARCH, parents=parents, training=training),
    )
    return made


def _named(dataset: str, search: Search) -> str:
    """No longer than a bundle may call it."""
    suffix = f" by search {str(search.id)[:8]}"
    return dataset[: datasets.NAME_LENGTH - len(suffix)] + suffix


def _training(
    search: Search, outcome: SearchOutcome, given: PretrainOutcome, *, spec: SearchSpec
) -> Mapping[str, Any]:
    began, kept = (
        outcome.start["supernet_id"],
        outcome.metrics["arms"][outcome.metrics["best_arm"]],
    )
    ranked = () if outcome.ranking is None else outcome.ranking.neighbours
    distances = [each.distance for each in ranked if str(each.supernet_id) == began]
    return {
        "seconds": given.seconds,
        "settings": {**wire.dump(spec.training), "learning_rate": kept["learning_rate"]},
        "search_id": str(search.id),
        "supernet_id": began,
        "distance": distances[0] if distances else None,
    }

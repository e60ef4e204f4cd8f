"""The races of finished searches, read from what those keep of their start."""

from collections.abc import Iterator, Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.db.result_tables import SearchRow
from core.domain.datasets import DatasetId
from core.domain.races import Lead, PastRace
from core.domain.searches import SearchId, SearchSpec
from core.domain.supernets import SupernetId

NEWEST = 500  # searches that are looked at: some 2,000 leads, as a race has four sources at most


def past(session: Session, spec: SearchSpec, *, newest: int = NEWEST) -> tuple[PastRace, ...]:
    """The races of the newest searches on other datasets, newest first, that are comparable: with
    distances of the same embedder, and sources adapted likewise."""
    statement = (
        select(SearchRow.id, SearchRow.dataset_id, SearchRow.spec, SearchRow.start)
        .where(SearchRow.start.is_not(None), SearchRow.dataset_id != spec.dataset_id)
        .order_by(SearchRow.created_at.desc(), SearchRow.id)
        .limit(newest)
    )
    found = []
    for search_id, dataset_id, asked, start in session.execute(statement):
        terms = asked["embedder"], asked.get("adapt", False)
        if terms == (spec.embedder, spec.adapt) and start.get("race") is not None:
            told = tuple(leads(start["race"]))
            found.append(PastRace(SearchId(search_id), DatasetId(dataset_id), told))
    return tuple(each for each in found if each.leads)


def leads(race: Mapping[str, Any]) -> Iterator[Lead]:
    """By how much each supernet that ran was better than the cold start, before any step."""
    ran = [
        (each, each["rungs"][0])
        for each in race["contestants"]
        if each["rungs"] and each["rungs"][0]["valid_accuracy"] is not None
    ]
    cold = next(
        (rung["valid_accuracy"] for each, rung in ran if each["supernet_id"] is None), None
    )
    if cold is None:
        return
    for each, rung in ran:
        if each["supernet_id"] is not None:
            points = 100 * (rung["valid_accuracy"] - cold)
            yield Lead(SupernetId(UUID(each["supernet_id"])), each["distance"], points)

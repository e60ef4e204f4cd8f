"""Deleted datasets: what is left of them, and what others may still say of them."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.db.dataset_tables import DatasetRow, EmbeddingRow
from core.domain.datasets import DatasetId, Ranking

AT_ONCE = 500  # ids in one statement


def held(session: Session, dataset_id: UUID) -> str | None:
    """The checksum of a deleted dataset, whose row stays as it is until the transaction ends; None
    if it was never deleted, or has come back."""
    dead = DatasetRow.id == dataset_id, DatasetRow.deleted_at.is_not(None)
    return session.scalar(select(DatasetRow.sha256).where(*dead).with_for_update())


def listing(session: Session) -> dict[DatasetId, str]:
    """The checksum of every deleted dataset."""
    dead = DatasetRow.deleted_at.is_not(None)
    rows = session.execute(select(DatasetRow.id, DatasetRow.sha256).where(dead))
    return {DatasetId(each): sha256 for each, sha256 in rows}


def any_there(session: Session) -> bool:
    """Whether a dataset is deleted at all."""
    dead = select(DatasetRow.id).where(DatasetRow.deleted_at.is_not(None)).limit(1)
    return session.scalar(dead) is not None


def among(session: Session, checksums: Collection[str]) -> set[str]:
    """Those of the checksums that are of deleted datasets."""
    return {sha256 for sha256 in listing(session).values() if sha256 in checksums}


def embedding_keys(session: Session, embedder: str) -> Iterator[str]:
    """The objects of every embedding by this embedder that there is; none of deleted datasets."""
    seen = select(EmbeddingRow.key).where(EmbeddingRow.embedder == embedder)
    yield from session.scalars(seen.execution_options(yield_per=10_000))


def names(session: Session, ids: Collection[UUID]) -> dict[DatasetId, str]:
    """Those of the datasets that were deleted, by what they were called."""
    found: dict[DatasetId, str] = {}
    every = list(ids)
    for start in range(0, len(every), AT_ONCE):
        some = DatasetRow.id.in_(every[start : start + AT_ONCE])
        dead = some, DatasetRow.deleted_at.is_not(None)
        rows = session.execute(select(DatasetRow.id, DatasetRow.name).where(*dead))
        found |= {DatasetId(each): name for each, name in rows}
    return found


def shown(session: Session, rankings: Sequence[Ranking | None]) -> list[Ranking | None]:
    """The rankings as they may be shown: of sources that were deleted since they say how far those
    were, and neither their classes nor their images."""
    named = (each for ranking in rankings if ranking for each in _named(ranking))
    gone = names(session, set(named))
    return [
        _without(ranking, gone)
        if ranking and not gone.keys().isdisjoint(_named(ranking))
        else ranking
        for ranking in rankings
    ]


def _named(ranking: Ranking) -> Iterator[DatasetId]:
    yield from (each.dataset_id for each in ranking.neighbours)
    yield from (each.dataset_id for each in (ranking.map.points if ranking.map else ()))


def _without(ranking: Ranking, gone: Mapping[DatasetId, str]) -> Ranking:
    neighbours = tuple(
        replace(each, dataset_name=gone[each.dataset_id], coupling=(), pairs=(), deleted=True)
        if each.dataset_id in gone
        else each
        for each in ranking.neighbours
    )
    if ranking.map is None:
        return replace(ranking, neighbours=neighbours)
    points = tuple(
        replace(each, dataset_name=gone[each.dataset_id], deleted=True)
        if each.dataset_id in gone
        else each
        for each in ranking.map.points
    )
    return replace(ranking, neighbours=neighbours, map=replace(ranking.map, points=points))

"""Deleted datasets: what is left of them, and what others may still say of them."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.db.dataset_tables import DatasetRow, EmbeddingRow
from core.domain import keys
from core.domain.datasets import DatasetId, Ranking
from core.domain.identity import ProjectId

AT_ONCE = 500  # ids in one statement


def held(session: Session, dataset_id: UUID) -> str | None:
    """The folder of a deleted dataset, whose row stays as it is until the transaction ends; None
    if it was never deleted, or has come back."""
    dead = DatasetRow.id == dataset_id, DatasetRow.deleted_at.is_not(None)
    statement = select(DatasetRow.project_id, DatasetRow.sha256).where(*dead).with_for_update()
    row = session.execute(statement).first()
    return None if row is None else keys.dataset(ProjectId(row[0]), row[1])


def listing(session: Session) -> dict[DatasetId, str]:
    """The folder of every deleted dataset."""
    fields = DatasetRow.id, DatasetRow.project_id, DatasetRow.sha256
    rows = session.execute(select(*fields).where(DatasetRow.deleted_at.is_not(None)))
    return {
        DatasetId(each): keys.dataset(ProjectId(owner), sha256) for each, owner, sha256 in rows
    }


def any_there(session: Session) -> bool:
    """Whether a dataset is deleted at all."""
    dead = select(DatasetRow.id).where(DatasetRow.deleted_at.is_not(None)).limit(1)
    return session.scalar(dead) is not None


def among(session: Session, checksums: Collection[str]) -> set[str]:
    """Those of the checksums that are of deleted datasets, and of no other project's live one."""
    dead = DatasetRow.deleted_at.is_not(None)
    gone = set(session.scalars(select(DatasetRow.sha256).where(dead))).intersection(checksums)
    return gone.difference(session.scalars(select(DatasetRow.sha256).where(~dead)))


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

"""Registered datasets as sources: what a target is compared with, and where a search may start."""

import base64
import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from sqlalchemy import Row, Select, func, select
from sqlalchemy.orm import Session

from core.db.dataset_tables import DatasetRow, EmbeddingRow
from core.db.result_tables import SupernetRow
from core.domain.datasets import DatasetId, Embedding
from core.domain.work import Source
from core.ot import centres
from core.services import prefilter, supernets

AT_ONCE = 1000  # ids in one statement


@dataclass(frozen=True, slots=True)
class Chosen:
    """Sources for a job; `considered` and `beyond` as `core.domain.work.RankInputs` has them."""

    sources: tuple[Source, ...] = ()
    considered: int = 0
    beyond: float | None = None


def choose(
    session: Session,
    *,
    embedder: str,
    exclude: DatasetId,
    target: Embedding | None = None,
    supernets_only: bool = False,
) -> Chosen:
    """Every dataset but `exclude` that this embedder has seen; of very many, those nearest to the
    target by their centres, or all with their centres while it has not been embedded itself."""
    found = prefilter.nearest(
        session,
        embedder=embedder,
        centre=() if target is None else target.centre,
        dimension=None if target is None else target.dimension,
        exclude=exclude,
        limit=centres.LIMIT,
        supernets_only=supernets_only,
    )
    blind = target is None and found.considered > centres.LIMIT
    loaded = _load(session, found.ids, embedder=embedder, centred=blind)
    return Chosen(loaded, found.considered, found.beyond)


def of_supernet(session: Session, supernet_id: UUID, *, embedder: str) -> Source | None:
    """One supernet as a start; None when its dataset was never seen by this embedder."""
    row = session.execute(_starts(embedder).where(SupernetRow.id == supernet_id)).first()
    return None if row is None else _source(row)


def seen(session: Session, ids: Sequence[UUID], *, embedder: str) -> bool:
    """Whether the embedder has seen any of these datasets."""
    some = select(EmbeddingRow.dataset_id).where(EmbeddingRow.dataset_id.in_(ids))
    return session.scalar(some.where(EmbeddingRow.embedder == embedder).limit(1)) is not None


def of_datasets(session: Session, ids: Sequence[UUID], *, embedder: str) -> tuple[Source, ...]:
    """Those of these datasets that the embedder has seen."""
    seen = EmbeddingRow.dataset_id.in_(ids)
    found = session.execute(_newest(embedder).where(seen).order_by(DatasetRow.id))
    return tuple(map(_source, found))


def _load(
    session: Session, ids: Sequence[UUID], *, embedder: str, centred: bool
) -> tuple[Source, ...]:
    """The sources of these datasets, in this order."""
    found: dict[UUID, Source] = {}
    for start in range(0, len(ids), AT_ONCE):
        some = EmbeddingRow.dataset_id.in_(ids[start : start + AT_ONCE])
        rows = session.execute(_newest(embedder).where(some))
        found |= {row[0].id: _source(row, centred=centred) for row in rows}
    return tuple(found[each] for each in ids)


def _newest(embedder: str) -> Select[DatasetRow, EmbeddingRow, SupernetRow]:
    """Datasets, each with its newest supernet if it has one."""
    order = (SupernetRow.created_at.desc(), SupernetRow.id)
    place = func.row_number().over(partition_by=SupernetRow.dataset_id, order_by=order)
    numbered = select(SupernetRow.id, place.label("place")).subquery()
    newest = select(numbered.c.id).where(numbered.c.place == 1)
    joined = (SupernetRow.dataset_id == DatasetRow.id) & SupernetRow.id.in_(newest)
    return _seen(embedder).outerjoin(SupernetRow, joined)


def _starts(embedder: str) -> Select[DatasetRow, EmbeddingRow, SupernetRow]:
    return _seen(embedder).join(SupernetRow, SupernetRow.dataset_id == DatasetRow.id)


def _seen(embedder: str) -> Select[DatasetRow, EmbeddingRow, SupernetRow]:
    return (
        select(DatasetRow, EmbeddingRow, SupernetRow)
        .select_from(DatasetRow)
        .join(EmbeddingRow, EmbeddingRow.dataset_id == DatasetRow.id)
        .where(EmbeddingRow.embedder == embedder)
    )


def _source(row: Row[DatasetRow, EmbeddingRow, SupernetRow], *, centred: bool = False) -> Source:
    dataset, embedding, supernet = row
    centre = embedding.centre if centred else ()
    return Source(
        dataset_id=DatasetId(dataset.id),
        dataset_name=dataset.name,
        classes=dataset.classes,
        embedding=replace(embedding.to_domain(), centre=()),
        statistics_only=dataset.statistics_only,
        supernet=None if supernet is None else supernets.starting_point(supernet),
        centre=base64.b64encode(struct.pack(f"<{len(centre)}f", *centre)).decode(),
    )

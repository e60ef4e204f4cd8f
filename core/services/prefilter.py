"""Which sources are worth a closer look: those whose centres lie nearest to the target's
(`core.ot.centres`), out of as many as are registered.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import numpy as np
from sqlalchemy import (
    ColumnElement,
    Double,
    LargeBinary,
    Select,
    and_,
    case,
    func,
    literal,
    or_,
    select,
    type_coerce,
)
from sqlalchemy.orm import Session

from core.db import vectors
from core.db.dataset_tables import EmbeddingRow
from core.db.result_tables import SupernetRow
from core.ot import centres

_INFINITE = float("inf")
_TINIEST = 1e-16  # below this, squares of 32-bit floats vanish


@dataclass(frozen=True, slots=True)
class Shortlist:
    """Datasets by rising distance of centres (those without a centre last, all of them), out of
    so many `considered`; what was left out lies `beyond` or farther."""

    ids: tuple[UUID, ...]
    considered: int
    beyond: float | None


def nearest(
    session: Session,
    *,
    embedder: str,
    centre: Sequence[float],
    exclude: UUID,
    limit: int,
    dimension: int | None = None,
    supernets_only: bool = False,
) -> Shortlist:
    """The `limit` datasets nearest to `centre`; all of them when it is empty or they are few.

    With a `dimension` given, only embeddings of that many features: others cannot be compared.
    """
    eligible = _eligible(embedder, exclude, supernets_only=supernets_only)
    if dimension is not None:
        eligible = (*eligible, EmbeddingRow.dimension == dimension)
    counting = select(func.count()).select_from(EmbeddingRow).where(*eligible)
    considered = session.execute(counting).scalar_one()
    if not centre:
        every = select(EmbeddingRow.dataset_id).where(*eligible)
        return Shortlist(tuple(sorted(session.scalars(every))), considered, None)
    statement = _centres().where(*eligible)
    if considered > limit and vectors.present(session.connection()):
        statement = _within_reach(eligible, embedder, centre, limit)
    found = session.execute(statement, execution_options={"yield_per": centres.AT_ONCE})
    parts = ([(each, packed) for each, packed in part] for part in found.partitions())
    ids, beyond = centres.nearest(parts, np.asarray(centre, np.float64), limit)
    return Shortlist(ids, considered, beyond)


def _eligible(
    embedder: str, exclude: UUID, *, supernets_only: bool
) -> tuple[ColumnElement[bool], ...]:
    seen = (EmbeddingRow.embedder == embedder, EmbeddingRow.dataset_id != exclude)
    if not supernets_only:
        return seen
    return (*seen, EmbeddingRow.dataset_id.in_(select(SupernetRow.dataset_id)))


def _centres() -> Select[UUID, bytes]:
    # As bytes: a hundred thousand tuples of numbers would only be made to be packed again.
    return select(EmbeddingRow.dataset_id, type_coerce(EmbeddingRow.centre, LargeBinary()))


def _within_reach(
    eligible: Sequence[ColumnElement[bool]], embedder: str, centre: Sequence[float], limit: int
) -> Select[UUID, bytes]:
    """Few more than the nearest `limit` + 1, by the server's own scan.

    pgvector adds up in 32 bits: its distances decide what is sent, never what is chosen.
    """
    copy = vectors.VECTORS.c
    apart: ColumnElement[float] = copy.centre.op("<->", return_type=Double())(
        literal(centre, vectors.VectorText())
    )
    # Vectors of another length cannot be compared at all, not even to be thrown away.
    distance = case((func.vector_dims(copy.centre) == len(centre), apart))
    same = and_(copy.embedder == EmbeddingRow.embedder, copy.dataset_id == EmbeddingRow.dataset_id)
    seen = (
        select(EmbeddingRow.dataset_id, distance.label("distance"))
        .outerjoin(vectors.VECTORS, same)
        .where(*eligible)
        .cte("seen")
    )
    wrong = 4 * (len(centre) + 4) * centres.FLOAT32
    last = (
        select(seen.c.distance * (1 + wrong) + _TINIEST)
        .where(seen.c.distance.is_not(None))
        .order_by(seen.c.distance)
        .offset(limit)
        .limit(1)
        .scalar_subquery()
    )
    reach = func.coalesce(last, literal(_INFINITE, Double()))
    return (
        _centres()
        .join(seen, seen.c.dataset_id == EmbeddingRow.dataset_id)
        .where(EmbeddingRow.embedder == embedder)
        .where(or_(seen.c.distance.is_(None), seen.c.distance <= reach))
    )

"""Which sources are worth a closer look: those whose centres lie nearest to the target's.

The transport distance between two datasets is at least the distance between their centres, so what
lies beyond the last one chosen can be bounded without being looked at.
"""

import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import numpy as np
import numpy.typing as npt
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

LIMIT = 1000
_AT_ONCE = 4096
_INFINITE = float("inf")
_FLOAT32 = 2.0**-24  # what rounding to 32 bits moves a number by, relatively
_TINIEST = 1e-16  # below this, squares of 32-bit floats vanish

_Rows = Sequence[Any]  # (dataset id, centre)
_Floats = npt.NDArray[np.float64]


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
    dimension: int | None = None,
    supernets_only: bool = False,
    limit: int = LIMIT,
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
    found = session.execute(statement, execution_options={"yield_per": _AT_ONCE})
    ids, beyond = _nearest(found.partitions(), np.asarray(centre, np.float64), limit)
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
    wrong = 4 * (len(centre) + 4) * _FLOAT32
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


def _nearest(
    parts: Iterable[_Rows], centre_D: _Floats, limit: int
) -> tuple[tuple[UUID, ...], float | None]:
    """The chosen, and how far away at least all others are."""
    known: list[tuple[float, UUID]] = []
    unknown: list[UUID] = []
    size, reach = centre_D.nbytes // 2, sys.float_info.max
    for part in parts:
        comparable = [(each, centre) for each, centre in part if len(centre) == size]
        unknown += [each for each, centre in part if len(centre) != size]
        distances = _distances([centre for _, centre in comparable], centre_D)
        for (each, _), distance in zip(comparable, distances, strict=True):
            if distance <= reach:
                known.append((distance, each))
            elif not math.isfinite(distance):
                unknown.append(each)
        if len(known) > _AT_ONCE + limit:
            known = sorted(known)[: limit + 1]
            reach = known[-1][0]
    known.sort()
    ids = (*(each for _, each in known[:limit]), *sorted(unknown))
    if len(known) <= limit:
        return ids, None
    return ids, _at_least(known[limit][0], centre_D)


def _distances(centres: Sequence[bytes], centre_D: _Floats) -> list[float]:
    found_nD = np.frombuffer(b"".join(centres), "<f4").reshape(-1, len(centre_D))
    with np.errstate(invalid="ignore", over="ignore"):  # what is not a number is told apart later
        distances: list[float] = np.sqrt(np.square(found_nD - centre_D).sum(axis=1)).tolist()
    return distances


def _at_least(distance: float, centre_D: _Floats) -> float:
    """The distance before both centres were rounded to 32 bits, or less."""
    rounding = 4 * _FLOAT32 * (float(np.linalg.norm(centre_D)) + distance)
    return max(distance - rounding, 0.0)

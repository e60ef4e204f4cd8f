"""What stored rankings say of datasets that were deleted since: their classes and images go too.

They are not shown in any case (`core.services.tombstones`). Rankings can be many and large, so
they are looked through a few at a time, each time in a transaction of the caller's.
"""

from collections.abc import Collection
from dataclasses import replace
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Text, cast, or_, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from core.db.clock import now
from core.db.dataset_tables import DatasetRow, RankingRow
from core.db.result_tables import SearchRow
from core.domain.datasets import Neighbour

AT_ONCE = 100
MOST_NAMED = 200  # datasets in one condition: SQLite takes no more than a thousand


def recent(session: Session, seconds: float) -> frozenset[UUID]:
    """The datasets that were deleted no longer ago than that."""
    lately = DatasetRow.deleted_at > now(-seconds)
    return frozenset(session.scalars(select(DatasetRow.id).where(lately)))


def rankings(session: Session, gone: Collection[UUID], after: int | None) -> int | None:
    """Scrub the next of the stored rankings; where to go on, or None at the end."""
    ids = _next(session, RankingRow.number, after)
    naming = RankingRow.number.in_(ids), _names(RankingRow.neighbours, gone)
    for row in session.scalars(select(RankingRow).where(*naming)):
        if _says(row.neighbours, gone):
            row.neighbours = _without(row.neighbours, gone)
    return ids[-1] if ids else None


def searches(session: Session, gone: Collection[UUID], after: UUID | None) -> UUID | None:
    """The same for the rankings that searches keep."""
    ids = _next(session, SearchRow.id, after)
    naming = SearchRow.id.in_(ids), _names(SearchRow.ranking, gone)
    for row in session.scalars(select(SearchRow).where(*naming)):
        if row.ranking is not None and _says(row.ranking.neighbours, gone):
            neighbours = _without(row.ranking.neighbours, gone)
            row.ranking = replace(row.ranking, neighbours=neighbours)
    return ids[-1] if ids else None


def _next(session: Session, key: InstrumentedAttribute[Any], after: Any) -> list[Any]:
    statement = select(key).order_by(key).limit(AT_ONCE)
    return list(session.scalars(statement if after is None else statement.where(key > after)))


def _names(column: InstrumentedAttribute[Any], gone: Collection[UUID]) -> ColumnElement[bool]:
    if len(gone) > MOST_NAMED:
        return column.is_not(None)
    return or_(*(cast(column, Text).contains(str(each), autoescape=True) for each in gone))


def _says(neighbours: tuple[Neighbour, ...], gone: Collection[UUID]) -> bool:
    return any(each.coupling or each.pairs for each in neighbours if each.dataset_id in gone)


def _without(neighbours: tuple[Neighbour, ...], gone: Collection[UUID]) -> tuple[Neighbour, ...]:
    return tuple(
        replace(each, coupling=(), pairs=()) if each.dataset_id in gone else each
        for each in neighbours
    )

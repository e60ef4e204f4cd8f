"""The registry of pretrained supernets."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from core.db.result_tables import SupernetRow
from core.domain.datasets import DatasetId
from core.domain.jobs import JobId
from core.domain.supernets import Supernet, SupernetId
from core.domain.work import StartingPoint
from core.errors import NotFound
from core.services import paging
from core.services.paging import NamedOrder


def register(
    session: Session,
    *,
    name: str,
    dataset_id: DatasetId | None,
    job_id: JobId | None,
    space: Mapping[str, Any],
    resolution: int,
    key: str,
    sha256: str,
    metrics: Mapping[str, Any],
    seconds: float,
    lineage: Mapping[str, Any],
    size_bytes: int = 0,
) -> tuple[Supernet, bool]:
    """The supernet of these bytes, which are in the store under `key`, and whether it is new
    (else it keeps its first name and lineage). `size_bytes` of them are its project's to answer
    for: of what a job has trained, none."""
    row = SupernetRow(
        name=name,
        dataset_id=dataset_id,
        job_id=job_id,
        space=space,
        resolution=resolution,
        key=key,
        sha256=sha256,
        metrics=metrics,
        seconds=seconds,
        lineage=lineage,
        size_bytes=size_bytes,
    )
    if (known := find(session, sha256)) is not None:
        return known, False
    try:
        with session.begin_nested():
            session.add(row)
    except IntegrityError:
        # Another process imported the same file first; any other violation finds nothing.
        known = find(session, sha256)
        if known is None:
            raise
        return known, False
    session.refresh(row)
    return row.to_domain(), True


def find(session: Session, sha256: str) -> Supernet | None:
    """The supernet of these bytes, if it is registered: the first, where there are several."""
    statement = select(SupernetRow).where(SupernetRow.sha256 == sha256)
    row = session.scalars(statement.order_by(SupernetRow.created_at, SupernetRow.id)).first()
    return None if row is None else row.to_domain()


def shared(session: Session, *, limit: int = 10) -> tuple[StartingPoint, ...]:
    """The supernets that belong to no single dataset, newest first: trained on several, or
    imported. A search may start from them whatever lies near."""
    statement = select(SupernetRow).where(SupernetRow.dataset_id.is_(None)).limit(limit)
    newest = statement.order_by(SupernetRow.created_at.desc(), SupernetRow.id)
    return tuple(starting_point(row) for row in session.scalars(newest))


def starting_point(row: SupernetRow | Supernet) -> StartingPoint:
    """The supernet as a search needs it."""
    return StartingPoint(
        id=SupernetId(row.id),
        name=row.name,
        space=row.space,
        resolution=row.resolution,
        key=row.key,
        sha256=row.sha256,
    )


def get(session: Session, supernet_id: UUID) -> Supernet:
    """The supernet. Raises NotFound."""
    row = session.get(SupernetRow, supernet_id)
    if row is None:
        raise NotFound(f"There is no supernet {supernet_id}.")
    return row.to_domain()


def listing(
    session: Session,
    *,
    limit: int,
    after: str | None = None,
    order: NamedOrder = "newest",
    dataset_id: UUID | None = None,
) -> tuple[tuple[Supernet, ...], str | None]:
    """A page of supernets, and the token of the next. Raises InvalidInput."""
    statement = select(SupernetRow)
    if dataset_id is not None:
        statement = statement.where(SupernetRow.dataset_id == dataset_id)
    by = paging.sorted_by(SupernetRow, order)
    rows, token = paging.page(session, statement, by=by, limit=limit, after=after, order=order)
    return tuple(row[0].to_domain() for row in rows), token

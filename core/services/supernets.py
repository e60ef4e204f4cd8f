"""The registry of pretrained supernets."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.db.result_tables import SupernetRow
from core.domain.datasets import DatasetId
from core.domain.jobs import JobId
from core.domain.supernets import Supernet
from core.errors import NotFound
from core.services import paging


def register(
    session: Session,
    *,
    name: str,
    dataset_id: DatasetId,
    job_id: JobId,
    space: Mapping[str, Any],
    resolution: int,
    key: str,
    sha256: str,
    metrics: Mapping[str, Any],
    seconds: float,
) -> Supernet:
    """Enter a trained supernet whose weights are in the store under `key`."""
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
    )
    session.add(row)
    session.flush()
    session.refresh(row)
    return row.to_domain()


def get(session: Session, supernet_id: UUID) -> Supernet:
    """The supernet. Raises NotFound."""
    row = session.get(SupernetRow, supernet_id)
    if row is None:
        raise NotFound(f"There is no supernet {supernet_id}.")
    return row.to_domain()


def listing(
    session: Session, *, limit: int, after: str | None = None
) -> tuple[tuple[Supernet, ...], str | None]:
    """A page of supernets, newest first, and the token of the next. Raises InvalidInput."""
    by = (SupernetRow.created_at, SupernetRow.id)
    statement = select(SupernetRow)
    rows, token = paging.page(session, statement, by=by, limit=limit, after=after)
    return tuple(row[0].to_domain() for row in rows), token

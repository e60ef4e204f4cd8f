"""The registry of pretrained supernets, and which of them a search may start from."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import Row, Select, select
from sqlalchemy.orm import Session

from core.db.dataset_tables import DatasetRow, EmbeddingRow
from core.db.result_tables import SupernetRow
from core.domain.datasets import DatasetId
from core.domain.jobs import JobId
from core.domain.supernets import Supernet, SupernetId
from core.domain.work import Candidate
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


def candidates(session: Session, *, embedder: str, exclude: DatasetId) -> tuple[Candidate, ...]:
    """Every supernet of another dataset that this embedder has seen, newest first.

    A dataset with several supernets is there several times: equal in distance, so that a stable
    sort by distance puts its newest one first.
    """
    statement = _sources(embedder).where(SupernetRow.dataset_id != exclude)
    newest = statement.order_by(SupernetRow.created_at.desc(), SupernetRow.id)
    return tuple(_candidate(row) for row in session.execute(newest))


def candidate(session: Session, supernet_id: UUID, *, embedder: str) -> Candidate | None:
    """One supernet as a start; None when its dataset was never seen by this embedder."""
    row = session.execute(_sources(embedder).where(SupernetRow.id == supernet_id)).first()
    return None if row is None else _candidate(row)


def _sources(embedder: str) -> Select[SupernetRow, DatasetRow, EmbeddingRow]:
    return (
        select(SupernetRow, DatasetRow, EmbeddingRow)
        .join(DatasetRow, DatasetRow.id == SupernetRow.dataset_id)
        .join(EmbeddingRow, EmbeddingRow.dataset_id == SupernetRow.dataset_id)
        .where(EmbeddingRow.embedder == embedder)
    )


def _candidate(row: Row[SupernetRow, DatasetRow, EmbeddingRow]) -> Candidate:
    supernet, dataset, embedding = row
    return Candidate(
        dataset_name=dataset.name,
        classes=dataset.classes,
        embedding=embedding.to_domain(),
        supernet_id=SupernetId(supernet.id),
        supernet_name=supernet.name,
        space=supernet.space,
        resolution=supernet.resolution,
        key=supernet.key,
        sha256=supernet.sha256,
    )

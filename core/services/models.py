"""Finished models."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.db.result_tables import ModelRow
from core.domain.datasets import DatasetId
from core.domain.searches import Artifact, Model, SearchId
from core.errors import NotFound
from core.services import paging


def register(
    session: Session,
    *,
    search_id: SearchId,
    dataset_id: DatasetId,
    genotype: Mapping[str, Any],
    metrics: Mapping[str, Any],
    artifacts: Sequence[Artifact],
    manifest_key: str,
    manifest_sha256: str,
) -> Model:
    """Enter a model whose files are in the store, listed by its manifest."""
    row = ModelRow(
        search_id=search_id,
        dataset_id=dataset_id,
        genotype=genotype,
        metrics=metrics,
        artifacts=tuple(artifacts),
        manifest_key=manifest_key,
        manifest_sha256=manifest_sha256,
    )
    session.add(row)
    session.flush()
    session.refresh(row)
    return row.to_domain()


def get(session: Session, model_id: UUID) -> Model:
    """The model. Raises NotFound."""
    row = session.get(ModelRow, model_id)
    if row is None:
        raise NotFound(f"There is no model {model_id}.")
    return row.to_domain()


def listing(
    session: Session, *, limit: int, after: str | None = None, dataset_id: UUID | None = None
) -> tuple[tuple[Model, ...], str | None]:
    """A page of models, newest first, and the token of the next. Raises InvalidInput."""
    statement = select(ModelRow)
    if dataset_id is not None:
        statement = statement.where(ModelRow.dataset_id == dataset_id)
    by = (ModelRow.created_at, ModelRow.id)
    rows, token = paging.page(session, statement, by=by, limit=limit, after=after)
    return tuple(row[0].to_domain() for row in rows), token

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
from core.services import artifacts, paging
from core.services.paging import Order


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
        raise _missing(model_id)
    return row.to_domain()


def artifact(session: Session, model_id: UUID, name: str) -> Artifact:
    """A file of the model, by its name; nothing else of it is read. Raises NotFound."""
    found = session.scalar(select(ModelRow.artifacts).where(ModelRow.id == model_id))
    if found is None:
        raise _missing(model_id)
    return artifacts.named(found, name, of="model")


def _missing(model_id: UUID) -> NotFound:
    return NotFound(f"There is no model {model_id}.")


def listing(
    session: Session,
    *,
    limit: int,
    after: str | None = None,
    order: Order = "newest",
    dataset_id: UUID | None = None,
) -> tuple[tuple[Model, ...], str | None]:
    """A page of models, and the token of the next. Raises InvalidInput."""
    statement = select(ModelRow)
    if dataset_id is not None:
        statement = statement.where(ModelRow.dataset_id == dataset_id)
    by = paging.sorted_by(ModelRow, order)
    rows, token = paging.page(session, statement, by=by, limit=limit, after=after, order=order)
    return tuple(row[0].to_domain() for row in rows), token

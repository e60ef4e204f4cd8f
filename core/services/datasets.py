"""Datasets and what was measured on them. The same content is the same dataset."""

import re
from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from core.db import vectors
from core.db.dataset_tables import DatasetRow, EmbeddingRow, RankingRow
from core.db.upserts import insert_or_keep
from core.domain.datasets import Dataset, DatasetReport, Embedding, Ranking
from core.errors import Conflict, Detail, InvalidInput, NotFound
from core.services import paging

SHA256 = re.compile(r"[0-9a-f]{64}")
NAME_LENGTH = 200


def register(
    session: Session,
    *,
    sha256: str,
    name: str,
    classes: Sequence[str],
    train_counts: Sequence[int],
    test_counts: Sequence[int],
    channels: int,
    report: DatasetReport,
    statistics_only: bool = False,
) -> tuple[Dataset, bool]:
    """The dataset of this content, and whether it is new (else it keeps its first name)."""
    if not SHA256.fullmatch(sha256):
        raise ValueError("sha256 is 64 lower-case hexadecimal digits")
    if not len(classes) == len(train_counts) == len(test_counts):
        raise ValueError("one train count and one test count for each class")
    row = DatasetRow(
        sha256=sha256,
        name=_checked(name),
        classes=tuple(classes),
        train_counts=tuple(train_counts),
        test_counts=tuple(test_counts),
        channels=channels,
        report=report,
        statistics_only=statistics_only,
    )
    if (known := find(session, sha256)) is not None:
        return known, False
    try:
        with session.begin_nested():
            session.add(row)
    except IntegrityError:
        # Somebody else's identical upload won the race; any other violation finds nothing.
        known = find(session, sha256)
        if known is None:
            raise
        return known, False
    session.refresh(row)
    return row.to_domain(), True


def find(session: Session, sha256: str) -> Dataset | None:
    """The dataset with this content, if it is registered."""
    row = session.scalars(select(DatasetRow).where(DatasetRow.sha256 == sha256)).first()
    return None if row is None else row.to_domain()


def get(session: Session, dataset_id: UUID) -> Dataset:
    """The dataset. Raises NotFound."""
    row = session.get(DatasetRow, dataset_id)
    if row is None:
        raise NotFound(f"There is no dataset {dataset_id}. Upload it first.")
    return row.to_domain()


def with_images(session: Session, dataset_id: UUID) -> Dataset:
    """The dataset, which must have its images here. Raises NotFound, Conflict."""
    dataset = get(session, dataset_id)
    check_images(dataset)
    return dataset


def check_images(dataset: Dataset) -> None:
    """Raise Conflict (`statistics_only`) when the images stayed with their owner."""
    if dataset.statistics_only:
        message = (
            f"'{dataset.name}' was registered by its class statistics alone: its images are not "
            "here. It can be ranked, by the embedder it came with, and be a neighbour."
        )
        raise Conflict(message, code="statistics_only")


def listing(
    session: Session, *, limit: int, after: str | None = None
) -> tuple[tuple[Dataset, ...], str | None]:
    """A page of datasets, newest first, and the token of the next. Raises InvalidInput."""
    by = (DatasetRow.created_at, DatasetRow.id)
    statement = select(DatasetRow)
    rows, token = paging.page(session, statement, by=by, limit=limit, after=after)
    return tuple(row[0].to_domain() for row in rows), token


def embedding(session: Session, dataset_id: UUID, embedder: str) -> Embedding | None:
    """The dataset as this embedder version sees it, once that has been computed."""
    row = session.get(EmbeddingRow, (dataset_id, embedder))
    return None if row is None else row.to_domain()


def record_embedding(session: Session, embedding: Embedding) -> Embedding:
    """Keep an embedding; the first one recorded stays, as its object in the store does."""
    row = {name: getattr(embedding, name) for name in Embedding.__slots__}
    insert_or_keep(session, EmbeddingRow, [row])
    kept = session.get_one(EmbeddingRow, (embedding.dataset_id, embedding.embedder))
    vectors.keep(session, kept)
    return kept.to_domain()


def ranking(session: Session, dataset_id: UUID, *, embedder: str | None = None) -> Ranking | None:
    """The newest ranking of the dataset's sources, if it has one."""
    statement = select(RankingRow).where(RankingRow.dataset_id == dataset_id)
    if embedder is not None:
        statement = statement.where(RankingRow.embedder == embedder)
    row = session.scalars(statement.order_by(RankingRow.number.desc()).limit(1)).first()
    return None if row is None else row.to_domain()


def record_ranking(session: Session, ranking: Ranking) -> None:
    """Keep a ranking; earlier ones stay as they were."""
    row = {name: getattr(ranking, name) for name in Ranking.__slots__}
    session.add(RankingRow(**row))
    session.flush()


def _checked(name: str) -> str:
    name = name.strip()
    if not name or len(name) > NAME_LENGTH or not name.isprintable():
        message = f"Give a name of 1 to {NAME_LENGTH} printable characters."
        raise InvalidInput(message, details=[Detail("name", "invalid", message)])
    return name

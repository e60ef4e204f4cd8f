"""Datasets and what was measured on them: embeddings and rankings."""

from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Index,
    Integer,
    String,
    UniqueConstraint,
)
from sqlalchemy.orm import Mapped, mapped_column

from core.db.base import Base
from core.db.clock import now
from core.db.scope import Private, Shared
from core.db.types import Document, Instant, PlainText, Vector
from core.domain.datasets import (
    Dataset,
    DatasetId,
    DatasetReport,
    DistanceMap,
    Embedding,
    Neighbour,
    Ranking,
    Verdict,
)
from core.domain.identity import ProjectId


class DatasetRow(Shared, Base):
    """An immutable, content-addressed dataset; of a deleted one the tombstone."""

    __tablename__ = "datasets"
    __table_args__ = (
        CheckConstraint("channels IN (1, 3)", name="channels"),
        UniqueConstraint("project_id", "sha256"),
        Index(None, "created_at", "id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    sha256: Mapped[str] = mapped_column(String(64))
    name: Mapped[str] = mapped_column(PlainText())
    classes: Mapped[tuple[str, ...]] = mapped_column(Document(tuple[str, ...]))
    train_counts: Mapped[tuple[int, ...]] = mapped_column(Document(tuple[int, ...]))
    test_counts: Mapped[tuple[int, ...]] = mapped_column(Document(tuple[int, ...]))
    channels: Mapped[int]
    # Deferred: it may list thousands of files, and whoever lists datasets wants none of them.
    report: Mapped[DatasetReport] = mapped_column(Document(DatasetReport), deferred=True)
    statistics_only: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime] = mapped_column(Instant(), default=now())
    licence: Mapped[str | None] = mapped_column(PlainText())
    source: Mapped[str | None] = mapped_column(PlainText())
    parent_id: Mapped[UUID | None] = mapped_column(ForeignKey("datasets.id"), index=True)
    version: Mapped[int] = mapped_column(default=1)
    originals_sha256: Mapped[str | None] = mapped_column(String(64))
    size_bytes: Mapped[int] = mapped_column(BigInteger(), default=0)
    deleted_at: Mapped[datetime | None] = mapped_column(Instant())

    def to_domain(self, *, report: bool) -> Dataset:
        """The row as a value, with its report or without."""
        return Dataset(
            id=DatasetId(self.id),
            project_id=ProjectId(self.project_id),
            sha256=self.sha256,
            name=self.name,
            classes=self.classes,
            train_counts=self.train_counts,
            test_counts=self.test_counts,
            channels=self.channels,
            report=self.report if report else None,
            created_at=self.created_at,
            statistics_only=self.statistics_only,
            licence=self.licence,
            source=self.source,
            parent_id=None if self.parent_id is None else DatasetId(self.parent_id),
            version=self.version,
            originals_sha256=self.originals_sha256,
            size_bytes=self.size_bytes,
            deleted_at=self.deleted_at,
        )


class EmbeddingRow(Shared, Base):
    """One dataset seen by one embedder version."""

    __tablename__ = "embeddings"

    dataset_id: Mapped[UUID] = mapped_column(ForeignKey(DatasetRow.id), primary_key=True)
    embedder: Mapped[str] = mapped_column(PlainText(), primary_key=True)
    key: Mapped[str] = mapped_column(PlainText())
    sha256: Mapped[str] = mapped_column(String(64))
    dimension: Mapped[int]
    samples: Mapped[int]
    seconds: Mapped[float]
    centre: Mapped[tuple[float, ...]] = mapped_column(Vector(), default=())
    created_at: Mapped[datetime] = mapped_column(Instant(), default=now())

    def to_domain(self) -> Embedding:
        """The row as a value."""
        return Embedding(
            dataset_id=DatasetId(self.dataset_id),
            embedder=self.embedder,
            key=self.key,
            sha256=self.sha256,
            dimension=self.dimension,
            samples=self.samples,
            seconds=self.seconds,
            centre=self.centre,
        )


class RankingRow(Private, Base):
    """One ranking of a dataset's sources. Rows are added, never changed: the newest counts."""

    __tablename__ = "rankings"
    __table_args__ = (Index(None, "dataset_id", "number"),)

    number: Mapped[int] = mapped_column(Integer(), primary_key=True, autoincrement=True)
    dataset_id: Mapped[UUID] = mapped_column(ForeignKey(DatasetRow.id))
    embedder: Mapped[str] = mapped_column(PlainText())
    neighbours: Mapped[tuple[Neighbour, ...]] = mapped_column(Document(tuple[Neighbour, ...]))
    seconds: Mapped[float]
    settings: Mapped[dict[str, Any]] = mapped_column(Document())
    sources: Mapped[int] = mapped_column(default=0)
    proven: Mapped[int] = mapped_column(default=0)
    verdict: Mapped[Verdict | None] = mapped_column(Document(Verdict))
    map: Mapped[DistanceMap | None] = mapped_column(Document(DistanceMap))
    created_at: Mapped[datetime] = mapped_column(Instant(), default=now())

    def to_domain(self) -> Ranking:
        """The row as a value."""
        return Ranking(
            dataset_id=DatasetId(self.dataset_id),
            embedder=self.embedder,
            neighbours=self.neighbours,
            seconds=self.seconds,
            settings=self.settings,
            sources=self.sources,
            proven=self.proven,
            verdict=self.verdict,
            map=self.map,
        )

"""What jobs make: supernets, searches and models."""

from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import ForeignKey, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from core.db.base import Base
from core.db.clock import now
from core.db.dataset_tables import DatasetRow
from core.db.job_tables import JobRow
from core.db.types import Document, Instant, PlainText
from core.domain.datasets import DatasetId, Ranking
from core.domain.jobs import JobId
from core.domain.searches import Artifact, Model, ModelId, Search, SearchId
from core.domain.supernets import Supernet, SupernetId

IMPORTED = "job_id IS NULL"


class SupernetRow(Base):
    """A registered supernet; one job registers at most one, and one file is imported once."""

    __tablename__ = "supernets"
    __table_args__ = (
        Index(None, "created_at", "id"),
        Index(None, "dataset_id"),
        Index(None, "sha256"),
        # Not all of them: jobs that trained the same weights twice are older than this rule.
        Index(
            "ix_supernets_imported",
            "sha256",
            unique=True,
            postgresql_where=text(IMPORTED),
            sqlite_where=text(IMPORTED),
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    name: Mapped[str] = mapped_column(PlainText())
    dataset_id: Mapped[UUID | None] = mapped_column(ForeignKey(DatasetRow.id))
    job_id: Mapped[UUID | None] = mapped_column(ForeignKey(JobRow.id), unique=True)
    space: Mapped[dict[str, Any]] = mapped_column(Document())
    resolution: Mapped[int]
    key: Mapped[str] = mapped_column(PlainText())
    sha256: Mapped[str] = mapped_column(String(64))
    metrics: Mapped[dict[str, Any]] = mapped_column(Document())
    seconds: Mapped[float]
    lineage: Mapped[dict[str, Any]] = mapped_column(Document())
    created_at: Mapped[datetime] = mapped_column(Instant(), default=now())

    def to_domain(self) -> Supernet:
        """The row as a value."""
        return Supernet(
            id=SupernetId(self.id),
            name=self.name,
            dataset_id=None if self.dataset_id is None else DatasetId(self.dataset_id),
            job_id=None if self.job_id is None else JobId(self.job_id),
            space=self.space,
            resolution=self.resolution,
            key=self.key,
            sha256=self.sha256,
            metrics=self.metrics,
            seconds=self.seconds,
            lineage=self.lineage,
            created_at=self.created_at,
        )


class SearchRow(Base):
    """One request; its model, once there is one, points back at it."""

    __tablename__ = "searches"
    __table_args__ = (Index(None, "created_at", "id"), Index(None, "dataset_id", "created_at"))

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    dataset_id: Mapped[UUID] = mapped_column(ForeignKey(DatasetRow.id))
    job_id: Mapped[UUID] = mapped_column(ForeignKey(JobRow.id), unique=True)
    spec: Mapped[dict[str, Any]] = mapped_column(Document())
    ranking: Mapped[Ranking | None] = mapped_column(Document(Ranking))
    start: Mapped[dict[str, Any] | None] = mapped_column(Document())
    created_at: Mapped[datetime] = mapped_column(Instant(), default=now())

    def to_domain(self, model_id: UUID | None) -> Search:
        """The row, and its model's id, as a value."""
        return Search(
            id=SearchId(self.id),
            dataset_id=DatasetId(self.dataset_id),
            job_id=JobId(self.job_id),
            spec=self.spec,
            ranking=self.ranking,
            start=self.start,
            model_id=None if model_id is None else ModelId(model_id),
            created_at=self.created_at,
        )


class ModelRow(Base):
    """A finished search's model."""

    __tablename__ = "models"
    __table_args__ = (Index(None, "created_at", "id"), Index(None, "dataset_id", "created_at"))

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    search_id: Mapped[UUID] = mapped_column(ForeignKey(SearchRow.id), unique=True)
    dataset_id: Mapped[UUID] = mapped_column(ForeignKey(DatasetRow.id))
    genotype: Mapped[dict[str, Any]] = mapped_column(Document())
    metrics: Mapped[dict[str, Any]] = mapped_column(Document())
    artifacts: Mapped[tuple[Artifact, ...]] = mapped_column(Document(tuple[Artifact, ...]))
    manifest_key: Mapped[str] = mapped_column(PlainText())
    manifest_sha256: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(Instant(), default=now())

    def to_domain(self) -> Model:
        """The row as a value."""
        return Model(
            id=ModelId(self.id),
            search_id=SearchId(self.search_id),
            dataset_id=DatasetId(self.dataset_id),
            genotype=self.genotype,
            metrics=self.metrics,
            artifacts=self.artifacts,
            manifest_key=self.manifest_key,
            manifest_sha256=self.manifest_sha256,
            created_at=self.created_at,
        )

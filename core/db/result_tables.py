"""What jobs make: supernets, searches, models and prunings."""

from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import BigInteger, ForeignKey, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from core.db.base import Base
from core.db.clock import now
from core.db.dataset_tables import DatasetRow
from core.db.job_tables import JobRow
from core.db.scope import Private, Shared
from core.db.types import Document, Instant, PlainText
from core.domain.datasets import DatasetId, Ranking
from core.domain.jobs import JobId
from core.domain.prunings import Pruning, PruningId
from core.domain.searches import Artifact, Model, ModelId, Search, SearchId
from core.domain.supernets import Supernet, SupernetId

IMPORTED = "job_id IS NULL"
UNTOLD = text("mlflow_run_id IS NULL")


class SupernetRow(Shared, Base):
    """A registered supernet; one job registers at most one, and one file is imported once."""

    __tablename__ = "supernets"
    __table_args__ = (
        Index(None, "created_at", "id"),
        Index(None, "dataset_id"),
        Index(None, "sha256"),
        # Not all of them: jobs that trained the same weights twice are older than this rule.
        Index(
            "ix_supernets_imported",
            *("project_id", "sha256"),
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
    size_bytes: Mapped[int] = mapped_column(BigInteger(), default=0)  # 0 of what a job trained
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
            size_bytes=self.size_bytes,
        )


class SearchRow(Private, Base):
    """One request; its model, once there is one, points back at it.

    Where MLflow is told of searches, `mlflow_run_id` is the run that tells all of this one; until
    then it is told at `mlflow_due_at` again, after so many attempts that came to nothing.
    """

    __tablename__ = "searches"
    __table_args__ = (
        Index(None, "project_id", "created_at", "id"),
        Index(None, "dataset_id", "created_at"),
        Index(
            "ix_searches_untold",
            "created_at",
            postgresql_where=UNTOLD,
            sqlite_where=UNTOLD,
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    dataset_id: Mapped[UUID] = mapped_column(ForeignKey(DatasetRow.id))
    job_id: Mapped[UUID] = mapped_column(ForeignKey(JobRow.id), unique=True)
    spec: Mapped[dict[str, Any]] = mapped_column(Document())
    ranking: Mapped[Ranking | None] = mapped_column(Document(Ranking))
    start: Mapped[dict[str, Any] | None] = mapped_column(Document())
    created_at: Mapped[datetime] = mapped_column(Instant(), default=now())
    mlflow_run_id: Mapped[str | None] = mapped_column(String(64))
    mlflow_due_at: Mapped[datetime | None] = mapped_column(Instant())
    mlflow_failures: Mapped[int] = mapped_column(default=0, server_default="0")

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


class ModelRow(Private, Base):
    """A finished search's model."""

    __tablename__ = "models"
    __table_args__ = (
        Index(None, "project_id", "created_at", "id"),
        Index(None, "dataset_id", "created_at"),
    )

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


class PruningRow(Private, Base):
    """One request to prune a known network; what came of it, once its job has succeeded."""

    __tablename__ = "prunings"
    __table_args__ = (
        Index(None, "project_id", "created_at", "id"),
        Index(None, "dataset_id", "created_at"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    dataset_id: Mapped[UUID] = mapped_column(ForeignKey(DatasetRow.id))
    job_id: Mapped[UUID] = mapped_column(ForeignKey(JobRow.id), unique=True)
    spec: Mapped[dict[str, Any]] = mapped_column(Document())
    mask: Mapped[dict[str, Any] | None] = mapped_column(Document())
    metrics: Mapped[dict[str, Any] | None] = mapped_column(Document())
    artifacts: Mapped[tuple[Artifact, ...]] = mapped_column(
        Document(tuple[Artifact, ...]), default=()
    )
    manifest_key: Mapped[str | None] = mapped_column(PlainText())
    manifest_sha256: Mapped[str | None] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(Instant(), default=now())

    def to_domain(self) -> Pruning:
        """The row as a value."""
        return Pruning(
            id=PruningId(self.id),
            dataset_id=DatasetId(self.dataset_id),
            job_id=JobId(self.job_id),
            spec=self.spec,
            mask=self.mask,
            metrics=self.metrics,
            artifacts=self.artifacts,
            manifest_key=self.manifest_key,
            manifest_sha256=self.manifest_sha256,
            created_at=self.created_at,
        )

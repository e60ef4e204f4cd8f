"""The job's tables: the row that is the truth, its moves, history, checkpoints and request."""

from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ColumnElement,
    ForeignKey,
    Index,
    String,
    bindparam,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from core import tracing
from core.db.base import Base
from core.db.clock import now
from core.db.dataset_tables import DatasetRow
from core.db.scope import Private, unnamed
from core.db.types import Document, Instant, PlainText, words
from core.domain.identity import ProjectId
from core.domain.jobs import (
    Checkpoint,
    Job,
    JobEvent,
    JobId,
    JobKind,
    JobRecord,
    JobState,
    LogLevel,
    LogLine,
    QueueName,
)

STATE = words(JobState)
QUEUED = text("state = 'queued'")
RUNNING = text("state = 'running'")


class JobRow(Private, Base):
    """The unit of work and of truth. A terminal row can never change again (trigger)."""

    __tablename__ = "jobs"
    __table_args__ = (
        CheckConstraint("progress >= 0 AND progress <= 1", name="progress"),
        CheckConstraint("attempt >= 0 AND attempt <= max_attempts", name="attempt"),
        CheckConstraint("(state = 'running') = (lease_until IS NOT NULL)", name="lease"),
        Index(
            "ix_jobs_queued",
            *("queue", "priority", "created_at"),
            postgresql_where=QUEUED,
            sqlite_where=QUEUED,
        ),
        Index("ix_jobs_running", "lease_until", postgresql_where=RUNNING, sqlite_where=RUNNING),
        Index(None, "project_id", "created_at", "id"),
        Index(None, "dataset_id", "created_at"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    kind: Mapped[JobKind] = mapped_column(words(JobKind))
    queue: Mapped[QueueName] = mapped_column(words(QueueName))
    priority: Mapped[int] = mapped_column(default=0)
    state: Mapped[JobState] = mapped_column(STATE)
    stage: Mapped[str] = mapped_column(PlainText())
    progress: Mapped[float] = mapped_column(default=0.0)
    eta_seconds: Mapped[float | None]
    attempt: Mapped[int] = mapped_column(default=0)
    max_attempts: Mapped[int]
    fence: Mapped[int] = mapped_column(BigInteger(), default=0)
    cancel_requested: Mapped[bool] = mapped_column(default=False)
    spec: Mapped[dict[str, Any]] = mapped_column(Document())
    result: Mapped[dict[str, Any] | None] = mapped_column(Document())
    error_code: Mapped[str | None] = mapped_column(PlainText())
    error_message: Mapped[str | None] = mapped_column(PlainText())
    resume_reason: Mapped[str | None] = mapped_column(PlainText())
    cost_seconds: Mapped[float] = mapped_column(default=0.0)
    created_at: Mapped[datetime] = mapped_column(Instant(), default=now())
    not_before: Mapped[datetime] = mapped_column(Instant(), default=now())
    started_at: Mapped[datetime | None] = mapped_column(Instant())
    finished_at: Mapped[datetime | None] = mapped_column(Instant())
    heartbeat_at: Mapped[datetime | None] = mapped_column(Instant())
    progress_at: Mapped[datetime | None] = mapped_column(Instant())
    lease_owner: Mapped[str | None] = mapped_column(PlainText())
    lease_until: Mapped[datetime | None] = mapped_column(Instant())
    dataset_id: Mapped[UUID | None] = mapped_column(ForeignKey(DatasetRow.id))
    parent_id: Mapped[UUID | None] = mapped_column(ForeignKey("jobs.id"), index=True)
    trace: Mapped[str | None] = mapped_column(String(55), default=tracing.traceparent)

    def to_domain(self) -> Job:
        """The row as a value."""
        return Job(
            id=JobId(self.id),
            project_id=ProjectId(self.project_id),
            kind=self.kind,
            queue=self.queue,
            state=self.state,
            stage=self.stage,
            progress=self.progress,
            eta_seconds=self.eta_seconds,
            attempt=self.attempt,
            max_attempts=self.max_attempts,
            fence=self.fence,
            cancel_requested=self.cancel_requested,
            spec=self.spec,
            result=self.result,
            error_code=self.error_code,
            error_message=self.error_message,
            resume_reason=self.resume_reason,
            cost_seconds=self.cost_seconds,
            created_at=self.created_at,
            started_at=self.started_at,
            finished_at=self.finished_at,
            lease_owner=self.lease_owner,
            lease_until=self.lease_until,
            dataset_id=self.dataset_id,
            parent_id=None if self.parent_id is None else JobId(self.parent_id),
            priority=self.priority,
            trace=self.trace,
        )


def in_state(state: JobState) -> ColumnElement[bool]:
    """`state = '…'` as a literal: with a parameter neither database uses a partial index."""
    return JobRow.state == bindparam(None, state, type_=STATE, literal_execute=True)


class JobEventRow(Private, Base):
    """One move, written in the move's own transaction; never changed or deleted (trigger)."""

    __tablename__ = "job_events"

    job_id: Mapped[UUID] = mapped_column(ForeignKey(JobRow.id), primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    at: Mapped[datetime] = mapped_column(Instant(), default=now())
    from_state: Mapped[JobState | None] = mapped_column(STATE)
    to_state: Mapped[JobState] = mapped_column(STATE)
    fence: Mapped[int] = mapped_column(BigInteger())
    actor: Mapped[str] = mapped_column(PlainText())
    reason: Mapped[str] = mapped_column(PlainText())

    def to_domain(self) -> JobEvent:
        """The row as a value."""
        return JobEvent(
            seq=self.seq,
            at=self.at,
            from_state=self.from_state,
            to_state=self.to_state,
            fence=self.fence,
            actor=self.actor,
            reason=self.reason,
        )


class JobRecordRow(Private, Base):
    """One line of a job's history; a resumed attempt overwrites the lines it repeats."""

    __tablename__ = "job_records"

    job_id: Mapped[UUID] = mapped_column(ForeignKey(JobRow.id), primary_key=True)
    stage: Mapped[str] = mapped_column(PlainText(), primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    fence: Mapped[int] = mapped_column(BigInteger())
    values: Mapped[dict[str, Any]] = mapped_column(Document())
    at: Mapped[datetime] = mapped_column(Instant())

    def to_domain(self) -> JobRecord:
        """The row as a value."""
        return JobRecord(stage=self.stage, step=self.step, values=self.values)


class JobLogRow(Private, Base):
    """One line of a job's log; of each attempt the last ones are kept."""

    __tablename__ = "job_logs"

    job_id: Mapped[UUID] = mapped_column(ForeignKey(JobRow.id), primary_key=True)
    fence: Mapped[int] = mapped_column(BigInteger(), primary_key=True, autoincrement=False)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    at: Mapped[datetime] = mapped_column(Instant())
    level: Mapped[LogLevel] = mapped_column(words(LogLevel))
    message: Mapped[str] = mapped_column(PlainText())

    def to_domain(self) -> LogLine:
        """The row as a value."""
        return LogLine(self.fence, self.number, self.at, self.level, self.message)


class CheckpointRow(Private, Base):
    """A state to resume from."""

    __tablename__ = "checkpoints"

    job_id: Mapped[UUID] = mapped_column(ForeignKey(JobRow.id), primary_key=True)
    fence: Mapped[int] = mapped_column(BigInteger(), primary_key=True, autoincrement=False)
    step: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    key: Mapped[str] = mapped_column(PlainText())
    sha256: Mapped[str] = mapped_column(String(64))
    size: Mapped[int] = mapped_column(BigInteger())
    at: Mapped[datetime] = mapped_column(Instant())

    def to_domain(self) -> Checkpoint:
        """The row as a value."""
        return Checkpoint(
            fence=self.fence, step=self.step, key=self.key, sha256=self.sha256, size=self.size
        )


class IdempotencyKeyRow(Private, Base):
    """The job that a client's request made; committed with the job, so never without it."""

    __tablename__ = "idempotency_keys"

    project_id: Mapped[UUID] = mapped_column(primary_key=True, default=unnamed)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    request_sha256: Mapped[str] = mapped_column(String(64))
    job_id: Mapped[UUID] = mapped_column(ForeignKey(JobRow.id))
    created_at: Mapped[datetime] = mapped_column(Instant(), default=now(), index=True)

"""Projects, their keys, who is logged in at a browser, and the log of what was done."""

from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy import BigInteger, ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from core.db.base import Base
from core.db.clock import now
from core.db.types import Instant, PlainText, words
from core.domain.identity import ApiKey, AuditEntry, Limits, Project, ProjectId, Scope


class ProjectRow(Base):
    """Who owns rows. Those of `PUBLIC` and `DEFAULT` are always there."""

    __tablename__ = "projects"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    name: Mapped[str] = mapped_column(String(64), unique=True)
    active_jobs: Mapped[int | None]
    stored_bytes: Mapped[int | None] = mapped_column(BigInteger())
    gpu_seconds: Mapped[float | None]
    created_at: Mapped[datetime] = mapped_column(Instant(), default=now())

    def to_domain(self) -> Project:
        """The row as a value."""
        return Project(
            id=ProjectId(self.id),
            name=self.name,
            limits=Limits(self.active_jobs, self.stored_bytes, self.gpu_seconds),
            created_at=self.created_at,
        )


class ApiKeyRow(Base):
    """A key without its secret, of which only the SHA-256 is kept: it is random and long."""

    __tablename__ = "api_keys"
    __table_args__ = (Index(None, "project_id", "created_at"),)

    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    project_id: Mapped[UUID] = mapped_column(ForeignKey(ProjectRow.id))
    name: Mapped[str] = mapped_column(PlainText())
    secret_sha256: Mapped[str] = mapped_column(String(64))
    scope: Mapped[Scope] = mapped_column(words(Scope))
    created_at: Mapped[datetime] = mapped_column(Instant(), default=now())
    expires_at: Mapped[datetime | None] = mapped_column(Instant())
    revoked_at: Mapped[datetime | None] = mapped_column(Instant())
    last_used_at: Mapped[datetime | None] = mapped_column(Instant())

    def to_domain(self) -> ApiKey:
        """The row as a value."""
        return ApiKey(
            id=self.id,
            project_id=ProjectId(self.project_id),
            name=self.name,
            scope=self.scope,
            created_at=self.created_at,
            expires_at=self.expires_at,
            revoked_at=self.revoked_at,
            last_used_at=self.last_used_at,
        )


class BrowserSessionRow(Base):
    """A browser that showed a key once; its cookie is known to it alone."""

    __tablename__ = "browser_sessions"

    token_sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    key_id: Mapped[str] = mapped_column(ForeignKey(ApiKeyRow.id), index=True)
    created_at: Mapped[datetime] = mapped_column(Instant(), default=now())
    expires_at: Mapped[datetime] = mapped_column(Instant(), index=True)


class AuditRow(Base):
    """One thing done, or refused; never changed or deleted (trigger)."""

    __tablename__ = "audit"
    __table_args__ = (
        Index(None, "project_id", "created_at", "id"),
        Index(None, "created_at", "id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    created_at: Mapped[datetime] = mapped_column(Instant(), default=now())
    project_id: Mapped[UUID | None]  # no reference: what was done outlives a project
    actor: Mapped[str | None] = mapped_column(PlainText())
    action: Mapped[str] = mapped_column(PlainText())
    target: Mapped[str | None] = mapped_column(PlainText())
    status: Mapped[int | None]
    request_id: Mapped[str | None] = mapped_column(String(64))
    address: Mapped[str | None] = mapped_column(PlainText())

    def to_domain(self) -> AuditEntry:
        """The row as a value."""
        return AuditEntry(
            id=self.id,
            created_at=self.created_at,
            project_id=None if self.project_id is None else ProjectId(self.project_id),
            actor=self.actor,
            action=self.action,
            target=self.target,
            status=self.status,
            request_id=self.request_id,
            address=self.address,
        )

"""Uploads in pieces: what is stored of each, and who is adding to it."""

from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from core.db.base import Base
from core.db.clock import now
from core.db.scope import Private
from core.db.types import Instant, PlainText, words
from core.domain.identity import ProjectId
from core.domain.uploads import Part, Upload, UploadId, UploadState

STATE = words(UploadState)


class UploadRow(Private, Base):
    """A file on its way. Whoever's token is `busy_token` may add to it, until `busy_until`."""

    __tablename__ = "uploads"
    __table_args__ = (
        CheckConstraint("received >= 0 AND received <= length", name="received"),
        Index(None, "state", "expires_at"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    name: Mapped[str] = mapped_column(PlainText())
    length: Mapped[int] = mapped_column(BigInteger())
    received: Mapped[int] = mapped_column(BigInteger(), default=0)
    sha256: Mapped[str | None] = mapped_column(String(64))
    state: Mapped[UploadState] = mapped_column(STATE, default=UploadState.OPEN)
    busy_token: Mapped[str | None] = mapped_column(String(32))
    busy_until: Mapped[datetime | None] = mapped_column(Instant())
    created_at: Mapped[datetime] = mapped_column(Instant(), default=now())
    expires_at: Mapped[datetime] = mapped_column(Instant())

    def to_domain(self) -> Upload:
        """The row as a value."""
        return Upload(
            id=UploadId(self.id),
            project_id=ProjectId(self.project_id),
            name=self.name,
            length=self.length,
            received=self.received,
            sha256=self.sha256,
            state=self.state,
            expires_at=self.expires_at,
            created_at=self.created_at,
        )


class UploadPartRow(Private, Base):
    """Some bytes of an upload, as one object; there are no gaps between parts."""

    __tablename__ = "upload_parts"

    upload_id: Mapped[UUID] = mapped_column(ForeignKey(UploadRow.id), primary_key=True)
    start: Mapped[int] = mapped_column(BigInteger(), primary_key=True, autoincrement=False)
    size: Mapped[int] = mapped_column(BigInteger())
    sha256: Mapped[str] = mapped_column(String(64))
    key: Mapped[str] = mapped_column(PlainText())

    def to_domain(self) -> Part:
        """The row as a value."""
        return Part(key=self.key, start=self.start, size=self.size, sha256=self.sha256)

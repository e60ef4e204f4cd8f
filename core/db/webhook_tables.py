"""Webhooks, and the messages for them: each is a row before it is sent, and its log after."""

from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy import ForeignKey, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from core.db.base import Base
from core.db.clock import now
from core.db.scope import Private
from core.db.types import Document, Instant, PlainText, words
from core.domain.identity import ProjectId
from core.domain.webhooks import (
    Attempt,
    Delivery,
    DeliveryId,
    DeliveryState,
    DisabledReason,
    EventType,
    Webhook,
    WebhookId,
)

STATE = words(DeliveryState)
PENDING = text("state = 'pending'")


class WebhookRow(Private, Base):
    """An address, what it is told of, and its secrets: sealed, so that a dump holds none."""

    __tablename__ = "webhooks"
    __table_args__ = (Index(None, "project_id", "created_at", "id"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    url: Mapped[str] = mapped_column(PlainText())
    description: Mapped[str] = mapped_column(PlainText())
    events: Mapped[tuple[EventType, ...]] = mapped_column(Document(tuple[EventType, ...]))
    enabled: Mapped[bool] = mapped_column(default=True)
    disabled_reason: Mapped[DisabledReason | None] = mapped_column(words(DisabledReason))
    failing_since: Mapped[datetime | None] = mapped_column(Instant())
    secret: Mapped[str] = mapped_column(PlainText())
    old_secret: Mapped[str | None] = mapped_column(PlainText())
    old_secret_until: Mapped[datetime | None] = mapped_column(Instant())
    created_at: Mapped[datetime] = mapped_column(Instant(), default=now())

    def to_domain(self) -> Webhook:
        """The row as a value, without its secrets."""
        return Webhook(
            id=WebhookId(self.id),
            project_id=ProjectId(self.project_id),
            url=self.url,
            description=self.description,
            events=self.events,
            enabled=self.enabled,
            disabled_reason=self.disabled_reason,
            failing_since=self.failing_since,
            old_secret_until=self.old_secret_until,
            created_at=self.created_at,
        )


class DeliveryRow(Private, Base):
    """A message for one webhook, written by the transaction that it tells of.

    `due_at` is when it is to be sent; whoever sends it puts that off first, so that it is sent
    again if they die. `attempt` counts those who did: an outcome is noted under its number.
    """

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        Index(
            "ix_webhook_deliveries_due_at",
            "due_at",
            postgresql_where=PENDING,
            sqlite_where=PENDING,
        ),
        Index(None, "webhook_id", "created_at", "id"),
        Index(None, "created_at"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    webhook_id: Mapped[UUID] = mapped_column(ForeignKey(WebhookRow.id))
    message_id: Mapped[str] = mapped_column(String(64))
    event: Mapped[str] = mapped_column(String(32))
    body: Mapped[str] = mapped_column(PlainText())
    state: Mapped[DeliveryState] = mapped_column(STATE, default=DeliveryState.PENDING)
    attempt: Mapped[int] = mapped_column(default=0)
    attempts: Mapped[tuple[Attempt, ...]] = mapped_column(
        Document(tuple[Attempt, ...]), default=()
    )
    created_at: Mapped[datetime] = mapped_column(Instant(), default=now())
    due_at: Mapped[datetime] = mapped_column(Instant(), default=now())
    finished_at: Mapped[datetime | None] = mapped_column(Instant())

    def to_domain(self) -> Delivery:
        """The row as a value."""
        pending = self.state is DeliveryState.PENDING
        return Delivery(
            id=DeliveryId(self.id),
            webhook_id=WebhookId(self.webhook_id),
            message_id=self.message_id,
            event=self.event,
            state=self.state,
            attempts=self.attempts,
            body=self.body,
            created_at=self.created_at,
            due_at=self.due_at if pending else None,
            finished_at=self.finished_at,
        )

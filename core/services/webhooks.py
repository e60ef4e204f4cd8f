"""Webhooks of a project, their secrets, and the log of what was sent to them."""

import secrets
from collections.abc import Collection
from typing import Any
from uuid import UUID

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from core.db import locks
from core.db.clock import now
from core.db.scope import project_of
from core.db.webhook_tables import DeliveryRow, WebhookRow
from core.domain.webhooks import (
    SECRET_BYTES,
    TEST,
    Delivery,
    DeliveryState,
    DisabledReason,
    EventType,
    Webhook,
    shown,
)
from core.errors import Conflict, NotFound
from core.services import outbox, paging
from core.services.sealing import Seal

MOST = 20  # of one project: each is looked at with every move of a job
OLD_SECRET_SECONDS = 24 * 3600.0  # that the secret before signs along after a rotation


def create(
    session: Session, *, url: str, events: Collection[EventType], description: str, seal: Seal
) -> tuple[Webhook, str]:
    """A webhook, and its secret, which is told this once. Raises Conflict (`too_many_webhooks`).

    `url` is one that the service may reach (`core.execution.reach`).
    """
    # Two of a project who count at once would both find room.
    locks.in_turn(session, f"webhooks of {project_of(session)}")
    if session.scalars(select(func.count()).select_from(WebhookRow)).one() >= MOST:
        words = f"A project has at most {MOST} webhooks: delete one, or have one told of more."
        raise Conflict(words, code="too_many_webhooks")
    secret = secrets.token_bytes(SECRET_BYTES)
    row = WebhookRow(url=url, description=description, secret=seal.close(secret))
    row.events = tuple(EventType(each) for each in sorted(events))
    session.add(row)
    session.flush()
    session.refresh(row)
    return row.to_domain(), shown(secret)


def get(session: Session, webhook_id: UUID) -> Webhook:
    """The webhook. Raises NotFound."""
    return _row(session, webhook_id).to_domain()


def listing(
    session: Session, *, limit: int, after: str | None = None
) -> tuple[tuple[Webhook, ...], str | None]:
    """A page of webhooks, newest first, and the token of the next. Raises InvalidInput."""
    by = (WebhookRow.created_at, WebhookRow.id)
    rows, token = paging.page(session, select(WebhookRow), by=by, limit=limit, after=after)
    return tuple(row[0].to_domain() for row in rows), token


def change(session: Session, webhook_id: UUID, **changes: Any) -> Webhook:
    """Another `url`, `description` or `events`, or whether it is `enabled`: then it begins with a
    clean slate; else what waits for it is cancelled. Raises NotFound."""
    row = _row(session, webhook_id, lock=True)
    enabled = changes.get("enabled")
    for name, value in changes.items():
        setattr(row, name, value)
    if enabled:
        row.disabled_reason = row.failing_since = None
    elif enabled is False:
        row.disabled_reason = row.disabled_reason or DisabledReason.ASKED
        outbox.cancel_pending(session, webhook_id)
    session.flush()
    return row.to_domain()


def rotate(session: Session, webhook_id: UUID, *, seal: Seal) -> tuple[Webhook, str]:
    """A new secret, told this once; the one before signs along for a day. Raises NotFound."""
    row = _row(session, webhook_id, lock=True)
    secret = secrets.token_bytes(SECRET_BYTES)
    row.old_secret, row.secret = row.secret, seal.close(secret)
    row.old_secret_until = now(OLD_SECRET_SECONDS)
    session.flush()
    session.refresh(row)
    return row.to_domain(), shown(secret)


def drop(session: Session, webhook_id: UUID) -> None:
    """Forget the webhook and all that was sent to it. Raises NotFound."""
    row = _row(session, webhook_id, lock=True)
    session.execute(delete(DeliveryRow).where(DeliveryRow.webhook_id == webhook_id))
    session.delete(row)
    session.flush()


def send_test(session: Session, webhook_id: UUID) -> Delivery:
    """Send it a message that tells of nothing. Raises NotFound, Conflict (`webhook_off`)."""
    hook = _on(session, webhook_id)
    row = outbox.add(session, hook, TEST, {"id": hook.id})
    session.refresh(row)
    return row.to_domain()


def deliveries(
    session: Session,
    webhook_id: UUID,
    *,
    limit: int,
    after: str | None = None,
    state: DeliveryState | None = None,
) -> tuple[tuple[Delivery, ...], str | None]:
    """A page of what was sent to it, or is to be. Raises NotFound, InvalidInput."""
    _row(session, webhook_id)
    statement = select(DeliveryRow).where(DeliveryRow.webhook_id == webhook_id)
    if state is not None:
        statement = statement.where(DeliveryRow.state == state)
    by = (DeliveryRow.created_at, DeliveryRow.id)
    rows, token = paging.page(session, statement, by=by, limit=limit, after=after)
    return tuple(row[0].to_domain() for row in rows), token


def delivery(session: Session, webhook_id: UUID, delivery_id: UUID) -> Delivery:
    """One of them. Raises NotFound."""
    return _delivery(session, webhook_id, delivery_id).to_domain()


def redeliver(session: Session, webhook_id: UUID, delivery_id: UUID) -> Delivery:
    """Send it once more, under the id that it had: a delivery of its own, with all its attempts.

    Raises NotFound, Conflict (`webhook_off`).
    """
    hook, before = _on(session, webhook_id), _delivery(session, webhook_id, delivery_id)
    told = {"message_id": before.message_id, "event": before.event, "body": before.body}
    row = outbox.enter(session, hook, **told)
    session.refresh(row)
    return row.to_domain()


def _on(session: Session, webhook_id: UUID) -> WebhookRow:
    row = _row(session, webhook_id, lock=True)
    if not row.enabled:
        raise Conflict("This webhook is disabled: enable it first.", code="webhook_off")
    return row


def _row(session: Session, webhook_id: UUID, *, lock: bool = False) -> WebhookRow:
    statement = select(WebhookRow).where(WebhookRow.id == webhook_id)
    if lock:
        statement = statement.with_for_update()
    row = session.scalars(statement, execution_options={"populate_existing": True}).first()
    if row is None:
        raise NotFound(f"There is no webhook {webhook_id}.")
    return row


def _delivery(session: Session, webhook_id: UUID, delivery_id: UUID) -> DeliveryRow:
    mine = DeliveryRow.id == delivery_id, DeliveryRow.webhook_id == webhook_id
    row = session.scalars(select(DeliveryRow).where(*mine)).first()
    if row is None:
        raise NotFound(f"There is no delivery {delivery_id} to this webhook.")
    return row

"""Messages for webhooks: written by the transaction that they tell of, sent after its commit.

So none is lost and none tells of what did not happen. Whoever sends one puts its next moment off
first, and notes the outcome under the number of the attempt: a sender that dies between the two
leaves a message that is sent once more, under the same id.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import ColumnElement, SQLColumnExpression, bindparam, delete, func, select, update
from sqlalchemy.orm import Session

from core.db import documents
from core.db.clock import now
from core.db.dataset_tables import DatasetRow
from core.db.job_tables import JobRow
from core.db.result_tables import SearchRow
from core.db.webhook_tables import STATE, DeliveryRow, WebhookRow
from core.domain.webhooks import (
    DeliveryState,
    DisabledReason,
    EventType,
    Fault,
    Outcome,
    Outgoing,
    job_event,
    next_delay,
    search_event,
)

KEPT_SECONDS = 30 * 24 * 3600.0
FAILING_SECONDS = 5 * 24 * 3600.0  # of nothing but failures, and a webhook is disabled
LONGEST_WORDS = 1_000  # of a job's error
OUTCOMES = ("delivered", "retried", "failed")  # what may become of an attempt
EACH = 4  # messages to one receiver at a time, so that a slow one does not keep the others waiting


def job_moved(session: Session, row: JobRow, reason: str) -> None:
    """Tell of a move that this transaction has made."""
    hooks = _listening(session, row.project_id)
    if not hooks:
        return
    about = {
        "dataset_id": row.dataset_id,
        "error_code": row.error_code,
        "error_message": row.error_message and row.error_message[:LONGEST_WORDS],
        "result": row.result,
    }
    job = {"id": row.id, "kind": row.kind, "state": row.state, "attempt": row.attempt}
    job |= {"reason": reason, "parent_id": row.parent_id, **about}
    _tell(session, hooks, job_event(row.state), job, f"/v1/jobs/{row.id}")
    if (event := search_event(row.kind, row.state)) is not None:
        id_ = session.scalar(select(SearchRow.id).where(SearchRow.job_id == row.id))
        search = {"id": id_, "state": row.state, "job_id": row.id, **about}
        _tell(session, hooks, event, search, f"/v1/searches/{id_}")


def dataset_registered(session: Session, dataset_id: UUID) -> None:
    """Tell of a dataset that this transaction has registered."""
    row = session.get_one(DatasetRow, dataset_id)
    told = {"id": row.id, "name": row.name, "sha256": row.sha256}
    told |= {"version": row.version, "parent_id": row.parent_id}
    hooks = _listening(session, row.project_id)
    _tell(session, hooks, EventType.DATASET_REGISTERED, told, f"/v1/datasets/{row.id}")


def add(session: Session, hook: WebhookRow, event: str, data: Mapping[str, Any]) -> DeliveryRow:
    """A message for this webhook, due at once."""
    at = session.scalars(select(now())).one()
    moment = at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    body = json.dumps(
        {"type": event, "timestamp": moment, "data": documents.dump(dict(data))},
        separators=(",", ":"),
    )
    return enter(session, hook, message_id=f"msg_{uuid4().hex}", event=event, body=body)


def enter(
    session: Session, hook: WebhookRow, *, message_id: str, event: str, body: str
) -> DeliveryRow:
    """A message that may have been sent before, under its id."""
    row = DeliveryRow(
        project_id=hook.project_id,
        webhook_id=hook.id,
        message_id=message_id,
        event=event,
        body=body,
    )
    session.add(row)
    session.flush()
    return row


def any_due(session: Session) -> bool:
    """Whether there is anything to send."""
    return session.scalar(_due().with_only_columns(DeliveryRow.id).limit(1)) is not None


def claim(session: Session, *, limit: int, lease_seconds: float) -> tuple[Outgoing, ...]:
    """Begin an attempt at the messages that are due, a few of each webhook's, of the projects in
    turn. They are due again when the lease ends, unless `note` says otherwise before."""
    row = DeliveryRow
    columns = (row.id, row.webhook_id, row.project_id, row.due_at)
    queues = _due().with_only_columns(*columns, _place_in(row.webhook_id, row.due_at)).subquery()
    few = select(queues).where(queues.c.place <= EACH).subquery()
    share = _place_in(few.c.project_id, few.c.due_at)  # of those few: a backlog is no turn
    first = select(few.c.id).order_by(share, few.c.due_at).limit(limit)
    ids = session.scalars(
        select(DeliveryRow.id)
        .where(pending(), DeliveryRow.due_at <= now(), DeliveryRow.id.in_(first))
        .with_for_update(skip_locked=True)
    ).all()
    taken = {"attempt": DeliveryRow.attempt + 1, "due_at": now(lease_seconds)}
    session.execute(update(DeliveryRow).where(DeliveryRow.id.in_(ids)).values(taken))
    counts = (WebhookRow.old_secret_until > now()).label("counts")
    of_both = select(DeliveryRow, WebhookRow, counts).join(WebhookRow)
    found = session.execute(of_both.where(DeliveryRow.id.in_(ids)))
    return tuple(_outgoing(row, hook, bool(old)) for row, hook, old in found)


def note(session: Session, message: Outgoing, outcome: Outcome, *, luck: float) -> str | None:
    """Write down how an attempt went: `delivered`, `retried` or `failed`; None when another has
    begun since, or somebody has ended the delivery."""
    # The webhook first, as whoever deletes one does.
    hook = session.get(WebhookRow, message.webhook_id, with_for_update={"key_share": True})
    mine = (DeliveryRow.id == message.id, DeliveryRow.attempt == message.attempt, pending())
    row = session.scalars(select(DeliveryRow).where(*mine).with_for_update()).first()
    if hook is None or row is None:
        return None
    row.attempts = (*row.attempts, outcome.attempt)
    delay = next_delay(row.attempt, luck=luck, asked=outcome.retry_after)
    if outcome.delivered or outcome.gone or delay is None:
        state = DeliveryState.DELIVERED if outcome.delivered else DeliveryState.FAILED
        row.state, row.finished_at = state, now()
    else:
        row.due_at = now(delay)
    session.flush()
    _judge(session, hook, outcome)
    return "retried" if row.state is DeliveryState.PENDING else row.state.value


def cancel_pending(session: Session, webhook_id: UUID) -> None:
    """Send nothing more of what waits for this webhook."""
    waiting = update(DeliveryRow).where(DeliveryRow.webhook_id == webhook_id, pending())
    ended = {"state": DeliveryState.CANCELLED, "finished_at": now()}
    session.execute(waiting.values(ended))


def forget(session: Session, older_than: float = KEPT_SECONDS) -> None:
    """Delete the messages that are older than so many seconds, sent or not."""
    session.execute(delete(DeliveryRow).where(DeliveryRow.created_at < now(-older_than)))


def _listening(session: Session, project_id: UUID) -> Sequence[WebhookRow]:
    """The project's webhooks; none is deleted until this transaction ends."""
    theirs = (WebhookRow.project_id == project_id, WebhookRow.enabled)
    locked = select(WebhookRow).where(*theirs).with_for_update(read=True, key_share=True)
    return session.scalars(locked).all()


def _tell(
    session: Session,
    hooks: Sequence[WebhookRow],
    event: EventType,
    about: Mapping[str, Any],
    link: str,
) -> None:
    for hook in hooks:
        if event in hook.events:
            add(session, hook, event, {**about, "links": {"self": link}})


def _judge(session: Session, hook: WebhookRow, outcome: Outcome) -> None:
    """Whether a webhook fails, and for too long."""
    if outcome.delivered:
        hook.failing_since = None
        return
    if outcome.attempt.fault is Fault.SEALED:  # by a key that this service lacks: not theirs
        return
    at = session.scalars(select(now())).one()
    hook.failing_since = hook.failing_since or at
    failed = (at - hook.failing_since).total_seconds()
    if hook.enabled and (outcome.gone or failed > FAILING_SECONDS):
        reason = DisabledReason.GONE if outcome.gone else DisabledReason.FAILING
        hook.enabled, hook.disabled_reason = False, reason
        cancel_pending(session, hook.id)


def pending() -> ColumnElement[bool]:
    """What waits, as a literal: with a parameter neither database uses a partial index."""
    waits = bindparam(None, DeliveryState.PENDING, type_=STATE, literal_execute=True)
    return DeliveryRow.state == waits


def _place_in(
    queue: SQLColumnExpression[UUID], due_at: SQLColumnExpression[datetime]
) -> ColumnElement[int]:
    return func.row_number().over(partition_by=queue, order_by=due_at).label("place")


def _due() -> Any:
    enabled = select(DeliveryRow).join(WebhookRow).where(WebhookRow.enabled)
    return enabled.where(pending(), DeliveryRow.due_at <= now())


def _outgoing(row: DeliveryRow, hook: WebhookRow, old_counts: bool) -> Outgoing:
    old = (hook.old_secret,) if old_counts and hook.old_secret else ()
    return Outgoing(
        id=row.to_domain().id,
        webhook_id=hook.to_domain().id,
        attempt=row.attempt,
        message_id=row.message_id,
        body=row.body,
        url=hook.url,
        secrets=(hook.secret, *old),
    )

"""Webhooks: who is told of what over HTTP, how a message is signed, and how each telling went."""

import base64
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, NewType
from uuid import UUID

from core.domain.identity import ProjectId
from core.domain.jobs import JobKind, JobState

WebhookId = NewType("WebhookId", UUID)
DeliveryId = NewType("DeliveryId", UUID)

SECRET_PREFIX: Final = "whsec_"
SECRET_BYTES: Final = 32
# Between one attempt and the next: ten attempts in about three days.
DELAYS: Final = (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
LONGEST_DELAY: Final = 86_400.0  # that a receiver may ask for
TEST: Final = "webhook.test"  # sent on demand, and to whatever webhook is named


class EventType(StrEnum):
    """What a webhook may be told of."""

    JOB_QUEUED = "job.queued"
    JOB_RUNNING = "job.running"
    JOB_SUCCEEDED = "job.succeeded"
    JOB_FAILED = "job.failed"
    JOB_CANCELLED = "job.cancelled"
    SEARCH_SUCCEEDED = "search.succeeded"
    SEARCH_FAILED = "search.failed"
    DATASET_REGISTERED = "dataset.registered"


OF_SEARCHES: Final[Mapping[JobState, EventType]] = {
    JobState.SUCCEEDED: EventType.SEARCH_SUCCEEDED,
    JobState.FAILED: EventType.SEARCH_FAILED,
}


class DisabledReason(StrEnum):
    """Why nothing is sent to a webhook."""

    ASKED = "asked"  # by whoever it belongs to
    GONE = "gone"  # it answered 410
    FAILING = "failing"  # nothing but failures for days


class DeliveryState(StrEnum):
    """Where a message is."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"  # every attempt
    CANCELLED = "cancelled"  # its webhook was disabled before an attempt succeeded


class Fault(StrEnum):
    """Why an attempt failed. What a receiver answered beyond its status is never kept."""

    STATUS = "status"  # neither 2xx nor a redirect
    REDIRECT = "redirect"  # is never followed
    TIMEOUT = "timeout"
    UNKNOWN_HOST = "unknown_host"
    UNREACHABLE = "unreachable"
    CERTIFICATE = "certificate"
    BROKEN = "broken"  # the connection ended before there was an answer
    NOT_ALLOWED = "not_allowed"  # the name leads to an address that nothing is sent to
    SEALED = "sealed"  # this service's key does not open the webhook's secret


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where the events of a project are sent. `failing_since` is null after a success."""

    id: WebhookId
    project_id: ProjectId
    url: str
    description: str
    events: tuple[EventType, ...]
    enabled: bool
    disabled_reason: DisabledReason | None
    failing_since: datetime | None
    old_secret_until: datetime | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request: its answer's status or what went wrong, and the seconds it took."""

    at: datetime
    seconds: float
    status: int | None = None
    fault: Fault | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """An attempt, and what the receiver asks for: to be left alone, for so long or for good."""

    attempt: Attempt
    retry_after: float = 0.0
    gone: bool = False

    @property
    def delivered(self) -> bool:
        """Whether the message arrived."""
        return self.attempt.fault is None


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message for a webhook. `due_at` is when it is sent (again), null once that is over."""

    id: DeliveryId
    webhook_id: WebhookId
    message_id: str
    event: str
    state: DeliveryState
    attempts: tuple[Attempt, ...]
    body: str
    created_at: datetime
    due_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message whose attempt has begun; `attempt` is what its outcome is noted under."""

    id: DeliveryId
    webhook_id: WebhookId
    attempt: int
    message_id: str
    body: str
    url: str
    secrets: tuple[str, ...]  # sealed


def job_event(state: JobState) -> EventType:
    """What is told of a job that has come to this state."""
    return EventType(f"job.{state}")


def search_event(kind: JobKind, state: JobState) -> EventType | None:
    """What is told of the search that such a job is."""
    return OF_SEARCHES.get(state) if kind is JobKind.SEARCH else None


def shown(secret: bytes) -> str:
    """A secret as its holder is told it, once."""
    return SECRET_PREFIX + base64.b64encode(secret).decode()


def signature(secret: bytes, message_id: str, timestamp: int, body: str) -> str:
    """Who holds the secret can tell that the message is ours (Standard Webhooks, `v1`)."""
    signed = f"{message_id}.{timestamp}.{body}".encode()
    return "v1," + base64.b64encode(hmac.digest(secret, signed, hashlib.sha256)).decode()


def next_delay(attempts: int, *, luck: float, asked: float = 0.0) -> float | None:
    """Seconds from the last of so many attempts to the next; None when it was the last.

    `luck`, from 0 to 1, spreads the delay over a span as long as it is, so that what failed at
    once does not come back at once. A receiver may have asked for more (`Retry-After`).
    """
    if attempts > len(DELAYS):
        return None
    spread = DELAYS[attempts - 1] * (0.5 + luck)
    return max(spread, min(asked, LONGEST_DELAY))

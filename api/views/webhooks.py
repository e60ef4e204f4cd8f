"""Webhooks and what was sent to them, as the API shows them."""

import json
from datetime import datetime
from typing import Annotated, Self
from uuid import UUID

from pydantic import Field

from api.views.shapes import FreeForm, View
from core.domain.webhooks import (
    Delivery,
    DeliveryState,
    DisabledReason,
    EventType,
    Fault,
    Webhook,
)


class WebhookView(View):
    """Where events are sent. Disabled `asked`: by you; `gone`: it answered 410; `failing`: with
    nothing but failures for five days."""

    id: UUID
    url: str
    description: str
    events: list[EventType]
    enabled: bool
    disabled_reason: DisabledReason | None
    failing_since: datetime | None
    old_secret_until: Annotated[
        datetime | None, Field(description="Until then the secret before signs along.")
    ]
    created_at: datetime


class NewSecretView(WebhookView):
    """A webhook with its secret, which is never shown again."""

    secret: str

    @classmethod
    def of(cls, webhook: Webhook, secret: str) -> Self:
        """From the domain's two."""
        return cls(**WebhookView.model_validate(webhook).model_dump(), secret=secret)


class AttemptView(View):
    """One request: the status of its answer, or what went wrong."""

    at: datetime
    seconds: float
    status: int | None
    fault: Fault | None


class DeliveryView(View):
    """A message for a webhook; `message_id` is its `webhook-id`, whichever delivery it is."""

    id: UUID
    webhook_id: UUID
    message_id: str
    event: str
    state: DeliveryState
    attempts: list[AttemptView]
    created_at: datetime
    due_at: Annotated[datetime | None, Field(description="When it is sent next.")]
    finished_at: datetime | None


class WholeDeliveryView(DeliveryView):
    """A delivery with what is sent."""

    payload: FreeForm

    @classmethod
    def of(cls, delivery: Delivery) -> Self:
        """From the domain's."""
        told = DeliveryView.model_validate(delivery).model_dump()
        return cls(**told, payload=json.loads(delivery.body))

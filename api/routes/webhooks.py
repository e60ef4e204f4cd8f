"""Webhooks: events are sent to a URL, signed as Standard Webhooks says (docs/webhooks.md)."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Response
from pydantic import AfterValidator, Field, model_validator
from sqlalchemy.orm import Session

from api import contract
from api.deps import ContainerDep, SessionDep, WorkDep
from api.lists import PageDep
from api.schemas import Body, Flag
from api.views.shapes import PageView
from api.views.webhooks import DeliveryView, NewSecretView, WebhookView, WholeDeliveryView
from core.bootstrap import Container
from core.domain.webhooks import DeliveryState, EventType, Webhook
from core.errors import Conflict
from core.execution.reach import LONGEST_URL, Reach
from core.services import webhooks
from core.services.sealing import Seal

router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"])

DISABLED = (
    "This service sends no webhooks: whoever runs it turns them on by "
    "HEADSTART_WEBHOOKS__ENABLED=true, with a HEADSTART_SECRET_KEY that seals their secrets."
)


def on_one_line(text: str) -> str:
    """The text. Raises ValueError."""
    if text and not text.isprintable():
        raise ValueError("give printable characters on one line")
    return text


def distinct(events: tuple[EventType, ...]) -> tuple[EventType, ...]:
    """Each of them once. Raises ValueError."""
    if len(set(events)) < len(events):
        raise ValueError("name each event once")
    return events


Url = Annotated[
    str, Field(max_length=LONGEST_URL, description="https://HOST/PATH, which anybody can reach.")
]
Description = Annotated[str, Field(max_length=200), AfterValidator(on_one_line)]
Events = Annotated[
    tuple[EventType, ...],
    Field(min_length=1, max_length=len(EventType)),
    AfterValidator(distinct),
]


class WebhookBody(Body):
    """Where to send which events of the project."""

    url: Url
    events: Events
    description: Description = ""


class WebhookChangeBody(Body):
    """What is to be another; what is left out stays. `enabled: true` also forgets failures."""

    url: Url | None = None
    events: Events | None = None
    description: Description | None = None
    enabled: Flag | None = None

    @model_validator(mode="after")
    def _says_something(self) -> "WebhookChangeBody":
        if any(getattr(self, name) is None for name in self.model_fields_set):
            raise ValueError("leave out what is to stay: null is no value of these")
        return self


@router.post(
    "",
    operation_id="webhooks_create",
    status_code=201,
    responses={
        201: contract.headers("Location", "Cache-Control"),
        **contract.refusals("too_many_webhooks", "url_not_allowed", "webhooks_disabled"),
    },
)
def create(
    body: WebhookBody, work: WorkDep, container: ContainerDep, response: Response
) -> NewSecretView:
    """Have events sent to a URL. The answer alone shows the secret that they are signed with."""
    webhook, secret = registered(body, work.session, container)
    response.headers["Location"] = f"/v1/webhooks/{webhook.id}"
    response.headers["Cache-Control"] = "no-store"
    return NewSecretView.of(webhook, secret)


def registered(body: WebhookBody, session: Session, container: Container) -> tuple[Webhook, str]:
    """The webhook and its secret. Raises as the operation does."""
    return webhooks.create(
        session,
        seal=seal_of(container),
        url=Reach.of(container.settings).checked(body.url),
        events=body.events,
        description=body.description,
    )


@router.get("", operation_id="webhooks_list")
def index(session: SessionDep, page: PageDep) -> PageView[WebhookView]:
    """The project's webhooks, newest first."""
    found, token = webhooks.listing(session, limit=page.limit, after=page.after)
    return page.of([WebhookView.model_validate(each) for each in found], token)


@router.get("/{webhook_id:uuid}", operation_id="webhooks_get")
def show(webhook_id: UUID, session: SessionDep) -> WebhookView:
    """One webhook, without its secret."""
    return WebhookView.model_validate(webhooks.get(session, webhook_id))


@router.patch(
    "/{webhook_id:uuid}",
    operation_id="webhooks_update",
    responses=contract.refusals("url_not_allowed", "webhooks_disabled"),
)
def update(
    webhook_id: UUID, body: WebhookChangeBody, work: WorkDep, container: ContainerDep
) -> WebhookView:
    """Change a webhook. Disabling it cancels what is yet to be sent; what happens until it is
    enabled again is never sent."""
    changes = body.model_dump(exclude_unset=True)
    if body.enabled:
        seal_of(container)
    if body.url is not None:
        changes["url"] = Reach.of(container.settings).checked(body.url)
    return WebhookView.model_validate(webhooks.change(work.session, webhook_id, **changes))


@router.delete(
    "/{webhook_id:uuid}",
    operation_id="webhooks_delete",
    status_code=204,
    response_class=Response,
)
def delete(webhook_id: UUID, work: WorkDep) -> Response:
    """Delete a webhook, and the log of what was sent to it."""
    webhooks.drop(work.session, webhook_id)
    return Response(status_code=204)


@router.post(
    "/{webhook_id:uuid}:rotate",
    operation_id="webhooks_rotate",
    responses={
        200: contract.headers("Cache-Control"),
        **contract.refusals("webhooks_disabled"),
    },
)
def rotate(
    webhook_id: UUID, work: WorkDep, container: ContainerDep, response: Response
) -> NewSecretView:
    """Give a webhook another secret. For a day messages are signed with the one before as well."""
    found = webhooks.rotate(work.session, webhook_id, seal=seal_of(container))
    response.headers["Cache-Control"] = "no-store"
    return NewSecretView.of(*found)


@router.post(
    "/{webhook_id:uuid}:test",
    operation_id="webhooks_test",
    status_code=202,
    responses={
        202: contract.headers("Location"),
        **contract.refusals("webhook_off", "webhooks_disabled"),
    },
)
def test(
    webhook_id: UUID, work: WorkDep, container: ContainerDep, response: Response
) -> WholeDeliveryView:
    """Send `webhook.test`, whatever events the webhook is told of; `Location` says how it went."""
    seal_of(container)
    delivery = webhooks.send_test(work.session, webhook_id)
    response.headers["Location"] = f"/v1/webhooks/{webhook_id}/deliveries/{delivery.id}"
    return WholeDeliveryView.of(delivery)


@router.get("/{webhook_id:uuid}/deliveries", operation_id="webhooks_deliveries")
def log(
    webhook_id: UUID, session: SessionDep, page: PageDep, state: DeliveryState | None = None
) -> PageView[DeliveryView]:
    """What was sent to a webhook in the last 30 days, or is to be, newest first."""
    found, token = webhooks.deliveries(
        session, webhook_id, limit=page.limit, after=page.after, state=state
    )
    return page.of([DeliveryView.model_validate(each) for each in found], token)


@router.get("/{webhook_id:uuid}/deliveries/{delivery_id:uuid}", operation_id="webhooks_delivery")
def show_delivery(webhook_id: UUID, delivery_id: UUID, session: SessionDep) -> WholeDeliveryView:
    """One delivery, with every attempt and what is sent."""
    return WholeDeliveryView.of(webhooks.delivery(session, webhook_id, delivery_id))


@router.post(
    "/{webhook_id:uuid}/deliveries/{delivery_id:uuid}:redeliver",
    operation_id="webhooks_redeliver",
    status_code=202,
    responses={
        202: contract.headers("Location"),
        **contract.refusals("webhook_off", "webhooks_disabled"),
    },
)
def redeliver(
    webhook_id: UUID,
    delivery_id: UUID,
    work: WorkDep,
    container: ContainerDep,
    response: Response,
) -> WholeDeliveryView:
    """Send a message once more, under its `webhook-id`, as a delivery of its own."""
    seal_of(container)
    delivery = webhooks.redeliver(work.session, webhook_id, delivery_id)
    response.headers["Location"] = f"/v1/webhooks/{webhook_id}/deliveries/{delivery.id}"
    return WholeDeliveryView.of(delivery)


def seal_of(container: Container) -> Seal:
    """What seals secrets here. Raises Conflict (`webhooks_disabled`)."""
    settings = container.settings
    if settings.secret_key is None or not settings.webhooks.enabled:
        raise Conflict(DISABLED, code="webhooks_disabled")
    return Seal(settings.secret_key)

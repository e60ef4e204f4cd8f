"""The account's pages about webhooks: who is told of what, how that went, and once more."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Form
from pydantic import ValidationError
from sqlalchemy.orm import Session
from starlette.responses import Response

from api import problems
from api.deps import ContainerDep, SessionDep, WorkDep
from api.identity import IdentityDep
from api.routes import webhooks as interface
from api.web import pages
from core.bootstrap import Container
from core.domain.identity import Identity, Scope
from core.domain.webhooks import EventType
from core.services import webhooks

router = APIRouter(prefix="/account/webhooks")

PAGE = 25


@router.get("")
def index(session: SessionDep, container: ContainerDep, identity: IdentityDep) -> Response:
    """The project's webhooks, and the form for another."""
    found, _ = webhooks.listing(session, limit=webhooks.MOST)
    return pages.render(
        "webhooks.html",
        hooks=found,
        most=webhooks.MOST,
        events=tuple(EventType),
        **_about(container, identity),
    )


@router.post("")
def create(
    work: WorkDep,
    container: ContainerDep,
    identity: IdentityDep,
    url: Annotated[str, Form()] = "",
    description: Annotated[str, Form()] = "",
    events: Annotated[list[str] | None, Form()] = None,
) -> Response:
    """Have events sent to a URL, and show the secret on the answer's page."""
    fields = {"url": url.strip(), "description": description.strip(), "events": events or []}
    try:
        body = interface.WebhookBody.model_validate(fields)
    except ValidationError as error:
        raise problems.invalid(error.errors()) from error
    made, secret = interface.registered(body, work.session, container)
    shown = _hook(work.session, made.id)
    about = _about(container, identity)
    return pages.render("webhook.html", status=201, **{**shown, **about, "secret": secret})


@router.get("/{webhook_id:uuid}")
def show(
    webhook_id: UUID,
    session: SessionDep,
    container: ContainerDep,
    identity: IdentityDep,
    page_token: str | None = None,
) -> Response:
    """One webhook, and what was sent to it."""
    shown = _hook(session, webhook_id, page_token)
    return pages.render("webhook.html", **shown, **_about(container, identity))


@router.post("/{webhook_id:uuid}/enabled")
def switch(
    webhook_id: UUID,
    work: WorkDep,
    container: ContainerDep,
    enabled: Annotated[bool, Form()],
) -> Response:
    """Send to it from now on, or no longer."""
    if enabled:
        interface.seal_of(container)
    webhooks.change(work.session, webhook_id, enabled=enabled)
    return pages.see(f"/account/webhooks/{webhook_id}")


@router.post("/{webhook_id:uuid}/rotate")
def rotate(
    webhook_id: UUID, work: WorkDep, container: ContainerDep, identity: IdentityDep
) -> Response:
    """Another secret, shown on the answer's page."""
    _, secret = webhooks.rotate(work.session, webhook_id, seal=interface.seal_of(container))
    shown = {**_hook(work.session, webhook_id), **_about(container, identity)}
    return pages.render("webhook.html", **{**shown, "secret": secret})


@router.post("/{webhook_id:uuid}/test")
def test(webhook_id: UUID, work: WorkDep, container: ContainerDep) -> Response:
    """Send it a message that tells of nothing."""
    interface.seal_of(container)
    webhooks.send_test(work.session, webhook_id)
    return pages.see(f"/account/webhooks/{webhook_id}")


@router.post("/{webhook_id:uuid}/deliveries/{delivery_id:uuid}/redeliver")
def redeliver(
    webhook_id: UUID, delivery_id: UUID, work: WorkDep, container: ContainerDep
) -> Response:
    """Send a message once more."""
    interface.seal_of(container)
    webhooks.redeliver(work.session, webhook_id, delivery_id)
    return pages.see(f"/account/webhooks/{webhook_id}")


@router.post("/{webhook_id:uuid}/delete")
def delete(webhook_id: UUID, work: WorkDep) -> Response:
    """Forget it, and all that was sent to it."""
    webhooks.drop(work.session, webhook_id)
    return pages.see("/account/webhooks")


def _hook(session: Session, webhook_id: UUID, page_token: str | None = None) -> dict[str, Any]:
    hook = webhooks.get(session, webhook_id)
    found, token = webhooks.deliveries(session, webhook_id, limit=PAGE, after=page_token)
    return {"hook": hook, "deliveries": found, "token": token, "secret": None}


def _about(container: Container, identity: Identity) -> dict[str, Any]:
    settings = container.settings
    return {
        "sends": settings.webhooks.enabled and settings.secret_key is not None,
        "writes": identity.scope.covers(Scope.WRITE),
        "administers": identity.scope.covers(Scope.ADMIN),
    }

"""The account's pages about keys: those there are, a new one shown once, and who did what."""

from typing import Annotated, Any

from fastapi import APIRouter, Form
from sqlalchemy.orm import Session
from starlette.responses import Response

from api.deps import ContainerDep, SessionDep, WorkDep
from api.identity import AdministratorDep, IdentityDep
from api.routes.keys import LONGEST
from api.web import pages
from core.config import Settings
from core.domain.identity import Identity, Scope
from core.services import api_keys, audit

router = APIRouter(prefix="/account")

PAGE = 50
DAY = 86_400
Days = Annotated[int, Form(ge=0, le=LONGEST // DAY)]


@router.get("")
def account(identity: IdentityDep) -> Response:
    """The first of the account's pages that the reader may see."""
    administers = identity.scope.covers(Scope.ADMIN)
    return pages.see("/account/keys" if administers else "/account/webhooks")


@router.get("/keys")
def index(
    session: SessionDep,
    container: ContainerDep,
    identity: AdministratorDep,
    page_token: str | None = None,
) -> Response:
    """The project's keys, and the form for another."""
    return pages.render("keys.html", **_shown(session, container.settings, identity, page_token))


@router.post("/keys")
def create(
    work: WorkDep,
    container: ContainerDep,
    identity: AdministratorDep,
    name: Annotated[str, Form(min_length=1, max_length=200)],
    scope: Annotated[Scope, Form()] = Scope.WRITE,
    days: Days = 0,
) -> Response:
    """Make a key, and show it on the answer's page: nothing can tell it again."""
    made, text = api_keys.create(
        work.session,
        identity.project_id,
        name=name,
        scope=scope,
        expires_in=float(days * DAY) if days else None,
    )
    shown = _shown(work.session, container.settings, identity)
    return pages.render("keys.html", status=201, **{**shown, "made": made, "text": text})


@router.post("/keys/{key_id}/revoke")
def revoke(key_id: str, work: WorkDep, identity: AdministratorDep) -> Response:
    """End a key."""
    api_keys.revoke(work.session, key_id, identity.project_id)
    return pages.see("/account/keys")


@router.get("/audit")
def log(
    session: SessionDep, identity: AdministratorDep, page_token: str | None = None
) -> Response:
    """What was done in the project, and refused, newest first."""
    found, token = audit.listing(
        session, project_id=identity.project_id, limit=PAGE, after=page_token
    )
    return pages.render("audit.html", entries=found, token=token, administers=True)


def _shown(
    session: Session, settings: Settings, identity: Identity, page_token: str | None = None
) -> dict[str, Any]:
    found, token = api_keys.listing(
        session, project_id=identity.project_id, limit=PAGE, after=page_token
    )
    return {
        "keys": found,
        "token": token,
        "asks": settings.auth == "keys",
        "own": identity.key_id,
        "scopes": tuple(Scope),
        "administers": True,
        "made": None,
        "text": "",
    }

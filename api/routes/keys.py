"""Keys of one's own project, for those whose key may administer it."""

from typing import Annotated

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from api import contract
from api.deps import SessionDep, WorkDep
from api.identity import AdministratorDep
from api.lists import ByTime, PageDep
from api.views.identity import KeyView, NewKeyView
from api.views.shapes import PageView
from core.domain.identity import Scope
from core.services import api_keys

router = APIRouter(prefix="/v1/keys", tags=["keys"])

MINUTE, LONGEST = 60, 10 * 365 * 86_400


class KeyBody(BaseModel):
    """What a new key is for, what it allows, and for how long it is good; null: without end."""

    model_config = ConfigDict(extra="forbid")
    name: Annotated[str, Field(min_length=1, max_length=200)]
    scope: Scope = Scope.WRITE
    expires_in_seconds: Annotated[int, Field(ge=MINUTE, le=LONGEST)] | None = None


@router.get("", operation_id="keys_list", responses=contract.refusals("forbidden"))
def index(
    session: SessionDep, page: PageDep, identity: AdministratorDep, order: ByTime = "newest"
) -> PageView[KeyView]:
    """The project's keys, those that have ended too; needs the scope `admin`."""
    found, token = api_keys.listing(
        session,
        project_id=identity.project_id,
        limit=page.limit,
        after=page.after,
        order=order,
    )
    return page.of([KeyView.model_validate(each) for each in found], token)


@router.post(
    "",
    operation_id="keys_create",
    status_code=201,
    responses={201: contract.headers("Cache-Control")},
)
def create(
    body: KeyBody, identity: AdministratorDep, work: WorkDep, response: Response
) -> NewKeyView:
    """Make a key of the project. The answer has its text, which is not kept: nothing can tell it
    again. Needs the scope `admin`."""
    key, text = api_keys.create(
        work.session,
        identity.project_id,
        name=body.name,
        scope=body.scope,
        expires_in=body.expires_in_seconds,
    )
    response.headers["Cache-Control"] = "no-store"
    return NewKeyView(**KeyView.model_validate(key).model_dump(), key=text)


@router.post("/{key_id}:revoke", operation_id="keys_revoke")
def revoke(key_id: str, identity: AdministratorDep, work: WorkDep) -> KeyView:
    """End a key of the project: within 5 seconds nobody takes it any more. One that has been
    revoked stays so. Needs the scope `admin`."""
    return KeyView.model_validate(api_keys.revoke(work.session, key_id, identity.project_id))

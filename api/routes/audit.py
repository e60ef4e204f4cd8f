"""What was done in one's own project, and refused, for those whose key may administer it."""

from fastapi import APIRouter

from api import contract
from api.deps import SessionDep
from api.identity import AdministratorDep
from api.lists import ByTime, PageDep
from api.views.identity import AuditView
from api.views.shapes import PageView
from core.services import audit

router = APIRouter(prefix="/v1/audit", tags=["audit"])


@router.get("", operation_id="audit_list", responses=contract.refusals("forbidden"))
def index(
    session: SessionDep, page: PageDep, identity: AdministratorDep, order: ByTime = "newest"
) -> PageView[AuditView]:
    """Every request that changed something or was refused for its key's scope, and what operators
    did by commands; needs the scope `admin`."""
    found, token = audit.listing(
        session,
        project_id=identity.project_id,
        limit=page.limit,
        after=page.after,
        order=order,
    )
    return page.of([AuditView.model_validate(each) for each in found], token)

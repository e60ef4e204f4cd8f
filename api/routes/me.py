"""Who asks."""

from fastapi import APIRouter

from api.deps import ContainerDep, SessionDep
from api.identity import IdentityDep
from api.views.identity import LimitsView, MeView, UseView
from core.services import projects, quotas

router = APIRouter(prefix="/v1/me", tags=["me"])


@router.get("", operation_id="me_get")
def show(session: SessionDep, container: ContainerDep, identity: IdentityDep) -> MeView:
    """The project that the key speaks for, what it allows, and how much of its limits is used."""
    project = projects.get(session, identity.project_id)
    return MeView(
        project_id=project.id,
        project=project.name,
        key_id=identity.key_id,
        scope=identity.scope,
        limits=LimitsView.model_validate(quotas.allowed(session, container.settings)),
        used=UseView.model_validate(quotas.used(session)),
    )

"""Embedders: what datasets can be seen through."""

from fastapi import APIRouter

from api.deps import ContainerDep, SessionDep
from api.lists import ByName, PageDep
from api.views.embedders import EmbedderView
from api.views.shapes import PageView
from core.services import embedders

router = APIRouter(prefix="/v1/embedders", tags=["embedders"])


@router.get("", operation_id="embedders_list")
def index(
    session: SessionDep, page: PageDep, container: ContainerDep, order: ByName = "newest"
) -> PageView[EmbedderView]:
    """Those built in, then the trunks of all registered supernets, in the supernets' order."""
    found, token = embedders.listing(
        session,
        default=container.settings.embedder,
        resnet18_weights=container.settings.resnet18_weights,
        limit=page.limit,
        after=page.after,
        order=order,
    )
    return page.of([EmbedderView.model_validate(each) for each in found], token)

"""Embedders: what datasets can be seen through."""

from fastapi import APIRouter

from api.deps import ContainerDep, PageDep, SessionDep
from api.views.embedders import EmbedderView
from api.views.shapes import PageView
from core.services import embedders

router = APIRouter(prefix="/v1/embedders", tags=["embedders"])


@router.get("", operation_id="embedders_list")
def index(session: SessionDep, page: PageDep, container: ContainerDep) -> PageView[EmbedderView]:
    """Those built in, then the trunks of all registered supernets, newest first."""
    found, token = embedders.listing(
        session,
        default=container.settings.embedder,
        resnet18_weights=container.settings.resnet18_weights,
        limit=page.limit,
        after=page.after,
    )
    return PageView(
        items=[EmbedderView.model_validate(each) for each in found], next_page_token=token
    )

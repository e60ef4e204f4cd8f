"""Models: the results and their files."""

from uuid import UUID

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from api import contract, downloads
from api.deps import ContainerDep, FileTurn, SessionDep
from api.lists import ByTime, PageDep
from api.views.results import ModelView
from api.views.shapes import PageView
from core.domain.searches import ModelId
from core.services import models

router = APIRouter(prefix="/v1/models", tags=["models"])


@router.get("", operation_id="models_list")
def index(
    session: SessionDep, page: PageDep, order: ByTime = "newest", dataset_id: UUID | None = None
) -> PageView[ModelView]:
    """Models; of one dataset, if asked."""
    found, token = models.listing(
        session,
        limit=page.limit,
        after=page.after,
        order=order,
        dataset_id=dataset_id,
    )
    return page.of([ModelView.of(each) for each in found], token)


@router.get("/{model_id:uuid}", operation_id="models_get")
def show(model_id: UUID, session: SessionDep) -> ModelView:
    """One model: genotype, metrics, files."""
    return ModelView.of(models.get(session, ModelId(model_id)))


@router.get(
    "/{model_id:uuid}/artifacts/{name}",
    operation_id="models_download",
    dependencies=[FileTurn],
    response_class=StreamingResponse,
    openapi_extra=contract.takes(contract.IF_NONE_MATCH),
    responses=downloads.ARTIFACT,
)
def download(model_id: UUID, name: str, request: Request, container: ContainerDep) -> Response:
    """One file of a model; its bytes are checked against their checksum on the way."""
    with container.sessions.read() as session:
        artifact = models.artifact(session, model_id, name)
    return downloads.answered(request, container.store, artifact)

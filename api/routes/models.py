"""Models: the results and their files."""

from uuid import UUID

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from api import conditional, contract, downloads
from api.deps import ContainerDep, PageDep, SessionDep
from api.views.results import ModelView
from api.views.shapes import PageView
from core.domain.datasets import DatasetId
from core.domain.searches import ModelId
from core.errors import NotFound
from core.services import models

router = APIRouter(prefix="/v1/models", tags=["models"])

FILE = {"schema": {"type": "string", "format": "binary"}}
MEDIA = {
    "application/json": {"schema": {"type": "object"}},
    "application/octet-stream": FILE,
    "text/html": FILE,
    "text/markdown": FILE,
}


@router.get("", operation_id="models_list")
def index(
    session: SessionDep, page: PageDep, dataset_id: UUID | None = None
) -> PageView[ModelView]:
    """Models, newest first; of one dataset, if asked."""
    found, token = models.listing(
        session,
        limit=page.limit,
        after=page.after,
        dataset_id=None if dataset_id is None else DatasetId(dataset_id),
    )
    return PageView(items=[ModelView.of(each) for each in found], next_page_token=token)


@router.get("/{model_id}", operation_id="models_get")
def show(model_id: UUID, session: SessionDep) -> ModelView:
    """One model: genotype, metrics, files."""
    return ModelView.of(models.get(session, ModelId(model_id)))


@router.get(
    "/{model_id}/artifacts/{name}",
    operation_id="models_download",
    response_class=StreamingResponse,
    openapi_extra=contract.takes(contract.IF_NONE_MATCH),
    responses={
        200: {
            "content": MEDIA,
            **contract.headers("ETag", "Cache-Control", "Content-Disposition"),
        },
        **contract.unchanged("Cache-Control", "Content-Disposition"),
        **contract.refusals("corrupt_object"),
    },
)
def download(model_id: UUID, name: str, request: Request, container: ContainerDep) -> Response:
    """One file of a model; its bytes are checked against their checksum on the way."""
    with container.sessions.read() as session:
        model = models.get(session, ModelId(model_id))
    artifact = model.artifact(name)
    if artifact is None:
        listed = ", ".join(each.name for each in model.artifacts)
        raise NotFound(f"This model has no file of that name; it has: {listed}.")

    def sent() -> Response:
        content = downloads.verified(container.store, artifact)
        length = {"Content-Length": str(artifact.size)}
        return StreamingResponse(content, media_type=artifact.media_type, headers=length)

    answer = conditional.answered(request, f'"{artifact.sha256}"', sent)
    saved_as = downloads.file_name(artifact.name)
    answer.headers["Content-Disposition"] = f'attachment; filename="{saved_as}"'
    return answer

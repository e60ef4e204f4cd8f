"""Datasets: look, compare."""

from collections.abc import Callable
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from api import conditional, contract, examples, submissions
from api.deps import ContainerDep, FileTurn, SessionDep
from api.examples import Split
from api.lists import ByName, PageDep
from api.schemas import DEFAULT_EMBEDDER, DEFAULT_RANK, EmbedderBody, RankBody, as_stored
from api.submissions import SubmissionDep
from api.views.datasets import DatasetView, FullDatasetView, ReportView
from api.views.jobs import JobView
from api.views.shapes import PageView
from core.domain.datasets import DatasetId, ImagePlace
from core.domain.jobs import JobKind
from core.domain.searches import EmbedSpec
from core.services import datasets, searches

router = APIRouter(prefix="/v1/datasets", tags=["datasets"])

DELETED = contract.refusals("dataset_deleted")
PICTURE: dict[str, Any] = {
    "dependencies": [FileTurn],
    "response_class": Response,
    "openapi_extra": contract.takes(contract.IF_NONE_MATCH),
    "responses": {
        200: {
            "content": {"image/png": {"schema": {"type": "string", "format": "binary"}}},
            **contract.headers("ETag", "Cache-Control"),
        },
        **contract.unchanged("Cache-Control"),
        **contract.refusals("dataset_deleted", "statistics_only", "unknown_class",
                            "unknown_image", "corrupt_object"),
    },
}  # fmt: skip


@router.get("", operation_id="datasets_list")
def index(
    session: SessionDep,
    page: PageDep,
    order: ByName = "newest",
    name: Annotated[str | None, Query(description="Those of exactly this name.")] = None,
    deleted: Annotated[
        bool, Query(description="Those that were deleted, in place of all.")
    ] = False,
) -> PageView[DatasetView]:
    """The datasets there are, or were."""
    found, token = datasets.listing(
        session,
        limit=page.limit,
        after=page.after,
        order=order,
        name=None if name is None else as_stored(name),
        deleted=deleted,
    )
    return page.of([DatasetView.model_validate(each) for each in found], token)


@router.get("/{dataset_id:uuid}", operation_id="datasets_get", responses=DELETED)
def show(dataset_id: UUID, session: SessionDep) -> FullDatasetView:
    """One dataset with its intake report."""
    return FullDatasetView.model_validate(datasets.get(session, DatasetId(dataset_id)))


@router.get("/{dataset_id:uuid}/report", operation_id="datasets_report", responses=DELETED)
def report(dataset_id: UUID, session: SessionDep) -> ReportView:
    """What intake saw in the archive."""
    return ReportView.model_validate(datasets.get(session, DatasetId(dataset_id)).report)


@router.get(
    "/{dataset_id:uuid}/examples/{class_index}.png",
    operation_id="datasets_class_examples",
    **PICTURE,
)
def show_examples(
    dataset_id: UUID, class_index: int, request: Request, container: ContainerDep
) -> Response:
    """Up to eight images of one class, side by side."""
    with container.sessions.read() as session:
        dataset = datasets.get(session, DatasetId(dataset_id))
    return _drawn(
        request,
        f"{dataset.sha256[:32]}-{class_index}-{examples.VERSION}",
        lambda: examples.strip(
            container.store, dataset, class_index, home=container.settings.home
        ),
    )


@router.get("/{dataset_id:uuid}/images/{index}.png", operation_id="datasets_image", **PICTURE)
def show_image(
    dataset_id: UUID,
    index: int,
    request: Request,
    container: ContainerDep,
    split: Annotated[Split, Query(description="Which split the place is in.")] = "train",
) -> Response:
    """One image, by its place in its split from 0: rankings name those of train, a model's
    `confused` those of test; 404 `unknown_image`. A dataset registered by statistics alone has
    none."""
    with container.sessions.read() as session:
        dataset = datasets.get(session, DatasetId(dataset_id))
    return _drawn(
        request,
        f"{dataset.sha256[:32]}-{split}-{index}-{examples.VERSION}",
        lambda: examples.image(container.store, dataset, ImagePlace(split, index)),
    )


def _drawn(request: Request, tag: str, draw: Callable[[], bytes]) -> Response:
    """A picture that never changes, drawn only for those who do not have it yet."""
    return conditional.answered(
        request, f'"{tag}"', lambda: Response(draw(), media_type="image/png")
    )


@router.post(
    "/{dataset_id:uuid}:embed",
    operation_id="datasets_embed",
    status_code=202,
    responses=submissions.answers(*submissions.ON_A_DATASET),
)
def embed(
    dataset_id: UUID,
    request: SubmissionDep,
    container: ContainerDep,
    body: EmbedderBody = DEFAULT_EMBEDDER,
) -> JobView:
    """Embed this dataset, unless that has been done; poll the job at `Location`."""
    spec = EmbedSpec(DatasetId(dataset_id), body.embedder or container.settings.embedder)
    session = request.work.session
    job = request.queue(
        (JobKind.EMBED, spec), lambda: searches.submit_embed(session, spec), retry_after=1
    )
    return JobView.of(job)


@router.post(
    "/{dataset_id:uuid}:rank",
    operation_id="datasets_rank",
    status_code=202,
    responses=submissions.answers(*submissions.ON_A_DATASET),
)
def rank(
    dataset_id: UUID,
    request: SubmissionDep,
    container: ContainerDep,
    body: RankBody = DEFAULT_RANK,
) -> JobView:
    """Rank every other dataset that this embedder has seen, or only those with a supernet; the
    nearest `k` are kept, with their evidence. Poll the job at `Location`."""
    spec = body.to_spec(dataset_id, container.settings.embedder)
    session = request.work.session
    job = request.queue(
        (JobKind.RANK, spec), lambda: searches.submit_rank(session, spec), retry_after=1
    )
    return JobView.of(job)

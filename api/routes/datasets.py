"""Datasets: upload, look, compare."""

from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.concurrency import contextmanager_in_threadpool

from api import examples, pieces, registration, submissions
from api.deps import ContainerDep, PageDep, SessionDep
from api.schemas import DEFAULT_EMBEDDER, DEFAULT_RANK, EmbedderBody, Name, RankBody
from api.submissions import SubmissionDep
from api.uploads import MEDIA_TYPES, archive_of, received
from api.views.datasets import DatasetView, FullDatasetView, ReportView, UploadView
from api.views.jobs import JobView
from api.views.shapes import PageView
from core.domain.datasets import AS_USUAL, DatasetId, IntakeOptions
from core.domain.jobs import JobKind
from core.domain.searches import EmbedSpec
from core.errors import Conflict, NotFound
from core.services import datasets, searches

router = APIRouter(prefix="/v1/datasets", tags=["datasets"])

MOST_ARCHIVES = 16  # as many as intake opens at once
ARCHIVE_BODY = {
    "requestBody": {
        "required": True,
        "description": "A zip, tar, tar.gz or tar.zst of images, or one Parquet file.",
        "content": {
            media: {"schema": {"type": "string", "format": "binary"}}
            for media in sorted(MEDIA_TYPES)
        },
    }
}
PICTURE: dict[int | str, dict[str, Any]] = {200: {"content": {"image/png": {}}}}


def upload_name(name: Annotated[Name, Query(description="What to call the dataset.")]) -> str:
    """Read before the body, so that a bad name costs no transfer."""
    return name


def intake_options(
    seed: Annotated[int, Query(description="Of the draw of a test split.")] = AS_USUAL.seed,
    test_share: Annotated[
        float, Query(description="Of each class's images, where no test split is given.")
    ] = AS_USUAL.test_share,
    group: Annotated[
        str | None,
        Query(
            description="Images of one group never straddle a drawn split: a column of the table "
            "names it, or `prefix:_` groups by what stands before the first `_` of a file's name."
        ),
    ] = None,
    unreadable_share: Annotated[
        float | None,
        Query(description="Of the images may be left out as unreadable; by default one in 100."),
    ] = None,
    label: Annotated[
        str | None,
        Query(description="The table's column that names the class; by default `label`."),
    ] = None,
) -> IntakeOptions:
    """Read before the body, too."""
    return IntakeOptions(seed, test_share, group, unreadable_share, label)


UploadIds = Annotated[
    tuple[UUID, ...],
    Query(
        alias="upload",
        max_length=MOST_ARCHIVES,
        description="The archive is this upload (`/v1/uploads`), and the body empty. Several are "
        "one dataset; their files' names may say the splits (`train.zip`, `test.zip`).",
    ),
]


async def archives(
    request: Request, container: ContainerDep, upload_ids: UploadIds = ()
) -> AsyncIterator[tuple[Path, ...]]:
    """The body, or uploads that have come in pieces, as files."""
    if upload_ids:
        async with contextmanager_in_threadpool(pieces.assembled(container, upload_ids)) as paths:
            yield paths
        return
    async with received(request, container.settings, archive_of(container.settings)) as found:
        yield (found.path,)


ArchivesDep = Annotated[tuple[Path, ...], Depends(archives, scope="function")]
NameDep = Annotated[str, Depends(upload_name)]
OptionsDep = Annotated[IntakeOptions, Depends(intake_options)]


@router.post(
    "",
    status_code=201,
    openapi_extra=ARCHIVE_BODY,
    responses={200: {"model": UploadView, "description": "The content is known already."}},
)
def upload(
    name: NameDep,
    options: OptionsDep,
    paths: ArchivesDep,
    container: ContainerDep,
    response: Response,
    upload_ids: UploadIds = (),
) -> UploadView:
    """Register the archive in the body, or uploads; the same content is the same dataset.

    Uploads are deleted when they have become a dataset, and stay when they are refused.
    """
    registered = registration.register(
        container, paths, name=name, options=options, counted=bool(upload_ids)
    )
    for upload_id in upload_ids:
        with suppress(NotFound, Conflict):  # somebody was quicker, or has other plans
            pieces.forget(container, upload_id)
    response.status_code = 201 if registered.created else 200
    response.headers["Location"] = f"/v1/datasets/{registered.dataset.id}"
    return UploadView.of(registered.dataset, registered.embed_job)


@router.get("")
def index(session: SessionDep, page: PageDep) -> PageView[DatasetView]:
    """All datasets, newest first."""
    found, token = datasets.listing(session, limit=page.limit, after=page.after)
    shown = [DatasetView.model_validate(each) for each in found]
    return PageView(items=shown, next_page_token=token)


@router.get("/{dataset_id}")
def show(dataset_id: UUID, session: SessionDep) -> FullDatasetView:
    """One dataset with its intake report."""
    return FullDatasetView.model_validate(datasets.get(session, DatasetId(dataset_id)))


@router.get("/{dataset_id}/report")
def report(dataset_id: UUID, session: SessionDep) -> ReportView:
    """What intake saw in the archive."""
    return ReportView.model_validate(datasets.get(session, DatasetId(dataset_id)).report)


@router.get("/{dataset_id}/examples/{class_index}.png", response_class=Response, responses=PICTURE)
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


@router.get("/{dataset_id}/images/{index}.png", response_class=Response, responses=PICTURE)
def show_image(
    dataset_id: UUID, index: int, request: Request, container: ContainerDep
) -> Response:
    """One train image, by its place in the train split from 0, as rankings name it; 404
    `unknown_image`. A dataset registered by statistics alone has none."""
    with container.sessions.read() as session:
        dataset = datasets.get(session, DatasetId(dataset_id))
    return _drawn(
        request,
        f"{dataset.sha256[:32]}-image-{index}-{examples.VERSION}",
        lambda: examples.image(container.store, dataset, index),
    )


def _drawn(request: Request, tag: str, draw: Callable[[], bytes]) -> Response:
    """A picture that never changes, drawn only for those who do not have it yet."""
    headers = {"ETag": f'"{tag}"', "Cache-Control": "private, max-age=31536000, immutable"}
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    return Response(draw(), media_type="image/png", headers=headers)


@router.post("/{dataset_id}:embed", status_code=202, responses=submissions.RESPONSES)
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


@router.post("/{dataset_id}:rank", status_code=202, responses=submissions.RESPONSES)
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

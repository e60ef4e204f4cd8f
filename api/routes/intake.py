"""Uploads become datasets: while the caller waits, or as a job."""

from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.responses import JSONResponse

from api import contract, deps, pieces, registration, security, submissions, uploads
from api.codes import ARCHIVE_CODES
from api.deps import ContainerDep
from api.registration import Origin
from api.schemas import IngestBody, Name
from api.submissions import SubmissionDep
from api.uploads import MEDIA_TYPES, Received, archive_of, received
from api.views.datasets import UploadView
from api.views.jobs import JobView
from core.domain.datasets import AS_USUAL, DatasetId, IntakeOptions
from core.domain.jobs import JobKind
from core.domain.searches import IngestSpec
from core.domain.uploads import UploadId
from core.errors import AppError, Conflict, Detail, InvalidInput, NotFound
from core.services import datasets, searches
from core.services.specs import MOST_ARCHIVES

router = APIRouter(prefix="/v1/datasets", tags=["datasets"])

ARCHIVE_BODY = {
    **contract.takes(uploads.CONTENT_DIGEST),
    "requestBody": {
        "required": False,
        "description": "A zip, tar, tar.gz or tar.zst of images, or one Parquet file; nothing "
        "where `upload` names what has come already.",
        "content": {
            media: {"schema": {"type": "string", "format": "binary"}}
            for media in sorted(MEDIA_TYPES)
        },
    },
}


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


def origin(
    container: ContainerDep,
    licence: Annotated[str | None, Query(description="Of the images, such as CC-BY-4.0.")] = None,
    source: Annotated[str | None, Query(description="Where they are from.")] = None,
    parent_id: Annotated[
        UUID | None, Query(description="The dataset that this is the next version of.")
    ] = None,
) -> Origin:
    """Read before the body, too."""
    datasets.check_origin(licence=licence, source=source)
    if parent_id is not None:
        with container.sessions.read() as session:
            datasets.get(session, DatasetId(parent_id), report=False)
    return Origin(licence, source, None if parent_id is None else DatasetId(parent_id))


ANSWERS: contract.Answers = {
    200: {
        "model": UploadView,
        "description": "The content is known already.",
        **contract.headers("Location"),
    },
    201: {"model": UploadView, **contract.headers("Location")},
    202: {
        "model": JobView,
        "description": "With `Prefer: respond-async`: the job that reads it.",
        **contract.headers("Location", "Retry-After", "Preference-Applied"),
    },
    **contract.refusals(
        "busy",
        "corrupt_object",
        "dataset_deleted",
        "deleted_meanwhile",
        "not_found",
        "queue_full",
        "quota_exceeded",
        "too_many_jobs",
        "too_many_uploads",
        "unknown_embedder",
        "upload_busy",
        "upload_expired",
        "upload_incomplete",
        "size_mismatch",
        *uploads.REFUSALS,
        *ARCHIVE_CODES,
    ),
}
UploadIds = Annotated[
    tuple[UUID, ...],
    Query(
        alias="upload",
        max_length=MOST_ARCHIVES,
        description="The archive is this upload (`/v1/uploads`), and the body empty. Several are "
        "one dataset; their files' names may say the splits (`train.zip`, `test.zip`).",
    ),
]


def later(
    prefer: Annotated[
        str, Header(description="`respond-async`: answer at once with the job that reads it.")
    ] = "",
) -> bool:
    """Whether the caller would rather poll a job than wait (RFC 7240)."""
    return "respond-async" in {each.strip().lower() for each in prefer.split(",")}


LaterDep = Annotated[bool, Depends(later)]


async def sent(
    request: Request, container: ContainerDep, upload_ids: UploadIds = ()
) -> AsyncIterator[Received | None]:
    """The archive that came as the body; none where uploads are named."""
    if upload_ids:
        if security.announced(request.headers) or "transfer-encoding" in request.headers:
            words = "Name uploads, or send an archive as the body: of both one would be lost."
            raise InvalidInput(words, details=[Detail("query.upload", "invalid", words)])
        yield None
    else:
        settings, room = container.settings, partial(registration.check_room, container)
        async with received(request, settings, archive_of(settings), room=room) as found:
            yield found


SentDep = Annotated[Received | None, Depends(sent, scope="function")]
NameDep = Annotated[str, Depends(upload_name)]
OptionsDep = Annotated[IntakeOptions, Depends(intake_options)]
OriginDep = Annotated[Origin, Depends(origin)]


@router.put(
    "",
    operation_id="datasets_put",
    status_code=201,
    openapi_extra=ARCHIVE_BODY,
    responses=ANSWERS,
)
@router.post(
    "",
    operation_id="datasets_upload",
    status_code=201,
    openapi_extra=ARCHIVE_BODY,
    responses=ANSWERS,
)
def upload(
    name: NameDep,
    options: OptionsDep,
    origin: OriginDep,
    sent: SentDep,
    later: LaterDep,
    container: ContainerDep,
    response: Response,
    upload_ids: UploadIds = (),
) -> Any:
    """Register the archive in the body, or uploads; the same content is the same dataset, so
    `PUT` is the same, for tools that send files so.

    Uploads are deleted when they have become a dataset, and stay when they are refused.
    """
    if later:
        return _queued(container, name, options, origin, sent, upload_ids)
    registered = registration.register(
        container,
        upload_ids if sent is None else sent.path,
        name=name,
        options=options,
        origin=origin,
    )
    for upload_id in upload_ids:
        with suppress(NotFound, Conflict):  # somebody was quicker, or has other plans
            pieces.forget(container, upload_id)
    response.status_code = 201 if registered.created else 200
    response.headers["Location"] = f"/v1/datasets/{registered.dataset.id}"
    return UploadView.of(registered.dataset, registered.embed_job)


@router.post(
    ":ingest",
    operation_id="datasets_ingest",
    status_code=202,
    responses=submissions.answers(
        "bad_options",
        "dataset_deleted",
        "not_found",
        "unknown_embedder",
        "upload_busy",
        "upload_expired",
        "upload_incomplete",
    ),
)
def ingest(body: IngestBody, request: SubmissionDep, container: ContainerDep) -> JobView:
    """Make a dataset of uploads (`/v1/uploads`), in a job: poll it at `Location`.

    Its `result` names the dataset and the job that embeds it. If it is refused, the job fails,
    its records of stage `refusal` list everything that is wrong (`GET
    /v1/jobs/{id}/records?stage=refusal`), and the uploads stay, for another try.
    """
    spec = body.to_spec(container.settings.embedder)
    session = request.work.session
    job = request.queue(
        (JobKind.INGEST, spec), lambda: searches.submit_ingest(session, spec), retry_after=1
    )
    return JobView.of(job)


def _queued(
    container: ContainerDep,
    name: str,
    options: IntakeOptions,
    origin: Origin,
    sent: Received | None,
    upload_ids: tuple[UUID, ...],
) -> Response:
    """The same as a job. Asked twice it is two jobs, and one dataset."""
    if sent is not None:
        upload_ids = (pieces.adopted(container, sent, name=name).id,)
    ids = tuple(UploadId(each) for each in upload_ids)
    spec = IngestSpec(ids, name, container.settings.embedder, options, **asdict(origin))
    try:
        with deps.working(container) as work:
            job = work.announce(searches.submit_ingest(work.session, spec))
    except AppError:
        if sent is not None:
            pieces.abandon(container, upload_ids[0])
        raise
    headers = {
        "Location": f"/v1/jobs/{job.id}",
        "Retry-After": "1",
        "Preference-Applied": "respond-async",
    }
    return JSONResponse(JobView.of(job).model_dump(mode="json"), 202, headers)

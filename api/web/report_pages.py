"""What intake found in a dataset: to be accepted as it is, or mended in a next version."""

import re
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from api import report_images
from api.deps import ContainerDep, FileTurn, WorkDep
from api.web import charts, forms, pages, report_rows
from core.domain.datasets import DatasetId, ImagePlace
from core.errors import InvalidInput
from core.services import datasets, searches

router = APIRouter(prefix="/datasets/{dataset_id}")

PLACE = re.compile(r"(train|test):(\d{1,9})")


@router.get("/report", dependencies=[FileTurn])
def show(
    dataset_id: UUID, container: ContainerDep, page: Annotated[int, Query(ge=1, le=1_000)] = 1
) -> Response:
    """The report, image by image."""
    with container.sessions.read() as session:
        dataset = datasets.get(session, DatasetId(dataset_id), report=False)
        datasets.check_images(dataset)
        report = datasets.report(session, dataset.id)
    images = report_images.named(container, dataset, report)
    return pages.render(
        "report.html",
        dataset=dataset,
        report=report,
        images=images,
        alike=report_rows.alike(report, images, page=page),
        others=report_rows.others(report),
        worth_a_look=report_rows.worth_a_look(report),
        per_page=report_rows.PAIRS,
        counts=charts.class_counts(dataset),
        shown_classes=charts.SHOWN_CLASSES,
    )


async def chosen(request: Request) -> list[ImagePlace]:
    """The images that the form says to leave out. Raises InvalidInput."""
    sent = await forms.fields(request, most=2 * report_rows.PAIRS + 1)
    said = [value for name, value in sent.multi_items() if name.startswith("pair-")]
    words = " ".join(each for each in said if isinstance(each, str)).split()
    if not words:
        raise InvalidInput("Choose the images to leave out first: nothing was ticked.")
    return [_place(each) for each in words]


ChosenDep = Annotated[list[ImagePlace], Depends(chosen)]


@router.post("/leave-out")
def leave_out(
    dataset_id: UUID, images: ChosenDep, work: WorkDep, container: ContainerDep
) -> Response:
    """Make a version without these images and watch it."""
    settings = container.settings
    job = searches.submit_leave_out(
        work.session,
        dataset_id,
        images,
        embedder=settings.embedder,
        limits=settings.uploads,
    )
    work.announce(job)
    return pages.see(f"/jobs/{job.id}")


def _place(word: str) -> ImagePlace:
    """An image as the form names it: `train:12`."""
    found = PLACE.fullmatch(word)
    if found is None:
        raise InvalidInput(f"'{word[:40]}' names no image.")
    return ImagePlace(found[1], int(found[2]))

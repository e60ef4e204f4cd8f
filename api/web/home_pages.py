"""The front page: upload, and everything there is."""

from uuid import UUID

from fastapi import APIRouter
from starlette.responses import Response

from api import registration
from api.deps import ContainerDep, SessionDep
from api.multipart import FormArchiveDep
from api.registration import Origin
from api.web import forms, model_rows, pages, report_rows
from core.domain.datasets import DatasetId
from core.services import datasets, jobs, models, supernets, tombstones

router = APIRouter()

SHOWN = 12


@router.get("/")
def home(session: SessionDep, container: ContainerDep, version_of: UUID | None = None) -> Response:
    """What is registered, what runs, and the upload form, for a next version if one is named."""
    found, _ = datasets.listing(session, limit=100)
    recent, _ = jobs.listing(session, limit=SHOWN)
    sources, _ = supernets.listing(session, limit=SHOWN)
    made, _ = models.listing(session, limit=SHOWN)
    shown = [*(each.dataset_id for each in recent), *(each.dataset_id for each in sources)]
    return pages.render(
        "home.html",
        parent=None if version_of is None else datasets.get(session, version_of, report=False),
        datasets=found,
        names=datasets.called(session, [each for each in shown if each]),
        jobs=recent,
        supernets=sources,
        gone=tombstones.names(session, [each.dataset_id for each in sources if each.dataset_id]),
        models=model_rows.rows(session, made),
        limit=container.settings.uploads.archive_bytes,
    )


@router.post("/datasets")
def upload(form: FormArchiveDep, container: ContainerDep) -> Response:
    """The upload form, for browsers without scripts."""
    asked = forms.intake(form.fields)
    origin = Origin(
        asked.licence,
        asked.source,
        None if asked.parent_id is None else DatasetId(asked.parent_id),
    )
    dataset = registration.register(
        container, form.archive.path, name=form.name, options=asked.options(), origin=origin
    ).dataset
    return pages.see(report_rows.landing(dataset.id, dataset.report))

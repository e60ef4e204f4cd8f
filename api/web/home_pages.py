"""The front page: upload, and everything there is."""

from fastapi import APIRouter
from starlette.responses import Response

from api import registration
from api.deps import ContainerDep, SessionDep
from api.multipart import FormArchiveDep
from api.web import model_rows, pages
from core.services import datasets, jobs, models, supernets, tombstones

router = APIRouter()

SHOWN = 12


@router.get("/")
def home(session: SessionDep, container: ContainerDep) -> Response:
    """What is registered, what runs, and the upload form."""
    found, _ = datasets.listing(session, limit=100)
    recent, _ = jobs.listing(session, limit=SHOWN)
    sources, _ = supernets.listing(session, limit=SHOWN)
    made, _ = models.listing(session, limit=SHOWN)
    return pages.render(
        "home.html",
        datasets=found,
        names={each.id: each.name for each in found},
        jobs=recent,
        supernets=sources,
        gone=tombstones.names(session, [each.dataset_id for each in sources if each.dataset_id]),
        models=model_rows.rows(session, made),
        limit=container.settings.uploads.archive_bytes,
    )


@router.post("/datasets")
def upload(form: FormArchiveDep, container: ContainerDep) -> Response:
    """The upload form, for browsers without scripts."""
    registered = registration.register(container, form.archive.path, name=form.name)
    return pages.see(f"/datasets/{registered.dataset.id}")

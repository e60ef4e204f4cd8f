"""The registry: supernets to start from, where they come from, and what that has brought."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request
from markupsafe import Markup
from sqlalchemy.orm import Session
from starlette.responses import Response

from api.deps import ContainerDep, FileTurn, SessionDep
from api.multipart import FormBundleDep
from api.web import architecture, lineage_charts, metrics, pages, registry_rows
from core.bootstrap import Container
from core.data import bundle
from core.domain.supernets import Supernet, SupernetId
from core.errors import NotFound
from core.execution import scratch
from core.nas.space import Space
from core.pipelines import objects
from core.services import datasets, gains, jobs, lineages, supernets, tombstones
from core.zoo import entry, shipped

router = APIRouter(prefix="/registry")

PAGE = 25
SHOWN_SEARCHES = 20


@router.get("")
def index(session: SessionDep, page_token: str | None = None) -> Response:
    """All supernets, newest first; on the first page what came of them and what comes with the
    package, too."""
    found, token = supernets.listing(session, limit=PAGE, after=page_token)
    begun = gains.newest(session)
    first = page_token is None
    lineage = lineages.around(session, begun) if first else None
    return pages.render(
        "registry.html",
        supernets=found,
        token=token,
        first=first,
        records=gains.records(begun),
        begun=begun,
        leads=sum(each.lead is not None for each in begun),
        chart=_gains(session, begun) if first else None,
        graph=None if lineage is None else lineage_charts.graph(lineage),
        left_out=0 if lineage is None else lineage.left_out,
        shelf=registry_rows.shelf(session) if first else [],
        **_linked(session, found),
    )


@router.get("/{supernet_id:uuid}")
def show(supernet_id: UUID, session: SessionDep) -> Response:
    """One supernet: what it is, where it came from, and what began from it."""
    supernet = supernets.get(session, SupernetId(supernet_id))
    begun = gains.newest(session)
    mine = [each for each in begun if each.supernet_id == supernet.id]
    lineage = lineages.around(session, begun, focus=supernet.id)
    records = () if supernet.job_id is None else jobs.records(session, supernet.job_id)
    moment = architecture.moment(records)
    training = metrics.mapping(supernet.lineage.get("training"))
    return pages.render(
        "supernet.html",
        supernet=supernet,
        record=gains.records(mine).get(supernet.id, registry_rows.NOTHING),
        begun=mine[:SHOWN_SEARCHES],
        targets=datasets.called(session, [each.dataset_id for each in mine]),
        chart=_gains(session, mine),
        graph=lineage_charts.graph(lineage),
        left_out=lineage.left_out,
        # Of several runs the records do not say which one was kept: its file does.
        moment=moment if moment is not None and len(moment.stages) == 1 else None,
        settings=metrics.mapping(training.get("settings")),
        # What a file says of it may be anything, and names no supernet of this registry.
        continued=metrics.mapping(training.get("continued")) if supernet.job_id else {},
        **_linked(session, [supernet]),
    )


@router.get("/{supernet_id:uuid}/alphas", dependencies=[FileTurn])
def alphas(supernet_id: UUID, request: Request, container: ContainerDep) -> Response:
    """What a supernet's edges weigh, from its file: alone for a page that has the rest.

    The session ends before the store is asked.
    """
    with container.sessions.read() as session:
        supernet = supernets.get(session, SupernetId(supernet_id))
    space = Space.from_dict(supernet.space)
    with scratch.folder(container.settings.home, "alphas-") as folder:
        path = folder / "weights"
        objects.fetch(container.store, supernet.key, path, sha256=supernet.sha256)
        found = bundle.alphas(path, space.kinds)
    pictures = architecture.softmaxed(found, space.cells)
    layout = "bare.html" if "hx-request" in request.headers else "base.html"
    return pages.render("alphas.html", supernet=supernet, pictures=pictures, layout=layout)


@router.post("/import")
def enter(file: FormBundleDep, container: ContainerDep) -> Response:
    """Register the supernet in a file; the same file is the same supernet."""
    return _entered(file.path, container)


@router.post("/zoo/{name}")
def install(name: str, container: ContainerDep) -> Response:
    """Register a supernet of the package."""
    chosen = next((each for each in shipped.bundles() if each.name == name), None)
    if chosen is None:
        raise NotFound("The package has no supernet of this name.")
    with chosen.file() as path:
        return _entered(path, container)


def _entered(path: Path, container: Container) -> Response:
    supernet, _ = entry.enter(
        path,
        sessions=container.sessions,
        store=container.store,
        limits=container.settings.uploads,
    )
    return pages.see(f"/registry/{supernet.id}")


def _gains(session: Session, begun: Sequence[gains.Begun]) -> Markup | None:
    names = datasets.called(session, [each.dataset_id for each in begun])
    return lineage_charts.gains(begun, names)


def _linked(session: Session, found: Sequence[Supernet]) -> dict[str, Any]:
    ids = [each.dataset_id for each in found if each.dataset_id is not None]
    return {"names": datasets.called(session, ids), "gone": tombstones.names(session, ids)}

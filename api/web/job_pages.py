"""A job's page: how far, how long still, at what cost; refreshed while it runs."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from typing import Annotated, Any, Final
from urllib.parse import urlencode
from uuid import UUID

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Query
from pydantic import BaseModel, BeforeValidator, Field
from sqlalchemy.orm import Session
from starlette.responses import Response

from api import browsers
from api.deps import ContainerDep, PollsDep, SessionDep, WorkDep
from api.polling import Polls
from api.web import (
    architecture,
    forms,
    metrics,
    pages,
    problem_rows,
    race_rows,
    report_rows,
    search_rows,
    words,
)
from core.bootstrap import Container
from core.domain.datasets import Dataset, DatasetId
from core.domain.jobs import Job, JobId, JobKind, JobState
from core.domain.searches import IngestSpec, SearchSpec
from core.errors import Conflict, NotFound
from core.services import (
    controls,
    datasets,
    fanout,
    job_logs,
    jobs,
    news,
    repeating,
    searches,
    wire,
)

router = APIRouter(prefix="/jobs")

PAGE = 50
MOST = 500  # jobs that a group's page lists
DRAWING: Final = CapacityLimiter(4)  # each has a connection
PAGES = 16  # that are kept of a job

Seen = Annotated[str | None, Query(max_length=100)]


def _or_none(text: str) -> str | None:
    return text or None


class At(BaseModel):
    """Which epoch of which run; `of` is the last that the asker knows of, who has `seen` the job
    at some version."""

    stage: str | None = Field(None, max_length=40)
    epoch: int | None = Field(None, ge=0, le=1_000_000)
    of: int | None = Field(None, ge=0, le=1_000_000)
    seen: str | None = Field(None, max_length=100)

    @property
    def place(self) -> dict[str, Any]:
        """What `architecture.moment` takes."""
        return self.model_dump(exclude={"seen"})


class Asked(BaseModel):
    """Which jobs to list; a form sends what was left open as empty words."""

    kind: Annotated[JobKind | None, BeforeValidator(_or_none)] = None
    state: Annotated[JobState | None, BeforeValidator(_or_none)] = None

    @property
    def states(self) -> tuple[JobState, ...]:
        """What `jobs.listing` takes."""
        return () if self.state is None else (self.state,)

    def address(self, token: str) -> str:
        """Of the next page of the same."""
        return "/jobs?" + urlencode(self.model_dump(exclude_none=True) | {"page_token": token})


@router.get("")
def index(
    session: SessionDep, asked: Annotated[Asked, Query()], page_token: str | None = None
) -> Response:
    """The jobs of a kind and in a state, or all, newest first."""
    terms: dict[str, Any] = {"kind": asked.kind, "states": asked.states}
    found, token = jobs.listing(session, limit=PAGE, after=page_token, **terms)
    standing = fanout.children(session, found)
    return pages.render(
        "jobs.html",
        jobs=[fanout.shown(each, standing) for each in found],
        names=_names(session, found),
        asked=asked,
        kinds=words.KINDS,
        states=JobState,
        older=None if token is None else asked.address(token),
    )


@router.get("/{job_id}")
def show(job_id: UUID, session: SessionDep, at: Annotated[At, Query()]) -> Response:
    """One job, live."""
    seen = _seen(session, job_id)
    moment = architecture.moment(seen["records"], **at.place)
    return pages.render("job.html", moment=moment, **seen)


@router.get("/{job_id}/architecture")
async def at_an_epoch(
    job_id: UUID, container: ContainerDep, polls: PollsDep, at: Annotated[At, Query()]
) -> Response:
    """What the search's cells were after an epoch, alone."""

    def draw(session: Session) -> Response:
        job = jobs.get(session, JobId(job_id))
        moment = architecture.moment(jobs.records(session, job.id), **at.place)
        if moment is None and (job.finished or job.kind is not JobKind.SEARCH):
            raise NotFound("Nothing is known of the architectures of this job.")
        rates = metrics.sequence(job.spec.get("learning_rates"))
        version = _version(session, job)
        return pages.render(
            "architecture.html", job=job, moment=moment, rates=rates, version=version
        )

    place = "architecture", *at.place.values()
    return await _news(container, polls, job_id, at.seen, place, draw)


@router.get("/{job_id}/live")
async def live(
    job_id: UUID, container: ContainerDep, polls: PollsDep, seen: Seen = None
) -> Response:
    """The moving part of the job's page alone."""

    def draw(session: Session) -> Response:
        shown = _seen(session, job_id)
        page = pages.render("job_live.html", titled=True, **shown)
        made = shown["dataset"] if shown["job"].kind is JobKind.INGEST else None
        if made is not None and made.deleted_at is None:
            page.headers["HX-Redirect"] = shown["landing"]
        elif shown["job"].finished:
            page.headers["HX-Refresh"] = "true"  # once more, whole: history and result link too
        return page

    return await _news(container, polls, job_id, seen, ("live",), draw)


async def _news(
    container: Container,
    polls: Polls,
    job_id: UUID,
    seen: str | None,
    place: tuple[Hashable, ...],
    draw: Callable[[Session], Response],
) -> Response:
    """What is drawn, once for all who look at this `place` of the job as it is now; nothing where
    it is as it was `seen`. Many pages are open, and most of what they ask for has not changed."""
    now = await polls.lately(container.sessions.project, JobId(job_id))
    if now.version == seen:
        return Response(status_code=204)
    key = *place, browsers.csrf_token.get()  # forms have the reader's own
    if key not in now.pages:

        def drawn() -> Response:
            with container.sessions.read() as session:
                return draw(session)

        page = await to_thread.run_sync(drawn, limiter=DRAWING)
        if now.job.finished:  # it may tell what became of its dataset, and nobody asks again
            return page
        if len(now.pages) >= PAGES:
            now.pages.clear()
        now.pages[key] = page
    # A copy: whoever sends one adds to its headers.
    return Response(now.pages[key].body, headers=now.pages[key].headers)


@router.post("/{job_id}/cancel")
def cancel(job_id: UUID, work: WorkDep) -> Response:
    """Ask the job to stop, and keep watching."""
    job = jobs.cancel(work.session, JobId(job_id))
    return pages.see(f"/jobs/{job.id}")


@router.post("/{job_id}/repeat")
def repeat(job_id: UUID, work: WorkDep, container: ContainerDep) -> Response:
    """Ask for the same once more, and watch that."""
    job = jobs.get(work.session, JobId(job_id))
    if not job.finished:
        raise Conflict("This job has not ended yet: watch it, or cancel it first.")
    made = repeating.again(work.session, job, device=container.settings.device)
    return pages.see(f"/jobs/{work.announce(made).id}")


@router.post("/{job_id}/control")
def control(job_id: UUID, work: WorkDep, container: ContainerDep) -> Response:
    """Ask for the same search from nothing, and watch both: on this page, or once this search
    has ended and its page asks for no news, on the control's."""
    search, job = searches.by_job(work.session, job_id), jobs.get(work.session, JobId(job_id))
    asked: SearchSpec = wire.load(SearchSpec, search.spec)
    spec = controls.of(replace(asked, deadline=None), search.start)
    terms: dict[str, Any] = {"priority": job.priority, "device": container.settings.device}
    made = work.announce(searches.submit_search(work.session, spec, **terms)[1])
    return pages.see(f"/jobs/{made.id if job.finished else job.id}")


@router.post("/{job_id}/again")
def again(job_id: UUID, sent: forms.FormDep, work: WorkDep, container: ContainerDep) -> Response:
    """Read the same uploads once more, with other options."""
    job = jobs.get(work.session, JobId(job_id))
    if job.kind is not JobKind.INGEST:
        raise Conflict("Only an intake can be tried again with other options.")
    spec = forms.ingest(sent, wire.load(IngestSpec, job.spec))
    made = work.announce(
        searches.submit_ingest(work.session, spec.to_spec(container.settings.embedder))
    )
    return pages.see(f"/jobs/{made.id}")


def _names(session: Session, shown: Sequence[Job]) -> dict[DatasetId, str]:
    return datasets.called(session, [each.dataset_id for each in shown if each.dataset_id])


def _seen(session: Session, job_id: UUID) -> dict[str, Any]:
    job = jobs.get(session, JobId(job_id))
    version = _version(session, job)
    job = fanout.shown(job, fanout.children(session, [job]))
    records = jobs.records(session, job.id)
    epochs = [each for each in records if each.stage != race_rows.STAGE]
    rates = metrics.sequence(job.spec.get("learning_rates"))
    dataset = None
    if (of := job.dataset_id or (job.result or {}).get("dataset_id")) is not None:
        dataset = datasets.remembered(session, DatasetId(UUID(str(of))))
    search = searches.by_job(session, job.id) if job.kind is JobKind.SEARCH else None
    again, grouped = repeating.possible(session, job), job.kind is JobKind.GROUP
    children = jobs.listing(session, limit=MOST, parent_id=job.id)[0] if grouped else ()
    return {
        "job": job,
        "version": version,
        "children": children,
        "names": _names(session, children),
        "dataset": dataset,
        "landing": _landing(session, job, dataset),
        "rates": rates,
        "records": records,
        "latest": epochs[-1] if epochs else None,
        "events": jobs.events(session, job.id),
        "lines": job_logs.page(session, job.id, limit=job_logs.LINES, order="newest")[0],
        "model_id": None if search is None else search.model_id,
        "again": again,
        **search_rows.shown(session, job, search, records),
        "refused": tuple(problem_rows.refused(records)) if job.finished else (),
        "asked": _otherwise(job) if again else None,
    }


def _landing(session: Session, job: Job, dataset: Dataset | None) -> str:
    """Where to go when the job has succeeded: after an intake to what needs a look, if any."""
    if dataset is None or dataset.deleted_at is not None:
        return ""
    if job.kind is JobKind.INGEST:
        return report_rows.landing(dataset.id, datasets.report(session, dataset.id))
    return f"/datasets/{dataset.id}"


def _version(session: Session, job: Job) -> str:
    return news.version(job, fanout.children(session, [job]))


def _otherwise(job: Job) -> IngestSpec | None:
    """What was asked of an intake that failed, to be asked otherwise."""
    if job.kind is not JobKind.INGEST or job.state is not JobState.FAILED:
        return None
    asked: IngestSpec = wire.load(IngestSpec, job.spec)
    return asked

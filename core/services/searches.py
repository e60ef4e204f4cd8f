"""What users ask for: each request is checked, then becomes a row and a queued job.

A higher `priority` is claimed sooner (`jobs.submit`).
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any
from uuid import UUID

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from core.config import UploadLimits
from core.data import places
from core.db import types
from core.db.job_tables import JobRow
from core.db.result_tables import ModelRow, SearchRow
from core.db.scope import project_of
from core.domain.datasets import Dataset, ImagePlace, IntakeOptions, Ranking
from core.domain.estimates import Estimate
from core.domain.groups import PretrainEach
from core.domain.jobs import Job, JobKind, JobState
from core.domain.searches import (
    EmbedSpec,
    IngestSpec,
    PretrainSpec,
    RankSpec,
    Search,
    SearchId,
    SearchSpec,
)
from core.errors import Detail, Forbidden, InvalidInput, NotFound
from core.services import (
    datasets,
    embedders,
    estimates,
    jobs,
    paging,
    replay,
    sources,
    specs,
    supernets,
    tombstones,
    uploads,
    wire,
)
from core.services.paging import Order


def submit_ingest(session: Session, spec: IngestSpec, *, priority: int = 0) -> Job:
    """Queue the intake of uploads, which are kept for it. Raises NotFound, Gone, InvalidInput,
    and Conflict (`upload_incomplete`)."""
    specs.check(spec)
    embedders.check(session, spec.embedder)
    datasets.check_origin(licence=spec.licence, source=spec.source)
    if spec.parent_id is not None:
        datasets.get(session, spec.parent_id, report=False)
    for upload_id in sorted(spec.uploads):  # all hold them in one order
        uploads.use(session, upload_id)
    terms: dict[str, Any] = {"dataset_id": None, "priority": priority}
    return jobs.submit(session, kind=JobKind.INGEST, spec=wire.dump(spec), **terms)


def submit_leave_out(
    session: Session,
    dataset_id: UUID,
    images: Collection[ImagePlace],
    *,
    embedder: str,
    limits: UploadLimits,
    name: str | None = None,
) -> Job:
    """Queue a version of the dataset without these images. Raises as `submit_ingest` does, and
    NotFound (`unknown_image`), Conflict (`statistics_only`), TooLarge (`quota_exceeded`)."""
    dataset = datasets.with_images(session, dataset_id)
    uploads.check_room(session, dataset.size_bytes, limits)  # about as much once more
    rows = {places.row(dataset, each) for each in images}
    spec = IngestSpec(
        uploads=(),
        name=name or dataset.name,
        embedder=embedder,
        options=IntakeOptions(leave_out=tuple(sorted(rows))),
        licence=dataset.licence,
        source=dataset.source,
        parent_id=dataset.id,
    )
    return submit_ingest(session, spec)


def embed_unless_done(session: Session, spec: EmbedSpec) -> tuple[Job | None, bool]:
    """The job that will embed the dataset, and whether it is a new one; None if that is done."""
    if datasets.embedding(session, spec.dataset_id, spec.embedder) is not None:
        return None, False
    latest, _ = jobs.listing(session, limit=1, kind=JobKind.EMBED, dataset_id=spec.dataset_id)
    if latest and not latest[0].finished and latest[0].spec["embedder"] == spec.embedder:
        return latest[0], False
    return submit_embed(session, spec), True


def submit_embed(session: Session, spec: EmbedSpec, *, priority: int = 0) -> Job:
    """Queue an embedding. Raises NotFound, InvalidInput."""
    return _submit(session, JobKind.EMBED, spec, priority)


def submit_rank(session: Session, spec: RankSpec, *, priority: int = 0) -> Job:
    """Queue a ranking of the dataset's sources. Raises NotFound, InvalidInput."""
    return _submit(session, JobKind.RANK, spec, priority)


def submit_pretrain(
    session: Session, spec: PretrainSpec, *, priority: int = 0, parent_id: UUID | None = None
) -> Job:
    """Queue the training of a supernet. Raises NotFound, InvalidInput."""
    specs.check(spec)
    if spec.continue_from is not None:
        spec = replay.joined(session, spec, spec.continue_from)
    for each in spec.others:
        datasets.check_images(datasets.get(session, each))
    return _submit(session, JobKind.PRETRAIN, spec, priority, parent_id)


def submit_pretrain_each(session: Session, spec: PretrainEach, *, priority: int = 0) -> Job:
    """Queue the training of a supernet on each of the datasets; the group of these jobs.

    Raises NotFound, InvalidInput; nothing is queued then.
    """
    terms: dict[str, Any] = {"dataset_id": None, "priority": priority}
    group = jobs.submit(session, kind=JobKind.GROUP, spec=wire.dump(spec), **terms)
    for dataset_id in spec.dataset_ids:
        each = spec.of(datasets.get(session, dataset_id))
        submit_pretrain(session, each, priority=priority, parent_id=group.id)
    return group


def submit_search(
    session: Session, spec: SearchSpec, *, priority: int = 0, device: str = "auto"
) -> tuple[Search, Job]:
    """Queue a search. Raises NotFound, InvalidInput: of a budget too, in which no model can be
    made on such a device."""
    _check_search(session, spec)
    estimates.check_budget(session, spec, device=device)
    job = _submit(session, JobKind.SEARCH, spec, priority)
    row = SearchRow(dataset_id=spec.dataset_id, job_id=job.id, spec=job.spec)
    session.add(row)
    session.flush()
    session.refresh(row)
    return row.to_domain(None), job


def estimate(session: Session, spec: SearchSpec, *, device: str) -> Estimate:
    """What such a search would take. Refuses what `submit_search` does, and raises as that."""
    _check_search(session, spec)
    return estimates.of_search(session, spec, device=device)


def get(session: Session, search_id: UUID) -> Search:
    """The search. Raises NotFound."""
    return _one(session, _searches().where(SearchRow.id == search_id), f"search {search_id}")


def several(session: Session, ids: Collection[UUID]) -> dict[SearchId, Search]:
    """These searches, by their ids."""
    found = session.execute(_searches().where(SearchRow.id.in_(ids)))
    shown = _shown(session, [search.to_domain(model_id) for search, model_id in found])
    return {each.id: each for each in shown}


def by_job(session: Session, job_id: UUID) -> Search:
    """The search that this job works on. Raises NotFound."""
    statement = _searches().where(SearchRow.job_id == job_id)
    return _one(session, statement, f"search of job {job_id}")


def listing(
    session: Session,
    *,
    limit: int,
    after: str | None = None,
    order: Order = "newest",
    dataset_id: UUID | None = None,
    states: Collection[JobState] = (),
    labels: Mapping[str, str] = MappingProxyType({}),
) -> tuple[tuple[Search, ...], str | None]:
    """A page of searches, whose jobs are in any of these states, with all of these labels, and the
    token of the next.

    Raises InvalidInput.
    """
    statement = _searches()
    if dataset_id is not None:
        statement = statement.where(SearchRow.dataset_id == dataset_id)
    if states:
        works = statement.join(JobRow, JobRow.id == SearchRow.job_id)
        statement = works.where(JobRow.state.in_(states))
    for name, value in labels.items():
        statement = statement.where(types.word(SearchRow.spec, "labels", name) == value)
    by = paging.sorted_by(SearchRow, order)
    rows, token = paging.page(session, statement, by=by, limit=limit, after=after, order=order)
    return _shown(session, [search.to_domain(model_id) for search, model_id in rows]), token


def _submit(
    session: Session,
    kind: JobKind,
    spec: EmbedSpec | RankSpec | PretrainSpec | SearchSpec,
    priority: int,
    parent_id: UUID | None = None,
) -> Job:
    dataset = _check(session, kind, spec)
    terms: dict[str, Any] = {"dataset_id": dataset.id, "parent_id": parent_id}
    return jobs.submit(session, kind=kind, spec=wire.dump(spec), priority=priority, **terms)


def _check_search(session: Session, spec: SearchSpec) -> None:
    _check(session, JobKind.SEARCH, spec)
    if spec.supernet_id is not None:
        _check_startable(session, spec.supernet_id, spec.embedder)


def _check(
    session: Session, kind: JobKind, spec: EmbedSpec | RankSpec | PretrainSpec | SearchSpec
) -> Dataset:
    specs.check(spec)
    embedders.check(session, spec.embedder)
    dataset = datasets.get(session, spec.dataset_id)
    seen = datasets.embedding(session, dataset.id, spec.embedder) is not None
    if not seen and dataset.project_id != project_of(session):
        message = "Its own project alone embeds a public dataset: name an embedder that it knows."
        raise Forbidden(message)
    if kind is not JobKind.RANK or not seen:  # the statistics that came with it can be ranked
        datasets.check_images(dataset)
    return dataset


def _check_startable(session: Session, supernet_id: UUID, embedder: str) -> None:
    supernet = supernets.get(session, supernet_id)
    if supernet.dataset_id is None or tombstones.names(session, [supernet.dataset_id]):
        return
    if sources.of_supernet(session, supernet_id, embedder=embedder) is None:
        message = (
            f"The dataset of supernet '{supernet.name}' has no embedding by '{embedder}': "
            "embed that dataset first, or choose the embedder it was registered with."
        )
        raise InvalidInput(message, details=[Detail("embedder", "not_embedded", message)])


def _searches() -> Select[SearchRow, UUID]:
    # The model points at its search, not the search at its model: no row is ever changed for it.
    return select(SearchRow, ModelRow.id).outerjoin(ModelRow, ModelRow.search_id == SearchRow.id)


def _one(session: Session, statement: Select[SearchRow, UUID], what: str) -> Search:
    options = {"populate_existing": True}
    row = session.execute(statement, execution_options=options).first()
    if row is None:
        raise NotFound(f"There is no {what}.")
    return _shown(session, [row[0].to_domain(row[1])])[0]


def _shown(session: Session, found: Sequence[Search]) -> tuple[Search, ...]:
    """Without what was in datasets that were deleted since."""
    rankings = tombstones.shown(session, [each.ranking for each in found])
    return tuple(map(_with_ranking, found, rankings))


def _with_ranking(search: Search, ranking: Ranking | None) -> Search:
    return search if ranking is search.ranking else replace(search, ranking=ranking)

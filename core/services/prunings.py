"""Prunings of known networks: asked for, looked at, and written down when their job is done.

The mask of a finished one can be taken over by another, for another dataset: it says which
channels of the architecture are needed, and nothing of their weights.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from core.db.result_tables import PruningRow
from core.domain.jobs import Job, JobId, JobKind
from core.domain.prunings import Counted, MaskPolicy, PruneSpec, Pruning
from core.domain.searches import Artifact
from core.domain.work import PruneInputs, PruneOutcome
from core.errors import Conflict, Detail, InvalidInput, NotFound
from core.services import artifacts, datasets, jobs, masks, paging, specs, uploads, wire
from core.services.paging import Order


def submit(session: Session, spec: PruneSpec, *, priority: int = 0) -> tuple[Pruning, Job]:
    """Queue a pruning; its weights are kept for it. Raises NotFound, Gone, InvalidInput, and
    Conflict (`statistics_only`, `upload_incomplete`, `not_finished`)."""
    specs.check(spec)
    for dataset_id in {spec.dataset_id, spec.learned_on}:
        datasets.with_images(session, dataset_id)
    spec = _settled(session, spec)
    if spec.mask is not MaskPolicy.SEARCH:
        masks.check(session, spec)
    if spec.weights is not None:
        uploads.use(session, spec.weights)
    terms: dict[str, Any] = {"dataset_id": spec.dataset_id, "priority": priority}
    job = jobs.submit(session, kind=JobKind.PRUNE, spec=wire.dump(spec), **terms)
    row = PruningRow(dataset_id=spec.dataset_id, job_id=job.id, spec=job.spec)
    session.add(row)
    session.flush()
    session.refresh(row)
    return row.to_domain(), job


def inputs(session: Session, spec: PruneSpec) -> PruneInputs:
    """What such a job is given. Raises NotFound, Gone."""
    dataset = datasets.get(session, spec.dataset_id, report=False)
    source = datasets.get(session, spec.learned_on, report=False)
    taken = None if spec.mask_from is None else get(session, spec.mask_from)
    mask = None if taken is None else taken.mask
    weights = None if spec.weights is None else uploads.contents(session, spec.weights)
    carried = None if taken is None else masks.weights_of(taken)
    found = PruneInputs(spec, dataset, source, mask, weights, carried=carried)
    if spec.mask is MaskPolicy.SEARCH:
        return found
    known, ranked = masks.choose(session, spec, dataset)
    return replace(found, known=known, ranked=ranked)


def record(session: Session, job_id: JobId, outcome: PruneOutcome) -> Pruning:
    """Write down what came of it; its files are in the store, listed by the manifest."""
    found = {
        "mask": outcome.mask,
        "metrics": outcome.metrics,
        "artifacts": tuple(outcome.artifacts),
        "manifest_key": outcome.manifest_key,
        "manifest_sha256": outcome.manifest_sha256,
    }
    session.execute(update(PruningRow).where(PruningRow.job_id == job_id).values(found))
    return by_job(session, job_id)


def get(session: Session, pruning_id: UUID) -> Pruning:
    """The pruning. Raises NotFound."""
    row = session.get(PruningRow, pruning_id, populate_existing=True)
    if row is None:
        raise _missing(pruning_id)
    return row.to_domain()


def by_job(session: Session, job_id: UUID) -> Pruning:
    """The pruning that this job works on. Raises NotFound."""
    options = {"populate_existing": True}
    statement = select(PruningRow).where(PruningRow.job_id == job_id)
    row = session.scalars(statement, execution_options=options).first()
    if row is None:
        raise NotFound(f"There is no pruning of job {job_id}.")
    return row.to_domain()


def artifact(session: Session, pruning_id: UUID, name: str) -> Artifact:
    """A file of the pruning, by its name; nothing else of it is read. Raises NotFound."""
    statement = select(PruningRow.artifacts).where(PruningRow.id == pruning_id)
    found: Sequence[Artifact] | None = session.scalar(statement)
    if found is None:
        raise _missing(pruning_id)
    return artifacts.named(found, name, of="pruning")


def listing(
    session: Session,
    *,
    limit: int,
    after: str | None = None,
    order: Order = "newest",
    dataset_id: UUID | None = None,
) -> tuple[tuple[Pruning, ...], str | None]:
    """A page of prunings, and the token of the next. Raises InvalidInput."""
    statement = select(PruningRow)
    if dataset_id is not None:
        statement = statement.where(PruningRow.dataset_id == dataset_id)
    by = paging.sorted_by(PruningRow, order)
    rows, token = paging.page(session, statement, by=by, limit=limit, after=after, order=order)
    return tuple(row[0].to_domain() for row in rows), token


def _settled(session: Session, spec: PruneSpec) -> PruneSpec:
    """With the share that will be left: of a mask that is taken over, the mask's own."""
    if spec.mask_from is None:
        return spec if spec.gamma is not None else replace(spec, share=spec.wanted)
    earlier = get(session, spec.mask_from)
    if earlier.mask is None:
        message = f"Pruning {earlier.id} has no mask yet: wait until its job has succeeded."
        raise Conflict(message, code="not_finished")
    found = earlier.spec
    if found["architecture"] != spec.architecture:
        raise _refused(
            "architecture", f"The mask is one of {found['architecture']}: name that architecture."
        )
    left = masks.size(wire.load(PruneSpec, found), (earlier.metrics or {})["kept"])
    if spec.share not in (None, left):
        raise _refused("share", f"The mask leaves {left:g}: leave the share out.")
    measure = Counted(found["measure"])
    return replace(spec, share=left, measure=measure, blocks=found["blocks"])


def _refused(place: str, message: str) -> InvalidInput:
    return InvalidInput(message, details=[Detail(place, "invalid", message)])


def _missing(pruning_id: UUID) -> NotFound:
    return NotFound(f"There is no pruning {pruning_id}.")

"""What a job is given when it starts, and how what it made is written down when it ends."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from core.db.clock import now
from core.db.result_tables import SearchRow
from core.domain import effort
from core.domain.datasets import Dataset, DatasetId, Embedding
from core.domain.jobs import Job, JobKind
from core.domain.prunings import PruneSpec
from core.domain.searches import (
    EmbedSpec,
    IngestSpec,
    PretrainSpec,
    RankSpec,
    SearchSpec,
    StartPolicy,
)
from core.domain.supernets import Supernet, continued, lineage
from core.domain.work import (
    EmbedInputs,
    EmbedOutcome,
    IngestInputs,
    IngestOutcome,
    Inputs,
    Outcome,
    PretrainInputs,
    PretrainOutcome,
    PruneOutcome,
    RankInputs,
    RankOutcome,
    SearchInputs,
    SearchOutcome,
    StartingPoint,
)
from core.errors import Conflict, DeadlinePassed, NotFound
from core.services import (
    contributions,
    datasets,
    embedders,
    jobs,
    models,
    moves,
    prunings,
    races,
    searches,
    sources,
    supernets,
    tombstones,
    uploads,
    wire,
)
from core.services.sources import Chosen

Result = dict[str, Any]


def inputs(session: Session, job: Job) -> Inputs:
    """Everything the job's pipeline needs to know. Raises NotFound."""
    match job.kind:
        case JobKind.INGEST:
            ingest: IngestSpec = wire.load(IngestSpec, job.spec)
            found = tuple(uploads.contents(session, each) for each in ingest.uploads)
            if found or ingest.parent_id is None:
                return IngestInputs(ingest, found)
            of = datasets.get(session, ingest.parent_id, report=False)
            return IngestInputs(ingest, found, of)
        case JobKind.EMBED:
            embed: EmbedSpec = wire.load(EmbedSpec, job.spec)
            seen = _target(session, embed.dataset_id, embed.embedder)
            return EmbedInputs(embed, *seen, embedders.trunk(session, embed.embedder))
        case JobKind.RANK:
            rank: RankSpec = wire.load(RankSpec, job.spec)
            target = _target(session, rank.dataset_id, rank.embedder)
            trunk = embedders.trunk(session, rank.embedder)
            chosen = _others(session, rank, target[1], supernets_only=rank.supernets_only)
            return RankInputs(
                rank, *target, chosen.sources, trunk, chosen.considered, chosen.beyond
            )
        case JobKind.PRETRAIN:
            pretrain: PretrainSpec = wire.load(PretrainSpec, job.spec)
            target = _target(session, pretrain.dataset_id, pretrain.embedder)
            trunk = embedders.trunk(session, pretrain.embedder)
            others = tuple(datasets.get(session, each, report=False) for each in pretrain.others)
            parent = _parent(session, pretrain)
            point = None if parent is None else supernets.starting_point(parent)
            return PretrainInputs(pretrain, *target, trunk, others, point)
        case JobKind.SEARCH:
            search: SearchSpec = wire.load(SearchSpec, job.spec)
            target = _target(session, search.dataset_id, search.embedder)
            trunk = embedders.trunk(session, search.embedder)
            chosen, shared = _starts(session, search, target[1])
            raced = search.policy is StartPolicy.RACE
            return SearchInputs(
                search,
                *target,
                chosen.sources,
                trunk,
                chosen.considered,
                chosen.beyond,
                shared,
                races.past(session, search) if raced else (),
                _until(session, job, search),
            )
        case JobKind.PRUNE:
            prune: PruneSpec = wire.load(PruneSpec, job.spec)
            return prunings.inputs(session, prune)
        case JobKind.GROUP:
            raise ValueError("a group is computed by its children alone")


def record(session: Session, job: Job, outcome: Outcome) -> Mapping[str, Any]:
    """Write down what the job made and finish it, in the caller's one transaction.

    Returns the job's result: the ids of what was made. Raises LeaseLost and CancelRequested, and
    then the caller must roll back.
    """
    moves.held(session, job.id, job.fence)
    result = _written(session, job, outcome)
    jobs.finish(session, job.id, job.fence, result)
    return result


def _written(session: Session, job: Job, outcome: Outcome) -> Result:
    match outcome:
        case IngestOutcome():
            return _ingested(session, job, outcome)
        case EmbedOutcome():
            return _embedded(session, job, outcome.embedding)
        case RankOutcome():
            result = _embedded(session, job, outcome.embedding)
            datasets.record_ranking(session, outcome.ranking)
            return {**result, "neighbours": len(outcome.ranking.neighbours)}
        case PretrainOutcome():
            return _pretrained(session, job, outcome)
        case SearchOutcome():
            return _searched(session, job, outcome)
        case PruneOutcome():
            result = _embedded(session, job, outcome.embedding)
            made = prunings.record(session, job.id, outcome)
            return {**result, "pruning_id": str(made.id)}


def _ingested(session: Session, job: Job, outcome: IngestOutcome) -> Result:
    """The dataset, and its embed job, which needs no announcing: workers look for themselves."""
    spec: IngestSpec = wire.load(IngestSpec, job.spec)
    dataset, created = datasets.take_in(
        session,
        outcome,
        name=spec.name,
        licence=spec.licence,
        source=spec.source,
        parent_id=spec.parent_id,
    )
    for upload_id in sorted(spec.uploads):
        # Deleted meanwhile, or another job is yet to read it. Its objects go after the commit.
        with suppress(NotFound, Conflict):
            uploads.drop(session, upload_id, by=job.id)
    embed, _ = searches.embed_unless_done(session, EmbedSpec(dataset.id, spec.embedder))
    job_id = None if embed is None else str(embed.id)
    return {"dataset_id": str(dataset.id), "created": created, "embed_job_id": job_id}


def _embedded(session: Session, job: Job, embedding: Embedding | None) -> Result:
    result: Result = {"dataset_id": str(job.dataset_id)}
    if embedding is None:
        return result
    if embedding.dataset_id != job.dataset_id:
        raise ValueError("an outcome's embedding is that of the job's own dataset")
    datasets.record_embedding(session, embedding)
    return {**result, "embedder": embedding.embedder}


def _pretrained(session: Session, job: Job, outcome: PretrainOutcome) -> Result:
    spec: PretrainSpec = wire.load(PretrainSpec, job.spec)
    result = _embedded(session, job, outcome.embedding)
    ids = (spec.dataset_id, *spec.others)
    trained_on = [datasets.get(session, each, report=False) for each in ids]
    settings = {**wire.dump(spec.training), "learning_rate": spec.learning_rate}
    if spec.shared:
        settings["steps"] = spec.steps
    training = {"seconds": outcome.seconds, "settings": settings}
    parent = _parent(session, spec)
    supernet, _ = supernets.register(
        session,
        name=spec.name.strip(),
        dataset_id=None if spec.shared else spec.dataset_id,
        job_id=job.id,
        space=outcome.space,
        resolution=outcome.resolution,
        key=outcome.key,
        sha256=outcome.sha256,
        metrics=outcome.metrics,
        seconds=outcome.seconds,
        lineage=lineage(trained_on, training=training)
        if parent is None
        else continued(parent, trained_on, training=training),
    )
    return {**result, "supernet_id": str(supernet.id)}


def _parent(session: Session, spec: PretrainSpec) -> Supernet | None:
    return None if spec.continue_from is None else supernets.get(session, spec.continue_from)


def _searched(session: Session, job: Job, outcome: SearchOutcome) -> Result:
    search = searches.by_job(session, job.id)
    result = _embedded(session, job, outcome.embedding)
    if outcome.ranking is not None:
        datasets.record_ranking(session, outcome.ranking)
    found = {"ranking": outcome.ranking, "start": outcome.start}
    session.execute(update(SearchRow).where(SearchRow.id == search.id).values(found))
    model = models.register(
        session,
        search_id=search.id,
        dataset_id=search.dataset_id,
        genotype=outcome.genotype,
        metrics=outcome.metrics,
        artifacts=outcome.artifacts,
        manifest_key=outcome.manifest_key,
        manifest_sha256=outcome.manifest_sha256,
    )
    result |= {"search_id": str(search.id), "model_id": str(model.id)}
    given = contributions.register(session, search, outcome, spec=wire.load(SearchSpec, job.spec))
    return result if given is None else {**result, "supernet_id": str(given.id)}


def _until(session: Session, job: Job, spec: SearchSpec) -> float | None:
    """The seconds that the job may have taken at its deadline. Raises DeadlinePassed."""
    if spec.deadline is None:
        return None
    left: float = (spec.deadline - session.scalars(select(now())).one()).total_seconds()
    if left <= 0:
        raise DeadlinePassed(jobs.DEADLINE_PASSED)
    return job.cost_seconds + left


def _target(
    session: Session, dataset_id: DatasetId, embedder: str
) -> tuple[Dataset, Embedding | None]:
    dataset = datasets.get(session, dataset_id, report=False)
    return dataset, datasets.embedding(session, dataset_id, embedder)


def _others(
    session: Session,
    spec: RankSpec | SearchSpec,
    target: Embedding | None,
    *,
    supernets_only: bool,
) -> Chosen:
    return sources.choose(
        session,
        embedder=spec.embedder,
        exclude=spec.dataset_id,
        target=target,
        supernets_only=supernets_only,
    )


def _starts(
    session: Session, spec: SearchSpec, target: Embedding | None
) -> tuple[Chosen, tuple[StartingPoint, ...]]:
    """The sources and the shared supernets that the policy may start from."""
    match spec.policy:
        case StartPolicy.COLD:
            return Chosen(), ()
        case StartPolicy.RACE:
            chosen = _others(session, spec, target, supernets_only=True)
            return chosen, supernets.shared(session, limit=effort.SHARED)
        case StartPolicy.NEAREST:
            return _others(session, spec, target, supernets_only=True), ()
        case StartPolicy.MULTI_DATASET:
            return Chosen(), supernets.shared(session, limit=1)
        case StartPolicy.SUPERNET:
            return _named(session, spec.supernet_id, spec.embedder)


def _named(
    session: Session, supernet_id: UUID | None, embedder: str
) -> tuple[Chosen, tuple[StartingPoint, ...]]:
    if supernet_id is None:
        raise NotFound("There is no supernet to start from: none was named.")
    supernet = supernets.get(session, supernet_id)
    if supernet.dataset_id is None or tombstones.names(session, [supernet.dataset_id]):
        return Chosen(), (supernets.starting_point(supernet),)
    found = sources.of_supernet(session, supernet_id, embedder=embedder)
    if found is None:
        raise NotFound(f"There is no supernet {supernet_id} with an embedding by '{embedder}'.")
    return Chosen((found,), 1), ()

"""What was asked for, once more: as a job's row tells of it, or a model's files."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pydantic import BaseModel, ValidationError
from sqlalchemy.orm import Session

from core.domain.datasets import DatasetId
from core.domain.groups import PretrainEach
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
from core.domain.supernets import SupernetId
from core.errors import Detail, Gone, InvalidInput, NotFound
from core.services import datasets, prunings, searches, supernets, uploads, wire


class Start(BaseModel):
    """Where it began."""

    learning_rates: tuple[float, ...]
    supernet_id: str | None = None
    supernet_sha256: str | None = None
    batch_size: int | None = None


class Config(BaseModel):
    """What is read of a model's `config.json`."""

    dataset_sha256: str
    spec: SearchSpec
    start: Start


def again(session: Session, job: Job, *, device: str) -> Job:
    """The same request once more, with the same seed; its deadline is not taken over.

    Raises as the first one did: NotFound, Gone, InvalidInput, Conflict.
    """
    priority = job.priority
    match job.kind:
        case JobKind.INGEST:
            ingest: IngestSpec = wire.load(IngestSpec, job.spec)
            return searches.submit_ingest(session, ingest, priority=priority)
        case JobKind.EMBED:
            embed: EmbedSpec = wire.load(EmbedSpec, job.spec)
            return searches.submit_embed(session, embed, priority=priority)
        case JobKind.RANK:
            rank: RankSpec = wire.load(RankSpec, job.spec)
            return searches.submit_rank(session, rank, priority=priority)
        case JobKind.PRETRAIN:
            pretrain: PretrainSpec = wire.load(PretrainSpec, job.spec)
            return searches.submit_pretrain(session, pretrain, priority=priority)
        case JobKind.SEARCH:
            search: SearchSpec = replace(wire.load(SearchSpec, job.spec), deadline=None)
            return searches.submit_search(session, search, priority=priority, device=device)[1]
        case JobKind.PRUNE:
            prune: PruneSpec = wire.load(PruneSpec, job.spec)
            return prunings.submit(session, prune, priority=priority)[1]
        case JobKind.GROUP:
            each: PretrainEach = wire.load(PretrainEach, job.spec)
            return searches.submit_pretrain_each(session, each, priority=priority)


def possible(session: Session, job: Job) -> bool:
    """Whether it has ended, and what it read is here yet."""
    if not job.finished:
        return False
    try:
        if job.dataset_id is not None:
            datasets.get(session, DatasetId(job.dataset_id), report=False)
        if job.kind is JobKind.INGEST:
            spec: IngestSpec = wire.load(IngestSpec, job.spec)
            for upload_id in spec.uploads:
                uploads.get(session, upload_id)
            return bool(spec.uploads)
        if job.kind is JobKind.PRUNE:
            prune: PruneSpec = wire.load(PruneSpec, job.spec)
            datasets.get(session, prune.learned_on, report=False)
            if prune.weights is not None:
                uploads.get(session, prune.weights)
    except (NotFound, Gone):
        return False
    return True


def replayed(session: Session, config: Mapping[str, Any]) -> SearchSpec:
    """The request that leads to the same model: of its images, found by their hash, from the very
    start that was chosen then, whatever has been registered since.

    Raises InvalidInput: what is no such file, or tells of what is not here.
    """
    try:
        read: Config = wire.load(Config, config)
    except ValidationError as error:
        place = ".".join(map(str, ("config", *error.errors()[0]["loc"])))
        raise _refused(place, "This is no model's config.json.") from error
    dataset = datasets.find(session, read.dataset_sha256)
    if dataset is None:
        raise _refused("config.dataset_sha256", "The dataset it was searched on is not here.")
    spec, start = read.spec, read.start
    training = replace(spec.training, batch_size=start.batch_size or spec.training.batch_size)
    supernet_id = _supernet(session, start)
    return replace(
        spec,
        dataset_id=dataset.id,
        policy=StartPolicy.COLD if supernet_id is None else StartPolicy.SUPERNET,
        supernet_id=supernet_id,
        learning_rates=start.learning_rates or None,
        patience=spec.waits,
        training=training,
        deadline=None,
    )


def _supernet(session: Session, start: Start) -> SupernetId | None:
    if start.supernet_id is None:
        return None
    if start.supernet_sha256 is not None:
        found = supernets.find(session, start.supernet_sha256)
        if found is None:
            message = "The supernet it began from is not here: import its bundle first."
            raise _refused("config.start.supernet_sha256", message)
        return found.id
    raise _refused("config.start", "This release cannot tell which supernet it began from.")


def _refused(place: str, message: str) -> InvalidInput:
    return InvalidInput(message, details=[Detail(place, "cannot_be_repeated", message)])

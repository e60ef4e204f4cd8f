"""From an archive on disk to a registered dataset with its embed job; REST and form share it."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from uuid import UUID

from api import deps, pieces
from api.turns import turn
from core.bootstrap import Container
from core.data import class_statistics
from core.domain import keys
from core.domain.datasets import AS_USUAL, Dataset, DatasetId, IntakeOptions
from core.domain.jobs import Job
from core.domain.searches import EmbedSpec
from core.execution import deletion, scratch
from core.pipelines import ingest_dataset, objects
from core.services import datasets, searches, statistics_only, uploads


@dataclass(frozen=True, slots=True)
class Registered:
    """The dataset, whether it is new, and the job that embeds it unless that is done."""

    dataset: Dataset
    created: bool
    embed_job: Job | None


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a dataset comes from; `parent_id` is what it is the next version of."""

    licence: str | None = None
    source: str | None = None
    parent_id: DatasetId | None = None


def register(
    container: Container,
    given: Path | Sequence[UUID],
    *,
    name: str,
    options: IntakeOptions = AS_USUAL,
    origin: Origin = Origin(),
) -> Registered:
    """Check, store and register an archive, or complete uploads as one dataset.

    The slow part runs outside any transaction. Raises Unavailable (`busy`) while as many as may be
    read at once are being read, TooLarge (`quota_exceeded`) when there is no room for an archive
    (originals are kept as they are; uploads are counted already), DeletedMeanwhile, and as
    `core.pipelines.assembling.assemble` does.
    """
    settings = container.settings
    if isinstance(given, Path):
        with container.sessions.read() as session:
            uploads.check_room(session, given.stat().st_size, settings.uploads)
    with (
        turn(container.intakes, "Other archives are being read"),  # before they fill the disk
        nullcontext([given])
        if isinstance(given, Path)
        else pieces.assembled(container, given) as paths,
        scratch.folder(settings.home, "intake-") as folder,
    ):
        prepared = ingest_dataset.ingest(
            paths,
            folder=folder,
            store=container.store,
            limits=settings.uploads,
            options=options,
        )
    with deps.working(container) as work:
        made = ingest_dataset.outcome_of(prepared)
        dataset, created = datasets.take_in(work.session, made, name=name, **asdict(origin))
        deletion.check_stored(container.store, *deletion.of_images(dataset.sha256))
        embed, new = searches.embed_unless_done(
            work.session, EmbedSpec(dataset.id, settings.embedder)
        )
        if embed is not None and new:
            work.announce(embed)
        return Registered(dataset, created, embed)


def register_statistics(container: Container, file: Path, *, name: str) -> tuple[Dataset, bool]:
    """Check, store and register a dataset of which there are class statistics alone."""
    statistics = class_statistics.read(file)
    with container.sessions.read() as session:
        statistics_only.check(session, statistics)
    with scratch.folder(container.settings.home, "statistics-") as folder:
        written = folder / "statistics.safetensors"
        statistics.write(written)
        sha256 = objects.checksum(written)
        key = keys.embedding(sha256, statistics.embedder, sha256)
        container.store.put(key, written)
    with container.sessions.begin() as session:
        registered = statistics_only.register(session, statistics, sha256=sha256, name=name)
        deletion.check_stored(container.store, key)
        return registered

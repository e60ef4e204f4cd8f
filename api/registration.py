"""From an archive on disk to a registered dataset with its embed job; REST and form share it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
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
from core.errors import AppError, Unavailable
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
        check_room(container, given.stat().st_size)
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
            project=container.sessions.project,
            store=container.store,
            limits=settings.uploads,
            options=options,
        )
    made = ingest_dataset.outcome_of(prepared)
    stored = deletion.of_images(container.sessions.project, made.sha256)
    with _taken_back(container, made.sha256, *stored), deps.working(container) as work:
        dataset, created = datasets.take_in(work.session, made, name=name, **asdict(origin))
        uploads.hold_room(work.session)
        if created and isinstance(given, Path):  # others may have found the same room
            uploads.check_room(work.session, 0, settings.uploads)
        deletion.check_stored(
            container.store, *deletion.of_images(dataset.project_id, dataset.sha256)
        )
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
    limits = container.settings.uploads
    with scratch.folder(container.settings.home, "statistics-") as folder:
        written = folder / "statistics.safetensors"
        statistics.write(written)
        sha256, size = objects.checksum(written), written.stat().st_size
        with container.sessions.read() as session:
            if datasets.find(session, sha256) is None:
                uploads.check_room(session, size, limits)
        key = keys.embedding(container.sessions.project, sha256, statistics.embedder, sha256)
        container.store.put(key, written)
    with _taken_back(container, sha256, key), container.sessions.begin() as session:
        dataset, created = statistics_only.register(
            session, statistics, sha256=sha256, name=name, size_bytes=size
        )
        uploads.hold_room(session)
        if created:  # others may have found the same room
            uploads.check_room(session, 0, limits)
        deletion.check_stored(container.store, key)
        return dataset, created


def check_room(container: Container, size: int) -> None:
    """Raise TooLarge (`quota_exceeded`) unless the project may store so many bytes more."""
    with container.sessions.read() as session:
        uploads.check_room(session, size, container.settings.uploads)


@contextmanager
def _taken_back(container: Container, sha256: str, *stored: str) -> Iterator[None]:
    """For the transaction that registers what is stored: what is refused in the end goes, unless
    others have registered the same, for nothing would count it. Where nobody knows what became of
    the transaction it stays."""
    try:
        yield
    except Unavailable:
        raise
    except AppError:
        with container.sessions.begin() as session:
            uploads.hold_room(session)
            if datasets.find(session, sha256) is None:
                container.store.delete(stored)
        raise

"""Class statistics of images that never leave this machine: intake and embedding, then no images.

Needs no service and no database; everything but the result lies in a scratch folder.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from safetensors.torch import save_file

from core.config import Settings, UploadLimits
from core.data import class_statistics
from core.domain import embedders
from core.domain.datasets import Dataset, DatasetId
from core.domain.identity import DEFAULT, ProjectId
from core.domain.jobs import JobRecord, Progress
from core.errors import InvalidInput, TooLarge
from core.execution import compute
from core.nas.ranks import ALONE, Ranks
from core.pipelines import embed_dataset
from core.pipelines.context import Restored
from core.pipelines.ingest_dataset import ingest
from core.storage.local import LocalStore


@dataclass(frozen=True, slots=True)
class OwnContext:
    """A pipeline's world where there is no service: nobody listens, nothing resumes."""

    store: LocalStore
    scratch: Path
    cache: Path
    device: str
    resnet18_weights: Path | None
    upload_limits: UploadLimits
    project: ProjectId = DEFAULT  # there is no other
    halvings: int = 0
    spent: float = 0.0
    ranks: Ranks = ALONE

    def key(self, name: str) -> str:
        """The object key of a file."""
        return name

    def report(self, progress: Progress, record: JobRecord | None = None) -> None:
        """Nobody listens."""

    def alive(self) -> None:
        """Nobody listens."""

    def checkpoint(self, step: int, path: Path) -> None:
        """Nothing resumes."""

    def restore(self) -> Restored | None:
        """Nothing resumes."""
        return None


def reduce(
    archive: Path,
    out: Path,
    *,
    scratch: Path,
    settings: Settings,
    embedder: str,
    anonymous: bool = False,
) -> Mapping[str, int]:
    """Write the statistics of an archive's train images; images by class name.

    Raises as intake does, and InvalidInput for an embedder that this machine alone cannot run.
    """
    if embedders.trunk_of(embedder) is not None:
        message = "The trunk of a supernet lies with its service: name another embedder."
        raise InvalidInput(message, code="unknown_embedder")
    context = OwnContext(
        store=LocalStore(scratch / "objects"),
        scratch=_folder(scratch / "embed"),
        cache=_folder(scratch / "cache"),
        device=compute.device(settings.device),
        resnet18_weights=settings.resnet18_weights,
        upload_limits=settings.uploads,
    )
    dataset = _taken_in(archive, context, folder=_folder(scratch / "intake"), settings=settings)
    embedded, _ = embed_dataset.compute(dataset, embedder, context)
    if anonymous:
        numbered = tuple(f"class {index}" for index in range(1, len(embedded.classes) + 1))
        embedded = replace(embedded, classes=numbered)
    tensors = embedded.without_samples().to_tensors()
    written = scratch / "statistics.safetensors"
    save_file({name: tensors[name] for name in class_statistics.SHAPES}, written)
    size = written.stat().st_size
    if size > class_statistics.LARGEST_FILE:
        raise TooLarge(f"The statistics take {size:,} bytes, more than a service accepts.")
    class_statistics.read(written)  # what a service would refuse is not handed out
    out.write_bytes(written.read_bytes())
    return dict(zip(embedded.classes, embedded.moments.counts.tolist(), strict=True))


def _taken_in(archive: Path, context: OwnContext, *, folder: Path, settings: Settings) -> Dataset:
    found = ingest(
        archive,
        folder=folder,
        project=context.project,
        store=context.store,
        limits=settings.uploads,
    )
    return Dataset(
        id=DatasetId(uuid4()),
        project_id=context.project,
        sha256=found.sha256,
        name=archive.stem,
        classes=found.classes,
        train_counts=found.train_counts,
        test_counts=found.test_counts,
        channels=found.channels,
        report=found.report,
        created_at=datetime.now(UTC),
    )


def _folder(path: Path) -> Path:
    path.mkdir()
    return path

"""Embed a dataset: features of its train images, reduced to what distances need, stored once."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from core.domain import keys
from core.domain.datasets import Dataset, Embedding
from core.domain.jobs import Progress
from core.domain.work import EmbedInputs, EmbedOutcome, Trunk
from core.errors import DeletedMeanwhile, InvalidInput, NotFound
from core.nas.space import Space
from core.nas.trunk_embedder import TrunkEmbedder, channel_statistics
from core.ot import embedded_dataset, embedders
from core.ot.embedded_dataset import EmbeddedDataset
from core.ot.embedders import Embedder
from core.pipelines import dataset_images, objects
from core.pipelines.context import Context
from core.pipelines.dataset_images import TrainImages
from core.pipelines.feature_file import FeatureFile

STAGE = "embed"
RESOLUTION = 32  # of every embedder that is not a trunk with its own
BATCH = 256
CHECKPOINT_SECONDS = 5.0
_CHECKPOINT_SHARE = 0.1  # of the time, at most: a checkpoint holds all features so far
_READ_SHARE = 0.95  # of the progress; the rest is for class statistics


@dataclass(slots=True)
class _Course:
    """One embedding on its way. As part of another job it has a span of that job's progress,
    says no ETA, and leaves the job's checkpoints alone: they are that job's own state."""

    context: Context
    total: int
    span: tuple[float, float] | None
    done: int = 0
    skipped: int = 0
    started: float = field(default_factory=time.perf_counter)
    saved_at: float = field(default_factory=time.perf_counter)
    save_cost: float = 0.0
    earlier: float = 0.0
    last_step: int = 0

    @property
    def resumable(self) -> bool:
        """Whether checkpoints of this job are this embedding's."""
        return self.span is None

    def seconds(self) -> float:
        """Wall clock, earlier attempts included."""
        return self.earlier + time.perf_counter() - self.started

    def resume(self, features: FeatureFile, embedder: str) -> None:
        """Take over what an earlier attempt has kept."""
        restored = self.context.restore() if self.resumable else None
        if restored is None:
            return
        self.last_step = restored.step
        self.done, self.earlier = features.resume(restored.path, embedder=embedder)
        self.skipped = self.done

    def advance(self, images: int) -> None:
        """Count images done and say so. Raises Stopped."""
        self.done += images
        fraction = _READ_SHARE * self.done / self.total
        if self.span is not None:
            first, last = self.span
            self.context.report(Progress(STAGE, first + (last - first) * fraction))
            return
        elapsed = time.perf_counter() - self.started
        left = elapsed / (self.done - self.skipped) * (self.total - self.done)
        self.context.report(Progress(STAGE, fraction, left))

    def keep(self, features: FeatureFile, path: Path, embedder: str) -> None:
        """Checkpoint if enough has been done since the last one to be worth it."""
        worked = time.perf_counter() - self.saved_at
        due = worked >= max(CHECKPOINT_SECONDS, self.save_cost / _CHECKPOINT_SHARE)
        if not self.resumable or not due or not self.last_step < self.done < self.total:
            return
        began = time.perf_counter()
        features.save(path, self.done, embedder=embedder, seconds=self.seconds())
        self.context.checkpoint(self.done, path)
        self.last_step, self.saved_at = self.done, time.perf_counter()
        self.save_cost = self.saved_at - began


def run(inputs: EmbedInputs, context: Context) -> EmbedOutcome:
    """The embed job. A dataset that this embedder has seen is not embedded again."""
    if inputs.embedding is not None:
        return EmbedOutcome(inputs.embedding)
    _, embedding = compute(inputs.dataset, inputs.spec.embedder, context, trunk=inputs.trunk)
    return EmbedOutcome(embedding)


def ensure(
    dataset: Dataset,
    embedding: Embedding | None,
    embedder: str,
    context: Context,
    *,
    trunk: Trunk | None = None,
    span: tuple[float, float] = (0.0, 0.0),
) -> tuple[EmbeddedDataset, Embedding | None]:
    """The dataset's embedding within another job, and its description when computed now.

    `span` is its part of that job's progress.
    """
    if embedding is not None:
        return load(embedding, context), None
    return compute(dataset, embedder, context, trunk=trunk, span=span)


def load(embedding: Embedding, context: Context) -> EmbeddedDataset:
    """A stored embedding. Raises CorruptObject when its bytes are not the recorded ones."""
    context.alive()
    path = context.scratch / f"embedding-{embedding.sha256}.safetensors"
    if not path.exists():
        objects.fetch(context.store, embedding.key, path, sha256=embedding.sha256)
    return embedded_dataset.from_tensors(load_file(path))


def compute(
    dataset: Dataset,
    embedder: str,
    context: Context,
    *,
    trunk: Trunk | None = None,
    span: tuple[float, float] | None = None,
) -> tuple[EmbeddedDataset, Embedding]:
    """Embed the train split and store the result; `span` is None for the embed job itself."""
    context.report(Progress(STAGE, span[0] if span else 0.0))
    began = time.perf_counter()
    model = _embedder(embedder, trunk, context)
    resolution = RESOLUTION if trunk is None else trunk.resolution
    train = dataset_images.open_train(context, dataset, resolution=resolution)
    course = _Course(context, len(train), span, started=began)
    features = _features(train, model, course, context.scratch)
    try:
        embedded = embedded_dataset.build(
            features.tensor(), train.labels, dataset.classes, embedder=model.identifier
        )
    except ValueError as error:  # features that are not numbers: of a trunk that diverged, say
        raise InvalidInput(f"The features are of no use: {error}.", code="bad_features") from error
    return embedded, _store(dataset, embedded, context, seconds=course.seconds())


def _features(train: TrainImages, model: Embedder, course: _Course, scratch: Path) -> FeatureFile:
    path = scratch / "features.f32"
    features = FeatureFile(path, rows=len(train), dimension=model.dimension)
    course.resume(features, model.identifier)
    size = max(1, BATCH >> course.context.halvings)
    while course.done < len(train):
        # Whole batches from wherever the last attempt stopped: the same batches, the same bits.
        images = train.read(course.done, course.done + BATCH)
        features.write(course.done, model.embed(images, batch_size=size))
        course.advance(len(images))
        course.keep(features, scratch / "features.safetensors", model.identifier)
    return features


def _embedder(identifier: str, trunk: Trunk | None, context: Context) -> Embedder:
    try:
        if trunk is not None:
            return _trunk(trunk, context)
        return embedders.create(
            identifier, weights=context.resnet18_weights, device=context.device
        )
    except (ValueError, SafetensorError) as error:  # unknown, or its weights are not here
        raise InvalidInput(str(error), code="unknown_embedder") from error


def _trunk(trunk: Trunk, context: Context) -> TrunkEmbedder:
    """The supernet's trunk, which normalises as its own training did."""
    space = Space.from_dict(trunk.space)
    path = context.scratch / f"trunk-{trunk.sha256[:16]}.safetensors"
    objects.fetch(context.store, trunk.key, path, sha256=trunk.sha256)
    try:
        source = dataset_images.open_train(context, trunk.source, resolution=trunk.resolution)
    except NotFound as error:  # its job names the supernet alone, which keeps nobody from deleting
        message = f"The images of '{trunk.source.name}' were deleted meanwhile."
        raise DeletedMeanwhile(message) from error
    batches = _heard(source.batches(BATCH), context)
    mean, std = channel_statistics(batches, space.input_channels)
    return TrunkEmbedder(
        load_file(path),
        space=space,
        resolution=trunk.resolution,
        mean=mean,
        std=std,
        version=str(trunk.supernet_id),
        device=context.device,
    )


def _heard(batches: Iterable[Tensor], context: Context) -> Iterator[Tensor]:
    for batch in batches:
        context.alive()
        yield batch


def _store(
    dataset: Dataset, embedded: EmbeddedDataset, context: Context, *, seconds: float
) -> Embedding:
    path = context.scratch / "embedding.safetensors"
    save_file(embedded.to_tensors(), path)
    sha256 = objects.checksum(path)
    key = keys.embedding(dataset.project_id, dataset.sha256, embedded.embedder, sha256)
    context.store.put(key, path)
    return Embedding(
        dataset_id=dataset.id,
        embedder=embedded.embedder,
        key=key,
        sha256=sha256,
        dimension=embedded.dimension,
        samples=len(embedded.labels),
        seconds=seconds,
        centre=tuple(embedded.centre.tolist()),
    )

"""Embed a dataset: features of its train images, reduced to what distances need, stored once."""

import time

from safetensors.torch import load_file, save_file

from core.domain import keys
from core.domain.datasets import Dataset, Embedding
from core.domain.jobs import Progress
from core.domain.work import EmbedInputs, EmbedOutcome
from core.errors import InvalidInput
from core.ot import embedded_dataset, embedders
from core.ot.embedded_dataset import EmbeddedDataset
from core.pipelines import dataset_images, objects
from core.pipelines.context import Context

RESOLUTION = 32


def run(inputs: EmbedInputs, context: Context) -> EmbedOutcome:
    """The embed job."""
    context.report(Progress("embed", 0.0))
    _, embedding = compute(inputs.dataset, inputs.spec.embedder, context)
    return EmbedOutcome(embedding)


def ensure(
    dataset: Dataset, embedding: Embedding | None, embedder: str, context: Context
) -> tuple[EmbeddedDataset, Embedding | None]:
    """The dataset's embedding, and its description when it had to be computed now."""
    if embedding is not None:
        return load(embedding, context), None
    context.report(Progress("embed", 0.0))
    return compute(dataset, embedder, context)


def load(embedding: Embedding, context: Context) -> EmbeddedDataset:
    """A stored embedding. Raises CorruptObject when its bytes are not the recorded ones."""
    path = context.scratch / f"embedding-{embedding.sha256}.safetensors"
    if not path.exists():
        objects.fetch(context.store, embedding.key, path, sha256=embedding.sha256)
    return embedded_dataset.from_tensors(load_file(path))


def compute(
    dataset: Dataset, embedder: str, context: Context
) -> tuple[EmbeddedDataset, Embedding]:
    """Embed the train split and store the result."""
    started = time.perf_counter()
    train, _ = dataset_images.load(
        context, dataset, resolution=RESOLUTION, channels=dataset.channels
    )
    try:
        model = embedders.create(embedder, weights=context.resnet18_weights, device=context.device)
    except ValueError as error:  # unknown, another version, or its weights are not here
        raise InvalidInput(str(error), code="unknown_embedder") from error
    embedded = embedded_dataset.build(
        model.embed(train.images), train.labels, dataset.classes, embedder=model.identifier
    )
    path = context.scratch / "embedding.safetensors"
    save_file(embedded.to_tensors(), path)
    sha256 = objects.checksum(path)
    key = keys.embedding(dataset.sha256, model.identifier, sha256)
    context.store.put(key, path)
    return embedded, Embedding(
        dataset_id=dataset.id,
        embedder=model.identifier,
        key=key,
        sha256=sha256,
        dimension=embedded.dimension,
        samples=len(embedded.labels),
        seconds=time.perf_counter() - started,
    )

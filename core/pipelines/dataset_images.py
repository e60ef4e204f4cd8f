"""A registered dataset's images as tensors, at the resolution and channels a supernet wants."""

from pathlib import Path

import torch

from core.data import packing
from core.domain import keys
from core.domain.datasets import Dataset
from core.nas.images import LabelledImages
from core.pipelines import objects
from core.pipelines.context import Context

_ACCEPTED = 2**62  # intake has judged the size of every original


def load(
    context: Context, dataset: Dataset, *, resolution: int, channels: int
) -> tuple[LabelledImages, LabelledImages]:
    """The (train, test) splits on the CPU, both normalised by the statistics of train."""
    packed = packing.read(_packed_file(context, dataset, resolution))
    images, labels = torch.from_numpy(packed.images), torch.from_numpy(packed.labels)
    in_test = torch.from_numpy(packed.split) == packing.TEST_CODE
    classes = len(dataset.classes)
    train = LabelledImages.measured(images[~in_test], labels[~in_test], classes)
    test = LabelledImages(images[in_test], labels[in_test], classes, train.mean, train.std)
    return train.with_channels(channels), test.with_channels(channels)


def _packed_file(context: Context, dataset: Dataset, resolution: int) -> Path:
    key = keys.packed(dataset.sha256, resolution)
    path = context.scratch / f"packed-{resolution}.safetensors"
    if path.exists():
        return path
    if context.store.exists(key):
        return objects.fetch(context.store, key, path)
    originals = context.scratch / "originals.parquet"
    objects.fetch(context.store, keys.originals(dataset.sha256), originals)
    packing.repack(
        originals,
        path,
        resolution=resolution,
        channels=dataset.channels,
        max_pixels=_ACCEPTED,
    )
    context.store.put(key, path)  # made once per dataset and resolution
    return path

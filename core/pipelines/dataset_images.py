"""A registered dataset's images as tensors, at the resolution and channels a supernet wants."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from torch import Tensor

from core.data import packing, repacking
from core.domain import keys
from core.domain.datasets import Dataset
from core.nas.images import LabelledImages
from core.pipelines import objects
from core.pipelines.context import Context


@dataclass(frozen=True, slots=True)
class TrainImages:
    """The train split in its packed file: labels in memory, images read as they are wanted."""

    path: Path
    rows: NDArray[np.intp]
    labels: Tensor

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, start: int, stop: int) -> Tensor:
        """Images `start` to `stop` of the split, `[k, c, h, w]` uint8."""
        rows = self.rows[start:stop]
        first, last = int(rows[0]), int(rows[-1]) + 1  # ascending: train comes first in the file
        return torch.from_numpy(packing.read_slice(self.path, first, last)[rows - first])

    def batches(self, size: int) -> Iterator[Tensor]:
        """All images in order, `size` at a time."""
        for start in range(0, len(self), size):
            yield self.read(start, start + size)


def load(
    context: Context, dataset: Dataset, *, resolution: int, channels: int
) -> tuple[LabelledImages, LabelledImages]:
    """The (train, test) splits on the CPU, both normalised by the statistics of train."""
    packed = packing.read(_packed_file(context, dataset, resolution))
    images, labels = torch.from_numpy(packed.images), torch.from_numpy(packed.labels)
    in_test = torch.from_numpy(packed.split) == packing.TEST_CODE
    classes = len(dataset.classes)
    train = LabelledImages.measured(images[~in_test], labels[~in_test], classes)
    train = replace(train, heard=context.alive)
    test = replace(train, images=images[in_test], labels=labels[in_test])
    return train.with_channels(channels), test.with_channels(channels)


def open_train(context: Context, dataset: Dataset, *, resolution: int) -> TrainImages:
    """The train split to be read in parts, in the dataset's own channels."""
    path = _packed_file(context, dataset, resolution)
    with safe_open(path, framework="numpy") as file:
        labels, split = file.get_tensor("labels"), file.get_tensor("split")
    rows = np.flatnonzero(split != packing.TEST_CODE)
    return TrainImages(path, rows, torch.from_numpy(labels[rows]))


def _packed_file(context: Context, dataset: Dataset, resolution: int) -> Path:
    key = keys.packed(dataset.project_id, dataset.sha256, resolution)
    # One job may read two datasets: its own, and the one that a trunk was trained on.
    path = context.scratch / f"packed-{dataset.sha256[:16]}-{resolution}.safetensors"
    if path.exists():
        return path
    if context.store.exists(key):
        return objects.fetch(context.store, key, path)
    originals = context.scratch / f"originals-{dataset.sha256[:16]}.parquet"
    objects.fetch(context.store, keys.originals(dataset.project_id, dataset.sha256), originals)
    repacking.repack(
        originals,
        path,
        context.upload_limits,
        rows=dataset.n_train + dataset.n_test,
        resolution=resolution,
        channels=dataset.channels,
        heard=context.alive,
    )
    context.store.put(key, path)  # made once per dataset and resolution
    return path

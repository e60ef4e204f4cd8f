"""Fixed samples of an embedded dataset."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from core.ot.embedded_dataset import EmbeddedDataset, stratified_rows


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """Rows of an embedded dataset with the weights that restore its class shares.

    Attributes:
        features: ``[N, D]``.
        labels: ``[N]``.
        rows: ``[N]`` places in the dataset that was embedded; -1 where unknown.
        weights: ``[N]`` float64, summing to one.
        means: ``[m, D]`` class means over all samples of the dataset.
        fraction: Share of the dataset's samples that are in this one.
    """

    features: Tensor
    labels: Tensor
    rows: Tensor
    weights: Tensor
    means: Tensor
    fraction: float


def draw(dataset: EmbeddedDataset, samples: int) -> Sample:
    """Fixed stratified sample of a dataset, weighted so that classes keep their exact shares.

    Args:
        dataset: Where to take it from.
        samples: Rows wanted; at least one per class is taken.

    Returns:
        The sample; weights ``[N]`` float64 sum to one.
    """
    rows = stratified_rows(dataset.moments, dataset.labels, samples)
    labels = dataset.labels[rows]
    per_class = torch.bincount(labels, minlength=len(dataset.classes))
    weights = dataset.class_weights[labels] / per_class[labels]
    fraction = len(rows) / float(dataset.moments.counts.sum())
    return Sample(
        features=dataset.features[rows],
        labels=labels,
        rows=dataset.rows[rows],
        weights=weights,
        means=dataset.moments.means,
        fraction=fraction,
    )

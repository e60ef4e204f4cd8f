"""What a ranking reads of its target."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.ot.embedded_dataset import EmbeddedDataset
from core.ot.label_distances import signatures
from core.ot.sampling import draw
from core.ot.source_block import RANK, SAMPLES, SourceBlock, pooled_signature

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """What the funnel reads of a target, computed once.

    Attributes:
        weights: ``[m]`` class shares.
        signatures: ``[m, 2 D]`` float64.
        factors: ``[m, D, R]`` float64, R of at most 32.
        source_signature: ``[2 D]`` float64 of the pooled sample.
        features: ``[n, D]`` float64, a sample of 256; empty for statistics alone.
        labels: ``[n]`` int64.
        second_moment: Mean squared length of all features.
        spread: Mean trace of the class covariances.
    """

    weights: Floats
    signatures: Tensor
    factors: Tensor
    source_signature: Tensor
    features: Tensor
    labels: Tensor
    second_moment: float
    spread: float


def prepare(
    target: EmbeddedDataset, *, samples: int, device: torch.device | str = "cpu"
) -> Target:
    """A target, ready to be compared with blocks of sources.

    Args:
        target: The dataset.
        samples: Size of the sample that distances are measured on; that of the block.
        device: Where to compute.
    """
    moments = target.moments
    counts = moments.counts.double()
    lengths = moments.means.square().sum(1) + moments.traces * (counts - 1) / counts
    few = draw(target, SAMPLES)
    return Target(
        weights=moments.weights.numpy(),
        signatures=signatures(moments).to(device),
        factors=moments.factors[..., :RANK].to(device),
        source_signature=pooled_signature(target, samples),
        features=few.features.double().to(device),
        labels=few.labels,
        second_moment=float((moments.weights * lengths).sum()),
        spread=float((moments.weights * moments.traces).sum()),
    )


def of_source(block: SourceBlock, row: int) -> Target:
    """A source of a block as the target, by class statistics alone.

    Args:
        block: The sources.
        row: Which of them.
    """
    part, dimension = block.classes(row), block.dimension
    own = torch.from_numpy(block.class_signatures[part]).double()
    scales = torch.from_numpy(block.class_scales[part]).double()
    weights = np.asarray(block.class_weights[part], dtype=np.float64)
    spread = float(weights @ own[:, dimension:].square().sum(1).numpy())
    return Target(
        weights=weights / weights.sum(),
        signatures=own,
        factors=torch.from_numpy(block.class_factors[part]).double() * scales[:, None, None],
        source_signature=torch.from_numpy(block.source_signatures[row]).double(),
        features=own.new_zeros(0, dimension),
        labels=torch.zeros(0, dtype=torch.int64),
        second_moment=float(block.second_moments[row]),
        spread=spread,
    )

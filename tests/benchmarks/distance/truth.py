"""The same distance from nothing but its definition: POT's linear program and SciPy."""

from __future__ import annotations

import numpy as np
import ot as pot
import scipy.linalg
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from core.ot.embedded_dataset import EmbeddedDataset

Floats = NDArray[np.float64]


def cost(first: EmbeddedDataset, second: EmbeddedDataset) -> float:
    """Squared OTDD of all samples that both keep, every one of the same weight.

    Args:
        first: Whose samples are all that its moments rest on.
        second: Likewise.
    """
    sides = [(each.features.double().numpy(), each.labels.numpy()) for each in (first, second)]
    own = [(mean, _root(covariance)) for mean, covariance in _classes(*sides[0])]
    others = _classes(*sides[1])
    labels = np.array([[_squared_distance(*one, *other) for other in others] for one in own])
    joint = cdist(sides[0][0], sides[1][0], "sqeuclidean")
    joint += labels[sides[0][1]][:, sides[1][1]]
    return float(pot.emd2([], [], joint, numItermax=2_000_000))


def _classes(features: Floats, labels: NDArray[np.int64]) -> list[tuple[Floats, Floats]]:
    found = []
    for label in np.unique(labels):
        own = features[labels == label]
        found.append((own.mean(0), np.cov(own, rowvar=False)))
    return found


def _squared_distance(mean: Floats, root: Floats, other_mean: Floats, other: Floats) -> float:
    """Of two Gaussians; of the first, the root of the covariance (its square has its trace)."""
    cross = np.sqrt(scipy.linalg.eigvalsh(root @ other @ root).clip(0)).sum()
    moved = np.square(mean - other_mean).sum()
    return float(moved + np.square(root).sum() + np.trace(other) - 2 * cross)


def _root(matrix: Floats) -> Floats:
    values, vectors = scipy.linalg.eigh(matrix)
    root: Floats = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    return root

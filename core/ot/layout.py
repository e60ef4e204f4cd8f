"""A plane in which distances on paper approximate distances measured."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_STEPS = 300
_TOLERANCE = 1e-6


def lay_out(distances: Floats) -> tuple[Floats, float]:
    """Metric multidimensional scaling in two dimensions.

    Classical scaling (Torgerson 1952) gives the start, majorisation of the raw stress (SMACOF,
    De Leeuw 1977) the rest. Deterministic; signs are fixed by the first point off each axis.

    Args:
        distances: ``[n, n]`` symmetric, non-negative, zero diagonal.

    Returns:
        Positions ``[n, 2]`` round the origin, and Kruskal's stress-1.

    Raises:
        ValueError: If that is not what was given.
    """
    _check(distances)
    places = _classical(distances)
    before = np.inf
    for _ in range(_STEPS):
        apart = _between(places)
        stress = float(np.square(apart - distances).sum())
        if before - stress <= _TOLERANCE * max(stress, np.finfo(np.float64).tiny):
            break
        before = stress
        ratio = np.divide(distances, apart, out=np.zeros_like(apart), where=apart > 0)
        pull = -ratio
        np.fill_diagonal(pull, ratio.sum(1) - np.diag(ratio))
        places = pull @ places / len(places)
    places = places - places.mean(0, keepdims=True)
    total = np.square(distances).sum()
    left = np.square(_between(places) - distances).sum()
    return _upright(places), float(np.sqrt(left / total)) if total > 0 else 0.0


def _check(distances: Floats) -> None:
    square = distances.ndim == 2 and distances.shape[0] == distances.shape[1]
    if not square or not len(distances):
        raise ValueError(f"distances must be a square matrix, not {distances.shape}")
    if not np.isfinite(distances).all() or (distances < 0).any():
        raise ValueError("distances must be finite and non-negative")
    if not np.allclose(distances, distances.T) or np.diag(distances).any():
        raise ValueError("distances must be symmetric with a zero diagonal")


def _classical(distances: Floats) -> Floats:
    centring = np.eye(len(distances)) - 1 / len(distances)
    values, vectors = np.linalg.eigh(-0.5 * centring @ np.square(distances) @ centring)
    places = np.zeros((len(distances), 2))
    kept = min(2, len(values))
    places[:, :kept] = (vectors[:, ::-1] * np.sqrt(np.maximum(values[::-1], 0)))[:, :kept]
    return places


def _between(places: Floats) -> Floats:
    apart: Floats = np.sqrt(np.square(places[:, None] - places[None]).sum(-1))
    return apart


def _upright(places: Floats) -> Floats:
    for axis in range(2):
        off = np.flatnonzero(np.abs(places[:, axis]) > 1e-9 * max(np.abs(places).max(), 1e-300))
        if len(off) and places[off[0], axis] < 0:
            places[:, axis] *= -1
    return places

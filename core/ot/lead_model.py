"""Leads of sources over a cold start as a function of distance and of the source itself.

A *lead* is by how much a source answers the same images of a target better than a cold start,
before any step, in accuracy points. Here it is

    lead = f(distance) + effect of the source + noise

with f the non-increasing function that fits best (isotonic regression by pooling adjacent
violators, Ayer et al. 1955; a constant for sources that have no distance) and effects shrunk
towards zero as far as they may be chance (empirical Bayes, Robbins 1956; variances by the moments
of the one-way random model, Searle, Casella & McCulloch 1992, section 3.6). A function of distance
alone could not order sources otherwise than distance does; the effects can.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Observation:
    """The lead, in points, that a target saw of a source at a distance (None: it has none)."""

    target: str
    source: str
    distance: float | None
    lead: float


@dataclass(frozen=True, slots=True, eq=False)
class LeadModel:
    """The fitted sum; f is linear between its knots and constant beyond them.

    Attributes:
        knots: ``[k]`` distances, increasing.
        levels: ``[k]`` f there, in points.
        undistanced: What stands for f where there is no distance.
        effects: Points by source; zero for all others.
    """

    knots: NDArray[np.float64]
    levels: NDArray[np.float64]
    undistanced: float
    effects: Mapping[str, float]

    def at(self, source: str, distance: float | None) -> float:
        """The lead to expect, in points."""
        level = self.undistanced
        if distance is not None and len(self.knots):
            level = float(np.interp(distance, self.knots, self.levels))
        return level + self.effects.get(source, 0.0)


def fit(history: Sequence[Observation]) -> LeadModel:
    """The model of least squares, first f, then the effects on what f leaves.

    Args:
        history: One observation or more.

    Raises:
        ValueError: an empty history.
    """
    if not history:
        raise ValueError("history: at least one observation is needed")
    near = [each for each in history if each.distance is not None]
    knots, place, counts = np.unique(
        np.array([each.distance for each in near], dtype=np.float64),
        return_inverse=True,
        return_counts=True,
    )
    leads = np.array([each.lead for each in near], dtype=np.float64)
    levels = non_increasing(np.bincount(place, leads) / counts, counts) if near else knots
    undistanced = fmean([e.lead for e in history if e.distance is None] or leads.tolist())
    at_distances = iter(levels[place].tolist())
    residuals: dict[str, list[float]] = {}
    for each in history:
        level = undistanced if each.distance is None else next(at_distances)
        residuals.setdefault(each.source, []).append(each.lead - level)
    return LeadModel(knots, levels, undistanced, shrunken_means(residuals))


def non_increasing(values: NDArray[np.float64], weights: NDArray[np.int64]) -> NDArray[np.float64]:
    """The non-increasing sequence with the least weighted squared error.

    Args:
        values: ``[n]``.
        weights: ``[n]``, positive.

    Returns:
        ``[n]`` of the same weighted mean.
    """
    blocks: list[tuple[float, int, int]] = []  # mean, weight, length
    for value, weight in zip(values.tolist(), weights.tolist(), strict=True):
        mean, total, length = value, weight, 1
        while blocks and blocks[-1][0] <= mean:
            before, heavy, long = blocks.pop()
            mean = (before * heavy + mean * total) / (heavy + total)
            total, length = total + heavy, length + long
        blocks.append((mean, total, length))
    means, _, lengths = zip(*blocks, strict=True) if blocks else ((), (), ())
    return np.repeat(np.array(means, dtype=np.float64), np.array(lengths, dtype=np.int64))


def shrunken_means(groups: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The mean of each group, shrunk towards zero by what of it may be chance.

    Args:
        groups: Residuals by group, zero on average over all.

    Returns:
        ``n t / (n t + s)`` of each mean, with t the variance between groups and s that within;
        nothing where no group has two, or groups differ no more than their members do.
    """
    sizes, means = {k: len(v) for k, v in groups.items()}, {k: fmean(v) for k, v in groups.items()}
    total, count = sum(sizes.values()), len(sizes)
    if count < 2 or total == count:
        return {}
    within = sum((x - means[k]) ** 2 for k, v in groups.items() for x in v) / (total - count)
    grand = sum(sizes[k] * means[k] for k in groups) / total
    spread = sum(sizes[k] * (means[k] - grand) ** 2 for k in groups) / (count - 1)
    even = (total - sum(n**2 for n in sizes.values()) / total) / (count - 1)
    between = (spread - within) / even
    if between <= 0:
        return {}
    return {k: means[k] * n * between / (n * between + within) for k, n in sizes.items()}

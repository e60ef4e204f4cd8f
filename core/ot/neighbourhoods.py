"""How near the registered sources are to one another: the yardstick for "near" and for hubs.

By transport between class statistics (:func:`core.ot.class_plans.transport_classes`) among the
sources whose pooled samples are nearest: a few milliseconds each, however many there are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from core.ot import class_plans, targets
from core.ot.source_block import RANK, SourceBlock
from core.ot.targets import Target

REFERENCES = 64
SIGNIFICANCE = 0.05
# Fewer references than this cannot put anything in the outer 5 %.
_FEWEST_REFERENCES = math.ceil(1 / SIGNIFICANCE) - 1
_CANDIDATES = 32
# Neighbours whose mean distance is a source's own scale (Schnitzer et al. 2012 use 10 of many).
SCALE_NEIGHBOURS = 5


@dataclass(frozen=True, slots=True, eq=False)
class Nearby:
    """The sources nearest to one, by class statistics.

    Attributes:
        rows: Nearest first.
        distances: ``[len(rows)]`` in feature units.
    """

    rows: NDArray[np.int64]
    distances: NDArray[np.float64]

    @property
    def scale(self) -> float:
        """Mean distance to the nearest few; 0 without any."""
        nearest = self.distances[:SCALE_NEIGHBOURS]
        return float(nearest.mean()) if len(nearest) else 0.0


def nearby(
    block: SourceBlock,
    target: Target,
    *,
    allowed: NDArray[np.int64] | None = None,
    without: int | None = None,
) -> Nearby:
    """The sources nearest to a target.

    Args:
        block: The sources.
        target: May be one of them (:func:`core.ot.targets.of_source`).
        allowed: Rows to choose from; all when omitted.
        without: A row to leave out: the target itself.

    Returns:
        At most 32 of them.
    """
    rows = np.arange(len(block)) if allowed is None else allowed
    rows = rows[rows != without] if without is not None else rows
    rows = rows[np.argsort(_pooled_apart(block, target, rows), kind="stable")[:_CANDIDATES]]
    if not len(rows):
        return Nearby(rows, np.zeros(0))
    some = block.take(rows.tolist())
    bounds = class_plans.bound(target, some)
    plans = class_plans.transport_classes(target, some, bounds, range(len(some)), rank=RANK)
    distances = np.sqrt(np.maximum([plan.cost for plan in plans], 0.0))
    by_distance = np.lexsort((rows, distances))
    return Nearby(rows[by_distance], distances[by_distance])


def _pooled_apart(
    block: SourceBlock, target: Target, rows: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Squared distances of pooled samples, bounded from below.

    Of statistics alone the total variance is known, not how it is spread over a spectrum: by the
    triangle inequality spectra lie at least as far apart as their lengths.
    """
    pooled, own = block.source_signatures[rows].astype(np.float64), target.source_signature.numpy()
    means, spectra = pooled[:, : block.dimension], pooled[:, block.dimension :]
    mean, spectrum = own[: block.dimension], own[block.dimension :]
    lengths = _spectrum_length(np.asarray(block.second_moments[rows], np.float64), means)
    length = _spectrum_length(np.float64(target.second_moment), mean)
    both = spectra.any(1) & spectrum.any()
    between = np.where(both, np.square(spectra - spectrum).sum(1), np.square(lengths - length))
    apart: NDArray[np.float64] = np.square(means - mean).sum(1) + between
    return apart


def _spectrum_length(
    second_moments: NDArray[np.float64] | np.float64, means: NDArray[np.float64]
) -> NDArray[np.float64]:
    length: NDArray[np.float64] = np.sqrt(
        np.maximum(second_moments - np.square(means).sum(-1), 0.0)
    )
    return length


@dataclass(frozen=True, slots=True, eq=False)
class Yardstick:
    """Leave-one-out distances of some of the sources to their nearest other.

    Attributes:
        references: ``[n]`` rows they were taken at.
        nearest: ``[n]`` the row nearest to each.
        distances: ``[n]`` how far that is, in feature units.
    """

    references: NDArray[np.int64]
    nearest: NDArray[np.int64]
    distances: NDArray[np.float64]

    def hub_share(self, row: int) -> float | None:
        """Share of the references, itself aside, that have this source for their nearest."""
        others = self.references != row
        if others.sum() < 2:
            return None
        return float((self.nearest[others] == row).mean())


def measure(block: SourceBlock, *, seed: int = 0) -> Yardstick:
    """The yardstick of a block: at most 64 references, drawn at random but repeatably.

    Args:
        block: The sources.
        seed: Of the draw.
    """
    chosen = np.random.default_rng(seed).permutation(len(block))[:REFERENCES]
    found = [
        (row, near)
        for row in sorted(chosen.tolist())
        if len((near := nearby(block, targets.of_source(block, row), without=row)).rows)
    ]
    return Yardstick(
        references=np.array([row for row, _ in found], dtype=np.int64),
        nearest=np.array([near.rows[0] for _, near in found], dtype=np.int64),
        distances=np.array([near.distances[0] for _, near in found], dtype=np.float64),
    )


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a nearest distance is a near one by the registry's own standard.

    Attributes:
        nearness: ``far`` when at most 5 % of references lie as far from their nearest (a
            conformal p-value, Vovk et al. 2005: wrong for 5 % of datasets like the registered);
            ``unknown`` when there are too few references to say so of anything.
        nearest: The distance judged.
        threshold: The distance from which on it would be far; ``None`` when unknown.
        share: Share of references at least as far from their own nearest; ``None`` without any.
        references: How many there were.
    """

    nearness: Literal["near", "far", "unknown"]
    nearest: float
    threshold: float | None
    share: float | None
    references: int


def judge(yardstick: Yardstick, nearest: float) -> Verdict:
    """Is this nearest distance near?

    Args:
        yardstick: The registry's.
        nearest: Distance of a target to its nearest source, by class statistics (:func:`nearby`).
    """
    count = len(yardstick.distances)
    if not count:
        return Verdict("unknown", nearest, None, None, 0)
    share = float((yardstick.distances >= nearest).mean())
    if count < _FEWEST_REFERENCES:
        return Verdict("unknown", nearest, None, share, count)
    # The p-value (1 + as far or farther) / (1 + all) is at most 5 % for so many of them.
    allowed = math.floor(SIGNIFICANCE * (count + 1)) - 1
    threshold = float(np.sort(yardstick.distances)[count - 1 - allowed])
    far = nearest > threshold
    return Verdict("far" if far else "near", nearest, threshold, share, count)


def scaled(distance: float, own: float, others: float) -> float:
    """Distance in units of both sides' own neighbourhoods: that of a hub is small.

    ``d / sqrt(scale_target * scale_source)``: non-iterative contextual dissimilarity (Jegou et
    al. 2007; compared with mutual proximity in Schnitzer et al. 2012, eq. 2).

    Args:
        distance: Between target and source.
        own: Scale of the target.
        others: Scale of the source.

    Returns:
        A number without unit; infinite where a scale is zero and the distance is not.
    """
    unit = math.sqrt(own * others)
    if unit > 0:
        return distance / unit
    return 0.0 if distance == 0 else math.inf


def distances_between(block: SourceBlock, rows: Sequence[int]) -> NDArray[np.float64]:
    """``[n, n]`` distances of sources to one another, by class statistics at rank 16.

    Args:
        block: The sources.
        rows: Which of them.

    Returns:
        A symmetric matrix with zeros on its diagonal, in feature units.
    """
    some = block.take(rows)
    matrix = np.zeros((len(rows), len(rows)))
    for at in range(1, len(rows)):
        target, before = targets.of_source(some, at), range(at)
        bounds = class_plans.bound(target, some)
        plans = class_plans.transport_classes(target, some, bounds, before, rank=RANK // 2)
        matrix[at, :at] = np.sqrt(np.maximum([plan.cost for plan in plans], 0.0))
    return matrix + matrix.T

"""Sources ordered by their distance from a target, and how much of that order is certain."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.ot import class_plans, cores, funnel, intervals, targets
from core.ot.class_plans import Bounds
from core.ot.dataset_distance import (
    DatasetDistance,
    OTDDConfig,
    class_distance,
    otdd,
    require_same_embedder,
)
from core.ot.embedded_dataset import EmbeddedDataset
from core.ot.funnel import Estimates
from core.ot.sampling import draw
from core.ot.source_block import SourceBlock

Measure = Literal["samples", "classes", "estimate"]
Load = Callable[[int], EmbeddedDataset]
Heard = Callable[[int, int], None]

# Measurements spent, beyond the neighbours asked for, on proving that nothing lies nearer.
BUDGET = 32
# Relative half-width of an estimate's interval where nothing measured tells it.
_UNTESTED = 0.25


@dataclass(frozen=True, slots=True)
class Neighbour:
    """One source as seen from the target.

    Attributes:
        row: Which source of the block.
        distance: OTDD in feature units, or an estimate of it.
        interval: Its confidence interval; contains ``distance``.
        measure: ``samples``: exact transport between samples. ``classes``: transport between
            class statistics, plus what that misses on the sources measured both ways.
            ``estimate``: from small samples, or class statistics cut to rank 32.
        tied_with_nearest: The data do not tell this source from the nearest one. Between samples:
            the difference of the two costs, over the same target samples, is within its own
            confidence interval of zero. Otherwise: the intervals overlap. True for the nearest.
        evidence: Parts, coupling and pairs; ``None`` for an estimate.
    """

    row: int
    distance: float
    interval: tuple[float, float]
    measure: Measure
    tied_with_nearest: bool
    evidence: DatasetDistance | None


@dataclass(frozen=True, slots=True)
class Order:
    """A ranking.

    Attributes:
        neighbours: By rising distance; equal distances by row.
        proven: The first so many are certain to be the nearest of all the block, in this order:
            every source not measured has a lower bound above them.
        floor: Lower bound of the distance of every source that is not among ``neighbours``
            measured; infinite when all are.
    """

    neighbours: tuple[Neighbour, ...]
    proven: int
    floor: float


def rank(
    target: EmbeddedDataset,
    block: SourceBlock,
    load: Load,
    config: OTDDConfig | None = None,
    *,
    k: int = 10,
    allowed: NDArray[np.int64] | None = None,
    floor: float = math.inf,
    budget: int = BUDGET,
    heard: Heard = lambda _done, _total: None,
) -> Order:
    """The nearest sources, measured; the rest of the likely ones, estimated.

    The funnel (:mod:`core.ot.funnel`) orders the sources by estimates; the first k are measured
    until the first k *are* measured ones. Then sources whose lower bound lies below the k-th
    distance are measured, lowest bound first, as far as the budget goes: when none is left, the
    first k are proved to be the nearest.

    Args:
        target: Embedded dataset to be placed.
        block: Summaries of the sources, made for ``config.samples``.
        load: The whole embedded dataset of a source, by row.
        config: What is measured; bounds exist for p = 2 and Gaussian labels only, with other
            settings nothing is proved.
        k: Neighbours to measure.
        allowed: Rows to choose from; all when omitted.
        floor: A distance below which no source lies that is not in the block.
        budget: Further measurements for the proof.
        heard: Told how many measurements are done, and of how many as far as one can tell.

    Returns:
        The order; empty without sources.

    Raises:
        ValueError: If a source was embedded differently, or k is below 1.
    """
    config = config or OTDDConfig()
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}")
    rows = np.arange(len(block)) if allowed is None else np.asarray(allowed, dtype=np.int64)
    if not len(rows):
        return Order((), 0, floor)
    if block.dimension != target.dimension:
        raise ValueError(
            f"the sources were embedded in {block.dimension} dimensions, "
            f"the target in {target.dimension}"
        )
    seen = targets.prepare(target, samples=config.samples)
    bounds = class_plans.bound(seen, block)
    weights = {"lambda_x": config.lambda_x, "lambda_y": config.lambda_y}
    estimates = funnel.estimate(
        seen, block, bounds, **weights, shortlist=max(12, k + 2), keep=k, allowed=rows
    )
    survey = _Survey(target, block, load, config, estimates, heard, min(k + budget, len(rows)))
    survey.measure_first(k)
    lower = _lower(bounds, rows, config)
    survey.prove(k, rows, lower, floor, budget)
    return survey.order(rows, lower, floor)


def _lower(bounds: Bounds, rows: NDArray[np.int64], config: OTDDConfig) -> NDArray[np.float64]:
    """``[len(rows)]`` lower bounds of distances."""
    if config.p != 2 or config.labels != "gaussian":
        return np.zeros(len(rows))
    squared = config.lambda_x * bounds.features[rows] + config.lambda_y * bounds.labels[rows]
    lower: NDArray[np.float64] = np.sqrt(squared)
    return lower


class _Survey:
    """What has been measured so far, and what is only estimated."""

    def __init__(
        self,
        target: EmbeddedDataset,
        block: SourceBlock,
        load: Load,
        config: OTDDConfig,
        estimates: Estimates,
        heard: Heard,
        most: int,
    ) -> None:
        self.target, self.block, self.load, self.config = target, block, load, config
        self.heard, self.most = heard, most
        self.measured: dict[int, DatasetDistance] = {}
        self.sources: dict[int, EmbeddedDataset] = {}
        # Estimates are of costs for p = 2: as distances, in units of what is measured.
        weight = config.lambda_x + config.lambda_y
        self.unit: float = weight ** (1 / config.p - 1 / 2)
        self.estimates = estimates
        self.raw = dict(zip(estimates.rows.tolist(), estimates.squared.tolist(), strict=True))
        # What estimates lack of what is measured, for each unit of common spread.
        self.offset = 0.0

    def measure_first(self, k: int) -> None:
        """Measure until the k nearest, as far as known, are measured.

        Estimates rest on fewer samples than measurements, and lie above them the more the wider
        the classes are: after each round they are moved to where the measured ones are.
        """
        while True:
            waiting = [row for row in self._by_distance()[:k] if row not in self.measured]
            if not waiting:
                return
            threads = torch.get_num_threads()
            for start in range(0, len(waiting), threads):
                self.measure(waiting[start : start + threads])
            self.offset = self._offset()

    def _offset(self) -> float:
        """Median over the sources that were both measured between samples and estimated."""
        found = []
        for row in self.sources:
            spread = self._common_spread(row)
            if row in self.raw and spread > 0:
                cost = (self.measured[row].distance / self.unit) ** 2
                found.append((cost - self.raw[row]) / spread)
        return float(np.median(found)) if found else 0.0

    def prove(
        self,
        k: int,
        rows: NDArray[np.int64],
        lower: NDArray[np.float64],
        floor: float,
        budget: int,
    ) -> None:
        """Measure what might still be nearer than the k-th, most promising bounds first."""
        for at in np.argsort(lower, kind="stable")[: len(self.measured) + budget]:
            kth = self._by_distance()[:k][-1]
            if lower[at] > self.distance(kth) or floor <= lower[at] or budget < 1:
                return
            if int(rows[at]) not in self.measured:
                self.measure([int(rows[at])])
                budget -= 1

    def measure(self, rows: Sequence[int]) -> None:
        """The sources' distances: between samples where both sides have them."""
        sources = [self.load(row) for row in rows]
        for source in sources:
            require_same_embedder(self.target, source)
        for row, source, found in zip(
            rows, sources, cores.spread(self._compare, sources), strict=True
        ):
            self.measured[row] = found
            if self.target.has_samples and source.has_samples:
                # Ties are judged over the samples compared; the rest need not stay in memory.
                self.sources[row] = source
            self.most = max(self.most, len(self.measured))
            self.heard(len(self.measured), self.most)

    def _compare(self, source: EmbeddedDataset) -> DatasetDistance:
        if self.target.has_samples and source.has_samples:
            return otdd(self.target, source, self.config)
        return class_distance(self.target, source, self.config)

    def distance(self, row: int) -> float:
        """The best that is known of it."""
        found = self.measured.get(row)
        if found is None:
            squared = self.raw[row] + self.offset * self._common_spread(row)
            return self.unit * math.sqrt(max(squared, 0.0))
        if self._between_samples(row) or not self.target.has_samples:
            return found.distance
        # Comparable with the others only once it carries what class statistics leave out.
        squared = (found.distance / self.unit) ** 2 + self._missed(row)
        return self.unit * math.sqrt(max(squared, 0.0))

    def order(self, rows: NDArray[np.int64], lower: NDArray[np.float64], floor: float) -> Order:
        """Everything found, and how much of it is certain."""
        ranked = self._by_distance()
        error = self.estimates.error if self.estimates.error is not None else _UNTESTED
        nearest = ranked[0]
        neighbours = []
        for row in ranked:
            interval = self._interval(row, error)
            neighbours.append(
                Neighbour(
                    row=row,
                    distance=self.distance(row),
                    interval=interval,
                    measure=self._measure(row),
                    tied_with_nearest=row == nearest or self._tied(nearest, row, error),
                    evidence=self.measured.get(row),
                )
            )
        # Bounds are of transport between samples: what was measured otherwise stays in doubt.
        certain = {row for row in self.measured if self._between_samples(row)}
        if not self.target.has_samples:
            certain = set()
        doubted = [
            bound for row, bound in zip(rows.tolist(), lower.tolist(), strict=True)
            if row not in certain
        ]  # fmt: skip
        least = min([floor, *doubted])
        proven = 0
        for row in ranked:
            if row not in certain or self.distance(row) > least:
                break
            proven += 1
        return Order(tuple(neighbours), proven, least)

    def _by_distance(self) -> list[int]:
        known = {row: self.distance(row) for row in {*self.raw, *self.measured}}
        return sorted(known, key=lambda row: (known[row], row))

    def _between_samples(self, row: int) -> bool:
        return row in self.sources

    def _measure(self, row: int) -> Measure:
        if row not in self.measured:
            return "estimate"
        return "samples" if self._between_samples(row) else "classes"

    def _missed(self, row: int) -> float:
        return (self.estimates.correction + self.offset) * self._common_spread(row)

    def _common_spread(self, row: int) -> float:
        """Geometric mean of the two sides' mean class variances."""
        part = self.block.classes(row)
        spectra = self.block.class_signatures[part, self.block.dimension :].astype(np.float64)
        spread = float(self.block.class_weights[part] @ np.square(spectra).sum(1))
        moments = self.target.moments
        own = float((moments.weights * moments.traces).sum())
        return math.sqrt(spread * own)

    def _interval(self, row: int, error: float) -> tuple[float, float]:
        found = self.measured.get(row)
        if found is not None and self._between_samples(row):
            return found.interval
        # Half the deviation of the cost is that of its root; 1.48 medians are one deviation.
        reach = intervals.critical_value(self.config.confidence) * 1.48 * error / 2
        value = self.distance(row)
        return value * max(1 - reach, 0.0), value * (1 + reach)

    def _tied(self, nearest: int, other: int, error: float) -> bool:
        if self._between_samples(nearest) and self._between_samples(other):
            return self._paired(nearest, other)
        return self._interval(other, error)[0] <= self._interval(nearest, error)[1]

    def _paired(self, nearest: int, other: int) -> bool:
        """Both distances share the target samples, whose common part cancels."""
        first, second = self.measured[nearest], self.measured[other]
        variance = (
            intervals.sampling_variance(
                second.influence[0] - first.influence[0], self._weights(self.target)
            )
            + intervals.sampling_variance(first.influence[1], self._weights(self.sources[nearest]))
            + intervals.sampling_variance(second.influence[1], self._weights(self.sources[other]))
        )
        reach = intervals.critical_value(self.config.confidence) * math.sqrt(variance)
        return bool(second.cost - first.cost <= reach)

    def _weights(self, dataset: EmbeddedDataset) -> Tensor:
        return draw(dataset, self.config.samples).weights

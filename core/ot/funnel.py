"""From thousands of sources to the few worth measuring, cheapest test first.

1. All sources: spectral lower bounds on every class distance and on the pooled samples, one
   matrix product (:func:`core.ot.label_distances.spectral_lower_bounds`).
2. The best ``WIDE`` by that: transport between classes, with covariance factors of rank 16.
3. The best ``NARROW`` of those: the same at rank 32.
4. Those: transport between samples of 128
   (:func:`core.ot.sampled_costs.transport_samples`).
5. The best few of those: the same with 256.

Stages 2 and 3 estimate, they do not bound; what can be *proved* about the sources left behind
rests on the lower bounds of stage 1 alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from core.ot import class_plans, sampled_costs
from core.ot.class_plans import Bounds, ClassPlan, Integers
from core.ot.source_block import RANK, SAMPLES, SourceBlock
from core.ot.targets import Floats, Target

WIDE = 2048
NARROW = 64
COARSE_RANK = 16
FEW_SAMPLES = 128
_FEWEST_TO_JUDGE = 3


def narrow(
    target: Target,
    block: SourceBlock,
    bounds: Bounds,
    *,
    lambda_x: float,
    lambda_y: float,
    keep: int = NARROW,
    allowed: Integers | None = None,
) -> list[ClassPlan]:
    """The sources that deserve a closer look, by transport between classes, nearest first.

    Args:
        target: The target.
        block: The sources.
        bounds: Of these sources.
        lambda_x: Weight of the features in the distance that the bounds are added up to.
        lambda_y: Weight of the labels.
        keep: How many sources to keep, where that is more than ``NARROW``.
        allowed: Rows to choose from; all when omitted.

    Returns:
        At most ``NARROW`` plans, or `keep`, by rising cost; equal costs by row.
    """
    few, many = max(NARROW, keep), max(WIDE, keep)
    rows = np.arange(len(block)) if allowed is None else np.asarray(allowed, dtype=np.int64)
    if len(rows) > many:
        lower = lambda_x * bounds.features[rows] + lambda_y * bounds.labels[rows]
        rows = rows[np.argsort(lower, kind="stable")[:many]]
    if len(rows) > few:
        coarse = class_plans.transport_classes(
            target, block, bounds, rows.tolist(), rank=COARSE_RANK
        )
        coarse.sort(key=lambda plan: (plan.cost, plan.row))
        rows = np.array(sorted(plan.row for plan in coarse[:few]))
    fine = class_plans.transport_classes(target, block, bounds, rows.tolist(), rank=RANK)
    return sorted(fine, key=lambda plan: (plan.cost, plan.row))


@dataclass(frozen=True, slots=True, eq=False)
class Estimates:
    """Squared distances of the sources that came through the funnel.

    Attributes:
        rows: Sources by rising estimate; those estimated from samples come first.
        squared: Estimates in that order.
        sampled: How many of them, from the start, rest on samples.
        error: Spread of the class-level estimates, as a share of the squared distance: the median
            deviation of those that have both. ``None`` where fewer than three have.
        correction: What was added to class-level costs for each unit of common spread.
    """

    rows: Integers
    squared: Floats
    sampled: int
    error: float | None
    correction: float


def estimate(
    target: Target,
    block: SourceBlock,
    bounds: Bounds,
    *,
    lambda_x: float,
    lambda_y: float,
    shortlist: int = 16,
    keep: int = NARROW,
    allowed: Integers | None = None,
) -> Estimates:
    """Squared OTDD of the sources worth considering.

    Transport between classes leaves out what is not Gaussian about them, and that two finite
    samples of one distribution are not at distance zero: the nearest ``NARROW`` are estimated
    from samples of 128, the nearest few of those from samples of 256. What the coarser estimates
    miss grows with the classes' spread: on the sources that have the finer one, the difference
    is measured in units of the two spreads' geometric mean, and its median is added to the others.

    Args:
        target: The target.
        block: The sources.
        bounds: Of these sources.
        lambda_x: Weight of the features.
        lambda_y: Weight of the labels.
        shortlist: How many of those, the nearest, to estimate from all samples kept.
        keep: How many sources to estimate, where that is more than ``NARROW``.
        allowed: Rows to choose from; all when omitted.

    Returns:
        Estimates for at most ``NARROW`` sources, or `keep`, in squared feature units.
    """
    plans = narrow(
        target, block, bounds, lambda_x=lambda_x, lambda_y=lambda_y, keep=keep, allowed=allowed
    )
    coarse = np.array([(lambda_x + lambda_y) * plan.cost for plan in plans])
    spreads = np.sqrt(np.array([_spread(block, plan) for plan in plans]) * target.spread)
    able = [at for at, plan in enumerate(plans) if _has_samples(target, block, plan.row)]
    able = able[: max(NARROW, shortlist)]
    squared, correction, errors = coarse, 0.0, []
    for count, samples in ((len(able), FEW_SAMPLES), (shortlist, SAMPLES)):
        chosen = np.array(sorted(able, key=squared.__getitem__)[:count], dtype=np.int64)
        fine = sampled_costs.transport_samples(
            target,
            block,
            [plans[at] for at in chosen],
            samples=samples,
            lambda_x=lambda_x,
            lambda_y=lambda_y,
        )
        step = _correction(fine - squared[chosen], spreads[chosen])
        squared, correction = np.maximum(squared + step * spreads, 0.0), correction + step
        missed = np.abs(squared[chosen] - fine) / np.maximum(fine, np.finfo(np.float64).tiny)
        errors.append(float(np.median(missed)) if len(missed) >= _FEWEST_TO_JUDGE else None)
        squared[chosen] = fine
    late = np.ones(len(plans), dtype=bool)
    late[able] = False
    order = np.lexsort((np.arange(len(plans)), squared, late))
    rows = np.array([plan.row for plan in plans], dtype=np.int64)
    return Estimates(rows[order], squared[order], len(able), errors[0], correction)


def _correction(differences: Floats, spreads: Floats) -> float:
    usable = spreads > 0
    return float(np.median(differences[usable] / spreads[usable])) if usable.any() else 0.0


def _spread(block: SourceBlock, plan: ClassPlan) -> float:
    spectra = block.class_signatures[plan.classes, block.dimension :].astype(np.float64)
    return float(plan.weights @ np.square(spectra).sum(1))


def _has_samples(target: Target, block: SourceBlock, row: int) -> bool:
    there = int(block.sample_starts[row + 1] - block.sample_starts[row])
    return there > 0 and len(target.labels) > 0

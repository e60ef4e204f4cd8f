"""How far a sampled transport distance may lie from its mean over samples of that size.

For a fixed ground cost the optimal cost between two samples is asymptotically normal, in any
dimension, around its expectation *at those sample sizes*, with the variance of the Kantorovich
potentials (del Barrio & Loubes 2019, theorem 4.1): no resampling is needed. Two caveats follow.
The expectation itself lies above the distance of the underlying distributions, the more so the
fewer the samples, and the interval does not cover that bias; so only distances at equal sample
sizes compare. And near zero the limit degenerates, where the interval is an order of magnitude.
"""

from __future__ import annotations

import math
from statistics import NormalDist

from torch import Tensor


def sampling_variance(values_N: Tensor, weights_N: Tensor) -> float:
    """Variance of the weighted mean of independent draws.

    Class shares count as drawn too, although the sample fixes them: they were drawn once, when
    the dataset was collected. This errs on the wide side.

    Args:
        values_N: ``[N]`` one potential per sample.
        weights_N: ``[N]`` weights summing to one.

    Returns:
        The variance, in squared units of the values; 0 for a single sample.
    """
    if len(values_N) < 2:
        return 0.0
    mean = (weights_N * values_N).sum()
    spread = (weights_N * (values_N - mean)).square().sum()
    return float(spread) * len(values_N) / (len(values_N) - 1)


def root_interval(squared: float, variance: float, *, confidence: float) -> tuple[float, float]:
    """Interval of the root of a normally distributed squared distance.

    Args:
        squared: The squared distance measured.
        variance: Its sampling variance.
        confidence: Coverage, as 0.95.

    Returns:
        Lower and upper end; they enclose the root of ``squared``.
    """
    reach = critical_value(confidence) * math.sqrt(variance)
    return math.sqrt(max(squared - reach, 0.0)), math.sqrt(squared + reach)


def critical_value(confidence: float) -> float:
    """Two-sided normal quantile: 1.96 for a confidence of 0.95."""
    return NormalDist().inv_cdf(0.5 + confidence / 2)

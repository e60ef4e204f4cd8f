"""How far a sampled transport distance may lie from its mean over samples of that size.

For a fixed ground cost the optimal cost between two samples is asymptotically normal, in any
dimension, around its expectation *at those sample sizes*, with the variance of the Kantorovich
potentials (del Barrio & Loubes 2019): the limit of the bootstrap, without its resampling. To the
potential of a sample is added what it does to its class mean, and so to the label distances.
Three caveats follow. The expectation itself lies above the distance of the underlying
distributions, the more so the fewer the samples, and the interval does not cover that bias; so
only distances at equal sample sizes compare. What a sample does to its class covariance is left
out. And near zero the limit degenerates: there the interval is an order of magnitude.
"""

from __future__ import annotations

import math
from statistics import NormalDist

from torch import Tensor


def label_influence(
    features_ND: Tensor,
    labels_N: Tensor,
    *,
    means_mD: Tensor,
    other_means_nD: Tensor,
    coupling_mn: Tensor,
    shares_m: Tensor,
) -> Tensor:
    """First-order effect of each sample on the transported label distances, by its class mean.

    The derivative of ``sum_ij coupling_ij |mean_i - mean_j|^2`` along the sample's own deviation.

    Args:
        features_ND: ``[N, D]`` samples.
        labels_N: ``[N]`` their classes.
        means_mD: ``[m, D]`` class means on their side.
        other_means_nD: ``[n, D]`` class means on the other side.
        coupling_mn: ``[m, n]`` mass between classes, times what a label distance contributes for
            each unit of its square.
        shares_m: ``[m]`` class shares of their side, positive.

    Returns:
        ``[N]`` float64, in squared feature units; zero on average over a class.
    """
    pulled_mD = coupling_mn.sum(1, keepdim=True) * means_mD - coupling_mn @ other_means_nD
    gradients_mD = 2 * pulled_mD / shares_m[:, None]
    deviations_ND = features_ND.double() - means_mD[labels_N]
    return (deviations_ND * gradients_mD[labels_N]).sum(1)


def sampling_variance(values_N: Tensor, weights_N: Tensor) -> float:
    """Variance of the weighted mean of independent draws.

    Class shares count as drawn too, although the sample fixes them: they were drawn once, when
    the dataset was collected. This errs on the wide side.

    Args:
        values_N: ``[N]`` influence of each sample.
        weights_N: ``[N]`` weights summing to one.

    Returns:
        The variance, in squared units of the values; 0 for a single sample.
    """
    if len(values_N) < 2:
        return 0.0
    mean = (weights_N * values_N).sum()
    spread = (weights_N * (values_N - mean)).square().sum()
    return float(spread) * len(values_N) / (len(values_N) - 1)


def root_interval(
    cost: float, variance: float, *, confidence: float, p: float = 2.0
) -> tuple[float, float]:
    """Interval of the p-th root of a normally distributed cost.

    Args:
        cost: The p-th power of the distance measured.
        variance: Its sampling variance.
        confidence: Coverage, as 0.95.
        p: Which root.

    Returns:
        Lower and upper end; they enclose the root of ``cost``.
    """
    reach = critical_value(confidence) * math.sqrt(variance)
    ends = max(cost - reach, 0.0), cost + reach
    if p == 2:
        return math.sqrt(ends[0]), math.sqrt(ends[1])
    return ends[0] ** (1 / p), ends[1] ** (1 / p)


def critical_value(confidence: float) -> float:
    """Two-sided normal quantile: 1.96 for a confidence of 0.95."""
    return NormalDist().inv_cdf(0.5 + confidence / 2)

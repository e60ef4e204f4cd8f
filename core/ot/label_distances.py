"""Distances between class distributions, each summarised as a Gaussian."""

from __future__ import annotations

import torch
from torch import Tensor

from core.ot.moments import ClassMoments

# A squared distance below this share of the moments it is the difference of is rounding error.
_ROUNDING = 1e-12
# Matrices per batched decomposition: bounds memory at about 64 MiB for 128 columns.
_PAIRS_PER_BATCH = 512


def squared_gaussian_distances(first: ClassMoments, second: ClassMoments) -> Tensor:
    """Squared 2-Wasserstein distance between every pair of class Gaussians.

    With ``covariance = L @ L.T`` the Bures term needs no matrix square root (Gelbrich 1990;
    Alvarez-Melis & Fusi 2020, eq. 8): ``tr((A^1/2 B A^1/2)^1/2)`` is the nuclear norm of
    ``La.T @ Lb``, so

        ``W2^2 = |mean_a - mean_b|^2 + tr A + tr B - 2 * |La.T @ Lb|_nuclear``

    which also holds for singular covariances. Differences within rounding of zero are returned
    as zero, so a class is at distance zero from itself.

    Args:
        first: Moments of m classes in D dimensions.
        second: Moments of n classes in the same D dimensions.

    Returns:
        ``[m, n]`` float64, squared feature units, non-negative.

    Raises:
        ValueError: If the feature dimensions differ.
    """
    if first.means.shape[1] != second.means.shape[1]:
        raise ValueError(
            "classes live in different feature spaces: "
            f"{first.means.shape[1]} and {second.means.shape[1]} dimensions"
        )
    means_mn = (first.means[:, None] - second.means[None]).square().sum(-1)
    spread_mn = first.traces[:, None] + second.traces[None]
    bures_mn = spread_mn - 2 * _nuclear_norms(first.factors, second.factors)
    noise_mn = _ROUNDING * first.factors.shape[1] * spread_mn
    return means_mn + torch.where(bures_mn > noise_mn, bures_mn, 0.0)


def _nuclear_norms(first_mDR: Tensor, second_nDR: Tensor) -> Tensor:
    """``[m, n]`` sums of singular values of ``first_i.T @ second_j``.

    Singular values are taken of the product itself: the square root of Gram eigenvalues would
    leave an error of 1e-8 per value, visible where a class is compared with itself.
    """
    m, n = len(first_mDR), len(second_nDR)
    left = torch.arange(m, device=first_mDR.device).repeat_interleave(n)
    right = torch.arange(n, device=first_mDR.device).repeat(m)
    norms = []
    for start in range(0, m * n, _PAIRS_PER_BATCH):
        pairs = slice(start, start + _PAIRS_PER_BATCH)
        products = first_mDR[left[pairs]].mT @ second_nDR[right[pairs]]
        norms.append(torch.linalg.svdvals(products).sum(-1))
    return torch.cat(norms).reshape(m, n)

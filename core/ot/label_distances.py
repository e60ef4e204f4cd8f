"""Distances between class distributions: as Gaussians, or exactly between their samples."""

from __future__ import annotations

import torch
from torch import Tensor

from core.ot import cores, costs, solvers
from core.ot.moments import ClassMoments

# A squared distance below this share of the moments it is the difference of is rounding error.
_ROUNDING = 1e-12
# Bounds the memory of one batch of decompositions at about 64 MiB.
_NUMBERS_PER_BATCH = 1 << 23


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
    m, n = len(first.means), len(second.means)
    left = torch.arange(m, device=first.means.device).repeat_interleave(n)
    right = torch.arange(n, device=first.means.device).repeat(m)
    return squared_gaussian_pairs(first, second, left, right).reshape(m, n)


def squared_gaussian_pairs(
    first: ClassMoments,
    second: ClassMoments,
    left: Tensor,
    right: Tensor,
    *,
    rank: int | None = None,
) -> Tensor:
    """Squared 2-Wasserstein distance between chosen pairs of class Gaussians.

    Where factors are cut to fewer columns than the covariance has, the nuclear norm of what was
    cut is taken to be aligned as what was kept: ``norm * (1 + cut / kept)``, both counted by the
    products of the two spectra. That keeps a class at distance zero from itself, and the distance
    above :func:`spectral_lower_bounds`.

    Args:
        first: Moments of m classes in D dimensions.
        second: Moments of n classes in the same D dimensions.
        left: ``[P]`` classes of `first`.
        right: ``[P]`` classes of `second`.
        rank: Use at most this many columns of the factors; ``None`` uses all that are kept.

    Returns:
        ``[P]`` float64, squared feature units, non-negative.

    Raises:
        ValueError: If the feature dimensions differ.
    """
    _require_same_space(first, second)
    first_mDR, second_nDR = first.factors[..., :rank], second.factors[..., :rank]
    columns = min(first_mDR.shape[-1], second_nDR.shape[-1])
    products_PD = first.spectra[left] * second.spectra[right]
    kept_P = products_PD[:, :columns].sum(1)
    cut_P = products_PD[:, columns:].sum(1)
    norms_P = _nuclear_norms(first_mDR, second_nDR, left, right)
    norms_P = norms_P * (1 + torch.where(kept_P > 0, cut_P / kept_P, 0.0))
    means_P = (first.means[left] - second.means[right]).square().sum(1)
    spread_P = first.traces[left] + second.traces[right]
    bures_P = spread_P - 2 * norms_P
    noise_P = _ROUNDING * first.factors.shape[1] * spread_P
    return means_P + torch.where(bures_P > noise_P, bures_P, 0.0)


def spectral_lower_bounds(first: ClassMoments, second: ClassMoments) -> Tensor:
    """What no squared distance between two class Gaussians can fall below; no decomposition.

    By von Neumann's trace inequality the nuclear norm above is at most the inner product of the
    two falling spectra, so ``W2^2 >= |mean_a - mean_b|^2 + |spectrum_a - spectrum_b|^2``: a plain
    Euclidean distance (equal where the covariances share their eigenvectors).

    Args:
        first: Moments of m classes in D dimensions.
        second: Moments of n classes in the same D dimensions.

    Returns:
        ``[m, n]`` float64, squared feature units, non-negative.

    Raises:
        ValueError: If the feature dimensions differ.
    """
    _require_same_space(first, second)
    return costs.squared_feature_distances(signatures(first), signatures(second))


def signatures(moments: ClassMoments) -> Tensor:
    """``[m, 2 D]``: mean and spectrum, whose Euclidean distance bounds that of the Gaussians."""
    return torch.cat([moments.means, moments.spectra], 1)


def squared_sample_distances(
    first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor], *, classes: tuple[int, int]
) -> Tensor:
    """Squared 2-Wasserstein distance between the samples of every pair of classes, exactly.

    Makes no assumption on the shape of a class, at the price of one transport problem a pair.

    Args:
        first: Features ``[N, D]`` and labels ``[N]`` in ``0..m-1``, every class present.
        second: Features ``[M, D]`` and labels ``[M]`` in ``0..n-1``, every class present.
        classes: m and n.

    Returns:
        ``[m, n]`` float64, squared feature units.
    """
    distances_mn = first[0].new_zeros(classes, dtype=torch.float64)
    sides = [
        [features[labels == label] for label in range(count)]
        for (features, labels), count in zip((first, second), classes, strict=True)
    ]
    for i, one in enumerate(sides[0]):
        for j, other in enumerate(sides[1]):
            ground = costs.squared_feature_distances(one, other)
            rows, columns = ground.new_ones(len(one)), ground.new_ones(len(other))
            distances_mn[i, j] = solvers.solve_exactly(rows, columns, ground).cost
    return distances_mn


def _require_same_space(first: ClassMoments, second: ClassMoments) -> None:
    if first.means.shape[1] != second.means.shape[1]:
        raise ValueError(
            "classes live in different feature spaces: "
            f"{first.means.shape[1]} and {second.means.shape[1]} dimensions"
        )


def _nuclear_norms(
    first_mDR: Tensor, second_nDR: Tensor, left_P: Tensor, right_P: Tensor
) -> Tensor:
    """``[P]`` sums of singular values of ``first[left].T @ second[right]``.

    Singular values are taken of the product itself: the square root of Gram eigenvalues would
    leave an error of 1e-8 per value, visible where a class is compared with itself.
    """
    norms_P = first_mDR.new_zeros(len(left_P))
    batch = max(1, _NUMBERS_PER_BATCH // max(second_nDR[0].numel(), 1))
    order = torch.argsort(left_P, stable=True)
    counts = torch.bincount(left_P, minlength=len(first_mDR)).tolist()
    parts = [
        (own, some)
        for own, pairs in enumerate(torch.split(order, counts))
        for some in torch.split(pairs, batch)
        if len(some)
    ]

    def norms_of(part: tuple[int, Tensor]) -> Tensor:
        own, some = part
        products = first_mDR[own].mT @ second_nDR[right_P[some]]
        norms: Tensor = torch.linalg.svdvals(products).sum(-1)
        return norms

    for (_, some), found in zip(parts, cores.spread(norms_of, parts), strict=True):
        norms_P[some] = found
    return norms_P

"""First and second moments of every class of an embedded dataset."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

# m = classes, N = samples, D = feature dimension, R = columns kept of the covariance factors.


@dataclass(frozen=True, slots=True, eq=False)
class ClassMoments:
    """Mean and covariance of each class, the covariance kept as a factor.

    Attributes:
        counts: ``[m]`` int64, samples behind each class.
        means: ``[m, D]`` float64.
        factors: ``[m, D, R]`` float64 with ``covariance_c = factors_c @ factors_c.T``, columns by
            falling variance, zero columns where a class has a smaller rank.
        traces: ``[m]`` float64, the full trace of each covariance (also when factors are cut).
        spectra: ``[m, D]`` float64, square roots of the eigenvalues of each covariance, falling
            (all of them, also when factors are cut).
    """

    counts: Tensor
    means: Tensor
    factors: Tensor
    traces: Tensor
    spectra: Tensor

    @property
    def weights(self) -> Tensor:
        """``[m]`` float64 share of each class among all samples."""
        counts = self.counts.double()
        return counts / counts.sum()

    def to(self, device: torch.device | str) -> ClassMoments:
        """The same moments on another device."""
        tensors = (self.counts, self.means, self.factors, self.traces, self.spectra)
        return ClassMoments(*(tensor.to(device) for tensor in tensors))


def class_moments(
    features: Tensor, labels: Tensor, *, classes: int, rank: int | None = None
) -> ClassMoments:
    """Moments of each class; covariances use the unbiased n - 1 normalisation.

    A class of one sample, or of identical samples, gets a zero covariance: its distribution is a
    point.

    Args:
        features: ``[N, D]`` finite.
        labels: ``[N]`` integers in ``0..classes-1``, every class present.
        classes: Number of classes m.
        rank: Keep at most this many columns of each factor; ``None`` keeps all.

    Returns:
        The moments, in float64.

    Raises:
        ValueError: If a class has no samples or ``rank`` is below 1.
    """
    if rank is not None and rank < 1:
        raise ValueError(f"rank must be at least 1, not {rank}")
    counts = torch.bincount(labels.long(), minlength=classes)
    if len(counts) != classes or bool((counts == 0).any()):
        raise ValueError("every class needs at least one sample, and every label a class")
    means, factors, traces, spectra = [], [], [], []
    for label in range(classes):
        rows = features[labels == label].double()
        mean = rows.mean(0)
        centred = rows - mean
        means.append(mean)
        traces.append(centred.square().sum() / max(len(rows) - 1, 1))
        factor = _covariance_factor(centred)
        spectra.append(_padded(torch.linalg.vector_norm(factor, dim=0), features.shape[1]))
        factors.append(factor[:, :rank])
    return ClassMoments(
        counts, torch.stack(means), _pad(factors), torch.stack(traces), torch.stack(spectra)
    )


def _covariance_factor(centred_ND: Tensor) -> Tensor:
    """Factor ``[D, min(N, D)]`` of the covariance, through the smaller of the two Gram matrices.

    With fewer samples than dimensions the N x N Gram has the same non-zero spectrum as the D x D
    covariance; its eigenvectors, mapped back by the data, are the principal axes already scaled.
    """
    samples, dimension = centred_ND.shape
    scaled = centred_ND / max(samples - 1, 1) ** 0.5
    if samples < dimension:
        _, vectors = torch.linalg.eigh(scaled @ scaled.T)
        factor = scaled.T @ vectors
    else:
        values, vectors = torch.linalg.eigh(scaled.T @ scaled)
        factor = vectors * values.clamp_min(0).sqrt()
    descending: Tensor = factor.flip(1)
    return descending


def _padded(values: Tensor, length: int) -> Tensor:
    return torch.cat([values, values.new_zeros(length - len(values))])


def _pad(factors: list[Tensor]) -> Tensor:
    width = max(factor.shape[1] for factor in factors)
    padded = factors[0].new_zeros(len(factors), factors[0].shape[0], width)
    for row, factor in zip(padded, factors, strict=True):
        row[:, : factor.shape[1]] = factor
    return padded

"""Batch normalisation folded into the pointwise product before it.

For ``x = P y`` the statistics follow from those of y: the mean is ``P E[y]`` and the variance the
diagonal of ``P Cov[y] P^T``. The normalised and scaled product is then one product ``W y + b``,
and its gradient for y is ``W^T g + K y + c``: neither x nor its gradient are ever written down,
and of the passes over the maps that batch normalisation takes none is left.

The equations are those of Ioffe & Szegedy 2015 (arXiv 1502.03167), algorithm 1 and section 3,
with the sums over the batch taken before the product instead of after it. The matrices here are
``[E, C, C]``, for E edges: small beside the maps.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Folded:
    """A product, normalised and scaled: ``W y + b``, and what its backward pass needs.

    Attributes:
        weight: W, ``[E, C, C]``.
        bias: b, ``[E, C]``.
        product: P.
        deviation: Reciprocal standard deviations of ``P y``, ``[E, C]``.
        factor: Scale times `deviation`.
        mean: Of y if the statistics are the batch's, of ``P y`` if they are constants, ``[E, C]``.
        spread: ``P Cov[y]``; None if the statistics are constants.
        count: Rows of the batch.
    """

    weight: Tensor
    bias: Tensor
    product: Tensor
    deviation: Tensor
    factor: Tensor
    mean: Tensor
    spread: Tensor | None
    count: int


@dataclass(frozen=True, slots=True)
class Pulled:
    """Gradients through a folded product.

    Attributes:
        scale: ``[E, C]``.
        product: ``[E, C, C]``.
        weight: W: a row g of the gradient becomes ``g W + y K + c``.
        curvature: K, symmetric; None if the statistics are constants.
        offset: c, ``[E, C]``; None with `curvature`.
    """

    scale: Tensor
    product: Tensor
    weight: Tensor
    curvature: Tensor | None = None
    offset: Tensor | None = None


def fold(
    product: Tensor, scale: Tensor | None, mean: Tensor, gram: Tensor, count: int, eps: float
) -> tuple[Folded, Tensor, Tensor]:
    """Normalise by the batch's statistics.

    Args:
        product: P, ``[E, C, C]``.
        scale: ``[E, 1]``; 1 if None.
        mean: ``[E, C]``, of the maps before.
        gram: ``[E, C, C]``, their sum over rows of ``y y^T``.
        count: Rows.
        eps: Added to variances.

    Returns:
        The folded product, and mean and variance of ``P y``, ``[E, C]``.

    Raises:
        ValueError: there is one row only: no variance.
    """
    if count < 2:
        raise ValueError(
            "expected more than 1 value per channel when training, got one image whose maps are "
            "one pixel: train with larger batches"
        )
    covariance = torch.baddbmm(gram, mean[:, :, None], mean[:, None, :], beta=1 / count, alpha=-1)
    spread = torch.bmm(product, covariance)
    # Rounding may leave a constant channel a variance just below zero.
    variances = (spread * product).sum(dim=-1).clamp_(min=0)
    means = torch.bmm(product, mean[:, :, None])[..., 0]
    deviation = (variances + eps).rsqrt_()
    factor = deviation if scale is None else deviation * scale
    weight = factor[..., None] * product
    folded = Folded(weight, -factor * means, product, deviation, factor, mean, spread, count)
    return folded, means, variances


def fold_constant(
    product: Tensor, scale: Tensor | None, means: Tensor, variances: Tensor, eps: float
) -> Folded:
    """Normalise by given statistics of ``P y``, ``[E, C]``; other arguments as in `fold`."""
    deviation = (variances + eps).rsqrt_()
    factor = deviation if scale is None else deviation * scale
    weight = factor[..., None] * product
    return Folded(weight, -factor * means, product, deviation, factor, means, None, 0)


def pull(folded: Folded, cross: Tensor, sums: Tensor) -> Pulled:
    """The backward pass of a folded product.

    Args:
        folded: From the forward pass.
        cross: ``[E, C, C]``, the sum over rows of ``g y^T``; g is the gradient of the result.
        sums: ``[E, C]``, the sum over rows of g.
    """
    product, factor, mean, count = folded.product, folded.factor, folded.mean, folded.count
    if folded.spread is None:
        found = (product * cross).sum(dim=-1) - mean * sums
        return Pulled(found * folded.deviation, factor[..., None] * cross, folded.weight)
    centred = torch.baddbmm(cross, sums[:, :, None], mean[:, None, :], alpha=-1)
    scale = (product * centred).sum(dim=-1) * folded.deviation
    # Twice the gradients of the variances, negative.
    twice = (scale * factor * folded.deviation)[..., None]
    gradient = (factor[..., None] * centred).addcmul_(twice, folded.spread, value=-1)
    curvature = torch.bmm(product.mT, twice / -count * product)
    offset = torch.baddbmm(
        torch.bmm(mean[:, None, :], curvature),
        sums[:, None, :],
        folded.weight,
        beta=-1,
        alpha=-1 / count,
    )
    return Pulled(scale, gradient, folded.weight, curvature, offset[:, 0])

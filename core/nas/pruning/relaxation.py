"""Masks of components: almost a step where they are used, a wide sigmoid where they are learned.

With ``s_T(theta) = 1 / (1 + exp(-theta / T))`` the masks of a forward pass are cold,
``s_c(theta)``, and their derivative is that of warm ones, ``s_h (1 - s_h) / h`` with ``h > c``,
which does not vanish where the step is flat.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

CLIP = 5.0  # warm temperatures that parameters may be away from the threshold: slope 0.007 / h


class _TwoTemperatures(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, theta: Tensor, noise: Tensor | None, cold: float, warm: float) -> Tensor:
        ctx.save_for_backward(theta)
        ctx.warm = warm
        shifted = theta if noise is None else theta + warm * noise
        return (shifted / cold).sigmoid()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (theta,) = ctx.saved_tensors
        warm = (theta / ctx.warm).sigmoid()
        return gradients[0] * warm * (1 - warm) / ctx.warm, None, None, None


def masks(theta: Tensor, *, cold: float, warm: float, noise: Tensor | None = None) -> Tensor:
    """``s_c(theta)`` whose gradient is ``s_h'(theta)``.

    With logistic noise the parameters are moved by ``h`` times it, before the step and not where
    the slope is taken: as c goes to 0 the masks are Bernoulli draws of chance ``s_h(theta)``, and
    the mean of the gradients is the derivative of the mean loss if that is linear in each mask.

    Args:
        theta: ``[K]``.
        cold: c, positive.
        warm: h, at least c.
        noise: ``[K]`` draws of `logistic`.

    Raises:
        ValueError: temperatures that are not ``0 < c <= h``.
    """
    if not 0 < cold <= warm:
        raise ValueError(f"temperatures: {cold} and {warm} are not 0 < cold <= warm")
    found: Tensor = _TwoTemperatures.apply(theta, noise, cold, warm)
    return found


def logistic(count: int, generator: torch.Generator) -> Tensor:
    """Draws ``[count]`` of the standard logistic distribution (CPU)."""
    return torch.rand(count, generator=generator).clamp(1e-6, 1 - 1e-6).logit()


@torch.no_grad()
def clip(theta: Tensor, warm: float) -> None:
    """Keep parameters, in place, where the warm slope still moves them: in ``[-5h, 5h]``."""
    theta.clamp_(-CLIP * warm, CLIP * warm)


def annealed(begin: float, end: float, progress: float) -> float:
    """The warm temperature at that share of the search, falling geometrically to the cold one."""
    return float(begin * (end / begin) ** min(1.0, max(0.0, progress)))

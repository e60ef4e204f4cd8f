"""SmoothDARTS by random smoothing: weights trained under noisy mixtures."""

from __future__ import annotations

import torch
from torch import Tensor

from core.nas.methods.base import Method
from core.nas.supernet import Supernet


class RandomSmoothing(Method):
    """SDARTS-RS (Chen & Hsieh 2020, arXiv 2002.05283, section 3).

    Weights descend ``L_train(w, softmax(alpha) + delta)`` with every entry of delta uniform in
    ``[-eps, eps]``, drawn anew for each step; alphas descend ``L_val(w, softmax(alpha))``.
    Weights that do well under all mixtures nearby leave the alphas a smooth landscape: one of a
    small Hessian.

    eps rises linearly over the epochs from 0.03 towards 0.3, as in the authors' code. The noise
    is added to the softmaxed weights and not projected onto the simplex afterwards (the code
    clips): so its mean is zero.

    Args:
        supernet: See `Method`.
        first: eps of the first epoch.
        last: What eps would be after the last.

    Raises:
        ValueError: not ``0 <= first <= last <= 1``.
    """

    name = "sdarts-rs"

    def __init__(self, supernet: Supernet, *, first: float = 0.03, last: float = 0.3) -> None:
        super().__init__(supernet)
        if not 0 <= first <= last <= 1:
            raise ValueError(f"sdarts-rs: 0 <= {first} <= {last} <= 1 does not hold")
        self.first, self.last = first, last

    @property
    def radius(self) -> float:
        """eps of this epoch."""
        return self.first + (self.last - self.first) * self.progress

    def relax_weights(self, kind: str, alphas: Tensor) -> Tensor:
        """The softmax with noise."""
        unit = torch.rand(
            alphas.shape, generator=self.generator, dtype=alphas.dtype, device=alphas.device
        )
        return self.relax(kind, alphas) + self.radius * (2 * unit - 1)

"""Descent of the masks' parameters: steps as long for a task of large losses as of small ones."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_MOMENTUM, _MEMORY = 0.9, 0.98


class ScaledDescent:
    """Momentum, over the root of the mean square that gradients had lately, of all together.

    Not of each parameter by itself, as Adam has it: a component that costs and brings little would
    move as far as the one that half of the network hangs on, only by noise.

    Args:
        parameter: Moved in place.
    """

    def __init__(self, parameter: nn.Parameter) -> None:
        self.parameters = [parameter]
        self.mean = torch.zeros_like(parameter, requires_grad=False)
        self.square = torch.zeros((), device=parameter.device)
        self.steps = torch.zeros((), device=parameter.device)

    def moments(self) -> dict[str, list[Tensor]]:
        """The live moments."""
        return {"mean": [self.mean], "square": [self.square], "steps": [self.steps]}

    @torch.no_grad()
    def step(self, gradient: Tensor, rate: float) -> None:
        """Move by `rate` where the gradient is as large as it usually is.

        Args:
            gradient: Of the parameter.
            rate: Learning rate.
        """
        self.steps += 1
        self.mean.lerp_(gradient, 1 - _MOMENTUM)
        self.square.lerp_(gradient.square().mean(), 1 - _MEMORY)
        mean = self.mean / (1 - _MOMENTUM**self.steps)
        scale = (self.square / (1 - _MEMORY**self.steps)).sqrt()
        self.parameters[0].sub_(rate * mean / (scale + 1e-12))

"""SGD with momentum and Adam over explicit gradients.

torch.optim gives the same numbers (tested) but its first use imports the compiler, four
CPU-seconds in every job's process, and it keeps settings in its state; here they are arguments.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn


class Optimiser(Protocol):
    """Moments of some parameters: what a checkpoint keeps."""

    parameters: list[nn.Parameter]

    def moments(self) -> dict[str, list[Tensor]]:
        """The live tensors by name, one per parameter."""
        ...


class Momentum:
    """Stochastic gradient descent with momentum.

    Args:
        parameters: Moved in place.
    """

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self.parameters = list(parameters)
        self.velocities = [torch.zeros_like(p, requires_grad=False) for p in self.parameters]

    def moments(self) -> dict[str, list[Tensor]]:
        """The live velocities."""
        return {"velocity": self.velocities}

    @torch.no_grad()
    def step(
        self,
        gradients: Sequence[Tensor | None],
        *,
        rate: float,
        momentum: float,
        weight_decay: float,
        clip: float,
    ) -> None:
        """``v = momentum v + clipped(g) + weight_decay p``, then ``p = p - rate v``.

        Args:
            gradients: One per parameter; None leaves its parameter alone.
            rate: Learning rate.
            momentum: Share of the velocity kept.
            weight_decay: L2 penalty.
            clip: Largest norm of all gradients together.
        """
        live = [
            (p, v, g)
            for p, v, g in zip(self.parameters, self.velocities, gradients, strict=True)
            if g is not None
        ]
        if not live:
            return
        parameters: list[Tensor] = [p for p, _, _ in live]
        velocities = [v for _, v, _ in live]
        given = [g for _, _, g in live]
        norm = torch.stack(torch._foreach_norm(given)).norm()
        factor = (clip / (norm + 1e-6)).clamp_max(1.0)
        scaled = torch._foreach_add(
            torch._foreach_mul(given, factor), parameters, alpha=weight_decay
        )
        torch._foreach_mul_(velocities, momentum)
        torch._foreach_add_(velocities, scaled)
        torch._foreach_add_(parameters, velocities, alpha=-rate)


class Adam:
    """Adam with an L2 penalty (Kingma & Ba 2015, algorithm 1) and DARTS' betas.

    Args:
        parameters: Moved in place.
    """

    BETAS = (0.5, 0.999)
    EPSILON = 1e-8

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self.parameters = list(parameters)
        self.means = [torch.zeros_like(p, requires_grad=False) for p in self.parameters]
        self.squares = [torch.zeros_like(p, requires_grad=False) for p in self.parameters]
        self.steps = [torch.zeros_like(p[..., :1], requires_grad=False) for p in self.parameters]

    def moments(self) -> dict[str, list[Tensor]]:
        """The live moments and step counts."""
        return {"mean": self.means, "square": self.squares, "steps": self.steps}

    @torch.no_grad()
    def step(
        self, gradients: Sequence[Tensor | None], *, rate: float, weight_decay: float
    ) -> None:
        """One update.

        Args:
            gradients: One per parameter; None leaves its parameter alone.
            rate: Learning rate.
            weight_decay: L2 penalty.
        """
        first, second = self.BETAS
        for parameter, gradient, mean, square, steps in zip(
            self.parameters, gradients, self.means, self.squares, self.steps, strict=True
        ):
            if gradient is None:
                continue
            penalised = gradient + weight_decay * parameter
            steps += 1
            mean.lerp_(penalised, 1 - first)
            square.mul_(second).addcmul_(penalised, penalised, value=1 - second)
            # Counts stay on the device: no synchronisation per step.
            root = (square / (1 - second**steps)).sqrt_().add_(self.EPSILON)
            parameter.sub_(rate * (mean / (1 - first**steps)) / root)

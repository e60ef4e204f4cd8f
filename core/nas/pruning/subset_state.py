"""What a search for a subset advances: a network, its components' scores, and their price."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from core.nas.images import epoch_generator
from core.nas.loop import TrainingState
from core.nas.optimisers import Optimiser
from core.nas.pruning.components import Components
from core.nas.pruning.descent import ScaledDescent
from core.nas.pruning.subset_config import SubsetConfig

STARTS = 26  # stream of `epoch_generator`
_RECENT = 0.1  # share of the last step in what a multiplier is fitted to


class Scores(nn.Module):
    """The masks' parameters and their price, as a module: kept in checkpoints by their names."""

    gamma: Tensor
    products: Tensor

    def __init__(self, theta: Tensor, gamma: float) -> None:
        super().__init__()
        self.theta = nn.Parameter(theta)
        self.register_buffer("gamma", torch.tensor(gamma, dtype=torch.float64))
        self.register_buffer("products", torch.zeros(2, dtype=torch.float64))

    @torch.no_grad()
    def multiplied(self, gradient: Tensor, slope: Tensor) -> None:
        """Let gamma be the multiplier of a wanted cost, by least squares over recent steps.

        Args:
            gradient: Of the loss.
            slope: Of the cost, not negative.
        """
        latest = torch.stack([-(gradient * slope).sum(), slope.square().sum()])
        self.products.mul_(1 - _RECENT).add_(_RECENT * latest.to(self.products))
        self.gamma.copy_((self.products[0] / self.products[1].clamp_min(1e-12)).clamp_min(0))


class SubsetState(TrainingState):
    """Components with their scores, the optimisers of both, and the completed epochs.

    Args:
        components: Their model is trained in place; its weights are of no further use.
        config: Settings; the same for a resumed run.
    """

    def __init__(self, components: Components, config: SubsetConfig) -> None:
        super().__init__(components.model, _weights_of(components))
        self.components = components
        count = sum(components.sizes.values())
        drawn = 2 * torch.rand(count, generator=epoch_generator(config.seed, 0, STARTS)) - 1
        theta = config.warm * (config.theta_begin + config.theta_spread * drawn)
        self.scores = Scores(theta, config.gamma)
        self.scaled = ScaledDescent(self.scores.theta)

    def optimisers(self) -> dict[str, Optimiser]:
        """The optimisers by the name under which their tensors are kept."""
        return {"descent": self.descent, "scaled": self.scaled}

    def modules(self) -> dict[str, nn.Module]:
        """The modules by the name under which their tensors are kept; the model first."""
        return {"model": self.model, "scores": self.scores}

    def mask(self, config: SubsetConfig) -> Tensor:
        """``[K]`` bool: the subset that the scores stand for now."""
        theta = self.scores.theta.detach()
        if config.target is None:
            return self.components.feasible(theta)
        return self.components.fit(theta, config.target)


def _weights_of(components: Components) -> list[nn.Parameter]:
    """What the weight steps of a search move."""
    return [p for p in components.model.parameters() if p.requires_grad]

"""An exponential average of a network's weights, which is measured and kept in their place."""

from __future__ import annotations

import copy
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from core.nas.classifier import ImageClassifier

Trained = TypeVar("Trained", bound=ImageClassifier)


class WeightAverage(Generic[Trained]):
    """``a = d a + (1 - d) w`` after every step, from the weights it begins with.

    The decay of step t is ``min(decay, (1 + t) / (10 + t))``, t from 0, so that a short training
    is not an average over its beginning (Abadi et al. 2016, `tf.train.ExponentialMovingAverage`).

    Args:
        network: Copied, with its statistics; these are not averaged but for the averaged weights
            to be re-estimated.
    """

    def __init__(self, network: Trained) -> None:
        self.network = copy.deepcopy(network)
        self.steps = torch.zeros((), dtype=torch.int64)

    @torch.no_grad()
    def update(self, network: nn.Module, decay: float) -> None:
        """Count the weights that `network` has after a step.

        Args:
            network: Of the same shape.
            decay: d, in 0..1.
        """
        step = int(self.steps)
        averages: list[Tensor] = list(self.network.parameters())
        weights: list[Tensor] = list(network.parameters())
        torch._foreach_lerp_(averages, weights, 1 - min(decay, (1 + step) / (10 + step)))
        self.steps += 1

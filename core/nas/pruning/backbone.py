"""Any torchvision classifier as an `ImageClassifier`: what comes before its last linear layer."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from core.nas.classifier import ImageClassifier, uniform


class Backbone(ImageClassifier):
    """A given network up to its last linear layer, and a classifier in that layer's place.

    Args:
        body: Taken over, and changed: its last linear layer becomes an identity, and what it drops
            at random it drops no more, since that is drawn from the process's own generator.
        classes: K.
        generator: Draws the classifier (CPU).

    Raises:
        ValueError: the network's last layer is not linear.
    """

    def __init__(self, body: nn.Module, classes: int, generator: torch.Generator) -> None:
        layers = [
            (name, module)
            for name, module in body.named_modules()
            if isinstance(module, nn.Linear | nn.Conv2d)
        ]
        if not layers or not isinstance(layers[-1][1], nn.Linear):
            raise ValueError("body: its last layer is not linear")
        name, last = layers[-1]
        super().__init__(last.weight.shape[1], classes, generator)
        body.set_submodule(name, nn.Identity())
        for module in body.modules():
            if isinstance(module, nn.Dropout | StochasticDepth):
                module.p = 0.0
        self.body = body

    def trunk(self, images: Tensor) -> Tensor:
        """The features as a map of one pixel, ``[N, D, 1, 1]``."""
        features: Tensor = self.body(images)
        return features[:, :, None, None]


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, and the mode it had afterwards."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


@torch.no_grad()
def redraw(model: nn.Module, generator: torch.Generator) -> None:
    """Fresh weights, in place, by the generator alone (He et al. 2015, fan out).

    Args:
        model: Of convolutions, linear layers and batch normalisation.
        generator: CPU.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            fan = module.out_channels * math.prod(module.kernel_size) // module.groups
            drawn = torch.randn(module.weight.shape, generator=generator) * math.sqrt(2 / fan)
            module.weight.copy_(drawn)
            if module.bias is not None:
                module.bias.zero_()
        elif isinstance(module, nn.Linear):
            bound = module.in_features**-0.5
            module.weight.copy_(uniform(tuple(module.weight.shape), bound, generator))
            if module.bias is not None:
                module.bias.copy_(uniform((module.out_features,), bound, generator))
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)

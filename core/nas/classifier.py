"""What supernet and derived network have in common: pooled features and a linear head."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn


class ImageClassifier(nn.Module, ABC):
    """A trunk with global average pooling and a linear classifier.

    Args:
        feature_channels: D, what `features` returns per image.
        classes: K.
        generator: Draws the classifier's initial weights (CPU).
    """

    def __init__(self, feature_channels: int, classes: int, generator: torch.Generator) -> None:
        super().__init__()
        if classes < 1:
            raise ValueError(f"classes: {classes} is not positive")
        self.classifier = nn.Linear(feature_channels, classes, device="meta")
        bound = feature_channels**-0.5
        self.classifier.weight = uniform((classes, feature_channels), bound, generator)
        self.classifier.bias = uniform((classes,), bound, generator)

    @property
    def classes(self) -> int:
        """Number of classes of the head."""
        return self.classifier.out_features

    @abstractmethod
    def trunk(self, images: Tensor) -> Tensor:
        """``[N, C, H, W]`` normalised images to the last cell's map ``[N, D, h, w]``."""

    def features(self, images: Tensor) -> Tensor:
        """Globally averaged features ``[N, D]`` of normalised images ``[N, C, H, W]``."""
        return self.trunk(images).mean(dim=(2, 3))

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``[N, K]`` of normalised images ``[N, C, H, W]``."""
        logits: Tensor = self.classifier(self.features(images))
        return logits


def uniform(shape: tuple[int, ...], bound: float, generator: torch.Generator) -> nn.Parameter:
    """A parameter uniform in ±bound; torch's own bound is ``fan_in ** -0.5``."""
    values = torch.rand(shape, generator=generator)
    return nn.Parameter(values.mul_(2 * bound).sub_(bound))

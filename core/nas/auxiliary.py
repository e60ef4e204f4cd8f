"""The auxiliary head that shortens the way of the gradient while a deep network trains."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.nas.classifier import uniform
from core.nas.network import Network

_NARROW, _WIDE = 128, 768  # channels, in DARTS' code for CIFAR-10


class AuxiliaryHead(nn.Module):
    """A second classifier on a map within the network (Szegedy et al. 2015; as DARTS has it).

    ReLU, 5x5 average pooling of stride 3, 1x1 convolution, norm, ReLU, 2x2 convolution, norm,
    ReLU, linear. On the 8x8 maps of DARTS' 32-pixel images that leaves one place; larger maps are
    averaged before the last layer, smaller ones pooled and convolved by kernels of their size.

    Args:
        channels: C of the map.
        side: H = W of the map.
        classes: K.
        generator: Draws the initial weights (CPU).
    """

    def __init__(self, channels: int, side: int, classes: int, generator: torch.Generator) -> None:
        super().__init__()
        self.pool = min(5, side)
        kernel = min(2, (side - self.pool) // 3 + 1)
        self.first = uniform((_NARROW, channels, 1, 1), channels**-0.5, generator)
        self.first_norm = nn.BatchNorm2d(_NARROW)
        bound = (_NARROW * kernel**2) ** -0.5
        self.second = uniform((_WIDE, _NARROW, kernel, kernel), bound, generator)
        self.second_norm = nn.BatchNorm2d(_WIDE)
        self.weight = uniform((classes, _WIDE), _WIDE**-0.5, generator)
        self.bias = uniform((classes,), _WIDE**-0.5, generator)

    def forward(self, maps: Tensor) -> Tensor:
        """``[N, C, H, W]`` to logits ``[N, K]``."""
        pooled = F.avg_pool2d(F.relu(maps), self.pool, stride=3)
        narrow = F.relu(self.first_norm(F.conv2d(pooled, self.first)))
        wide = F.relu(self.second_norm(F.conv2d(narrow, self.second)))
        return F.linear(wide.mean(dim=(2, 3)), self.weight, self.bias)


def auxiliary_head(
    network: Network, shape: tuple[int, int, int], generator: torch.Generator
) -> AuxiliaryHead:
    """A head for `network`, on its device.

    Args:
        network: Left as it is.
        shape: ``(C, H, W)`` of its images.
        generator: Draws the initial weights (CPU).
    """
    weight, training = network.classifier.weight, network.training
    network.eval()
    with torch.no_grad():
        images = torch.zeros(1, *shape, device=weight.device, dtype=weight.dtype)
        _, maps = tapped(network, images)
    network.train(training)
    head = AuxiliaryHead(maps.shape[1], min(maps.shape[2:]), network.classes, generator)
    return head.to(weight)


def tapped(network: Network, images: Tensor) -> tuple[Tensor, Tensor]:
    """Logits ``[N, K]``, and the map ``[N, C, h, w]`` after two thirds of the cells."""
    found: list[Tensor] = []
    cell = network.cells[network.space.layers * 2 // 3]
    hook = cell.register_forward_hook(lambda _cell, _inputs, maps: found.append(maps))
    try:
        logits = network(images)
    finally:
        hook.remove()
    return logits, found[0]

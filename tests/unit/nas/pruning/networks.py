"""Given networks, with statistics and shifts that no fresh network has."""

from __future__ import annotations

import torch
from torch import nn
from torchvision import models

from core.nas.pruning.backbone import Backbone, redraw

CLASSES, SIDE = 5, 32


def vgg11_bn() -> nn.Module:
    """Torchvision's, but for the two linear layers of 4096 that have most of its numbers."""
    layers = models.vgg.make_layers(models.vgg.cfgs["A"], batch_norm=True)
    head = (nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(2048, 96), nn.ReLU(), nn.Dropout())
    return nn.Sequential(layers, *head, nn.Linear(96, 10))


GIVEN = {
    "resnet18": models.resnet18,
    "vgg11_bn": vgg11_bn,
    "mobilenet_v2": models.mobilenet_v2,
    "mobilenet_v3_small": models.mobilenet_v3_small,
}


def backbone(name: str) -> Backbone:
    """One of `GIVEN`, as if it had learned."""
    generator = torch.Generator().manual_seed(0)
    model = Backbone(GIVEN[name](), CLASSES, generator)
    redraw(model, generator)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values in (module.weight.data, module.running_var):
                values.copy_(0.5 + torch.rand(values.shape, generator=generator))
            for values in (module.bias.data, module.running_mean):
                values.copy_(0.2 * torch.randn(values.shape, generator=generator))
    return model.eval()


def picture() -> torch.Tensor:
    return torch.randn(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(2))


def tiny(channels: int = 3, classes: int = CLASSES) -> Backbone:
    """Two convolutions, the second a residual branch."""

    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)

        def forward(self, maps: torch.Tensor) -> torch.Tensor:
            return maps + self.norm(self.conv(maps))

    body = nn.Sequential(
        nn.Conv2d(channels, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), Residual(), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 1),
    )  # fmt: skip
    generator = torch.Generator().manual_seed(3)
    model = Backbone(body, classes, generator)
    redraw(model, generator)
    return model

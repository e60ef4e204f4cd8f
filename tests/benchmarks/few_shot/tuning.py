"""How a network that was trained elsewhere is fitted to few images: what of it may still move.

Adapters are the model patches of PeterRec (Yuan et al. 2020, arXiv 2001.04253, equation 4), there
between the layers of a sequence model, here behind the normalisations of a convolutional one [R]:
``x + Up(GELU(Down(x)))`` with 1x1 convolutions to a quarter of the channels and back. `Up` is zero
to begin with, so that the network starts as what it was, to the bit.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.nas.classifier import ImageClassifier

Tuning = Literal["everything", "adapters", "head"]
TUNINGS: tuple[Tuning, ...] = get_args(Tuning)
_NARROWER = 4


class Adapter(nn.Module):
    """``x + Up(GELU(Down(x)))`` for maps ``[N, C, H, W]``; the identity until it has learned.

    Args:
        channels: C; a quarter of them, at least one, lie between.
        generator: Draws `Down` (CPU).
    """

    def __init__(self, channels: int, generator: torch.Generator) -> None:
        super().__init__()
        between = max(1, channels // _NARROWER)
        self.down = nn.Conv2d(channels, between, 1, device="meta")
        self.up = nn.Conv2d(between, channels, 1, device="meta")
        drawn = torch.randn(between, channels, 1, 1, generator=generator)
        self.down.weight = nn.Parameter(drawn * (2 / channels) ** 0.5)
        self.down.bias = nn.Parameter(torch.zeros(between))
        self.up.weight = nn.Parameter(torch.zeros(channels, between, 1, 1))
        self.up.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, maps: Tensor) -> Tensor:
        """Maps of the same shape."""
        patch: Tensor = self.up(F.gelu(self.down(maps)))
        return maps + patch


def prepare(model: ImageClassifier, how: Tuning, generator: torch.Generator) -> None:
    """Freeze what is not to move, in place, and add what is to learn instead.

    - ``everything``: all of it moves.
    - ``adapters``: an `Adapter` behind every batch normalisation, these normalisations' scales and
      shifts, and the classifier.
    - ``head``: the classifier alone.

    Args:
        model: Trained on other images.
        how: One of `TUNINGS`.
        generator: Draws the adapters (CPU).

    Raises:
        ValueError: another way, or adapters for a model without `nn.BatchNorm2d`.
    """
    if how not in TUNINGS:
        raise ValueError(f"tuning: {how!r} is not in {', '.join(TUNINGS)}")
    if how == "everything":
        return
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    for parameter in model.classifier.parameters():
        parameter.requires_grad_()
    if how == "head":
        return
    norms = {n: m for n, m in model.named_modules() if isinstance(m, nn.BatchNorm2d)}
    if not norms:
        raise ValueError("tuning: adapters need batch normalisations to stand behind")
    for name, norm in norms.items():
        for parameter in norm.parameters():
            parameter.requires_grad_()
        adapter = Adapter(norm.num_features, generator).to(model.classifier.weight.device)
        model.set_submodule(name, nn.Sequential(norm, adapter))


def moving(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that a training may move."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]

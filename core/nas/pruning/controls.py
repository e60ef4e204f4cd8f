"""What a searched subset has to beat: subsets of the same cost by chance, and by magnitude."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from core.nas.pruning.channels import ChannelComponents
from core.nas.pruning.components import Components


def random_scores(components: Components, generator: torch.Generator) -> Tensor:
    """Scores ``[K]`` that say nothing; with `Components.fit` a random subset of a cost."""
    return torch.rand(sum(components.sizes.values()), generator=generator, dtype=torch.float64)


def magnitude_scores(
    components: ChannelComponents, by: Literal["kernels", "scales"] = "kernels"
) -> Tensor:
    """Scores ``[K]`` of a trained network's weights: the size of what makes each channel.

    ``kernels``: the L1 norm of each kernel (Li et al. 2017, arXiv 1608.08710) over its mean in the
    layer, since layers differ in what is large. ``scales``: the scale of the channel's
    normalisation, compared across layers (Liu et al. 2017, arXiv 1708.06519). Of a channel that
    several layers make, the mean. A block scores by the scales of its last normalisation, over
    their mean in the network.
    """
    kernels, scales = {}, {}
    for name, module in components.model.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            norms = module.weight.detach().abs().flatten(1).sum(dim=1)
            kernels[name] = norms / norms.mean()
        elif isinstance(module, nn.BatchNorm2d):
            scales[name] = module.weight.detach().abs()
    return components.importance(kernels if by == "kernels" else scales, scales)

"""Sub-networks that share a supernet's weights, and the training by which they come to deserve it.

A mixture trained as a mixture hands on poor weights: its operations have learned to be summed.
Training single paths beside it costs little, since a path computes two operations per node.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from core.nas.genotype import Genotype
from core.nas.network import Network, inherited
from core.nas.precision import widened
from core.nas.supernet import Supernet


class Path:
    """The network that a genotype derives from a supernet, on the supernet's own weights.

    Gradients reach the supernet's parameters. Normalisation is by the batch; the supernet's
    running statistics are left alone.

    Args:
        supernet: Of no partial channels: those hand on no weights of operations.
        genotype: Of the supernet's space.

    Raises:
        ValueError: partial channels, or a genotype of another space.
    """

    def __init__(self, supernet: Supernet, genotype: Genotype) -> None:
        space = supernet.space
        if space.partial > 1:
            raise ValueError("supernet: of partial channels, whose paths share no weights")
        generator = torch.Generator().manual_seed(0)
        self._network = Network(space, genotype, supernet.classes, generator).to(supernet.stem)
        names = {name for name, _ in self._network.named_parameters()}
        self._tensors = inherited(space, genotype, dict(supernet.named_parameters()), names)

    def __call__(self, images: Tensor) -> Tensor:
        """Logits ``[N, K]`` of normalised images ``[N, C, H, W]``, by the supernet's head."""
        logits: Tensor = functional_call(self._network, self._tensors, (images,))
        return logits


def sandwich_loss(
    supernet: Supernet, images: Tensor, labels: Tensor, genotypes: Sequence[Genotype]
) -> tuple[Tensor, Tensor]:
    """The mixture learns from the labels, each path from what the mixture answers.

    The sandwich rule with in-place distillation (Yu & Huang 2019, arXiv 1903.05134, section 3)
    for a supernet of mixed operations: the mixture is the largest network.

    Args:
        supernet: In training mode; mixture and paths share its head.
        images: Normalised ``[N, C, H, W]``.
        labels: ``[N]``.
        genotypes: The paths; none leaves the plain loss.

    Returns:
        The scalar to descend, cross-entropy plus the paths' mean distillation, and the mixture's
        logits.

    Raises:
        ValueError: as `Path`.
    """
    logits = widened(supernet(images))
    loss = F.cross_entropy(logits, labels)
    if genotypes:
        answers = logits.detach().softmax(dim=1)
        told = [
            F.cross_entropy(widened(Path(supernet, each)(images)), answers) for each in genotypes
        ]
        loss = loss + torch.stack(told).mean()
    return loss, logits

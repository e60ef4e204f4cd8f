"""The DARTS supernet (Liu et al. 2019), packed: edges that leave one state are computed together.

The function and the number of parameters are those of the paper's network with one module per
edge and operation (checked against such a network in the tests); the number of kernels is not.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.nas.classifier import ImageClassifier, uniform
from core.nas.genotype import OPERATIONS
from core.nas.layout import aligned, fast_layout, split_channels
from core.nas.operations import Convolutions, FactorizedReduce, PackedEdges, ReLUConvNorm
from core.nas.space import Space


class Cell(nn.Module):
    """A mixed cell: nodes are sums over all earlier states of all operations (equation 2).

    Args:
        space: Gives the number of nodes.
        inputs: Channels of the two cells before, older first.
        channels: C of this cell.
        reduction: Whether this cell halves the resolution.
        after_reduction: Whether the cell before did.
        convolutions: See `core.nas.operations.PackedConvolution`.
        generator: Draws the initial weights (CPU).
    """

    def __init__(
        self,
        space: Space,
        inputs: tuple[int, int],
        channels: int,
        *,
        reduction: bool,
        after_reduction: bool,
        convolutions: Convolutions,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.channels, self.reduction = channels, reduction
        first = FactorizedReduce if after_reduction else ReLUConvNorm
        self.preprocess = nn.ModuleList(
            [
                first(inputs[0], channels, generator),
                ReLUConvNorm(inputs[1], channels, generator),
            ]
        )
        self.states = nn.ModuleList(
            PackedEdges(
                channels,
                len(rows),
                stride=2 if reduction and source < 2 else 1,
                convolutions=convolutions,
                generator=generator,
            )
            for source, rows in enumerate(outgoing_rows(space))
        )

    def forward(self, older: Tensor, newer: Tensor, mixtures: tuple[Tensor, ...]) -> Tensor:
        """The nodes' maps side by side: ``[N, nodes*C, h, w]``.

        Args:
            older: Output of the cell before the last one.
            newer: Output of the last cell.
            mixtures: Per state ``[E, 8]``: softmaxed alphas of the edges that leave it.
        """
        # A state's edges go to all later nodes, so what is still missing a summand is always a
        # run of channels up to the last node: no scattering.
        pending = self.states[0](self.preprocess[0](older), mixtures[0])
        pending += self.states[1](self.preprocess[1](newer), mixtures[1])
        nodes = []
        for edges, mixture in zip(list(self.states)[2:], mixtures[2:], strict=True):
            node, pending = split_channels(pending, self.channels)
            nodes.append(node)
            pending = edges(node, mixture).add_(pending)
        return torch.cat([*nodes, aligned(pending)], dim=1)


class Supernet(ImageClassifier):
    """Stem, cells with shared architecture parameters, pooling, linear head.

    Args:
        space: Shape of the network.
        classes: Classes of the head.
        generator: Draws the initial weights and alphas (CPU); equal seeds, equal networks.
        convolutions: ``dense`` folds each depthwise-pointwise pair into one kernel,
            ``depthwise`` does not, ``auto`` takes the measured faster one per width.
    """

    by_state: Tensor

    def __init__(
        self,
        space: Space,
        classes: int,
        generator: torch.Generator,
        *,
        convolutions: Convolutions = "auto",
    ) -> None:
        super().__init__(space.feature_channels, classes, generator)
        self.space = space
        width = space.stem_multiplier * space.channels
        self.stem = uniform(
            (width, space.input_channels, 3, 3), (9 * space.input_channels) ** -0.5, generator
        )
        self.stem_norm = nn.BatchNorm2d(width)
        self.cells = nn.ModuleList()
        inputs, channels, after_reduction = (width, width), space.channels, False
        for layer in range(space.layers):
            reduction = layer in space.reduction_layers
            channels *= 2 if reduction else 1
            self.cells.append(
                Cell(
                    space,
                    inputs,
                    channels,
                    reduction=reduction,
                    after_reduction=after_reduction,
                    convolutions=convolutions,
                    generator=generator,
                )
            )
            inputs, after_reduction = (inputs[1], space.nodes * channels), reduction
        shape = (space.edges, len(OPERATIONS))
        self.alphas_normal = nn.Parameter(1e-3 * torch.randn(shape, generator=generator))
        self.alphas_reduction = nn.Parameter(1e-3 * torch.randn(shape, generator=generator))

        by_state = torch.tensor([row for rows in outgoing_rows(space) for row in rows])
        self.register_buffer("by_state", by_state, persistent=False)

    def alpha_parameters(self) -> list[nn.Parameter]:
        """The architecture parameters: normal, reduction."""
        return [self.alphas_normal, self.alphas_reduction]

    def weight_parameters(self) -> list[nn.Parameter]:
        """Everything learned that is not an architecture parameter."""
        return [p for name, p in self.named_parameters() if not name.startswith("alphas_")]

    def trunk(self, images: Tensor) -> Tensor:
        """``[N, C, H, W]`` normalised images to the last cell's map ``[N, D, h, w]``."""
        maps = F.conv2d(images, self.stem, padding=1)
        older: Tensor = self.stem_norm(maps.contiguous(memory_format=fast_layout(images)))
        newer = older
        normal, reduction = (self._mixtures(alphas) for alphas in self.alpha_parameters())
        for cell in self.cells:
            older, newer = newer, cell(older, newer, reduction if cell.reduction else normal)
        return newer

    def _mixtures(self, alphas: Tensor) -> tuple[Tensor, ...]:
        by_state = alphas.softmax(dim=-1)[self.by_state]
        return torch.split(by_state, [len(rows) for rows in outgoing_rows(self.space)])


def outgoing_rows(space: Space) -> list[list[int]]:
    """Alpha rows of the edges that leave each state, by node: ``rows[source][i]``."""
    return [
        [space.edge(node, source) for node in range(max(0, source - 1), space.nodes)]
        for source in range(space.nodes + 1)
    ]

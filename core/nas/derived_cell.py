"""A cell of the derived network: two in-edges per node, each with one operation."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.nas.genotype import Genotype
from core.nas.layout import aligned
from core.nas.operations import (
    CONVOLUTIONS,
    Convolutions,
    FactorizedReduce,
    PackedConvolution,
    ReLUConvNorm,
)


class Pooling(nn.Module):
    """Max or average pooling, then normalisation.

    The normalisation is the supernet's (the paper's derived network has none here): without it
    inherited weights would meet another scale.
    """

    def __init__(self, operation: str, channels: int, stride: int) -> None:
        super().__init__()
        self.maximum, self.stride = operation == "max_pool_3x3", stride
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, state: Tensor) -> Tensor:
        """``[N, C, H, W]`` to ``[N, C, h, w]``."""
        pooled = (
            F.max_pool2d(state, 3, self.stride, 1)
            if self.maximum
            else F.avg_pool2d(state, 3, self.stride, 1, count_include_pad=False)
        )
        normalised: Tensor = self.norm(pooled)
        return normalised


class DerivedCell(nn.Module):
    """A discrete cell.

    Args:
        sources: Per kept edge, two per node: the state it leaves.
        operations: Per kept edge: its module, of the cell's width.
        preprocess: Bring the older and the newer input to the cell's width.
    """

    def __init__(
        self, sources: list[int], operations: list[nn.Module], preprocess: list[nn.Module]
    ) -> None:
        super().__init__()
        self.sources = sources
        self.operations = nn.ModuleList(operations)
        self.preprocess = nn.ModuleList(preprocess)
        self._relu_first = [isinstance(op, PackedConvolution) for op in operations]

    def forward(self, older: Tensor, newer: Tensor, keep: Tensor | None = None) -> Tensor:
        """The nodes' maps side by side.

        Args:
            older: Output of the cell before the last one.
            newer: Output of the last cell.
            keep: Drop-path factors ``[edges, N]``, zero for dropped; identities are not dropped.
        """
        states = [self.preprocess[0](older), self.preprocess[1](newer)]
        edges: list[Tensor] = []
        for index, (source, operation) in enumerate(
            zip(self.sources, self.operations, strict=True)
        ):
            state = F.relu(states[source]) if self._relu_first[index] else states[source]
            maps = operation(state)
            if keep is not None and not isinstance(operation, nn.Identity):
                maps = maps * keep[index][:, None, None, None]
            edges.append(maps)
            if index % 2:
                states.append(aligned(edges[-2] + edges[-1]))
        return torch.cat(states[2:], dim=1)


def derived_cell(
    genotype: Genotype,
    inputs: tuple[int, int],
    channels: int,
    *,
    reduction: bool,
    after_reduction: bool,
    generator: torch.Generator,
    convolutions: Convolutions,
) -> DerivedCell:
    """The normal or reduction cell of `genotype` at one place of a network.

    Args:
        genotype: Both cells.
        inputs: Channels of the two cells before, older first.
        channels: C of this cell.
        reduction: Whether this cell halves the resolution.
        after_reduction: Whether the cell before did.
        generator: Draws the initial weights (CPU).
        convolutions: See `core.nas.operations.PackedConvolution`.
    """
    first = FactorizedReduce if after_reduction else ReLUConvNorm
    preprocess: list[nn.Module] = [
        first(inputs[0], channels, generator, norm=nn.BatchNorm2d),
        ReLUConvNorm(inputs[1], channels, generator, norm=nn.BatchNorm2d),
    ]
    kept = [
        edge for node in (genotype.reduction if reduction else genotype.normal) for edge in node
    ]
    operations = [
        _operation(
            edge.operation,
            channels,
            2 if reduction and edge.source < 2 else 1,
            generator=generator,
            convolutions=convolutions,
        )
        for edge in kept
    ]
    return DerivedCell([edge.source for edge in kept], operations, preprocess)


def _operation(
    operation: str,
    channels: int,
    stride: int,
    *,
    generator: torch.Generator,
    convolutions: Convolutions,
) -> nn.Module:
    if operation in CONVOLUTIONS:
        return PackedConvolution(
            operation,
            channels,
            1,
            stride=stride,
            convolutions=convolutions,
            generator=generator,
            norm=nn.BatchNorm2d,
        )
    if operation == "skip_connect":
        if stride == 1:
            return nn.Identity()
        return FactorizedReduce(channels, channels, generator, norm=nn.BatchNorm2d)
    return Pooling(operation, channels, stride)

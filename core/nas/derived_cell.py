"""A cell of the derived network: few in-edges per node, each with one operation."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.nas.genotype import Genotype
from core.nas.kinds import CONVOLUTIONS, FULL_CONVOLUTIONS
from core.nas.layout import aligned
from core.nas.operations import (
    Convolutions,
    FactorizedReduce,
    FullConvolution,
    PackedConvolution,
    ReLUConvNorm,
    pool,
)
from core.nas.space import CELL_SPACES


class Pooling(nn.Module):
    """Max or average pooling, then normalisation where the space has it.

    The normalisation is the supernet's (DARTS' derived network has none here): without it
    inherited weights would meet another scale.
    """

    def __init__(self, operation: str, channels: int, stride: int, *, normalised: bool) -> None:
        super().__init__()
        self.operation, self.stride = operation, stride
        self.norm = nn.BatchNorm2d(channels) if normalised else None

    def forward(self, state: Tensor) -> Tensor:
        """``[N, C, H, W]`` to ``[N, C, h, w]``."""
        pooled = pool(self.operation, state, self.stride)
        return pooled if self.norm is None else cast(Tensor, self.norm(pooled))


class Nothing(nn.Module):
    """The operation ``none``, where a space keeps edges that have it."""

    def forward(self, state: Tensor) -> Tensor:
        """Zeros."""
        return torch.zeros_like(state)


class DerivedCell(nn.Module):
    """A discrete cell.

    Args:
        nodes: Per node the states that its kept edges leave.
        operations: Per kept edge, node by node: its module, of the cell's width.
        preprocess: Bring the older and the newer input to the cell's width; empty for a cell that
            takes the newer one as it is.
        concatenated: Whether the output is all nodes side by side, or the last.
    """

    def __init__(
        self,
        nodes: Sequence[Sequence[int]],
        operations: list[nn.Module],
        preprocess: list[nn.Module],
        *,
        concatenated: bool,
    ) -> None:
        super().__init__()
        self.nodes, self.concatenated = nodes, concatenated
        self.operations = nn.ModuleList(operations)
        self.preprocess = nn.ModuleList(preprocess)

    def forward(self, older: Tensor, newer: Tensor, keep: Tensor | None = None) -> Tensor:
        """The nodes' maps side by side, or the last's.

        Args:
            older: Output of the cell before the last one.
            newer: Output of the last cell.
            keep: Drop-path factors ``[edges, N]``, zero for dropped; identities are not dropped.
        """
        states = [newer]
        if self.preprocess:
            states = [self.preprocess[0](older), self.preprocess[1](newer)]
        inputs, index = len(states), 0
        for sources in self.nodes:
            maps: list[Tensor] = []
            for source in sources:
                edge = self._edge(index, states[source], keep)
                maps.append(edge)
                index += 1
            states.append(aligned(functools.reduce(torch.add, maps)))
        return torch.cat(states[inputs:], dim=1) if self.concatenated else states[-1]

    def _edge(self, index: int, state: Tensor, keep: Tensor | None) -> Tensor:
        operation = self.operations[index]
        rectified = isinstance(operation, PackedConvolution | FullConvolution)
        maps: Tensor = operation(F.relu(state) if rectified else state)
        if keep is not None and not isinstance(operation, nn.Identity):
            maps = maps * keep[index][:, None, None, None]
        return maps


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
        genotype: Its cells.
        inputs: Channels of the two cells before, older first.
        channels: C of this cell.
        reduction: Whether this cell halves the resolution.
        after_reduction: Whether the cell before did.
        generator: Draws the initial weights (CPU).
        convolutions: See `core.nas.operations.PackedConvolution`.
    """
    space = CELL_SPACES[genotype.cells]
    preprocess: list[nn.Module] = []
    if space.inputs == 2:
        first = FactorizedReduce if after_reduction else ReLUConvNorm
        preprocess.append(first(inputs[0], channels, generator, norm=nn.BatchNorm2d))
        preprocess.append(ReLUConvNorm(inputs[1], channels, generator, norm=nn.BatchNorm2d))
    cell = genotype.reduction if reduction else genotype.normal
    operations = [
        _operation(
            edge.operation,
            channels,
            2 if reduction and edge.source < space.inputs else 1,
            generator=generator,
            convolutions=convolutions,
            normalised_pools=space.normalised_pools,
        )
        for node in cell
        for edge in node
    ]
    nodes = [[edge.source for edge in node] for node in cell]
    return DerivedCell(nodes, operations, preprocess, concatenated=space.concatenated)


def _operation(
    operation: str,
    channels: int,
    stride: int,
    *,
    generator: torch.Generator,
    convolutions: Convolutions,
    normalised_pools: bool,
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
    if operation in FULL_CONVOLUTIONS:
        return FullConvolution(operation, channels, 1, generator=generator, norm=nn.BatchNorm2d)
    if operation == "skip_connect":
        if stride == 1:
            return nn.Identity()
        return FactorizedReduce(channels, channels, generator, norm=nn.BatchNorm2d)
    if operation == "none":
        return Nothing()
    return Pooling(operation, channels, stride, normalised=normalised_pools)

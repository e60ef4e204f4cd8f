"""The DARTS supernet (Liu et al. 2019), packed: edges that leave one state are computed together.

The function and the number of parameters are those of the paper's network with one module per
edge and operation (checked against such a network in the tests); the number of kernels is not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.nas.cell_network import CellNetwork, ResidualReduction
from core.nas.edges import PackedEdges
from core.nas.layout import aligned, fast_layout, split_channels
from core.nas.normalisation import ScaledBatchNorm
from core.nas.operations import Convolutions, FactorizedReduce, ReLUConvNorm
from core.nas.space import Space

# ``(kind of cell, alphas [edges, O])`` to the weights of the operations, ``[edges, O]``.
Relaxation = Callable[[str, Tensor], Tensor]


def softmax(kind: str, alphas: Tensor) -> Tensor:  # noqa: ARG001  (a relaxation may treat kinds apart)
    """The continuous relaxation of Liu et al. 2019, equation 2."""
    return alphas.softmax(dim=-1)


class Cell(nn.Module):
    """A mixed cell: nodes are sums over all earlier states of all operations (equation 2).

    Args:
        space: Gives the nodes and their operations.
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
        self.channels, self.reduction, self.space = channels, reduction, space
        self.mixed = channels // space.partial
        self.preprocess = nn.ModuleList()
        if space.cell.inputs == 2:
            first = FactorizedReduce if after_reduction else ReLUConvNorm
            self.preprocess.append(first(inputs[0], channels, generator))
            self.preprocess.append(ReLUConvNorm(inputs[1], channels, generator))
        self.states = nn.ModuleList(
            PackedEdges(
                space.cell,
                self.mixed,
                len(rows),
                stride=2 if reduction and source < space.cell.inputs else 1,
                convolutions=convolutions,
                generator=generator,
            )
            for source, rows in enumerate(outgoing_rows(space))
        )

    def forward(self, older: Tensor, newer: Tensor, mixtures: tuple[Tensor, ...]) -> Tensor:
        """The cell's output: its nodes' maps side by side, or the last's: ``[N, D, h, w]``.

        Args:
            older: Output of the cell before the last one.
            newer: Output of the last cell.
            mixtures: Per state ``[E, O]``: weights of the operations on the edges that leave it.
        """
        inputs = self.inputs(older, newer)
        # A state's edges go to all later nodes, so what is still missing a summand is always a
        # run of channels up to the last node: no scattering.
        pending = self.states[0](inputs[0], mixtures[0])
        if len(inputs) == 2:
            pending += self.states[1](inputs[1], mixtures[1])
        nodes = []
        later = list(self.states)[len(inputs) :]
        for edges, mixture in zip(later, mixtures[len(inputs) :], strict=True):
            node, pending = split_channels(pending, self.channels)
            nodes.append(node)
            pending = edges(node, mixture).add_(pending)
        return self.output([*nodes, pending])

    def inputs(self, older: Tensor, newer: Tensor) -> list[Tensor]:
        """The states that the cell begins with, at its width."""
        if not self.preprocess:
            return [newer]
        return [self.preprocess[0](older), self.preprocess[1](newer)]

    def output(self, nodes: list[Tensor]) -> Tensor:
        """What the cell hands on of its nodes' maps ``[N, C, h, w]``."""
        if not self.space.cell.concatenated:
            return nodes[-1]
        return torch.cat([*nodes[:-1], aligned(nodes[-1])], dim=1)


class PartialCell(Cell):
    """A mixed cell of partial channels (PC-DARTS, Xu et al. 2020, arXiv 1907.05737, eq. 1-2).

    The first ``C / partial`` channels of a state are mixed, the others pass by (max-pooled where
    the cell halves), and a node's channels are shuffled.
    """

    def forward(self, older: Tensor, newer: Tensor, mixtures: tuple[Tensor, ...]) -> Tensor:
        """As `Cell.forward`, but for a last column of the mixtures: the edges' own weights."""
        states, width, inputs = self.inputs(older, newer), self.mixed, self.space.cell.inputs
        sums: list[tuple[Tensor, Tensor]] = []
        for source, (edges, mixture) in enumerate(zip(self.states, mixtures, strict=True)):
            mixed, passing = split_channels(states[source], width)
            if self.reduction and source < inputs:
                passing = F.max_pool2d(passing, 2, ceil_mode=True)
            parts = edges(mixed, mixture).split(width, dim=1)
            for node, part, share in zip(
                self.space.outgoing(source), parts, mixture[:, -1], strict=True
            ):
                more = part, passing * share
                if node == len(sums):
                    sums.append(more)
                else:
                    sums[node] = sums[node][0] + more[0], sums[node][1] + more[1]
            if source >= inputs - 1:  # the last in-edge of a node
                states.append(self._shuffled(sums[source - inputs + 1]))
        return self.output(states[inputs:])

    def _shuffled(self, parts: tuple[Tensor, Tensor]) -> Tensor:
        maps = torch.cat(parts, dim=1)
        grouped = maps.reshape(len(maps), self.space.partial, self.mixed, *maps.shape[2:])
        shuffled = grouped.transpose(1, 2).flatten(1, 2)
        return aligned(shuffled.contiguous(memory_format=fast_layout(shuffled)))


class Supernet(CellNetwork):
    """Stem, cells with shared architecture parameters, pooling, linear head.

    Args:
        space: Shape of the network.
        classes: Classes of the head.
        generator: Draws the initial weights and alphas (CPU); equal seeds, equal networks.
        convolutions: ``dense`` folds each depthwise-pointwise pair into one kernel,
            ``depthwise`` does not, ``auto`` takes the measured faster one per width.

    Attributes:
        relaxation: How alphas become the weights of operations; the softmax unless a method of
            search puts another in its place for a step.
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
        super().__init__(space, classes, generator, norm=ScaledBatchNorm)
        kind = Cell if space.partial == 1 else PartialCell

        def build(
            layer: int, inputs: tuple[int, int], channels: int, after_reduction: bool
        ) -> nn.Module:
            reduction = layer in space.reduction_layers
            if reduction and not space.cell.reduction:
                return ResidualReduction(inputs[1], channels, generator, norm=ScaledBatchNorm)
            return kind(
                space,
                inputs,
                channels,
                reduction=reduction,
                after_reduction=after_reduction,
                convolutions=convolutions,
                generator=generator,
            )

        self.add_cells(build)
        self.relaxation: Relaxation = softmax
        shape = (space.edges, len(space.operations))
        for name in space.kinds:
            alphas = nn.Parameter(1e-3 * torch.randn(shape, generator=generator))
            self.register_parameter(f"alphas_{name}", alphas)
        if space.partial > 1:
            for name in space.kinds:
                betas = nn.Parameter(1e-3 * torch.randn(space.edges, generator=generator))
                self.register_parameter(f"betas_{name}", betas)
        by_state = torch.tensor([row for rows in outgoing_rows(space) for row in rows])
        self.register_buffer("by_state", by_state, persistent=False)

    def alphas(self) -> dict[str, nn.Parameter]:
        """The operations' architecture parameters ``[edges, O]`` by kind of cell."""
        return {kind: self.get_parameter(f"alphas_{kind}") for kind in self.space.kinds}

    def betas(self) -> dict[str, nn.Parameter]:
        """The edges' ``[edges]`` by kind of cell; empty without partial channels."""
        if self.space.partial == 1:
            return {}
        return {kind: self.get_parameter(f"betas_{kind}") for kind in self.space.kinds}

    def alpha_parameters(self) -> list[nn.Parameter]:
        """All architecture parameters: alphas, then betas."""
        return [*self.alphas().values(), *self.betas().values()]

    def weight_parameters(self) -> list[nn.Parameter]:
        """Everything learned that is not an architecture parameter."""
        return [
            parameter
            for name, parameter in self.named_parameters()
            if not name.startswith(("alphas_", "betas_"))
        ]

    def recompute(self, wanted: bool) -> None:
        """Whether backward passes compute maps again, see `core.nas.edges.PackedEdges`."""
        for module in self.modules():
            if isinstance(module, PackedEdges):
                module.recompute = wanted

    def strengths(self, relaxation: Relaxation = softmax) -> dict[str, Tensor]:
        """Operations' weights ``[edges, O]`` by kind of cell, without gradient.

        With partial channels times the edge's share among those into its node (Xu et al. 2020,
        section 3.3).
        """
        found = {}
        for kind, alphas in self.alphas().items():
            weights = relaxation(kind, alphas.detach())
            shares = self._shares(kind)
            found[kind] = weights if shares is None else weights * shares.detach()
        return found

    def trunk(self, images: Tensor) -> Tensor:
        """``[N, C, H, W]`` normalised images to the last cell's map ``[N, D, h, w]``."""
        mixtures = {kind: self._mixtures(kind) for kind in self.space.kinds}

        def run(cell: nn.Module, older: Tensor, newer: Tensor) -> Tensor:
            if isinstance(cell, Cell):
                kind = "reduction" if cell.reduction else "normal"
                return cast(Tensor, cell(older, newer, mixtures[kind]))
            return cast(Tensor, cell(newer))

        return self.march(images, run)

    def _mixtures(self, kind: str) -> tuple[Tensor, ...]:
        weights, shares = self.relaxation(kind, self.alphas()[kind]), self._shares(kind)
        if shares is not None:
            weights = torch.cat([weights * shares, shares], dim=1)
        sizes = [len(rows) for rows in outgoing_rows(self.space)]
        return torch.split(weights[self.by_state], sizes)

    def _shares(self, kind: str) -> Tensor | None:
        """``[edges, 1]``: the betas' softmax over the edges into a node."""
        if self.space.partial == 1:
            return None
        sizes = [self.space.sources(node) for node in range(self.space.nodes)]
        nodes = torch.split(self.betas()[kind], sizes)
        return torch.cat([node.softmax(dim=0) for node in nodes])[:, None]


def outgoing_rows(space: Space) -> list[list[int]]:
    """Alpha rows of the edges that leave each state, by node: ``rows[source][i]``."""
    return [
        [space.edge(node, source) for node in space.outgoing(source)]
        for source in range(space.nodes + space.cell.inputs - 1)
    ]

"""What else a cell is judged by: parameters, multiply-adds, any cost that adds up over edges."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from core.nas.derived_cell import derived_cell
from core.nas.genotype import Cell, Edge, Genotype
from core.nas.network import Network, parameter_count
from core.nas.operations import Convolutions, FullConvolution, PackedConvolution
from core.nas.space import Space

# ``(module or network, its input)`` to what it costs.
Cost = Callable[[nn.Module, Tensor], float]


@dataclass(frozen=True, slots=True)
class CostTable:
    """The cost of every operation on every edge, over all cells of a network of one size.

    Args:
        space: Its shape.
        base: What every network of the space costs: stem, cells' inputs, head.
        edges: By kind of cell ``[edges][operations]``.
    """

    space: Space
    base: float
    edges: Mapping[str, tuple[tuple[float, ...], ...]]

    def cost(self, genotype: Genotype) -> float:
        """The cost of the network that `genotype` describes: a sum, nothing is built.

        Raises:
            ValueError: the genotype is not of the table's space.
        """
        space = self.space
        if genotype.cells != space.cells or len(genotype.normal) != space.nodes:
            raise ValueError(
                f"genotype: of {genotype.cells} with {len(genotype.normal)} nodes, the costs are "
                f"of {space.cells} with {space.nodes}"
            )
        cells: dict[str, Cell] = {"normal": genotype.normal, "reduction": genotype.reduction}
        return self.base + sum(
            self.edges[kind][space.edge(node, edge.source)][space.operations.index(edge.operation)]
            for kind in space.kinds
            for node, edges in enumerate(cells[kind])
            for edge in edges
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-able values."""
        edges = {kind: [list(row) for row in rows] for kind, rows in self.edges.items()}
        return {"space": self.space.to_dict(), "base": self.base, "edges": edges}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> CostTable:
        """Read what `to_dict` wrote.

        Raises:
            ValueError: another shape than the space's.
        """
        if set(value) != {"space", "base", "edges"}:
            raise ValueError("costs: expected 'space', 'base' and 'edges'")
        space = Space.from_dict(value["space"])
        edges = {
            kind: tuple(tuple(float(cost) for cost in row) for row in rows)
            for kind, rows in value["edges"].items()
        }
        wanted = (space.edges, len(space.operations))
        if tuple(edges) != space.kinds or any(
            (len(rows), *{len(row) for row in rows}) != wanted for rows in edges.values()
        ):
            raise ValueError(f"costs: expected {wanted} numbers for {', '.join(space.kinds)}")
        return cls(space, float(value["base"]), edges)


def tabulate(
    space: Space,
    resolution: int,
    classes: int,
    cost: Cost,
    *,
    batch_size: int = 1,
    convolutions: Convolutions = "depthwise",
    device: str = "cpu",
) -> CostTable:
    """Cost every operation once per width, map size and stride, and sum over the cells.

    What is common to all networks is what one of them, all skip connections, costs beyond its
    edges.

    Args:
        space: Width and depth of the networks.
        resolution: Side of the images in pixels.
        classes: Of the head.
        cost: Asked with a module of the derived network, or a whole one, and its input.
        batch_size: Images of that input.
        convolutions: How those modules compute; see `core.nas.operations.PackedConvolution`.
        device: Where modules and input are.
    """
    generator = torch.Generator().manual_seed(0)

    @cache
    def one(operation: str, channels: int, side: int, stride: int) -> float:
        if operation == "none" and space.cell.kept is not None:
            return 0.0  # no derived edge has it
        cell = derived_cell(
            _uniform(replace(space, nodes=1), operation),
            (channels, channels),
            channels,
            reduction=stride == 2,
            after_reduction=False,
            generator=generator,
            convolutions=convolutions,
        )
        module = Rectified(cell.operations[0]).to(device).eval()
        return cost(module, torch.zeros(batch_size, channels, side, side, device=device))

    rows = {kind: _rows(space, resolution, kind, one) for kind in space.kinds}
    skips = _uniform(space, "skip_connect")
    network = Network(space, skips, classes, generator, convolutions=convolutions)
    images = torch.zeros(batch_size, space.input_channels, resolution, resolution, device=device)
    whole = cost(network.to(device).eval(), images)
    edges = CostTable(space, 0.0, rows).cost(skips)
    return CostTable(space, max(0.0, whole - edges), rows)


class Rectified(nn.Module):
    """An operation of a derived cell with the ReLU that the cell puts before convolutions.

    Args:
        operation: A module of `core.nas.derived_cell.DerivedCell.operations`.
    """

    def __init__(self, operation: nn.Module) -> None:
        super().__init__()
        self.operation = operation
        self.rectified = isinstance(operation, PackedConvolution | FullConvolution)

    def forward(self, state: Tensor) -> Tensor:
        """``[N, C, H, W]`` to ``[N, C, h, w]``."""
        maps: Tensor = self.operation(F.relu(state) if self.rectified else state)
        return maps


def parameter_costs(space: Space, classes: int) -> CostTable:
    """Learned numbers: equal to `core.nas.network.parameter_count` of the network."""
    return tabulate(space, 8, classes, lambda module, _: float(parameter_count(module)))


def flop_costs(space: Space, classes: int, resolution: int) -> CostTable:
    """Multiply-adds of one image: equal to `core.nas.network.flops` of the network."""
    return tabulate(space, resolution, classes, multiply_adds)


@torch.no_grad()
def multiply_adds(module: nn.Module, maps: Tensor) -> float:
    """Multiply-adds of convolutions and matrix products for that input."""
    with FlopCounterMode(display=False) as counter:
        module(maps)
    return float(counter.get_total_flops()) / 2


def generalisation_gap(
    train_loss: Tensor, valid_loss: Tensor, *, coefficient: float = 0.5
) -> Tensor:
    """``L_train + coefficient |L_val - L_train|``: what UNAS's architecture step descends.

    The generalisation gap of Vahdat et al. 2020 (arXiv 1912.07651): alphas must fit the training
    half, and be no better there than on images that the weights have not seen.

    Args:
        train_loss: Scalar, of a batch of the training half.
        valid_loss: Scalar, of a batch of the validation half, at the same weights.
        coefficient: The paper's 0.5.

    Raises:
        ValueError: a negative coefficient.
    """
    if coefficient < 0:
        raise ValueError(f"coefficient: {coefficient} is negative")
    return train_loss + coefficient * (valid_loss - train_loss).abs()


def _rows(
    space: Space, resolution: int, kind: str, one: Callable[[str, int, int, int], float]
) -> tuple[tuple[float, ...], ...]:
    totals = [[0.0] * len(space.operations) for _ in range(space.edges)]
    pairs = [(node, at) for node in range(space.nodes) for at in range(space.sources(node))]
    channels, side = space.channels, -(-resolution // space.stem_stride)
    for layer in range(space.layers):
        reduction = layer in space.reduction_layers
        channels *= 2 if reduction else 1
        halved = -(-side // 2) if reduction else side
        for node, source in pairs if reduction == (kind == "reduction") else ():
            strided = reduction and source < space.cell.inputs
            size, stride = (side, 2) if strided else (halved, 1)
            for column, operation in enumerate(space.operations):
                totals[space.edge(node, source)][column] += one(operation, channels, size, stride)
        side = halved
    return tuple(tuple(row) for row in totals)


def _uniform(space: Space, operation: str) -> Genotype:
    """That operation on the first edges of every node."""
    cell = tuple(
        tuple(Edge(operation, source) for source in range(space.cell.kept or space.sources(node)))
        for node in range(space.nodes)
    )
    return Genotype(cell, cell if space.cell.reduction else (), space.cells)

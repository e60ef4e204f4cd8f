"""The derived network: a genotype's cells stacked, with learned normalisation."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Set
from typing import TypeVar, cast

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from core.nas.cell_network import CellNetwork, ResidualReduction
from core.nas.derived_cell import DerivedCell, derived_cell
from core.nas.genotype import Edge, Genotype
from core.nas.kinds import POOLS
from core.nas.operations import Convolutions, PackedConvolution
from core.nas.space import Space
from core.nas.supernet import Supernet

Given = TypeVar("Given", bound=nn.Module)


class Network(CellNetwork):
    """The network that a genotype describes, of any size.

    Args:
        space: Width and depth; may differ from those of the search.
        genotype: Its cells; as many nodes as the space, of the space's cells.
        classes: Classes of the head.
        generator: Draws the initial weights (CPU).
        convolutions: As for the supernet; the function does not depend on it.

    Raises:
        ValueError: space and genotype disagree.
    """

    def __init__(
        self,
        space: Space,
        genotype: Genotype,
        classes: int,
        generator: torch.Generator,
        *,
        convolutions: Convolutions = "auto",
    ) -> None:
        super().__init__(space, classes, generator, norm=nn.BatchNorm2d)
        if genotype.cells != space.cells:
            raise ValueError(f"genotype: of {genotype.cells}, but the space is {space.cells}")
        if len(genotype.normal) != space.nodes:
            raise ValueError(
                f"genotype: {len(genotype.normal)} nodes, but the space has {space.nodes}"
            )
        self.genotype = genotype

        def build(
            layer: int, inputs: tuple[int, int], channels: int, after_reduction: bool
        ) -> nn.Module:
            reduction = layer in space.reduction_layers
            if reduction and not space.cell.reduction:
                return ResidualReduction(inputs[1], channels, generator, norm=nn.BatchNorm2d)
            return derived_cell(
                genotype,
                inputs,
                channels,
                reduction=reduction,
                after_reduction=after_reduction,
                generator=generator,
                convolutions=convolutions,
            )

        self.add_cells(build)
        self.drop_path = 0.0
        self.path_generator = generator

    def trunk(self, images: Tensor) -> Tensor:
        """``[N, C, H, W]`` normalised images to the last cell's map ``[N, D, h, w]``."""

        def run(cell: nn.Module, older: Tensor, newer: Tensor) -> Tensor:
            if isinstance(cell, DerivedCell):
                return cast(Tensor, cell(older, newer, self._keep(images)))
            return cast(Tensor, cell(newer))

        return self.march(images, run)

    def _keep(self, images: Tensor) -> Tensor | None:
        # Only steps drop paths: statistics re-estimated with some dropped would be too wide.
        if not self.training or not self.drop_path or not torch.is_grad_enabled():
            return None
        chance = 1 - self.drop_path
        edges = sum(len(node) for node in self.genotype.normal)
        shape = (edges, len(images))
        kept = torch.rand(shape, generator=self.path_generator) < chance
        return kept.to(images.device, images.dtype) / chance


@torch.no_grad()
def inherit(supernet: Supernet, genotype: Genotype) -> Network:
    """The derived network with the supernet's weights, statistics and head.

    It computes what the supernet would with one-hot mixtures: the genotype's operation on kept
    edges and ``none`` on all others. From a supernet of partial channels it takes what has the
    same shape: stem, cells' inputs, head; the operations' weights begin anew.

    Args:
        supernet: Trained; unchanged.
        genotype: As many nodes as the supernet's space.

    Returns:
        A network on the supernet's device, in its training mode, sharing no memory with it.

    Raises:
        ValueError: supernet and genotype disagree on the cells or the number of nodes.
    """
    space = supernet.space
    network = Network(space, genotype, supernet.classes, torch.Generator().manual_seed(0))
    network.to(supernet.classifier.weight)  # the type first: loading would round to the old one
    state = network.state_dict()
    network.load_state_dict(state | inherited(space, genotype, supernet.state_dict(), set(state)))
    return network.train(supernet.training)


def inherited(
    space: Space, genotype: Genotype, packed: Mapping[str, Tensor], names: Set[str]
) -> dict[str, Tensor]:
    """A supernet's tensors under the names that they have in its derived network: views.

    Args:
        space: The supernet's.
        genotype: Of this space.
        packed: Tensors of the supernet by name.
        names: Names in the derived network; others are left out.
    """
    found = {name: value for name, value in packed.items() if name in names}
    for layer in range(space.layers) if space.partial == 1 else ():
        reduction = layer in space.reduction_layers
        if reduction and not space.cell.reduction:
            continue  # a residual block: taken by name above
        cell = genotype.reduction if reduction else genotype.normal
        kept = [(node, edge) for node, edges in enumerate(cell) for edge in edges]
        for index, (node, edge) in enumerate(kept):
            here = f"cells.{layer}.operations.{index}"
            source = f"cells.{layer}.states.{edge.source}"
            values = _edge_tensors(packed, source, edge, node, space)
            # An identity has no tensors: it finds no name to fill.
            found |= {f"{here}.{n}": v for n, v in values.items() if f"{here}.{n}" in names}
    return found


def _edge_tensors(
    packed: Mapping[str, Tensor], source: str, edge: Edge, node: int, space: Space
) -> dict[str, Tensor]:
    # An edge's place among those that leave its source, or a pool's among the source's pools.
    outgoing = space.outgoing(edge.source)
    place, places = outgoing.index(node), len(outgoing)
    if edge.operation in POOLS:
        prefix, pools = f"{source}.pool_norm.", [o for o in space.operations if o in POOLS]
        place, places = pools.index(edge.operation), len(pools)
    elif edge.operation == "skip_connect":
        prefix = f"{source}.reduce."
    else:
        prefix = f"{source}.convolutions.{edge.operation}."
    values = {}
    for name, tensor in packed.items():
        if name.startswith(prefix):
            own = name.removeprefix(prefix)
            if "running_" in own:
                own = own if "norm" in own else f"norm.{own}"
                values[own] = tensor.chunk(places)[place]
            else:
                values[own] = tensor[:, place : place + 1]
    return values


def parameter_count(network: nn.Module) -> int:
    """Learned numbers in `network`."""
    return sum(parameter.numel() for parameter in network.parameters())


@torch.no_grad()
def flops(network: Network, resolution: int) -> int:
    """Multiply-adds of convolutions and head for one square image.

    Args:
        network: Counted as exported: depthwise and pointwise convolutions apart, factorised
            reductions as the 2x2 kernels they run as.
        resolution: Side of the image in pixels.
    """
    unfolded = unfold(network)
    device = network.classifier.weight.device
    images = torch.zeros(1, network.space.input_channels, resolution, resolution, device=device)
    with FlopCounterMode(display=False) as counter:
        unfolded(images.to(network.classifier.weight.dtype))
    return int(counter.get_total_flops()) // 2


def unfold(network: Given) -> Given:
    """A copy in evaluation mode with separate depthwise and pointwise convolutions."""
    clone = copy.deepcopy(network)
    for module in clone.modules():
        if isinstance(module, PackedConvolution):
            module.convolutions = "depthwise"
    return clone.eval()

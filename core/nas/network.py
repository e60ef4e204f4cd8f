"""The derived network: a genotype's cells stacked, with learned normalisation."""

from __future__ import annotations

import copy
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from core.nas.classifier import ImageClassifier, uniform
from core.nas.derived_cell import derived_cell
from core.nas.genotype import OPERATIONS, Edge, Genotype
from core.nas.layout import fast_layout
from core.nas.operations import CONVOLUTIONS, Convolutions, PackedConvolution
from core.nas.space import Space
from core.nas.supernet import Supernet


class Network(ImageClassifier):
    """The network that a genotype describes, of any size.

    Args:
        space: Width and depth; may differ from those of the search.
        genotype: The two cells; as many nodes as the space.
        classes: Classes of the head.
        generator: Draws the initial weights (CPU).
        convolutions: As for the supernet; the function does not depend on it.

    Raises:
        ValueError: space and genotype disagree on the number of nodes.
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
        super().__init__(space.feature_channels, classes, generator)
        if len(genotype.normal) != space.nodes:
            raise ValueError(
                f"genotype: {len(genotype.normal)} nodes, but the space has {space.nodes}"
            )
        self.space, self.genotype = space, genotype
        width = space.stem_multiplier * space.channels
        self.stem = uniform(
            (width, space.input_channels, 3, 3), (9 * space.input_channels) ** -0.5, generator
        )
        self.stem_norm = nn.BatchNorm2d(width)
        self.cells = nn.ModuleList()
        inputs, channels, after_reduction = (width, width), space.channels, False
        build = partial(derived_cell, generator=generator, convolutions=convolutions)
        for layer in range(space.layers):
            reduction = layer in space.reduction_layers
            channels *= 2 if reduction else 1
            self.cells.append(
                build(
                    genotype,
                    inputs,
                    channels,
                    reduction=reduction,
                    after_reduction=after_reduction,
                )
            )
            inputs, after_reduction = (inputs[1], space.nodes * channels), reduction
        self.drop_path = 0.0
        self.path_generator = generator

    def trunk(self, images: Tensor) -> Tensor:
        """``[N, C, H, W]`` normalised images to the last cell's map ``[N, D, h, w]``."""
        maps = F.conv2d(images, self.stem, padding=1)
        older: Tensor = self.stem_norm(maps.contiguous(memory_format=fast_layout(images)))
        newer = older
        for cell in self.cells:
            older, newer = newer, cell(older, newer, self._keep(images))
        return newer

    def _keep(self, images: Tensor) -> Tensor | None:
        # Only steps drop paths: statistics re-estimated with some dropped would be too wide.
        if not self.training or not self.drop_path or not torch.is_grad_enabled():
            return None
        chance = 1 - self.drop_path
        shape = (2 * self.space.nodes, len(images))
        kept = torch.rand(shape, generator=self.path_generator) < chance
        return kept.to(images.device, images.dtype) / chance


@torch.no_grad()
def inherit(supernet: Supernet, genotype: Genotype) -> Network:
    """The derived network with the supernet's weights, statistics and head.

    It computes what the supernet would with one-hot mixtures: the genotype's operation on kept
    edges and ``none`` on all others.

    Args:
        supernet: Trained; unchanged.
        genotype: As many nodes as the supernet's space.

    Returns:
        A network on the supernet's device, in its training mode, sharing no memory with it.

    Raises:
        ValueError: supernet and genotype disagree on the number of nodes.
    """
    space = supernet.space
    network = Network(space, genotype, supernet.classes, torch.Generator().manual_seed(0))
    network.to(supernet.classifier.weight)  # the type first: loading would round to the old one
    state, packed = network.state_dict(), supernet.state_dict()
    state |= {name: value for name, value in packed.items() if name in state}
    for layer in range(space.layers):
        cell = genotype.reduction if layer in space.reduction_layers else genotype.normal
        width = len(packed[f"cells.{layer}.preprocess.1.weight"])
        for index, edge in enumerate(edge for node in cell for edge in node):
            here = f"cells.{layer}.operations.{index}"
            source = f"cells.{layer}.states.{edge.source}"
            values = _edge_tensors(packed, source, edge, index // 2, width)
            # An identity has no tensors: it finds no name to fill.
            state |= {f"{here}.{n}": v for n, v in values.items() if f"{here}.{n}" in state}
    network.load_state_dict(state)
    return network.train(supernet.training)


def _edge_tensors(
    packed: dict[str, Tensor], source: str, edge: Edge, node: int, width: int
) -> dict[str, Tensor]:
    # An edge's place among those that leave its source: the first goes to node source - 1.
    place = node - max(0, edge.source - 1)
    if edge.operation in CONVOLUTIONS:
        prefix = f"{source}.convolutions.{edge.operation}."
    elif edge.operation == "skip_connect":
        prefix = f"{source}.reduce."
    else:
        prefix, place = f"{source}.pool_norm.", OPERATIONS.index(edge.operation) - 1
    values = {}
    for name, tensor in packed.items():
        if name.startswith(prefix):
            own = name.removeprefix(prefix)
            if "running_" in own:
                own = own if "norm" in own else f"norm.{own}"
                values[own] = tensor[place * width : (place + 1) * width]
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


def unfold(network: Network) -> Network:
    """A copy in evaluation mode with separate depthwise and pointwise convolutions."""
    clone = copy.deepcopy(network)
    for module in clone.modules():
        if isinstance(module, PackedConvolution):
            module.folded = False
    return clone.eval()

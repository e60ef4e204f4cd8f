"""What a masked network costs: exactly what the network costs that is left after removal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from core.nas.pruning.backbone import evaluating

Measure = Literal["parameters", "multiply-adds"]
MEASURES: tuple[Measure, ...] = ("parameters", "multiply-adds")


@dataclass(frozen=True, slots=True)
class Layer:
    """Which component each channel of a layer belongs to; K for those that always stay.

    Args:
        module: A convolution, a linear layer or a batch normalisation.
        inputs: ``[I]`` int64.
        outputs: ``[O]`` int64.
        gate: The block component that the layer vanishes with, or K.
        places: Pixels of its output map.
    """

    module: nn.Module
    inputs: Tensor
    outputs: Tensor
    gate: int
    places: int


class NetworkCost:
    """A sum of products over layers: ``factor * (inputs left) * (outputs left) * gate``.

    For masks of 0 and 1 it is the number of parameters, or multiply-adds of one image, of the
    pruned network. For others every channel counts by its mask, so that the price of a channel
    falls with those around it: a constant price would be right only near the whole network.

    Args:
        layers: All that cost anything.
        components: K.
        measure: What is counted.
    """

    def __init__(self, layers: Sequence[Layer], components: int, measure: Measure) -> None:
        self.components = components
        always = torch.tensor([components])
        terms = [
            (factor, layer.inputs if quadratic else always, layer.outputs, layer.gate)
            for layer in layers
            for factor, quadratic in _factors(layer, measure)
        ]

        def counts(index: Tensor) -> Tensor:
            return torch.bincount(index, minlength=components + 1).double()

        self.factors = torch.tensor([float(term[0]) for term in terms], dtype=torch.float64)
        self.inputs = torch.stack([counts(term[1]) for term in terms])
        self.outputs = torch.stack([counts(term[2]) for term in terms])
        self.gates = torch.tensor([term[3] for term in terms])

    def __call__(self, masks: Tensor) -> Tensor:
        """The count for masks ``[K]``: a scalar float64, with gradient if they have one."""
        extended = torch.cat([masks.double().cpu(), torch.ones(1, dtype=torch.float64)])
        products = (self.inputs @ extended) * (self.outputs @ extended) * extended[self.gates]
        return (self.factors * products).sum()


def _factors(layer: Layer, measure: Measure) -> list[tuple[int, bool]]:
    """Factors of a layer, and whether its input channels count beside its outputs."""
    module = layer.module
    if isinstance(module, nn.BatchNorm2d):
        return [(2, False)] if measure == "parameters" and module.affine else []
    if not isinstance(module, nn.Conv2d | nn.Linear):
        raise TypeError(f"{type(module).__name__}: its cost is not known")
    places = layer.places if measure == "multiply-adds" else 1
    if isinstance(module, nn.Conv2d):
        area, each = math.prod(module.kernel_size), module.in_channels // module.groups
        weight = (area * places, True) if module.groups == 1 else (area * each * places, False)
    else:
        weight = (places, True)
    biased = measure == "parameters" and module.bias is not None
    return [weight, (1, False)] if biased else [weight]


def map_places(model: nn.Module, images: Tensor) -> Mapping[str, int]:
    """Pixels of the output map of every convolution and linear layer, by name."""
    found: dict[str, int] = {}

    def watched(name: str, module: nn.Module) -> torch.utils.hooks.RemovableHandle:
        def look(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
            found[name] = found.get(name, 0) + output[0].numel() // output.shape[1]

        return module.register_forward_hook(look)

    handles = [
        watched(name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    ]
    with torch.no_grad(), evaluating(model):
        model(images)
    for handle in handles:
        handle.remove()
    return found

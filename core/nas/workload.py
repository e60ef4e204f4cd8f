"""What a supernet has to do for one image, counted and not run.

Imports no torch: whoever serves requests says what they will cost.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from core.nas.kinds import CONVOLUTIONS, FULL_CONVOLUTIONS, POOLS
from core.nas.space import Space

_WRITTEN = 3  # maps of a stage: after the depthwise kernel, the pointwise one and the norm


@dataclass(frozen=True, slots=True)
class Workload:
    """A forward pass of one image; they add up.

    Attributes:
        numbers: Entries of all maps that are written.
        weights: Parameters.
        kernels: Operations that are called, whatever the size of the batch.
    """

    numbers: int = 0
    weights: int = 0
    kernels: int = 0

    def __add__(self, other: Workload) -> Workload:
        return Workload(
            self.numbers + other.numbers,
            self.weights + other.weights,
            self.kernels + other.kernels,
        )


def supernet(space: Space, resolution: int, classes: int) -> Workload:
    """All operations on all edges of all cells (Liu et al. 2019, arXiv 1806.09055, section 2.1).

    Args:
        space: Shape of the network.
        resolution: Side of the images in pixels.
        classes: Of the head.

    Raises:
        ValueError: the space has an operation that is not counted here.
    """
    side = math.ceil(resolution / space.stem_stride)
    total = _full(3, space.input_channels, space.stem_channels, side)
    total += Workload(classes, space.feature_channels * classes + classes)
    width, older, newer = space.channels, space.stem_channels, space.stem_channels
    for layer in range(space.layers):
        reduction = layer in space.reduction_layers
        if reduction:
            width *= 2
        for each in _cell(space, (older, newer), width, side, reduction=reduction):
            total += each
        if reduction:
            side = math.ceil(side / 2)
        older, newer = newer, width * (space.nodes if space.cell.concatenated else 1)
    return total


def _cell(
    space: Space, inputs: tuple[int, int], width: int, side: int, *, reduction: bool
) -> Iterator[Workload]:
    after = math.ceil(side / 2) if reduction else side
    if reduction and not space.cell.reduction:  # a residual block
        yield _full(3, inputs[1], width, after)
        yield _full(3, width, width, after)
        yield _full(1, inputs[1], width, after)
        return
    if space.cell.inputs == 2:
        yield _full(1, inputs[0], width, side)
        yield _full(1, inputs[1], width, side)
    mixed = width // space.partial
    for source in range(space.cell.inputs + space.nodes - 1):
        edges = len(space.outgoing(source))
        halves = reduction and source < space.cell.inputs
        for operation in space.operations:
            yield _operation(operation, mixed, edges, after, halves=halves)


def _operation(name: str, width: int, edges: int, side: int, *, halves: bool) -> Workload:
    maps = width * side**2
    if name in CONVOLUTIONS:
        kernel, _, stages = CONVOLUTIONS[name]
        one = Workload(stages * _WRITTEN * maps, stages * width * (kernel**2 + width))
    elif name in FULL_CONVOLUTIONS:
        one = _full(FULL_CONVOLUTIONS[name], width, width, side)
    elif name in POOLS:  # the same on every edge
        return Workload(2 * maps, kernels=1)
    elif name == "skip_connect" and halves:
        one = _full(1, width, width, side)
    elif name == "skip_connect":
        one = Workload(maps)
    elif name == "none":
        return Workload()
    else:
        raise ValueError(f"nobody has said what {name!r} costs")
    return Workload(edges * one.numbers, edges * one.weights, kernels=1)


def _full(kernel: int, inputs: int, outputs: int, side: int) -> Workload:
    return Workload(2 * outputs * side**2, kernel**2 * inputs * outputs, kernels=1)

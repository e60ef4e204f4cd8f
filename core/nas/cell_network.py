"""What supernet and derived network share round their cells: stem, the march, the last norm."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.nas.classifier import ImageClassifier, uniform
from core.nas.layout import fast_layout
from core.nas.operations import Norm
from core.nas.space import Space


class StemReduction(nn.Module):
    """ReLU, a 3x3 convolution of stride 2, normalise: halves the maps once more."""

    def __init__(self, channels: int, generator: torch.Generator, *, norm: Norm) -> None:
        super().__init__()
        bound = (9 * channels) ** -0.5
        self.weight = uniform((channels, channels, 3, 3), bound, generator)
        self.norm = norm(channels)

    def forward(self, maps: Tensor) -> Tensor:
        """``[N, C, H, W]`` to ``[N, C, ceil(H/2), ceil(W/2)]``."""
        normalised: Tensor = self.norm(F.conv2d(F.relu(maps), self.weight, stride=2, padding=1))
        return normalised


class CellNetwork(ImageClassifier):  # abstract: `trunk` is the caller of `march`
    """A stem, cells that each read the outputs before them, pooling, a linear head.

    Args:
        space: Shape of the network.
        classes: Classes of the head.
        generator: Draws the initial weights (CPU).
        norm: Makes the normalisation of a number of channels, outside of the cells.
    """

    def __init__(
        self, space: Space, classes: int, generator: torch.Generator, *, norm: Norm
    ) -> None:
        super().__init__(space.feature_channels, classes, generator)
        self.space = space
        width = space.stem_channels
        self.stem = uniform(
            (width, space.input_channels, 3, 3), (9 * space.input_channels) ** -0.5, generator
        )
        self.stem_norm = nn.BatchNorm2d(width)
        halvings = max(0, space.stem_stride.bit_length() - 2)  # the first is the stem's own
        self.stem_reductions = nn.ModuleList(
            StemReduction(width, generator, norm=norm) for _ in range(halvings)
        )
        self.cells = nn.ModuleList()
        # Cells that concatenate end in a normalised sum; a residual trunk does not.
        self.last_norm = None if space.cell.concatenated else norm(space.feature_channels)

    def add_cells(self, build: Callable[[int, tuple[int, int], int, bool], nn.Module]) -> None:
        """Append every cell: ``build(layer, (older, newer) channels, channels, after_reduction)``.

        `channels` is the width of the cell, `after_reduction` whether its older input is twice
        as large as its newer one.
        """
        space = self.space
        width, after_reduction = space.channels, False
        inputs = space.stem_channels, space.stem_channels
        for layer in range(space.layers):
            reduction = layer in space.reduction_layers
            width *= 2 if reduction else 1
            self.cells.append(build(layer, inputs, width, after_reduction))
            outputs = width * (space.nodes if space.cell.concatenated else 1)
            inputs, after_reduction = (inputs[1], outputs), reduction

    def march(self, images: Tensor, run: Callable[[nn.Module, Tensor, Tensor], Tensor]) -> Tensor:
        """From normalised images ``[N, C, H, W]`` to the last map ``[N, D, h, w]``.

        Args:
            images: Normalised.
            run: ``(cell, older, newer)`` to the cell's output.
        """
        stride = min(2, self.space.stem_stride)
        maps = F.conv2d(images, self.stem, stride=stride, padding=1)
        older: Tensor = self.stem_norm(maps.contiguous(memory_format=fast_layout(images)))
        for reduce in self.stem_reductions:
            older = reduce(older)
        newer = older
        for cell in self.cells:
            older, newer = newer, run(cell, older, newer)
        return newer if self.last_norm is None else F.relu(self.last_norm(newer))


class ResidualReduction(nn.Module):
    """The basic residual block of stride 2 between two runs of cells (arXiv 2001.00326, fig. 1).

    ``ReLU-3x3/2-norm, ReLU-3x3-norm`` beside ``2x2 average pooling, 1x1``.

    Args:
        inputs: Channels in.
        outputs: Channels out.
        generator: Draws the initial weights (CPU).
        norm: Makes the normalisation of a number of channels.
    """

    def __init__(
        self, inputs: int, outputs: int, generator: torch.Generator, *, norm: Norm
    ) -> None:
        super().__init__()
        self.first = uniform((outputs, inputs, 3, 3), (9 * inputs) ** -0.5, generator)
        self.first_norm = norm(outputs)
        self.second = uniform((outputs, outputs, 3, 3), (9 * outputs) ** -0.5, generator)
        self.second_norm = norm(outputs)
        self.shortcut = uniform((outputs, inputs, 1, 1), inputs**-0.5, generator)

    def forward(self, maps: Tensor) -> Tensor:
        """``[N, I, H, W]`` to ``[N, O, ceil(H/2), ceil(W/2)]``."""
        halved = self.first_norm(F.conv2d(F.relu(maps), self.first, stride=2, padding=1))
        transformed: Tensor = self.second_norm(F.conv2d(F.relu(halved), self.second, padding=1))
        pooled = F.avg_pool2d(maps, 2, ceil_mode=True, count_include_pad=False)
        return transformed + F.conv2d(pooled, self.shortcut)

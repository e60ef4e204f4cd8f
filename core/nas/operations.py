"""The operations of all edges that leave one state, computed together.

An edge's separable convolution is a depthwise kernel followed by a pointwise one; with E edges
leaving a state they stack to one grouped convolution per kind over ``E * C`` channels (edge
major), or fold into one dense convolution, which small maps run faster.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.nas.classifier import uniform
from core.nas.depthwise import branches, depthwise, fast
from core.nas.kinds import CONVOLUTIONS, FULL_CONVOLUTIONS
from core.nas.normalisation import ScaledBatchNorm

Convolutions = Literal["auto", "dense", "depthwise"]
Norm = Callable[[int], nn.Module]

# Folding is many times the arithmetic in half the calls. On a CPU it pays up to this width, and up
# to the next one while maps are this small (numbers per edge; tests/benchmarks/bench_search.py).
_DENSE_UP_TO, _SMALL_UP_TO, _SMALL = 4, 16, 2**15
# Elsewhere: the widest cell for which it was not slower with depthwise kernels as torch has them.
_DENSE_ELSEWHERE = {"sep_conv_3x3": 16, "sep_conv_5x5": 16, "dil_conv_3x3": 16, "dil_conv_5x5": 64}

# Channels of all edges up to which one product with a matrix of blocks beats a grouped one.
_ONE_PRODUCT_UP_TO = 32


def pointwise_product(maps: Tensor, weight: Tensor) -> Tensor:
    """The 1x1 convolution of ``[N, I, H, W]`` by ``[O, I]``.

    Channels-last maps are a matrix already: a plain product takes half the time of the
    convolution kernels at these sizes.
    """
    fits = maps.device.type == "cpu" and maps.is_contiguous(memory_format=torch.channels_last)
    if fits and not torch.compiler.is_exporting():
        return F.linear(maps.permute(0, 2, 3, 1), weight).permute(0, 3, 1, 2)
    return F.conv2d(maps, weight[..., None, None])


def _normalised(norm: nn.Module, maps: Tensor, scale: Tensor | None) -> Tensor:
    result: Tensor = norm(maps) if scale is None else norm(maps, scale)
    return result


class PackedConvolution(nn.Module):
    """One kind of convolution on E edges: (ReLU, depthwise, pointwise, normalise) per stage.

    Args:
        operation: A key of `CONVOLUTIONS`.
        channels: C of the cell.
        edges: E.
        stride: Stride of the first stage.
        convolutions: Whether to fold depthwise and pointwise kernels into dense ones.
        generator: Draws the initial weights (CPU).
        norm: Makes the normalisation of a number of channels.
    """

    def __init__(
        self,
        operation: str,
        channels: int,
        edges: int,
        *,
        stride: int,
        convolutions: Convolutions,
        generator: torch.Generator,
        norm: Norm = ScaledBatchNorm,
    ) -> None:
        super().__init__()
        kernel, self.dilation, stages = CONVOLUTIONS[operation]
        self.channels, self.edges, self.stride = channels, edges, stride
        self.operation, self.convolutions = operation, convolutions
        self.depthwise = uniform((stages, edges, channels, kernel, kernel), 1 / kernel, generator)
        self.pointwise = uniform((stages, edges, channels, channels), channels**-0.5, generator)
        self.norms = nn.ModuleList(norm(edges * channels) for _ in range(stages))

    def forward(self, single: Tensor, scale: Tensor | None = None) -> Tensor:
        """Outputs ``[N, E*C, h, w]`` of all edges, normalised and times `scale` ``[E*C]``.

        Args:
            single: ``[N, C, H, W]`` after the ReLU.
            scale: Architecture weight of each output channel, 1 if None.
        """
        if self.folds(single):
            maps = self._dense(single, 0)
            if len(self.norms) == 2:
                maps = self._dense(F.relu_(self.norms[0](maps)), 1)
            return _normalised(self.norms[-1], maps, scale)
        kernels = self.first_kernels(single)
        (maps,) = branches(single, self.edges, [kernels], self.stride, [self.dilation])
        return self.after_first(maps, scale)

    def first_kernels(self, single: Tensor) -> Tensor:
        """The first stage's depthwise kernels on such maps, ``[E*C, k, k]``."""
        return self._kernels(single, 0).flatten(0, 1)

    def after_first(self, maps: Tensor, scale: Tensor | None = None) -> Tensor:
        """What is left after the first depthwise kernels; arguments as those of `forward`."""
        maps = self._product(maps, 0)
        if len(self.norms) == 2:
            maps = F.relu_(self.norms[0](maps))
            kernels = self._kernels(maps, 1).flatten(0, 1)
            maps = self._product(depthwise(maps, kernels, 1, self.dilation), 1)
        return _normalised(self.norms[-1], maps, scale)

    def folds(self, single: Tensor) -> bool:
        """Whether kernels are folded on such maps: by their shape and place alone."""
        if self.convolutions != "auto":
            return self.convolutions == "dense"
        if not fast(single):
            return self.channels <= _DENSE_ELSEWHERE[self.operation]
        numbers = single.numel() // self.stride**2
        return self.channels <= _DENSE_UP_TO or (
            self.channels <= _SMALL_UP_TO and numbers <= _SMALL
        )

    def _dense(self, maps: Tensor, stage: int) -> Tensor:
        kernels, pointwise = self._kernels(maps, stage), self.pointwise[stage]
        padding = self.dilation * (kernels.shape[-1] // 2)
        dense = (pointwise[..., None, None] * kernels[:, None]).flatten(0, 1)
        stride, groups = (1, self.edges) if stage else (self.stride, 1)
        return F.conv2d(maps, dense, None, stride, padding, self.dilation, groups)

    def _product(self, maps: Tensor, stage: int) -> Tensor:
        products, width = self.pointwise[stage], self.edges * self.channels
        if self.edges == 1:
            return pointwise_product(maps, products[0])
        if width <= _ONE_PRODUCT_UP_TO and fast(maps):
            eye = torch.eye(self.edges, dtype=products.dtype, device=products.device)
            blocks = torch.einsum("eoi,ef->eofi", products, eye)
            return pointwise_product(maps, blocks.reshape(width, width))
        return F.conv2d(maps, products.flatten(0, 1)[..., None, None], groups=self.edges)

    def _kernels(self, maps: Tensor, stage: int) -> Tensor:
        kernels = self.depthwise[stage]
        if torch.compiler.is_exporting():
            return kernels
        # On maps as small as those after two reductions the outer taps only ever meet padding.
        reach = (max(maps.shape[-2:]) - 1) // self.dilation
        dead = max(0, kernels.shape[-1] // 2 - reach)
        return kernels[..., dead : -dead or None, dead : -dead or None]


class FactorizedReduce(nn.Module):
    """ReLU, then half the output channels from the even pixels and half from the odd ones.

    The two strided 1x1 convolutions of the paper's code are the diagonal of one 2x2 kernel.

    Args:
        inputs: Channels in.
        outputs: Channels out of one edge, even.
        generator: Draws the initial weights (CPU).
        edges: E, computed together.
        norm: Makes the normalisation of a number of channels.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        generator: torch.Generator,
        *,
        edges: int = 1,
        norm: Norm = ScaledBatchNorm,
    ) -> None:
        super().__init__()
        self.weight = uniform((2, edges, outputs // 2, inputs), inputs**-0.5, generator)
        self.norm = norm(edges * outputs)

    def forward(self, maps: Tensor, scale: Tensor | None = None) -> Tensor:
        """``[N, inputs, H, W]`` to ``[N, E*outputs, ceil(H/2), ceil(W/2)]``, edge major."""
        return _normalised(self.norm, reduce_by_two(F.relu(maps), self.weight), scale)


def reduce_by_two(rectified: Tensor, weight: Tensor) -> Tensor:
    """The convolution of a factorised reduction.

    Args:
        rectified: ``[N, I, H, W]``; an odd size is padded with zeros at its end.
        weight: ``[2, E, O/2, I]``: kernels of the even and of the odd pixels.

    Returns:
        ``[N, E*O, ceil(H/2), ceil(W/2)]``.
    """
    even, odd = weight.unbind(0)
    taps = torch.stack(
        [F.pad(even, (0, 0, 0, odd.shape[1])), F.pad(odd, (0, 0, even.shape[1], 0))], dim=-1
    )
    kernels = torch.diag_embed(taps.flatten(0, 1))  # [E*O, I, 2, 2]
    height, width = rectified.shape[-2:]
    if height % 2 or width % 2:
        rectified = F.pad(rectified, (0, width % 2, 0, height % 2))
    return F.conv2d(rectified, kernels, stride=2)


class ReLUConvNorm(nn.Module):
    """ReLU, 1x1 convolution, normalise: brings a cell's input to the cell's width."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        generator: torch.Generator,
        *,
        norm: Norm = ScaledBatchNorm,
    ) -> None:
        super().__init__()
        self.weight = uniform((outputs, inputs), inputs**-0.5, generator)
        self.norm = norm(outputs)

    def forward(self, maps: Tensor) -> Tensor:
        """``[N, inputs, H, W]`` to ``[N, outputs, H, W]``."""
        return _normalised(self.norm, pointwise_product(F.relu(maps), self.weight), None)


class FullConvolution(nn.Module):
    """ReLU, an ordinary convolution, normalise, on E edges: one convolution to ``E * C`` maps.

    Args:
        operation: A key of `FULL_CONVOLUTIONS`.
        channels: C of the cell.
        edges: E.
        generator: Draws the initial weights (CPU).
        norm: Makes the normalisation of a number of channels.
    """

    def __init__(
        self,
        operation: str,
        channels: int,
        edges: int,
        *,
        generator: torch.Generator,
        norm: Norm = ScaledBatchNorm,
    ) -> None:
        super().__init__()
        kernel = FULL_CONVOLUTIONS[operation]
        bound = (channels * kernel**2) ** -0.5
        self.weight = uniform((1, edges, channels, channels, kernel, kernel), bound, generator)
        self.norm = norm(edges * channels)

    def forward(self, single: Tensor, scale: Tensor | None = None) -> Tensor:
        """``[N, C, H, W]`` after the ReLU to ``[N, E*C, H, W]``, edge major."""
        kernels = self.weight[0].flatten(0, 1)
        maps = F.conv2d(single, kernels, padding=kernels.shape[-1] // 2)
        return _normalised(self.norm, maps, scale)


def pool(operation: str, state: Tensor, stride: int) -> Tensor:
    """``max_pool_3x3`` or ``avg_pool_3x3`` of ``[N, C, H, W]``; padding does not count."""
    if operation == "max_pool_3x3":
        return F.max_pool2d(state, 3, stride, 1)
    return F.avg_pool2d(state, 3, stride, 1, count_include_pad=False)

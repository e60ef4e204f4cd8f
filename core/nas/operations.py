"""The operations of all edges that leave one state, computed together.

An edge's separable convolution is a depthwise kernel followed by a pointwise one; with E edges
leaving a state they stack to one grouped convolution per kind over ``E * C`` channels (edge
major), or fold into one dense convolution, which small maps run faster.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from core.nas.classifier import uniform
from core.nas.depthwise import branches, depthwise, fast
from core.nas.layout import aligned
from core.nas.normalisation import ScaledBatchNorm, statistics_resting
from core.nas.space import CellSpace

Convolutions = Literal["auto", "dense", "depthwise"]
Norm = Callable[[int], nn.Module]

# Operation: kernel size, dilation, number of (depthwise, pointwise) stages.
CONVOLUTIONS = {
    "sep_conv_3x3": (3, 1, 2),
    "sep_conv_5x5": (5, 1, 2),
    "dil_conv_3x3": (3, 2, 1),
    "dil_conv_5x5": (5, 2, 1),
}

# Operation: kernel size of an ordinary convolution.
FULL_CONVOLUTIONS = {"conv_1x1": 1, "conv_3x3": 3}
POOLS = ("max_pool_3x3", "avg_pool_3x3")

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


class PackedEdges(nn.Module):
    """The mixed operations of all E edges that leave one state.

    Args:
        cell: The operations; at least one is a convolution.
        channels: C of the cell.
        edges: E.
        stride: 2 for the inputs of a reduction cell.
        convolutions: See `PackedConvolution`.
        generator: Draws the initial weights (CPU).
        recompute: Keep only the state's maps for the backward pass and compute the operations'
            again: less memory, more time, the same gradients.
    """

    def __init__(
        self,
        cell: CellSpace,
        channels: int,
        edges: int,
        *,
        stride: int,
        convolutions: Convolutions,
        generator: torch.Generator,
        recompute: bool = False,
    ) -> None:
        super().__init__()
        self.channels, self.edges, self.stride = channels, edges, stride
        self.recompute = recompute
        self.column = {operation: at for at, operation in enumerate(cell.operations)}
        self.convolutions = nn.ModuleDict(
            {
                operation: _packed(
                    operation,
                    channels,
                    edges,
                    stride=stride,
                    convolutions=convolutions,
                    generator=generator,
                )
                for operation in cell.operations
                if operation in CONVOLUTIONS or operation in FULL_CONVOLUTIONS
            }
        )
        # Pooling has no weights: its normalised output is the same on every edge.
        self.pools = [each for each in cell.operations if each in POOLS]
        self.pool_norm = (
            ScaledBatchNorm(len(self.pools) * channels)
            if self.pools and cell.normalised_pools
            else None
        )
        skips = "skip_connect" in self.column
        self.reduce = (
            FactorizedReduce(channels, channels, generator, edges=edges)
            if skips and stride == 2
            else None
        )
        self._identity = skips and stride == 1
        free = [*self.pools, *(["skip_connect"] if self._identity else [])]
        self._free_columns = [self.column[operation] for operation in free]

    def forward(self, state: Tensor, mixture: Tensor) -> Tensor:
        """Sum over operations per edge.

        Args:
            state: ``[N, C, H, W]``.
            mixture: ``[E, O]``, the weights of the operations on these edges.

        Returns:
            ``[N, E*C, h, w]``, edge major.
        """
        if not self.recompute or not torch.is_grad_enabled():
            return self._mixed(state, mixture)
        result: Tensor = checkpoint(
            self._mixed,
            state,
            mixture,
            use_reentrant=False,
            preserve_rng_state=False,  # nothing is drawn
            # The second pass must not move the running statistics once more.
            context_fn=lambda: (nullcontext(), statistics_resting(self)),
        )
        return result

    def _mixed(self, state: Tensor, mixture: Tensor) -> Tensor:
        rectified = F.relu(state)
        # Rows, not columns: torch's channels-last backward of batch normalisation reads a strided
        # weight as if it were contiguous.
        scales = mixture.t().repeat_interleave(self.channels, dim=1)
        begun = self._first_kernels(rectified)
        total: Tensor | None = None
        for operation, convolution in self.convolutions.items():
            scale = scales[self.column[operation]]
            if operation in begun and isinstance(convolution, PackedConvolution):
                maps = convolution.after_first(begun[operation], scale)
            else:
                maps = convolution(rectified, scale)
            # In place, onto a tensor that is no view: gradients then pass through unchanged.
            total = maps if total is None else total.add_(maps)
        assert total is not None
        if self.reduce is not None:
            total += self.reduce(state, scales[self.column["skip_connect"]])
        if self._free_columns:
            total += self._parameter_free(state, mixture[:, self._free_columns])
        return total

    def _first_kernels(self, rectified: Tensor) -> dict[str, Tensor]:
        # Together: they read the same maps, and give them one gradient.
        apart = {
            operation: convolution
            for operation, convolution in self.convolutions.items()
            if isinstance(convolution, PackedConvolution) and not convolution.folds(rectified)
        }
        if not apart:
            return {}
        kernels = [each.first_kernels(rectified) for each in apart.values()]
        dilations = [each.dilation for each in apart.values()]
        maps = branches(rectified, self.edges, kernels, self.stride, dilations)
        return dict(zip(apart, maps, strict=True))

    def _parameter_free(self, state: Tensor, mixture: Tensor) -> Tensor:
        # One 1x1 convolution spreads the pools (and the identity) over the edges; as a matrix
        # product its gradient for the mixture is one too, not a reduction per edge.
        kinds = []
        if self.pools:
            pools = torch.cat([pool(each, state, self.stride) for each in self.pools], dim=1)
            kinds.append(pools if self.pool_norm is None else aligned(self.pool_norm(pools)))
        if self._identity:
            kinds.append(state)
        maps = kinds[0] if len(kinds) == 1 else torch.cat(kinds, dim=1)
        eye = torch.eye(self.channels, dtype=state.dtype, device=state.device)
        kernels = torch.einsum("ek,oi->eoki", mixture, eye)
        return pointwise_product(maps, kernels.reshape(self.edges * self.channels, -1))


def _packed(
    operation: str,
    channels: int,
    edges: int,
    *,
    stride: int,
    convolutions: Convolutions,
    generator: torch.Generator,
) -> nn.Module:
    if operation in FULL_CONVOLUTIONS:
        return FullConvolution(operation, channels, edges, generator=generator)
    return PackedConvolution(
        operation,
        channels,
        edges,
        stride=stride,
        convolutions=convolutions,
        generator=generator,
    )


def pool(operation: str, state: Tensor, stride: int) -> Tensor:
    """``max_pool_3x3`` or ``avg_pool_3x3`` of ``[N, C, H, W]``; padding does not count."""
    if operation == "max_pool_3x3":
        return F.max_pool2d(state, 3, stride, 1)
    return F.avg_pool2d(state, 3, stride, 1, count_include_pad=False)

"""All operations on all edges that leave one state, mixed by the architecture's weights."""

from __future__ import annotations

from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from core.nas.depthwise import branches
from core.nas.kinds import CONVOLUTIONS, FULL_CONVOLUTIONS, POOLS
from core.nas.layout import aligned
from core.nas.normalisation import ScaledBatchNorm, statistics_resting
from core.nas.operations import (
    Convolutions,
    FactorizedReduce,
    FullConvolution,
    PackedConvolution,
    pointwise_product,
    pool,
)
from core.nas.space import CellSpace


class PackedEdges(nn.Module):
    """The mixed operations of all E edges that leave one state.

    Args:
        cell: The operations; at least one is a convolution.
        channels: C of the cell.
        edges: E.
        stride: 2 for the inputs of a reduction cell.
        convolutions: See `core.nas.operations.PackedConvolution`.
        generator: Draws the initial weights (CPU).

    Attributes:
        recompute: Keep only the state's maps for the backward pass and compute the operations'
            again (Chen et al. 2016, arXiv 1604.06174): less memory, more time, the same gradients.
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
    ) -> None:
        super().__init__()
        self.channels, self.edges, self.stride = channels, edges, stride
        self.recompute = False
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

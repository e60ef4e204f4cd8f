"""The separable convolutions on all edges that leave one state, mixed, on a CPU.

What bounds a CPU here is the traffic between core and memory. So each operation runs from its
first kernel to its share of the sum on maps of so few edges that they stay in the core's cache,
and the backward pass computes them again instead of reading them back: both passes are written
by hand. Depthwise kernels are `core.nas.depthwise`'s, pointwise ones with their normalisation
`core.nas.folded_norm`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from core.nas.depthwise import convolve, input_gradient, kernel_gradient, needed
from core.nas.folded_norm import Folded, Pulled, fold, fold_constant, pull
from core.nas.layout import keep_freed_memory
from core.nas.normalisation import ScaledBatchNorm

# Numbers in a map that shares a core's second-level cache (2 MiB) with another.
_CACHED = 2**18
# Products of matrices narrower than this run faster as blocks of one larger matrix.
_NARROW = 16

Norms = tuple[ScaledBatchNorm, ...]


class Weights(NamedTuple):
    """One stage of one operation: depthwise ``[E, C, k, k]``, pointwise ``[E, C, C]``."""

    depthwise: Tensor
    pointwise: Tensor


@dataclass(frozen=True, slots=True)
class Plan:
    """What of K operations is no tensor to be differentiated.

    Attributes:
        stride: Of all operations' first stages.
        dilations: Per operation.
        norms: Per operation, by stage; of ``E * C`` channels.
        training: Whether to normalise by the batch's statistics, which the running ones follow.
    """

    stride: int
    dilations: tuple[int, ...]
    norms: tuple[Norms, ...]
    training: bool


def mixed_convolutions(
    plan: Plan, rectified: Tensor, mixture: Tensor, weights: Sequence[Sequence[Weights]]
) -> Tensor:
    """The weighted sum over operations on each edge.

    Args:
        plan: Of K operations.
        rectified: ``[N, C, H, W]`` after the ReLU.
        mixture: ``[K, E]``.
        weights: Per operation, by stage.

    Returns:
        ``[N, E*C, ceil(H / stride), ceil(W / stride)]``, edge major, channels-last.

    Raises:
        ValueError: in training, one image whose maps are one pixel.
        RuntimeError: a second derivative is taken through it.
    """
    keep_freed_memory()
    # Views, since whether a leaf's gradient is wanted cannot be asked; see `needed`.
    flat = [each.view_as(each) for stages in weights for stage in stages for each in stage]
    rectified = rectified.contiguous(memory_format=torch.channels_last)
    result: Tensor = _Mixed.apply(
        plan, rectified.view_as(rectified), mixture.view_as(mixture), *flat
    )
    return result


class _Mixed(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, plan: Plan, rectified: Tensor, mixture: Tensor, *weights: Tensor
    ) -> Tensor:
        edges = _Edges(plan, rectified, mixture, weights)
        total, ctx.folded = edges.forward()
        ctx.save_for_backward(rectified, mixture, *weights)
        ctx.plan = plan
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        rectified, mixture, *weights = ctx.saved_tensors
        edges = _Edges(ctx.plan, rectified, mixture, weights)
        maps, _, *wanted = needed(ctx)  # of tensors only
        return None, *edges.backward(gradient, ctx.folded, maps=maps, weights=any(wanted))


class _Edges:
    """Both passes; K, E and C as in `mixed_convolutions`."""

    def __init__(
        self, plan: Plan, rectified: Tensor, mixture: Tensor, weights: Sequence[Tensor]
    ) -> None:
        self.plan, self.rectified, self.mixture = plan, rectified, mixture
        self.edges, self.channels = mixture.shape[1], rectified.shape[1]
        tensors = iter(weights)
        self.weights = [[Weights(next(tensors), next(tensors)) for _ in n] for n in plan.norms]
        images, _, *size = rectified.shape
        height, width = (-(-side // plan.stride) for side in size)
        self.shape = images, height, width
        fit = max(1, _CACHED // (images * height * width * self.channels))
        self.groups = [slice(low, min(low + fit, self.edges)) for low in range(0, self.edges, fit)]
        self._sources = {1: rectified}

    def forward(self) -> tuple[Tensor, list[list[list[Folded]]]]:
        """The sum, and per group and operation its folded products."""
        images, height, width = self.shape
        total = torch.empty(
            (images, self.edges * self.channels, height, width),
            dtype=self.rectified.dtype,
            memory_format=torch.channels_last,
        )
        rows = _rows(total)
        every = []
        for group in self.groups:
            kept, found, biases = [], None, []
            for branch in self._branches(group):
                before, folded = branch.forward(self.plan.training)
                found = _times(before, folded[-1].weight.mT, found)
                biases.append(folded[-1].bias)
                kept.append(folded)
            assert found is not None
            bias = torch.stack(biases).sum(dim=0).flatten()
            torch.add(found, bias, out=rows[:, self._columns(group)])
            every.append(kept)
        return total, every

    def backward(
        self, gradient: Tensor, folded: list[list[list[Folded]]], *, maps: bool, weights: bool
    ) -> list[Tensor | None]:
        """Gradients of the maps (if wanted), the mixture and the weights (if wanted)."""
        rows = _rows(gradient.contiguous(memory_format=torch.channels_last))
        mixture = torch.empty_like(self.mixture)
        found = [[torch.empty_like(w) for w in each] for stages in self.weights for each in stages]
        total: Tensor | None = None
        for group, kept in zip(self.groups, folded, strict=True):
            arriving = rows[:, self._columns(group)].contiguous()
            inputs: Tensor | None = None
            stage = iter(found)
            for k, branch in enumerate(self._branches(group)):
                more = branch.backward(arriving, kept[k], maps=maps, weights=weights)
                mixture[k, group] = more.scale
                for gradients in more.weights:
                    for whole, part in zip(next(stage), gradients, strict=True):
                        whole[group] = part
                if more.maps is not None:
                    inputs = more.maps if inputs is None else inputs.add_(more.maps)
            for part in () if inputs is None else torch.split(inputs, self.channels, dim=1):
                total = part if total is None else total + part
        flat = [each for stages in found for each in stages]
        return [total, mixture, *(flat if weights else [None] * len(flat))]

    def _branches(self, group: slice) -> Iterator[_Branch]:
        edges = group.stop - group.start
        if edges not in self._sources:
            self._sources[edges] = torch.cat([self.rectified] * edges, dim=1)
        for k, stages in enumerate(self.weights):
            yield _Branch(
                weights=[Weights(*(each[group] for each in stage)) for stage in stages],
                scale=self.mixture[k, group, None],
                source=self._sources[edges],
                stride=self.plan.stride,
                dilation=self.plan.dilations[k],
                norms=self.plan.norms[k],
                columns=self._columns(group),
            )

    def _columns(self, group: slice) -> slice:
        return slice(group.start * self.channels, group.stop * self.channels)


class _Gradients(NamedTuple):
    """Of a branch: its scale ``[E]``, its weights by stage, its source."""

    scale: Tensor
    weights: list[Weights]
    maps: Tensor | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Branch:
    """One operation on a group of E edges; rows are a map's pixels.

    Attributes:
        weights: By stage.
        scale: ``[E, 1]``.
        source: ``[N, E*C, H, W]``.
        columns: The group's among the norms' channels.
    """

    weights: list[Weights]
    scale: Tensor
    source: Tensor
    stride: int
    dilation: int
    norms: Norms
    columns: slice

    def forward(self, training: bool) -> tuple[Tensor, list[Folded]]:
        """The rows before the last product, and the products."""
        folded: list[Folded] = []

        def fold_here(stage: int, rows: Tensor) -> Folded:
            folded.append(self._fold(stage, rows, training))
            return folded[-1]

        _, before = self._maps(fold_here)
        return _rows(before[-1]), folded

    def backward(
        self, gradient: Tensor, folded: list[Folded], *, maps: bool, weights: bool
    ) -> _Gradients:
        """From the gradient of the branch's rows in the sum."""
        inputs, before = self._maps(lambda stage, _: folded[stage])
        pulled = self._pull(gradient, before[-1], folded[-1])
        result = _Gradients(pulled.scale.sum(dim=-1), [], None)
        if not maps and not weights:
            return result
        arriving: Tensor | None = None
        for stage in reversed(range(len(self.weights))):
            kernels, source = self.weights[stage].depthwise, inputs[stage]
            if arriving is not None:
                gradient = _rows(arriving)
                torch.ops.aten.threshold_backward.grad_input(
                    gradient, _rows(inputs[stage + 1]), 0, grad_input=gradient
                )
                pulled = self._pull(gradient, before[stage], folded[stage])
            down = _like(_before(pulled, gradient, before[stage]), before[stage])
            how = (1 if stage else self.stride), self.dilation
            if weights:
                found = kernel_gradient(source, down, kernels.shape[-1], *how)
                result.weights.insert(0, Weights(found.view_as(kernels), pulled.product))
            if stage or maps:
                size = source.shape[2], source.shape[3]
                arriving = input_gradient(down, kernels.flatten(0, 1), size, *how)
        return result._replace(maps=arriving if maps else None)

    def _maps(self, folded: Callable[[int, Tensor], Folded]) -> tuple[list[Tensor], list[Tensor]]:
        """By stage: the maps before its depthwise kernels, and those before its product."""
        inputs, before = [self.source], []
        for stage, (kernels, _) in enumerate(self.weights):
            stride = 1 if stage else self.stride
            maps = convolve(inputs[-1], kernels.flatten(0, 1), stride, self.dilation)
            before.append(maps)
            norm = folded(stage, _rows(maps))
            if stage + 1 < len(self.weights):
                after = _times(_rows(maps), norm.weight.mT).add_(norm.bias.flatten()).relu_()
                inputs.append(_like(after, maps))
        return inputs, before

    def _fold(self, stage: int, rows: Tensor, training: bool) -> Folded:
        product, norm = self.weights[stage].pointwise, self.norms[stage]
        scale = self.scale if stage + 1 == len(self.weights) else None
        edges, channels, _ = product.shape
        if not training:
            mean, var = norm.running_mean[self.columns], norm.running_var[self.columns]
            shape = edges, channels
            return fold_constant(product, scale, mean.view(shape), var.view(shape), norm.eps)
        mean, gram = rows.mean(dim=0).view(edges, channels), _across(rows, rows, edges)
        folded, mean, var = fold(product, scale, mean, gram, len(rows), norm.eps)
        norm.follow(mean.flatten(), var.flatten(), len(rows), self.columns)
        return folded

    def _pull(self, gradient: Tensor, maps: Tensor, folded: Folded) -> Pulled:
        edges, channels = folded.bias.shape
        cross = _across(gradient, _rows(maps), edges)
        return pull(folded, cross, gradient.sum(dim=0).view(edges, channels))


def _before(pulled: Pulled, gradient: Tensor, maps: Tensor) -> Tensor:
    found = _times(gradient, pulled.weight)
    if pulled.curvature is None or pulled.offset is None:
        return found
    return _times(_rows(maps), pulled.curvature, found).add_(pulled.offset.flatten())


def _rows(maps: Tensor) -> Tensor:
    return maps.permute(0, 2, 3, 1).flatten(0, 2)


def _like(rows: Tensor, maps: Tensor) -> Tensor:
    images, _, height, width = maps.shape
    return rows.view(images, height, width, -1).permute(0, 3, 1, 2)


def _times(rows: Tensor, matrices: Tensor, onto: Tensor | None = None) -> Tensor:
    """Each edge's columns of `rows` times its matrix, added to `onto` in place if given."""
    edges, channels, _ = matrices.shape
    if edges == 1 or channels < _NARROW:
        matrix = matrices[0] if edges == 1 else _blocks(matrices)
        return rows @ matrix if onto is None else onto.addmm_(rows, matrix)
    result = torch.empty_like(rows) if onto is None else onto
    left, out = (each.view(-1, edges, channels).transpose(0, 1) for each in (rows, result))
    if onto is None:
        torch.bmm(left, matrices, out=out)
    else:
        out.baddbmm_(left, matrices)
    return result


def _blocks(matrices: Tensor) -> Tensor:
    edges, inputs, outputs = matrices.shape
    whole = matrices.new_zeros(edges, inputs, edges, outputs)
    whole.diagonal(dim1=0, dim2=2).copy_(matrices.permute(1, 2, 0))
    return whole.view(edges * inputs, -1)


def _across(left: Tensor, right: Tensor, edges: int) -> Tensor:
    """``[E, C, C]``: per edge the sum over rows of ``left right^T``."""
    channels = left.shape[1] // edges
    if edges == 1 or channels < _NARROW:
        whole = (left.t() @ right).view(edges, channels, edges, channels)
        return whole.diagonal(dim1=0, dim2=2).permute(2, 0, 1)
    left, right = (each.view(-1, edges, channels).transpose(0, 1) for each in (left, right))
    return torch.bmm(left.transpose(1, 2), right)

"""Depthwise convolutions whose backward passes are as fast as their forward pass, on CPUs.

Of the kernels underneath (oneDNN), those of the forward pass run at the speed of memory for every
size of kernel; those for kernel gradients only for kernels at most three wide and without
dilation, and those for input gradients only without dilation. Everything here is the same sum of
products, arranged as calls of the fast ones.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable


def convolve(maps: Tensor, kernels: Tensor, stride: int, dilation: int) -> Tensor:
    """Each channel by its own kernel, padded so that stride 1 keeps the size.

    Args:
        maps: ``[N, C, H, W]``.
        kernels: ``[C, k, k]``, k odd.
        stride: 1 or 2.
        dilation: 1 or 2.

    Returns:
        ``[N, C, ceil(H / stride), ceil(W / stride)]``.
    """
    padding = dilation * (kernels.shape[-1] // 2)
    return F.conv2d(maps, kernels[:, None], None, stride, padding, dilation, len(kernels))


def input_gradient(
    gradient: Tensor, kernels: Tensor, size: tuple[int, int], stride: int, dilation: int
) -> Tensor:
    """The gradient of `convolve` for its maps, ``[N, C, *size]``."""
    if stride == 1:  # the transpose of a convolution that keeps the size is one, kernels turned
        return convolve(gradient, kernels.flip(1, 2), 1, dilation)
    if dilation == 2:  # only even pixels were looked at
        even = convolve(gradient, kernels.flip(1, 2), 1, 1)
        whole = even.new_zeros(len(even), *size, even.shape[1]).permute(0, 3, 1, 2)
        whole[:, :, ::2, ::2] = even
        return whole
    maps = torch.empty((), dtype=gradient.dtype).expand(*gradient.shape[:2], *size)
    return _backward(gradient, maps, kernels[:, None], (stride, stride), inputs=True)


def kernel_gradient(
    maps: Tensor, gradient: Tensor, width: int, stride: int, dilation: int
) -> Tensor:
    """The gradient of `convolve` for its kernels, ``[C, width, width]``."""
    if dilation == 2:
        if stride == 2:
            maps = maps[:, :, ::2, ::2]
            return kernel_gradient(_dense(maps), gradient, width, 1, 1)
        # A dilated convolution is an ordinary one on each of four grids of pixels.
        found = kernel_gradient(_grids(maps), _grids(gradient), width, 1, 1)
        return torch.add(*found.chunk(2))
    if width < 5:
        return _taps(maps, gradient, width, width, (stride, stride))
    if stride == 2:
        # Taps of even columns meet even columns of the maps only, those of odd ones odd ones.
        even = _dense(maps[..., ::2])
        odd = _dense(maps[..., 1::2])
        odd = _widened(odd, even.shape[-1] - odd.shape[-1])
        first, second = (_taps(each, gradient, 5, 3, (2, 1)) for each in (even, odd))
        found = torch.stack([first, second], dim=-1).flatten(-2)
        return found[..., :5]
    # The inner three columns of taps; the outer two lie a pair of pixels away.
    inner = _taps(maps, gradient, 5, 3, (1, 1))
    outer = torch.add(*_taps(_pairs(maps), _pairs(gradient), 5, 3, (1, 1)).chunk(2))
    return torch.cat([outer[..., :1], inner, outer[..., 2:]], dim=-1)


def _taps(
    maps: Tensor, gradient: Tensor, height: int, width: int, stride: tuple[int, int]
) -> Tensor:
    short = height - maps.shape[2]
    if short > 0 and stride[0] == 1:  # maps lower than the kernel miss the fast path
        maps, gradient = _heightened(maps, short), _heightened(gradient, short)
    kernels = maps.new_empty(maps.shape[1], 1, height, width)
    return _backward(gradient, maps, kernels, stride, inputs=False)[:, 0]


def _backward(
    gradient: Tensor, maps: Tensor, kernels: Tensor, stride: tuple[int, int], *, inputs: bool
) -> Tensor:
    padding = kernels.shape[2] // 2, kernels.shape[3] // 2
    found = torch.ops.aten.convolution_backward(
        gradient, maps, kernels, None, stride, padding, (1, 1), False, (0, 0), len(kernels),
        (inputs, not inputs, False),
    )  # fmt: skip
    result: Tensor = found[0] if inputs else found[1]
    return result


def _dense(maps: Tensor) -> Tensor:
    return maps.contiguous(memory_format=torch.channels_last)


def _widened(maps: Tensor, columns: int) -> Tensor:
    return F.pad(maps, (0, columns)) if columns else maps  # padding by nothing copies


def _heightened(maps: Tensor, rows: int) -> Tensor:
    return F.pad(maps, (0, 0, 0, rows)) if rows else maps


def _pairs(maps: Tensor) -> Tensor:
    # Two neighbouring columns as one pixel with twice the channels: no copy if their number is
    # even.
    maps = _widened(maps, maps.shape[3] % 2)
    images, channels, height, width = maps.shape
    rows = maps.permute(0, 2, 3, 1).reshape(images, height, width // 2, 2 * channels)
    return rows.permute(0, 3, 1, 2)


def _grids(maps: Tensor) -> Tensor:
    # Even and odd columns as channels, even and odd rows as images.
    maps = _pairs(_heightened(maps, maps.shape[2] % 2))
    images, channels, height, width = maps.shape
    rows = maps.permute(0, 2, 3, 1).reshape(images, height // 2, 2, width, channels)
    return rows.transpose(1, 2).flatten(0, 1).permute(0, 3, 1, 2)


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, maps: Tensor, kernels: Tensor, stride: int, dilation: int) -> Tensor:
        ctx.save_for_backward(maps, kernels)
        ctx.stride, ctx.dilation = stride, dilation
        return convolve(maps, kernels, stride, dilation)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        maps, kernels = ctx.saved_tensors
        gradient = _dense(gradient)
        wants_maps, wants_kernels = needed(ctx)[:2]
        size = maps.shape[2], maps.shape[3]
        return (
            input_gradient(gradient, kernels, size, ctx.stride, ctx.dilation)
            if wants_maps
            else None,
            kernel_gradient(maps, gradient, kernels.shape[-1], ctx.stride, ctx.dilation)
            if wants_kernels
            else None,
            None,
            None,
        )


def needed(ctx: Any) -> list[bool]:
    """Which inputs' gradients the running backward pass is to find.

    ``ctx.needs_input_grad`` tells which require one; a pass to the alphas alone wants no more
    than those on its way. Inputs must not be leaves.
    """
    return [
        node is not None and torch._C._will_engine_execute_node(node)
        for node, _ in ctx.next_functions
    ]


def depthwise(maps: Tensor, kernels: Tensor, stride: int, dilation: int) -> Tensor:
    """`convolve` with the fast backward passes where `fast` says so.

    Raises:
        RuntimeError: a second derivative is taken through it.
    """
    if not fast(maps):
        return convolve(maps, kernels, stride, dilation)
    result: Tensor = _Depthwise.apply(
        _dense(maps).view_as(maps), kernels.view_as(kernels), stride, dilation
    )
    return result


def fast(maps: Tensor) -> bool:
    """Whether `maps` are where the arrangements of this module pay: on a CPU, as they are."""
    return (
        maps.device.type == "cpu"
        and not torch.compiler.is_exporting()
        and not torch.is_autocast_enabled("cpu")
    )

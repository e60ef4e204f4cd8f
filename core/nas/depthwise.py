"""Depthwise convolutions whose backward passes are as fast as their forward pass, on CPUs.

Of the kernels underneath (oneDNN), those of the forward pass run at the speed of memory for every
size of kernel; those for kernel gradients only for kernels at most three wide and without
dilation, and those for input gradients only without dilation. Everything here is the same sum of
products, arranged as calls of the fast ones.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    if stride == 2:
        if dilation == 2:  # only even pixels were looked at
            return kernel_gradient(_dense(maps[:, :, ::2, ::2]), gradient, width, 1, 1)
        return _strided(maps, gradient, width)
    if width == 1:
        return _taps(maps, gradient, 1, 1, (1, 1))
    height = dilation * (width - 1) + 1  # of undilated kernels that contain the taps
    found = _columns(maps, gradient, height, dilation)
    if width == 5:
        outer = _columns(maps, gradient, height, 2 * dilation)
        found = torch.cat([outer[..., :1], found, outer[..., 2:]], dim=-1)
    return found[:, ::dilation]


def _strided(maps: Tensor, gradient: Tensor, width: int) -> Tensor:
    if width < 5:
        return _taps(maps, gradient, width, width, (2, 2))
    # Taps of even columns meet even columns of the maps only, those of odd ones odd ones.
    even, odd = _dense(maps[..., ::2]), _dense(maps[..., 1::2])
    odd = _padded(odd, even.shape[-1] - odd.shape[-1], 0)
    first, second = (_taps(each, gradient, 5, 3, (2, 1)) for each in (even, odd))
    return torch.stack([first, second], dim=-1).flatten(-2)[..., :5]


def _columns(maps: Tensor, gradient: Tensor, height: int, step: int) -> Tensor:
    """Gradients of three columns of taps that lie `step` pixels apart, ``[C, height, 3]``."""
    if step == 1:
        return _taps(maps, gradient, height, 3, (1, 1))
    found = _taps(_merged(maps, step), _merged(gradient, step), height, 3, (1, 1))
    return found.view(step, -1, height, 3).sum(dim=0)


def _taps(
    maps: Tensor, gradient: Tensor, height: int, width: int, stride: tuple[int, int]
) -> Tensor:
    short = height - maps.shape[2]
    if short > 0 and stride[0] == 1:  # maps lower than the kernel miss the fast path
        maps, gradient = _padded(maps, 0, short), _padded(gradient, 0, short)
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


def _padded(maps: Tensor, columns: int, rows: int) -> Tensor:
    # Padding by nothing copies.
    return F.pad(maps, (0, columns, 0, rows)) if columns or rows else maps


def _merged(maps: Tensor, step: int) -> Tensor:
    """That many neighbours of a row as one pixel with as many times the channels: no copy."""
    maps = _padded(maps, -maps.shape[3] % step, 0)
    images, channels, height, width = maps.shape
    rows = maps.permute(0, 2, 3, 1).reshape(images, height, width // step, step * channels)
    return rows.permute(0, 3, 1, 2)


class _Branches(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, copies: int, stride: int, dilations: tuple[int, ...], *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        maps, *kernels = tensors
        repeated = _repeated(maps, copies)
        ctx.save_for_backward(repeated, *kernels)
        ctx.copies, ctx.stride, ctx.dilations = copies, stride, dilations
        return tuple(
            convolve(repeated, each, stride, dilation)
            for each, dilation in zip(kernels, dilations, strict=True)
        )

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        repeated, *kernels = ctx.saved_tensors
        wants_maps, *wants_kernels = needed(ctx)
        size = repeated.shape[2], repeated.shape[3]
        total: Tensor | None = None
        found: list[Tensor | None] = []
        for given, each, dilation, wanted in zip(
            gradients, kernels, ctx.dilations, wants_kernels, strict=True
        ):
            gradient, how = _dense(given), (ctx.stride, dilation)
            found.append(
                kernel_gradient(repeated, gradient, each.shape[-1], *how) if wanted else None
            )
            if wants_maps:
                more = input_gradient(gradient, each, size, *how)
                total = more if total is None else total.add_(more)
        if total is not None and ctx.copies > 1:
            total = _folded(total, ctx.copies)
        return None, None, None, total, *found


def needed(ctx: Any) -> list[bool]:
    """Which inputs' gradients the running backward pass is to find.

    ``ctx.needs_input_grad`` tells which require one; a pass to the alphas alone wants no more
    than those on its way. Inputs must not be leaves.
    """
    return [
        node is not None and torch._C._will_engine_execute_node(node)
        for node, _ in ctx.next_functions
    ]


def branches(
    maps: Tensor, copies: int, kernels: Sequence[Tensor], stride: int, dilations: Sequence[int]
) -> tuple[Tensor, ...]:
    """Several convolutions of the same maps, with the fast backward passes where they are `fast`.

    Args:
        maps: ``[N, C, H, W]``.
        copies: E: how often each convolution takes the maps, with kernels of its own.
        kernels: Per convolution ``[E*C, k, k]``.
        stride: Of all.
        dilations: Per convolution.

    Returns:
        Per convolution ``[N, E*C, h, w]``.

    Raises:
        RuntimeError: a second derivative is taken through it, and the maps are `fast`.
    """
    if not fast(maps):
        repeated = _repeated(maps, copies)
        return tuple(
            convolve(repeated, each, stride, dilation)
            for each, dilation in zip(kernels, dilations, strict=True)
        )
    # Views, since whether a leaf's gradient is wanted cannot be asked.
    tensors = [each.view_as(each) for each in (_dense(maps), *kernels)]
    result: tuple[Tensor, ...] = _Branches.apply(copies, stride, tuple(dilations), *tensors)
    return result


def depthwise(maps: Tensor, kernels: Tensor, stride: int, dilation: int) -> Tensor:
    """One convolution: `convolve` as `branches` does it."""
    (result,) = branches(maps, 1, [kernels], stride, [dilation])
    return result


def _folded(maps: Tensor, copies: int) -> Tensor:
    """The transpose of `_repeated`."""
    first, second, *others = maps.chunk(copies, dim=1)
    total = first + second
    for each in others:
        total.add_(each)
    return total


def _repeated(maps: Tensor, copies: int) -> Tensor:
    return torch.cat([maps] * copies, dim=1) if copies > 1 else maps


def fast(maps: Tensor) -> bool:
    """Whether `maps` are where the arrangements of this module pay: on a CPU, as they are."""
    return (
        maps.device.type == "cpu"
        and not torch.compiler.is_exporting()
        and not torch.is_autocast_enabled("cpu")
    )

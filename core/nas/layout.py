"""Memory layouts: the fast one for the device, kept through the backward pass."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def fast_layout(images: Tensor) -> torch.memory_format:
    """The memory layout in which convolutions of these sizes run faster on the device.

    Channels-last halves the time of depthwise and pooling kernels on CPUs; on GPUs float32
    grouped kernels prefer the contiguous layout.
    """
    return torch.channels_last if images.device.type == "cpu" else torch.contiguous_format


class _Aligned(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, maps: Tensor) -> Tensor:  # noqa: ARG004
        return maps.view_as(maps)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:  # noqa: ARG004
        (gradient,) = gradients
        return gradient.contiguous(memory_format=fast_layout(gradient))


class _Split(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, maps: Tensor, channels: int) -> tuple[Tensor, Tensor]:  # noqa: ARG004
        layout = fast_layout(maps)
        first, second = maps[:, :channels], maps[:, channels:]
        return first.contiguous(memory_format=layout), second.contiguous(memory_format=layout)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:  # noqa: ARG004
        layout = fast_layout(gradients[0])
        return torch.cat([g.contiguous(memory_format=layout) for g in gradients], dim=1), None


def aligned(maps: Tensor) -> Tensor:
    """The same maps; their gradient arrives in the fast layout.

    The backward of a concatenation hands out strided slices, and torch's batch normalisation
    takes up to thirty times as long for a gradient that is not laid out as its input.
    """
    if torch.compiler.is_exporting():
        return maps
    result: Tensor = _Aligned.apply(maps)
    return result


def split_channels(maps: Tensor, channels: int) -> tuple[Tensor, Tensor]:
    """The first `channels` and the others, both dense, as is the gradient of the whole."""
    result: tuple[Tensor, Tensor] = _Split.apply(maps, channels)
    return result

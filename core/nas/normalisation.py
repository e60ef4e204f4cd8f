"""Batch normalisation: one whose scale is an argument, and exact running statistics."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ScaledBatchNorm(nn.Module):
    """Batch normalisation without learned scale; the scale may be passed in.

    A supernet passes the architecture weights of the edges here: the mixture costs no operation
    of its own and its gradient falls out of the normalisation's backward pass.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.momentum: float | None = 0.1
        self.eps = 1e-5
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, maps: Tensor, scale: Tensor | None = None) -> Tensor:
        """Normalise ``[N, C, H, W]`` per channel, times `scale` ``[C]`` if given."""
        return F.batch_norm(
            maps,
            self.running_mean,
            self.running_var,
            weight=scale,
            training=self.training,
            momentum=0.1 if self.momentum is None else self.momentum,
            eps=self.eps,
        )


@contextmanager
def statistics_kept(model: nn.Module) -> Iterator[None]:
    """Put running statistics back as they were, whatever passes in training mode lie between."""
    buffers = [
        buffer
        for layer in model.modules()
        if isinstance(layer, ScaledBatchNorm | nn.BatchNorm2d)
        for buffer in layer.buffers()
    ]
    kept = [buffer.clone() for buffer in buffers]
    try:
        yield
    finally:
        torch._foreach_copy_(buffers, kept)


@contextmanager
def statistics_resting(model: nn.Module) -> Iterator[None]:
    """Let passes in training mode leave the running statistics of `ScaledBatchNorm` alone."""
    layers = [layer for layer in model.modules() if isinstance(layer, ScaledBatchNorm)]
    momenta = [layer.momentum for layer in layers]
    try:
        for layer in layers:
            layer.momentum = 0.0
        yield
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum


@torch.no_grad()
def reestimate(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
    """Replace running statistics by the average over `batches` of the batch statistics.

    Batches count by their images. The statistics that a training loop leaves behind are an
    exponential average over changing weights; a warm-started model carries its source's.
    Weights, gradients and the training mode of the model are left as they were.

    Args:
        model: Any module with batch normalisation.
        batches: Normalised images ``[B, C, H, W]`` with labels (ignored), on the model's device.

    Raises:
        ValueError: `batches` is empty.
    """
    layers = [m for m in model.modules() if isinstance(m, ScaledBatchNorm | nn.BatchNorm2d)]
    momenta = [layer.momentum for layer in layers]
    modes = [(module, module.training) for module in model.modules()]
    model.train()
    for layer in layers:
        if isinstance(layer, nn.BatchNorm2d) and layer.num_batches_tracked is not None:
            layer.num_batches_tracked.zero_()  # measured anew, however often that was done before
    seen = 0
    try:
        for images, _ in batches:
            seen += len(images)
            for layer in layers:
                layer.momentum = len(images) / seen  # the first batch replaces what was there
            model(images)
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
        for module, mode in modes:
            module.training = mode
    if not seen:
        raise ValueError("batches: no images to estimate statistics from")

"""What every embedder asks of its images."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor


def scaled_batches(
    images: Tensor, batch_size: int, device: torch.device | str
) -> Iterator[Tensor]:
    """Checked batches of images as floats.

    Args:
        images: ``[N, C, H, W]`` uint8, C of 1 or 3, H and W from 1.
        batch_size: Images per batch.
        device: Where batches go.

    Yields:
        ``[B, C, H, W]`` float32 in [0, 1].

    Raises:
        ValueError: If type, shape or batch size do not fit.
    """
    if images.dtype != torch.uint8 or images.ndim != 4:
        raise ValueError(
            f"images must be uint8 [N, C, H, W], not {images.dtype} {tuple(images.shape)}"
        )
    if images.shape[1] not in (1, 3) or 0 in images.shape[2:]:
        raise ValueError(
            f"images need 1 or 3 channels and at least one pixel, not {tuple(images.shape)}"
        )
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, not {batch_size}")
    for start in range(0, len(images), batch_size):
        yield images[start : start + batch_size].to(device).float() / 255


def resize(images_NCHW: Tensor, side: int) -> Tensor:
    """Bilinear resize to a square, low-pass filtered first where it shrinks."""
    if images_NCHW.shape[-2:] == (side, side):
        return images_NCHW
    return F.interpolate(
        images_NCHW, size=(side, side), mode="bilinear", antialias=True, align_corners=False
    )

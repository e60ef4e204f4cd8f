"""The trunk of a trained supernet as a feature extractor for images of any dataset."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from core.nas.images import LabelledImages
from core.nas.space import Space
from core.nas.supernet import Supernet

_SMALLEST_STD = 1 / 255  # as LabelledImages: a constant channel stays finite


class TrunkEmbedder:
    """Globally pooled output of a supernet's last cell, mixed by its softmaxed alphas.

    Everything is frozen as its training left it: weights, alphas, running statistics, and the
    mean and deviation by which *its own* training images were normalised. An image therefore has
    the same features in whatever dataset it lies. (A search that starts from the same supernet
    normalises by the target's statistics instead, and re-estimates the running ones: it adapts
    to one dataset, while a distance must compare two on one scale.)
    """

    name = "trunk"

    def __init__(
        self,
        state: Mapping[str, Tensor],
        *,
        space: Space,
        resolution: int,
        mean: Tensor,
        std: Tensor,
        version: str,
        device: torch.device | str = "cpu",
    ) -> None:
        """Load the trunk; the classifier, if there is one, is ignored.

        Args:
            state: `Supernet.state_dict()`.
            space: The supernet's search space.
            resolution: Height and width of the images it was trained on.
            mean: ``[C]`` of its training images on the 0..1 scale, C the space's input channels.
            std: ``[C]`` likewise, positive.
            version: Names this supernet; other weights are another version.
            device: Where to compute.

        Raises:
            ValueError: A tensor is missing, unknown, of another shape or not finite.
        """
        self.version = version
        self.dimension = space.feature_channels
        self._space, self._resolution, self._device = space, resolution, device
        for label, value in (("mean", mean), ("std", std)):
            if value.shape != (space.input_channels,) or not bool(value.isfinite().all()):
                raise ValueError(f"{label}: expected finite [{space.input_channels}]")
        if not bool((std > 0).all()):
            raise ValueError("std: not positive")
        self._mean, self._std = mean.float().cpu(), std.float().cpu()
        self._network = _load(state, space).to(device)

    @property
    def identifier(self) -> str:
        """``name@version``."""
        return f"{self.name}@{self.version}"

    @torch.no_grad()
    def embed(self, images: Tensor, *, batch_size: int = 256) -> Tensor:
        """Features of images.

        Args:
            images: ``[N, C, H, W]`` uint8, C of 1 or 3, any H and W from 1. Grey is repeated over
                channels and other sizes are resized, as the training images were.
            batch_size: Images per pass; bounds memory, and changes features by rounding only.

        Returns:
            ``[N, D]`` float32 on the CPU.

        Raises:
            ValueError: The images are of another type or shape, or `batch_size` is not positive.
        """
        if images.dtype != torch.uint8 or images.ndim != 4:
            raise ValueError(f"images: expected uint8 [N, C, H, W], got {list(images.shape)}")
        if images.shape[1] not in (1, 3) or 0 in images.shape[2:]:
            raise ValueError(f"images: expected 1 or 3 channels, got {list(images.shape)}")
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {batch_size}")
        features = [torch.empty(0, self.dimension)]
        for start in range(0, len(images), batch_size):
            prepared = self._prepare(images[start : start + batch_size])
            features.append(self._network.features(prepared).cpu())
        return torch.cat(features)

    def _prepare(self, images: Tensor) -> Tensor:
        channels = images.shape[1]
        unscaled = LabelledImages(
            images=_resize(images, self._resolution),
            labels=torch.zeros(len(images), dtype=torch.int64, device=images.device),
            classes=1,
            mean=torch.zeros(channels, device=images.device),
            std=torch.ones(channels, device=images.device),
        )
        converted = unscaled.with_channels(self._space.input_channels).to(self._device)
        scaled = replace(
            converted, mean=self._mean.to(self._device), std=self._std.to(self._device)
        )
        return scaled.normalise(scaled.images)


def channel_statistics(batches: Iterable[Tensor], channels: int) -> tuple[Tensor, Tensor]:
    """Mean and deviation per channel, one batch in memory at a time.

    Equal to the last bit to what `LabelledImages.measured(...).with_channels(channels)` says of
    all images at once: sums of bytes are exact in int64.

    Args:
        batches: ``[B, C, H, W]`` uint8, C of 1 or 3.
        channels: Channels wanted; a grey image's are repeated.

    Returns:
        ``[channels]`` mean and standard deviation on the 0..1 scale.

    Raises:
        ValueError: No images, or channels that do not convert.
    """
    histogram: Tensor | None = None
    for images in batches:
        planes = images.transpose(0, 1).flatten(1)
        counts = torch.stack([torch.bincount(plane, minlength=256) for plane in planes])
        histogram = counts if histogram is None else histogram + counts
    if histogram is None or not int(histogram.sum()):
        raise ValueError("batches: no images to measure")
    levels = torch.arange(256, device=histogram.device)
    count = int(histogram[0].sum())
    mean = (histogram @ levels).double() / (255 * count)
    second = (histogram @ levels**2).double() / (255**2 * count)
    std = (second - mean.square()).clamp_min(0).sqrt().clamp_min(_SMALLEST_STD)
    blank = torch.zeros(0, len(mean), 1, 1, dtype=torch.uint8)
    measured = LabelledImages(
        blank, torch.zeros(0, dtype=torch.int64), 1, mean.float().cpu(), std.float().cpu()
    ).with_channels(channels)
    return measured.mean, measured.std


def _load(state: Mapping[str, Tensor], space: Space) -> Supernet:
    network = Supernet(space, 1, torch.Generator().manual_seed(0))
    given = {name: value for name, value in state.items() if not name.startswith("classifier.")}
    wanted = {name for name in network.state_dict() if not name.startswith("classifier.")}
    if set(given) != wanted:
        odd = min(set(given) ^ wanted)
        raise ValueError(f"trunk: {'missing' if odd in wanted else 'unknown'} tensor {odd!r}")
    for name, value in given.items():
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise ValueError(f"trunk: tensor {name!r} is not finite")
    try:
        network.load_state_dict(given, strict=False)
    except RuntimeError as error:
        raise ValueError("trunk: a tensor's shape does not fit the space") from error
    return network.eval().requires_grad_(False)


def _resize(images: Tensor, side: int) -> Tensor:
    """Bilinear, low-pass filtered first where it shrinks; still uint8."""
    if images.shape[-2:] == (side, side):
        return images
    resized = F.interpolate(
        images.float(), size=(side, side), mode="bilinear", antialias=True, align_corners=False
    )
    return resized.round().clamp(0, 255).to(torch.uint8)

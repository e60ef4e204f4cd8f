"""Labelled images as one uint8 tensor on the device: splits, shuffles, augmented batches.

No loader workers: at search sizes the data fits on the device, and starting workers every step
costs more than the step.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from core.nas.augmentation import Augmentation, Augmenter

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
_SMALLEST_STD = 1 / 255  # a constant channel stays finite


def epoch_generator(seed: int, epoch: int, stream: int = 0) -> torch.Generator:
    """A CPU generator that depends only on (seed, epoch, stream), so a resume needs no RNG state.

    Args:
        seed: Seed of the run, non-negative.
        epoch: Epoch index, non-negative.
        stream: Which use within the epoch: independent shuffles take different streams.
    """
    # Hashed, because the CPU generator reads only 32 bits of its seed.
    digest = hashlib.blake2b(f"{seed}/{epoch}/{stream}".encode(), digest_size=4).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest))


def _unheard() -> None:
    """Nobody listens."""


@dataclass(frozen=True, slots=True, eq=False)
class LabelledImages:
    """Images with labels, normalised when batched.

    Args:
        images: ``[N, C, H, W]`` uint8.
        labels: ``[N]`` int64 in ``0..classes-1``, on the same device.
        classes: Number of classes; some may have no image here.
        mean: ``[C]`` float32 on the 0..1 scale.
        std: ``[C]`` float32 on the 0..1 scale, positive.
        heard: Called with every batch, also of parts of these images: whoever trains or measures
            on them goes on.

    Raises:
        ValueError: a shape, type or label that breaks the above.
    """

    images: Tensor
    labels: Tensor
    classes: int
    mean: Tensor
    std: Tensor
    heard: Callable[[], None] = _unheard

    def __post_init__(self) -> None:
        if self.images.ndim != 4 or self.images.dtype != torch.uint8:
            raise ValueError(f"images: expected uint8 [N, C, H, W], got {_kind(self.images)}")
        if self.labels.dtype != torch.int64 or self.labels.shape != self.images.shape[:1]:
            raise ValueError(f"labels: expected int64 [{len(self)}], got {_kind(self.labels)}")
        if self.classes < 1:
            raise ValueError(f"classes: {self.classes} is not positive")
        if len(self) and not (self.labels.min() >= 0 and self.labels.max() < self.classes):
            raise ValueError(f"labels: not all in 0..{self.classes - 1}")
        for name, value in (("mean", self.mean), ("std", self.std)):
            if value.shape != self.images.shape[1:2] or not bool(value.isfinite().all()):
                raise ValueError(f"{name}: expected finite [{self.images.shape[1]}]")
        if not bool((self.std > 0).all()):
            raise ValueError("std: not positive")

    def __len__(self) -> int:
        return self.images.shape[0]

    @classmethod
    def measured(cls, images: Tensor, labels: Tensor, classes: int) -> LabelledImages:
        """Labelled images normalised by their own per-channel mean and standard deviation.

        Args:
            images: ``[N, C, H, W]`` uint8, N > 0.
            labels: ``[N]`` int64.
            classes: Number of classes.

        Raises:
            ValueError: as the constructor, or no images.
        """
        if images.ndim != 4 or not images.shape[0]:
            raise ValueError(f"images: expected non-empty [N, C, H, W], got {_kind(images)}")
        # Sums of bytes fit int64 exactly, whatever N.
        count = images.numel() // images.shape[1]
        total = images.sum(dim=(0, 2, 3), dtype=torch.int64).double() / (255 * count)
        squares = torch.arange(256, device=images.device) ** 2
        second = torch.stack(
            [torch.bincount(c.flatten(), minlength=256) @ squares for c in images.unbind(1)]
        ).double() / (255**2 * count)
        std = (second - total.square()).clamp_min(0).sqrt().clamp_min(_SMALLEST_STD)
        return cls(images, labels, classes, total.float(), std.float())

    def to(self, device: torch.device | str) -> LabelledImages:
        """The same images on `device`."""
        moved = {
            name: getattr(self, name).to(device) for name in ("images", "labels", "mean", "std")
        }
        return replace(self, **moved)

    def take(self, indices: Tensor) -> LabelledImages:
        """The images at `indices` (``[M]`` int64), normalised as these are."""
        indices = indices.to(self.images.device)
        return replace(self, images=self.images[indices], labels=self.labels[indices])

    def sample(self, count: int, generator: torch.Generator) -> LabelledImages:
        """At most `count` images drawn without replacement, in random order."""
        return self.take(torch.randperm(len(self), generator=generator)[:count])

    def split(self, fraction: float, seed: int) -> tuple[LabelledImages, LabelledImages]:
        """Split every class at `fraction`; a class of one image goes to the first part.

        Parts of one seed are nested: what a larger fraction leaves out, a smaller one leaves out
        too. So images held out of a later training were not trained on in an earlier half either.

        Args:
            fraction: Share of the first part, in (0, 1).
            seed: Seed of the shuffle; equal seeds give equal parts.

        Raises:
            ValueError: `fraction` out of range, or a part without images.
        """
        if not 0 < fraction < 1:
            raise ValueError(f"fraction: {fraction} is not in (0, 1)")
        generator = epoch_generator(seed, 0, stream=1)
        labels = self.labels.cpu()
        first, second = [], []
        for label in range(self.classes):
            members = (labels == label).nonzero().flatten()
            members = members[torch.randperm(len(members), generator=generator)]
            cut = math.ceil(len(members) * fraction)
            if cut == len(members) > 1:
                cut -= 1
            first.append(members[:cut])
            second.append(members[cut:])
        parts = [torch.cat(part).sort().values for part in (first, second)]
        if not all(len(part) for part in parts):
            raise ValueError(
                f"split: {len(self)} images of {self.classes} classes leave a part empty"
            )
        return self.take(parts[0]), self.take(parts[1])

    def halves(self, seed: int) -> tuple[LabelledImages, LabelledImages]:
        """The (train, valid) halves of a bilevel search, stratified by class."""
        return self.split(0.5, seed)

    def with_channels(self, channels: int) -> LabelledImages:
        """Grey repeated to `channels`, or colour turned to grey by luma (BT.601).

        Raises:
            ValueError: any other change of channels.
        """
        have = self.images.shape[1]
        if have == channels:
            return self
        if have == 1:
            images = self.images.repeat(1, channels, 1, 1)
            return replace(
                self, images=images, mean=self.mean.repeat(channels), std=self.std.repeat(channels)
            )
        if (have, channels) == (3, 1):
            luma = torch.tensor(_LUMA, device=self.images.device)
            grey = torch.einsum("c,nchw->nhw", luma, self.images.float()).round()
            # The colours of one pixel go together: their deviations add up, nearly.
            return replace(
                self,
                images=grey.clamp(0, 255).to(torch.uint8).unsqueeze(1),
                mean=(luma @ self.mean).reshape(1),
                std=(luma @ self.std).reshape(1),
            )
        raise ValueError(f"images: cannot turn {have} channels into {channels}")

    def batches(
        self,
        batch_size: int,
        generator: torch.Generator | None = None,
        augment: Augmentation | Augmenter = "none",
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Normalised batches; every image once.

        Sizes differ by at most one, so no tiny last batch spoils batch statistics.

        Args:
            batch_size: Largest batch.
            generator: Shuffles (and augments); None keeps the order.
            augment: What each batch goes through first; a name is a policy with its defaults.

        Yields:
            Images ``[B, C, H, W]`` float32 and labels ``[B]``, on the device of the images.

        Raises:
            ValueError: an unknown augmentation, or one without a generator.
        """
        augmenter = augment if isinstance(augment, Augmenter) else Augmenter(policy=augment)
        if augmenter.random and generator is None:
            raise ValueError("augment: a random augmentation needs a generator")
        fill = (255 * self.mean).round().clamp(0, 255).to(torch.uint8)
        order = (
            torch.arange(len(self))
            if generator is None
            else torch.randperm(len(self), generator=generator)
        ).to(self.images.device)
        for indices in order.tensor_split(math.ceil(len(self) / batch_size)) if len(self) else ():
            self.heard()
            images = self.images[indices]
            if generator is not None:
                images = augmenter(images, fill, generator)
            yield self.normalise(images), self.labels[indices]

    def normalise(self, images: Tensor) -> Tensor:
        """Bytes ``[B, C, H, W]`` to float32 with the mean and deviation of these images."""
        scale = 1 / (255 * self.std)
        offset = self.mean / self.std
        return images.float() * scale[:, None, None] - offset[:, None, None]


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"

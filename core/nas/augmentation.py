"""Random changes of training images: on bytes, in batches, every draw from a given generator."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Literal, get_args

import torch
from torch import Tensor

Augmentation = Literal["none", "shift", "cutout", "trivial", "auto"]
AUGMENTATIONS: tuple[Augmentation, ...] = get_args(Augmentation)

_LEVELS = 31  # of strength, both ends included


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmenter:
    """A policy of augmentation, applied to a batch.

    Args:
        policy: ``none``; ``shift`` translates each image by up to an eighth of its side, edges
            repeated. The others shift and then: ``cutout`` erases a square (DeVries & Taylor
            2017), ``trivial`` applies one operation at random (TrivialAugment Wide, Müller &
            Hutter 2021), ``auto`` the policy that AutoAugment learned for CIFAR-10 (Cubuk et al.
            2019).
        flip: Mirror each image left to right with chance 1/2, before anything else.
        cutout: Side of the erased square as a share of the image's; the paper's 16 of 32.

    Raises:
        ValueError: an unknown policy, or a share out of (0, 1].
    """

    policy: Augmentation = "none"
    flip: bool = False
    cutout: float = 0.5

    def __post_init__(self) -> None:
        if self.policy not in AUGMENTATIONS:
            raise ValueError(f"augment: {self.policy!r} is not one of {', '.join(AUGMENTATIONS)}")
        if not 0 < self.cutout <= 1:
            raise ValueError(f"cutout: {self.cutout} is not in (0, 1]")

    @property
    def random(self) -> bool:
        """Whether it needs a generator."""
        return self.flip or self.policy != "none"

    def __call__(self, images: Tensor, fill: Tensor, generator: torch.Generator) -> Tensor:
        """Changed copies of a batch.

        Args:
            images: ``[B, C, H, W]`` uint8, C of 1 or 3; unchanged.
            fill: ``[C]`` uint8 that erased squares take, the mean of all images.
            generator: On the CPU; the only source of randomness.

        Returns:
            ``[B, C, H, W]`` uint8 on the same device.
        """
        if self.flip:
            images = _mirrored(images, generator)
        if self.policy != "none":
            images = _shifted(images, generator)
        match self.policy:
            case "cutout":
                images = erase(images, self.cutout, fill, generator)
            case "trivial":
                images = trivial(images, generator)
            case "auto":
                images = _auto(images, generator)
            case _:
                pass
        return images


def _mirrored(images: Tensor, generator: torch.Generator) -> Tensor:
    chosen = torch.rand(len(images), 1, 1, 1, generator=generator) < 0.5
    return torch.where(chosen.to(images.device), images.flip(3), images)


def _shifted(images: Tensor, generator: torch.Generator) -> Tensor:
    # Clamped indices repeat the edge pixels: no padded copy, one gather per batch.
    count, _, height, width = images.shape

    def moved(size: int) -> Tensor:
        reach = size // 8
        offsets = torch.randint(-reach, reach + 1, (count, 1), generator=generator)
        return (torch.arange(size) + offsets).clamp(0, size - 1).to(images.device)

    rows, columns = moved(height), moved(width)
    every = torch.arange(count, device=images.device)[:, None, None]
    return images.movedim(1, -1)[every, rows[:, :, None], columns[:, None, :]].movedim(-1, 1)


def erase(images: Tensor, share: float, fill: Tensor, generator: torch.Generator) -> Tensor:
    """Cutout: one square per image takes the colour `fill` (DeVries & Taylor 2017, section 3.2).

    The centre is uniform over the pixels, so that a square may reach over the border: the paper
    found that necessary.

    Args:
        images: ``[B, C, H, W]``.
        share: Side of the square as a share of the image's smaller side, rounded to pixels.
        fill: ``[C]`` of the same type.
        generator: On the CPU.
    """
    count, _, height, width = images.shape
    length = max(1, round(share * min(height, width)))

    def covered(size: int) -> Tensor:
        first = torch.randint(size, (count, 1), generator=generator) - length // 2
        places = torch.arange(size)
        return (places >= first) & (places < first + length)

    rows, columns = covered(height), covered(width)
    square = rows[:, None, :, None] & columns[:, None, None, :]
    return torch.where(square.to(images.device), fill[:, None, None], images)


def trivial(images: Tensor, generator: torch.Generator) -> Tensor:
    """TrivialAugment Wide (Müller & Hutter 2021, algorithm 1 and table 5), image by image.

    One of 14 operations and one of 31 strengths, both uniform; signs are a coin. Two differences
    from torchvision's class: images are moved by at most their own side (32 pixels would push
    half of the 16-pixel images out of sight), and what moves in is the median of the image's
    border, so that a plain background goes on.

    Args:
        images: ``[B, C, H, W]`` uint8, C of 1 or 3.
        generator: On the CPU.
    """
    from torchvision.transforms.v2 import functional  # slow to import, and seldom needed

    count = len(images)
    names = torch.randint(len(OPERATIONS), (count,), generator=generator).tolist()
    levels = torch.randint(_LEVELS, (count,), generator=generator).tolist()
    signs = (2 * torch.randint(2, (count,), generator=generator) - 1).tolist()
    operations = list(OPERATIONS.values())
    changed = [
        operations[name](functional, image, level / (_LEVELS - 1), sign)
        for image, name, level, sign in zip(images, names, levels, signs, strict=True)
    ]
    return torch.stack(changed)


def _auto(images: Tensor, generator: torch.Generator) -> Tensor:
    from torchvision.transforms import v2

    # torchvision draws from torch's own generator: seeded here, and put back afterwards.
    seed = int(torch.randint(2**62, (), generator=generator))
    with torch.random.fork_rng(devices=()):
        torch.default_generator.manual_seed(seed)
        policy = v2.AutoAugmentPolicy.CIFAR10
        return torch.stack([v2.AutoAugment(policy, fill=_background(i))(i) for i in images])


def _background(image: Tensor) -> list[float]:
    edges = (image[:, 0], image[:, -1], image[:, :, 0], image[:, :, -1])
    border = torch.cat(edges, dim=1).sort(dim=1).values
    # Not `median`: that has no deterministic kernel on GPUs.
    return border[:, border.shape[1] // 2].float().tolist()


# ``(torchvision's functions, image [C, H, W] uint8, strength in 0..1, sign)`` to the image.
Operation = Callable[[ModuleType, Tensor, float, int], Tensor]


def _warped(
    functional: ModuleType,
    image: Tensor,
    *,
    angle: float = 0.0,
    move: tuple[int, int] = (0, 0),
    shear: tuple[float, float] = (0.0, 0.0),
) -> Tensor:
    warped: Tensor = functional.affine(
        image,
        angle=angle,
        translate=list(move),
        scale=1.0,
        shear=[math.degrees(math.atan(part)) for part in shear],
        center=[0.0, 0.0] if any(shear) else None,  # PIL's, which the paper used
        interpolation=functional.InterpolationMode.NEAREST,  # bilinear darkens the fill's edge
        fill=_background(image),
    )
    return warped


def _pixels(image: Tensor, side: int, strength: float, sign: int) -> int:
    return sign * int(min(32, image.shape[side]) * strength)


OPERATIONS: dict[str, Operation] = {
    "identity": lambda _, image, *__: image,
    "shear_x": lambda f, image, s, sign: _warped(f, image, shear=(sign * 0.99 * s, 0.0)),
    "shear_y": lambda f, image, s, sign: _warped(f, image, shear=(0.0, sign * 0.99 * s)),
    "translate_x": lambda f, image, s, sign: _warped(
        f, image, move=(_pixels(image, 2, s, sign), 0)
    ),
    "translate_y": lambda f, image, s, sign: _warped(
        f, image, move=(0, _pixels(image, 1, s, sign))
    ),
    # Anticlockwise, as torchvision's rotation is and its affine map is not.
    "rotate": lambda f, image, s, sign: _warped(f, image, angle=-sign * 135.0 * s),
    "brightness": lambda f, image, s, sign: f.adjust_brightness(image, 1 + sign * 0.99 * s),
    "color": lambda f, image, s, sign: f.adjust_saturation(image, 1 + sign * 0.99 * s),
    "contrast": lambda f, image, s, sign: f.adjust_contrast(image, 1 + sign * 0.99 * s),
    "sharpness": lambda f, image, s, sign: f.adjust_sharpness(image, 1 + sign * 0.99 * s),
    "posterize": lambda f, image, s, _: f.posterize(image, round(8 - 6 * s)),
    "solarize": lambda f, image, s, _: f.solarize(image, 255 * (1 - s)),
    "auto_contrast": lambda f, image, *_: f.autocontrast(image),
    "equalize": lambda f, image, *_: f.equalize(image),
}

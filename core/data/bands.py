"""A large image looked at band by band: never is all of it converted at once.

The hash is that of the whole. So is the small image, but for rounding: it is scaled along the rows
first and the columns then, where what resizes may think the other order quicker.
"""

import hashlib
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]

SIDEWAYS = {
    Image.Transpose.TRANSPOSE,
    Image.Transpose.TRANSVERSE,
    Image.Transpose.ROTATE_90,
    Image.Transpose.ROTATE_270,
}
_BACKWARDS = {
    Image.Transpose.FLIP_TOP_BOTTOM,
    Image.Transpose.ROTATE_180,
    Image.Transpose.ROTATE_90,
    Image.Transpose.TRANSVERSE,
}
_BAND = 2**18  # pixels
_COLOURLESS = {"1", "L", "LA", "I;16"}


def bands(image: Image.Image, method: Image.Transpose | None) -> Iterator[Image.Image]:
    """The image turned by `method`, from its top to its bottom."""
    sideways = method in SIDEWAYS
    length, across = image.size if sideways else image.size[::-1]
    step = max(1, _BAND // across)
    for start in range(0, length, step):
        end = min(start + step, length)
        first, last = (length - end, length - start) if method in _BACKWARDS else (start, end)
        box = (first, 0, last, across) if sideways else (0, first, across, last)
        band = image.crop(box)
        yield band if method is None else band.transpose(method)


def reduced(
    pixels: Iterable[Pixels],
    *,
    shape: tuple[int, int],
    size: tuple[int, int],
    name: str,
    mode: str,
) -> tuple[Pixels, str]:
    """The image scaled to `size` (width, height), and the hash of all its pixels.

    Args:
        pixels: Its bands, `[rows, w]` where all is grey, else `[rows, w, 3]`.
        shape: Height and width of the whole.
        size: Width and height of what is kept.
        name: What the hash is to tell apart beside the pixels.
        mode: Of the image, which may say that there is no colour.
    """
    grey = hashlib.sha256(f"{name} {shape}".encode())
    colour = hashlib.sha256(f"{name} {(*shape, 3)}".encode())
    is_grey, narrow = True, []
    for band in pixels:
        is_grey = is_grey and band.ndim == 2
        if is_grey:
            grey.update(np.ascontiguousarray(band).data)
        if mode not in _COLOURLESS:
            colour.update(np.ascontiguousarray(_coloured(band)).data)
        narrow.append(_resized(band, (size[0], len(band))))
    kept = narrow if is_grey else [_coloured(each) for each in narrow]
    return _resized(np.concatenate(kept), size), (grey if is_grey else colour).hexdigest()


def _coloured(pixels: Pixels) -> Pixels:
    return np.repeat(pixels[..., None], 3, axis=2) if pixels.ndim == 2 else pixels


def _resized(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    image = Image.fromarray(pixels)
    if image.size == size:
        return pixels
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR))

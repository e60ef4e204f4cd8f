"""From an image file's bytes to pixels, with hostile and odd files as expected cases.

Every image becomes 8-bit grey or RGB as a viewer would show it: first frame, EXIF orientation
applied, transparency over white, 16-bit scaled; colour profiles and all metadata are dropped.
"""

import hashlib
import math
import struct
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import BmpImagePlugin as _bmp  # noqa: F401  (each import registers one decoder)
from PIL import GifImagePlugin as _gif  # noqa: F401
from PIL import Image
from PIL import JpegImagePlugin as _jpeg  # noqa: F401
from PIL import PngImagePlugin as _png  # noqa: F401
from PIL import WebPImagePlugin as _webp  # noqa: F401

from core.data import bands, image_blocks, image_costs, signatures

Pixels = NDArray[np.uint8]

READABLE_SUFFIXES = frozenset(
    {"png", "apng", "jpg", "jpeg", "jpe", "jfif", "webp", "bmp", "dib", "gif"}
)
# Files that are meant as images but that no allowed decoder reads: reported, not passed over.
OTHER_IMAGE_SUFFIXES = frozenset(
    {
        "tif",
        "tiff",
        "svg",
        "heic",
        "heif",
        "avif",
        "ico",
        "icns",
        "psd",
        "jp2",
        "fits",
        "eps",
        "tga",
    }
)
NOTES: Mapping[str, str] = {
    "animated": "animated; only the first frame is used",
    "transparent": "with transparency, drawn over white",
    "rotated": "turned upright as their EXIF data says",
    "deep": "with 16 bits per channel, reduced to 8",
    "cmyk": "in CMYK, converted to RGB",
    "metadata": "with damaged metadata, which is ignored",
}
DRAFT = 4
_SAMPLED = 16
_PNG_DEPTH = 24  # of its header, where the bits of a channel stand
_ORIENTATION_TAG = 0x0112
_WHERE_EXIF_IS = {"exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp"}
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# An image of more pixels is converted band by band: all of it, converted, would be too much.
_WHOLE = 2**22
# A side may be as long as that of a JPEG or a GIF, or this part of the pixels an image may have.
_LONGEST_SIDE, _PART_OF_PIXELS = 65_535, 512
_HELD = 3.2  # bytes that decoding may take, for each of the pixels that an image may have
# What decoders are known to raise on damaged files; MemoryError is left to the caller.
_DECODER_ERRORS = (
    OSError, SyntaxError, ValueError, ArithmeticError, LookupError, TypeError, AttributeError,
    RuntimeError, struct.error, Warning,
)  # fmt: skip


class BadImage(Exception):
    """An image that cannot be used: a stable code and a sentence a person can act on."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class Decoded:
    """One image as shown: `pixels` is `[h, w]` when every pixel is grey, else `[h, w, 3]`.

    A JPEG may have been decoded at a fraction of its size; `width` and `height` are its own. Of a
    large image `pixels` is what `fit` makes of it, and `whole` the digest of all that it had.
    """

    pixels: Pixels
    width: int
    height: int
    mode: str
    notes: tuple[str, ...]
    whole: str | None = None

    @property
    def is_grey(self) -> bool:
        """Whether no pixel has a colour."""
        return self.pixels.ndim == 2

    @property
    def size(self) -> str:
        """Width x height, as reported."""
        return f"{self.width}x{self.height}"

    def digest(self) -> str:
        """A hash of the pixels alone: equal for the same picture in another format or mode.

        (Not for a JPEG that was decoded at a fraction: only its copies are equal to it.)
        """
        if self.whole is not None:
            return self.whole
        hashed = hashlib.sha256(f"{self.size} {self.pixels.shape}".encode())
        hashed.update(np.ascontiguousarray(self.pixels).data)
        return hashed.hexdigest()


def decode(
    data: bytes, *, max_pixels: int, resolution: int | None = None, tiff: bool = False
) -> Decoded:
    """Decode with one allowed decoder, chosen by signature.

    Args:
        data: The file.
        max_pixels: No image may have more.
        resolution: What it will be scaled to by `fit`: a JPEG is then decoded at the fraction of
            its size (a half, a quarter, an eighth) that still has `DRAFT` times as many pixels a
            side, which takes a fraction of the time and of the memory; of a large image no more
            is kept than `fit` makes of it.
        tiff: Whether TIFF is among the allowed.

    Raises:
        BadImage: it is damaged, of no allowed kind, too large, or would take more memory to
            decode than one of so many pixels may.
    """
    kind = _kind(data, tiff)
    Image.MAX_IMAGE_PIXELS = max_pixels
    with warnings.catch_warnings(record=True) as noted:
        warnings.simplefilter("always")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            most = _HELD * max_pixels
            if image_costs.TIMES_WRITTEN * len(data) > most:
                raise _too_heavy()
            image_blocks.check(kind, data)
            with Image.open(BytesIO(data), formats=(kind,)) as image:
                size = _checked_size(image, max_pixels)
                if resolution is not None and kind == "JPEG":
                    scale = DRAFT * resolution / max(size)
                    image.draft(None, (math.ceil(scale * size[0]), math.ceil(scale * size[1])))
                if image_costs.held(image, math.prod(size), data) > most:
                    raise _too_heavy()
                decoded = _decoded(image, size, resolution)
        except (Image.DecompressionBombError, Image.DecompressionBombWarning):
            raise _too_large(max_pixels) from None
        except _DECODER_ERRORS:
            raise BadImage(
                "bad_image", f"The {kind} data is damaged or incomplete; export the image again."
            ) from None
    notes = list(decoded.notes)
    # The other warnings are about EXIF and its like, which is dropped anyway.
    if noted and "metadata" not in notes:
        notes.append("metadata")
    if kind == "PNG" and data[_PNG_DEPTH] == 16 and "deep" not in notes:
        notes.append("deep")  # colours of 16 bits come from the decoder as 8
    return decoded if len(notes) == len(decoded.notes) else replace(decoded, notes=tuple(notes))


def _kind(data: bytes, tiff: bool) -> str:
    """The format by its signature; its decoder is there then. Raises BadImage."""
    kind = signatures.format_of(data[:12])
    if kind is None:
        raise BadImage(
            "bad_image",
            "The file is empty."
            if not data
            else "The file is not a PNG, JPEG, WebP, BMP or GIF image, whatever its name says.",
        )
    if kind == signatures.TIFF:
        if not tiff:
            words = (
                "TIFF images are not read here: save it as PNG, or have the operator allow them."
            )
            raise BadImage("bad_image", words)
        # Not for everybody: this registers its decoder.
        from PIL import TiffImagePlugin as _  # noqa: F401
    return kind


def fit(pixels: Pixels, resolution: int) -> Pixels:
    """Scale into a square, aspect kept, antialiased; the margin takes the median border colour.

    The same as padding to a centred square and resizing, without ever building the square (which
    for a 1 x 65535 image would be enormous).
    """
    height, width = pixels.shape[:2]
    if height == width == resolution:
        return pixels
    size = _fitting(width, height, resolution)
    image = Image.fromarray(pixels)
    if image.size != size:
        image = image.resize(size, Image.Resampling.BILINEAR)
    return _centred(np.asarray(image), resolution)


def grey(pixels: Pixels) -> Pixels:
    """Its brightness, `[h, w]`."""
    return pixels if pixels.ndim == 2 else np.asarray(Image.fromarray(pixels).convert("L"))


def _too_large(max_pixels: int) -> BadImage:
    return BadImage(
        "image_too_large", f"The image has more than {max_pixels:,} pixels; scale it down."
    )


def _too_heavy() -> BadImage:
    return BadImage(
        "image_too_large",
        "The image would take too much memory to decode; scale it down, or save it as a JPEG.",
    )


def _checked_size(image: Image.Image, max_pixels: int) -> tuple[int, int]:
    width, height = image.size
    if width < 1 or height < 1:
        raise ValueError("an image without pixels")
    if width * height > max_pixels:
        raise _too_large(max_pixels)
    longest = max(_LONGEST_SIDE, max_pixels // _PART_OF_PIXELS)
    if max(width, height) > longest:
        words = f"The image has more than {longest:,} pixels a side; scale it down."
        raise BadImage("image_too_large", words)
    return width, height


def _decoded(image: Image.Image, size: tuple[int, int], resolution: int | None) -> Decoded:
    mode, notes = image.mode, []
    if getattr(image, "is_animated", False):
        notes.append("animated")
        image.seek(0)
    if image.format == signatures.TIFF and image.getexif().get(_ORIENTATION_TAG) in _UPRIGHT:
        notes.append("rotated")  # by its decoder
    image.load()
    method = _upright(image, notes)
    width, height = size[::-1] if method in bands.SIDEWAYS else size
    if resolution is None or image.width * image.height <= _WHOLE:
        turned = image if method is None else image.transpose(method)
        pixels = _eight_bit(turned, notes)
        return Decoded(pixels, width, height, mode, tuple(notes))
    across, down = image.size[::-1] if method in bands.SIDEWAYS else image.size
    small, digest = bands.reduced(
        (_eight_bit(band, notes) for band in bands.bands(image, method)),
        shape=(down, across),
        size=_fitting(across, down, resolution),
        name=f"{width}x{height}",
        mode=mode,
    )
    square = _centred(small, resolution)
    return Decoded(square, width, height, mode, tuple(dict.fromkeys(notes)), digest)


def _upright(image: Image.Image, notes: list[str]) -> Image.Transpose | None:
    """How it is to be turned."""
    if not _WHERE_EXIF_IS & image.info.keys():
        return None
    try:
        method = _UPRIGHT.get(image.getexif().get(_ORIENTATION_TAG, 1))
    except _DECODER_ERRORS:
        notes.append("metadata")
        return None
    if method is not None:
        notes.append("rotated")
    return method


def _eight_bit(image: Image.Image, notes: list[str]) -> Pixels:
    if "transparency" not in image.info:  # most of them, at no cost
        if image.mode in ("L", "1"):
            return np.asarray(image.convert("L"))
        if image.mode == "RGB":
            return _without_colour_if_grey(np.asarray(image))
    if image.mode.startswith(("I", "F")):
        notes.append("deep")
        wide = np.clip(np.asarray(image).astype(np.int64), 0, 65535)
        return ((wide * 255 + 32767) // 65535).astype(np.uint8)
    if image.mode == "CMYK":
        notes.append("cmyk")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        if rgba.getchannel("A").getextrema()[0] != 255:
            notes.append("transparent")
            rgba = Image.alpha_composite(Image.new("RGBA", rgba.size, (255, 255, 255, 255)), rgba)
        image = rgba
    return _without_colour_if_grey(np.asarray(image.convert("RGB")))


def _without_colour_if_grey(pixels: Pixels) -> Pixels:
    red = pixels[..., 0]
    sample = pixels[::_SAMPLED, ::_SAMPLED]
    if (sample != sample[..., :1]).any():  # most colour shows at once, and costs no more
        return pixels
    if np.array_equal(red, pixels[..., 1]) and np.array_equal(red, pixels[..., 2]):
        return np.ascontiguousarray(red)
    return pixels


def _fitting(width: int, height: int, resolution: int) -> tuple[int, int]:
    """Width and height, the longer one of `resolution`, aspect kept."""
    longest = max(height, width)
    return (
        max(1, round(width * resolution / longest)),
        max(1, round(height * resolution / longest)),
    )


def _centred(inner: Pixels, resolution: int) -> Pixels:
    height, width = inner.shape[:2]
    if height == width == resolution:
        return inner
    square = np.empty((resolution, resolution, *inner.shape[2:]), np.uint8)
    square[...] = _border_colour(inner)
    top, left = (resolution - height) // 2, (resolution - width) // 2
    square[top : top + height, left : left + width] = inner
    return square


def _border_colour(inner: Pixels) -> NDArray[np.float64]:
    border = np.concatenate((inner[0], inner[-1], inner[:, 0], inner[:, -1]))
    median: NDArray[np.float64] = np.round(np.median(border, axis=0))
    return median

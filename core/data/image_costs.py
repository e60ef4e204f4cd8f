"""What decoding an image takes, foretold from its headers: bytes of memory.

A decoder holds the whole image in its own form, and some hold much more, before anybody sees a
pixel of it.
"""

from PIL import Image, JpegImagePlugin

from core.data import image_blocks

TIMES_WRITTEN = 4  # is a file held on its way into the originals
_BYTES_OF_MODE = {"1": 1, "L": 1, "P": 1, "I;16": 2}  # as a decoder keeps a pixel; others take 4
_BYTES_OF_WEBP = 17  # with the canvases of its decoder
_BYTES_OF_COEFFICIENT = 2


def held(image: Image.Image, pixels: int, data: bytes) -> float:
    """Bytes that the file `data`, opened as an image of so many `pixels`, takes while decoded."""
    if image.format == "WEBP":
        return len(data) + _BYTES_OF_WEBP * pixels
    own: float = _BYTES_OF_MODE.get(image.mode, 4) * image.width * image.height
    if isinstance(image, JpegImagePlugin.JpegImageFile) and image_blocks.scans(data) > 1:
        # The coefficients of all its components, at their full size, wait for the last scan.
        shares = [across * down for _, across, down, _ in image.layer]
        own += _BYTES_OF_COEFFICIENT * pixels * sum(shares) / max(shares)
    return len(data) + own

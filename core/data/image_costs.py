"""What decoding an image takes, foretold from its headers: memory, and rounds over its pixels.

A decoder holds the whole image in its own form, and some hold much more, before anybody sees a
pixel of it.
"""

import re

from PIL import Image, JpegImagePlugin

MOST_SCANS = (
    100  # of a JPEG: each may go over all its pixels again, and take a few bytes to say so
)
_BYTES_OF_MODE = {"1": 1, "L": 1, "P": 1, "I;16": 2}  # as a decoder keeps a pixel; others take 4
_BYTES_OF_WEBP = 17  # with the canvases of its decoder
_BYTES_OF_COEFFICIENT = 2
_TIMES_WRITTEN = 4  # is a file held on its way into the originals
# All that is no fill byte, no restart, and not the beginning, none of which has a length.
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")
_SCAN, _END = 0xDA, 0xD9


def scans(data: bytes) -> int:
    """How often a JPEG goes over its pixels."""
    at = count = 0
    while (found := _MARKER.search(data, at)) and (kind := data[found.end() - 1]) != _END:
        count += kind == _SCAN
        at = found.end() + int.from_bytes(data[found.end() : found.end() + 2])
    return count


def held(image: Image.Image, pixels: int, data: bytes) -> float:
    """Bytes that the file `data`, opened as an image of so many `pixels`, takes at most.

    Raises ValueError for a JPEG that goes over its pixels far more often than any need to.
    """
    if image.format == "WEBP":
        return _most(data, _BYTES_OF_WEBP * pixels)
    own: float = _BYTES_OF_MODE.get(image.mode, 4) * image.width * image.height
    if isinstance(image, JpegImagePlugin.JpegImageFile) and (rounds := scans(data)) > 1:
        if rounds > MOST_SCANS:
            raise ValueError("a JPEG with needlessly many scans")
        # The coefficients of all its components, at their full size, wait for the last scan.
        shares = [across * down for _, across, down, _ in image.layer]
        own += _BYTES_OF_COEFFICIENT * pixels * sum(shares) / max(shares)
    return _most(data, own)


def _most(data: bytes, decoding: float) -> float:
    return max(len(data) + decoding, _TIMES_WRITTEN * len(data))

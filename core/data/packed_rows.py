"""One image out of a packed dataset in the store: read where it lies, the rest never fetched."""

import json
from typing import BinaryIO

import numpy as np

from core.data.images import Pixels
from core.errors import CorruptObject

LARGEST_HEADER = 1024 * 1024


def read_image(packed: BinaryIO, row: int) -> Pixels:
    """Image `row` of a packed file, `[c, h, w]`. Raises IndexError; CorruptObject when damaged."""
    shape, start = _images_at(packed)
    if not 0 <= row < shape[0]:
        raise IndexError(f"{shape[0]} images, and no number {row}")
    size = int(np.prod(shape[1:], dtype=np.int64))
    packed.seek(start + row * size)
    data = packed.read(size)
    if len(data) != size:
        raise CorruptObject("The packed file ends too early.")
    return np.frombuffer(data, np.uint8).reshape(shape[1:])


def _images_at(packed: BinaryIO) -> tuple[tuple[int, int, int, int], int]:
    """Shape of the images tensor, and where its bytes begin (`packing.write` says the layout)."""
    length = int.from_bytes(packed.read(8), "little")
    if not 0 < length <= LARGEST_HEADER:
        raise CorruptObject("The packed file has no readable header.")
    try:
        about = json.loads(packed.read(length))["images"]
        count, channels, height, width = map(int, about["shape"])
        start = int(about["data_offsets"][0])
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptObject("The packed file's header does not describe images.") from error
    return (count, channels, height, width), 8 + length + start

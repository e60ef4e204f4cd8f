"""A dataset at one resolution as three tensors in one safetensors file, rows in a fixed order.

`images uint8 [n, c, h, w]`, `labels int64 [n]`, `split uint8 [n]` (0 train, 1 test); train first,
then by class. Read with numpy alone; nothing here loads torch.
"""

import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import load_file

from core.data import forked, images
from core.data.images import Pixels
from core.data.originals import columns, group_sizes, stored_images
from core.errors import CorruptObject, InvalidInput

TRAIN_CODE, TEST_CODE = 0, 1


@dataclass(frozen=True, slots=True)
class Packed:
    """A whole packed dataset in memory."""

    images: Pixels
    labels: NDArray[np.int64]
    split: NDArray[np.uint8]


def write(
    path: Path,
    rows: Iterable[Pixels],
    *,
    labels: Sequence[int],
    split: Sequence[int],
    channels: int,
    resolution: int,
) -> None:
    """Write rows (`[h, w]` or `[h, w, 3]`) one by one; memory stays that of one image.

    The format's own writer wants the whole tensor at once; its layout is a length, a JSON header
    and the raw tensors.
    """
    with path.open("wb") as file:
        _begin(file, labels, split, channels=channels, resolution=resolution)
        written = 0
        for row in rows:
            file.write(channels_first(row, channels).tobytes())
            written += 1
    if written != len(labels):
        raise ValueError(f"{written} rows for {len(labels)} labels")


def _begin(
    file: BinaryIO,
    labels: Sequence[int],
    split: Sequence[int],
    *,
    channels: int,
    resolution: int,
) -> None:
    """Everything that comes before the images."""
    count = len(labels)
    shape = (count, channels, resolution, resolution)
    sizes = {"labels": 8 * count, "split": count, "images": int(np.prod(shape, dtype=np.int64))}
    shapes = {"labels": [count], "split": [count], "images": list(shape)}
    kinds = {"labels": "I64", "split": "U8", "images": "U8"}
    header, at = {}, 0
    for name, size in sizes.items():
        header[name] = {
            "dtype": kinds[name],
            "shape": shapes[name],
            "data_offsets": [at, at + size],
        }
        at += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little") + text)
    file.write(np.asarray(labels, "<i8").tobytes())
    file.write(np.asarray(split, np.uint8).tobytes())


def read(path: Path) -> Packed:
    """Everything. Raises CorruptObject when the file is not a packed dataset."""
    tensors = load_file(path)
    try:
        packed = Packed(tensors["images"], tensors["labels"], tensors["split"])
    except KeyError as error:
        raise CorruptObject(f"The packed file lacks {error}.") from None
    if packed.images.ndim != 4 or not (
        len(packed.images) == len(packed.labels) == len(packed.split)
    ):
        raise CorruptObject("The packed file's tensors do not belong together.")
    return packed


def read_slice(path: Path, start: int, stop: int) -> Pixels:
    """Images `start` to `stop` only, `[k, c, h, w]`."""
    with safe_open(path, framework="numpy") as file:
        part: Pixels = file.get_slice("images")[start:stop]
    return part


def examples(path: Path, class_index: int, limit: int) -> Pixels:
    """The first `limit` train images of one class, `[k, c, h, w]`; the rest is never read."""
    with safe_open(path, framework="numpy") as file:
        wanted = (file.get_tensor("labels") == class_index) & (
            file.get_tensor("split") == TRAIN_CODE
        )
        rows = np.flatnonzero(wanted)[:limit]
        if not len(rows):
            shape = file.get_slice("images").get_shape()
            return np.empty((0, *shape[1:]), np.uint8)
        first, last = int(rows[0]), int(rows[-1]) + 1
        part: Pixels = file.get_slice("images")[first:last]
    return part[rows - first]


def repack(
    originals: Path,
    target: Path,
    *,
    resolution: int,
    channels: int,
    max_pixels: int,
    workers: int = 1,
    done: Callable[[float], None] = lambda _: None,
) -> None:
    """Make the packed file of another resolution from the stored originals, in several processes.

    `done` hears which share of them is written. Raises as `core.data.forked.each` does, and
    InvalidInput (`unreadable_archive`) for an image that is none.
    """
    labels, names = columns(originals)
    split = [TRAIN_CODE if name == "train" else TEST_CODE for name in names]
    sizes = group_sizes(originals)
    with target.open("w+b") as file:
        _begin(file, labels, split, channels=channels, resolution=resolution)
        file.flush()
        start, row_bytes = file.tell(), channels * resolution**2
        file.truncate(start + len(labels) * row_bytes)

        def fill(group: int) -> None:
            """Every row to its own place: no process waits for another."""
            at = start + sum(sizes[:group]) * row_bytes
            for number, data in enumerate(stored_images(originals, group)):
                row = images.fit(_stored(data, max_pixels, resolution), resolution)
                # What is grey at a fraction of a JPEG's size may have a spot of colour at another.
                row = images.grey(row) if channels == 1 else row
                written = channels_first(row, channels).tobytes()
                os.pwrite(file.fileno(), written, at + number * row_bytes)

        groups = range(len(sizes))
        for group, _ in enumerate(forked.each(fill, groups, workers=min(workers, len(sizes)))):
            done((group + 1) / len(sizes))


def _stored(data: bytes, max_pixels: int, resolution: int) -> Pixels:
    try:
        return images.decode(data, max_pixels=max_pixels, resolution=resolution, tiff=True).pixels
    except images.BadImage as error:
        words = f"A stored image cannot be read any more: {error.message}"
        raise InvalidInput(words, code="unreadable_archive") from error


def channels_first(row: Pixels, channels: int) -> Pixels:
    """`[h, w]` or `[h, w, 3]` as `[c, h, w]`; what is grey is repeated where colour is wanted."""
    planes = row[None] if row.ndim == 2 else row.transpose(2, 0, 1)
    if len(planes) == channels:
        return np.ascontiguousarray(planes)
    if len(planes) == 1:
        return np.ascontiguousarray(np.broadcast_to(planes, (channels, *planes.shape[1:])))
    raise ValueError("a colour image in a grey dataset")

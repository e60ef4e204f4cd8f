"""Every placed image decoded once: its hashes, its thumbnail, and what is to be told of it.

In several processes where there are many images: all are forked off this one, confined as it is,
and read the upload by position.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core.config import UploadLimits
from core.data import forked, images
from core.data.items import Source
from core.data.layout import Place
from core.data.selection import Reading
from core.domain.datasets import Problem
from core.errors import BadArchive, Detail

FEW = 500  # images that one process has decoded before others have started
BATCH = 50
_TOLD = 0.01  # of all images: who hears of progress is woken each time


@dataclass(frozen=True, slots=True)
class Readings:
    """Of every placed image: what it is (thumbnails lie in a scratch file by `row`), or is not.

    `faults` are bytes that contradict the archive: no such upload is taken.
    """

    readings: tuple[Reading, ...]
    bad: tuple[Problem, ...]
    faults: tuple[Detail, ...]
    modes: Counter[str]
    sizes: Counter[str]
    notes: Counter[str]


@dataclass(frozen=True, slots=True)
class _Seen:
    """What decoding one image has told."""

    reading: Reading
    mode: str
    size: str
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Work:
    """What every process needs; each image's thumbnail goes to its own place in the file."""

    source: Source
    places: Sequence[Place | None]
    thumbnails: int
    max_pixels: int
    resolution: int
    tiff: bool

    def __call__(self, batch: range) -> "list[_Found]":
        return [
            self._one(index, place) for index in batch if (place := self.places[index]) is not None
        ]

    def _one(self, index: int, place: Place) -> "_Found":
        name = self.source.items[index].name
        try:
            data = self.source.read(index)
        except BadArchive as error:
            return error.details
        try:
            image = images.decode(
                data, max_pixels=self.max_pixels, resolution=self.resolution, tiff=self.tiff
            )
        except images.BadImage as error:
            return Problem("error", error.code, name, error.message)
        small = images.fit(image.pixels, self.resolution)
        row = np.repeat(small[..., None], 3, 2) if image.is_grey else small
        os.pwrite(self.thumbnails, row.tobytes(), index * row.size)
        reading = Reading(
            index=index,
            row=index,
            name=name,
            place=place,
            sha256=hashlib.sha256(data).hexdigest(),
            pixels=image.digest(),
            grey=image.is_grey,
        )
        return _Seen(reading, image.mode, image.size, image.notes)


_Found = _Seen | Problem | tuple[Detail, ...]


def decode_all(
    source: Source,
    places: Sequence[Place | None],
    thumbnails: Path,
    limits: UploadLimits,
    *,
    resolution: int,
    done: Callable[[float], None],
) -> Readings:
    """Decode each image that has a place; `done` hears which share of them has been looked at.

    When a process died, raises TooLarge if it was killed for its use of memory or time, and
    InvalidInput (`unreadable_archive`) if not.
    """
    told = -_TOLD
    seen: list[_Seen] = []
    bad: list[Problem] = []
    faults: list[Detail] = []
    with thumbnails.open("w+b") as file:
        file.truncate(3 * resolution**2 * len(places))
        work = _Work(source, places, file.fileno(), limits.image_pixels, resolution, limits.tiff)
        workers = 1 if len(places) < FEW else forked.available(limits)
        for share, found in _results(work, workers):
            if share >= told + _TOLD:
                done(share)
                told = share
            for each in found:
                match each:
                    case Problem():
                        bad.append(each)
                    case _Seen():
                        seen.append(each)
                    case _:
                        faults += each
    return Readings(
        readings=tuple(each.reading for each in seen),
        bad=tuple(bad),
        faults=tuple(faults),
        modes=Counter(each.mode for each in seen),
        sizes=Counter(each.size for each in seen),
        notes=Counter(note for each in seen for note in each.notes),
    )


def _results(work: _Work, workers: int) -> Iterator[tuple[float, list[_Found]]]:
    """Batch by batch, in order, with the share of the images looked at when each begins."""
    total = len(work.places)
    batches = [range(at, min(at + BATCH, total)) for at in range(0, total, BATCH)]
    found = forked.each(work, batches, workers=workers)
    yield from ((batch.start / total, seen) for batch, seen in zip(batches, found, strict=True))

"""Every placed image decoded once: its hashes, its thumbnail, and what is to be told of it."""

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core.config import UploadLimits
from core.data import images
from core.data.items import Source
from core.data.layout import Place
from core.data.selection import Reading
from core.domain.datasets import Problem

TOLD_EVERY = 100


@dataclass(frozen=True, slots=True)
class Readings:
    """Of every placed image: what it is (thumbnails lie in a scratch file by `row`), or is not."""

    readings: tuple[Reading, ...]
    bad: tuple[Problem, ...]
    modes: Counter[str]
    sizes: Counter[str]
    notes: Counter[str]


def decode_all(
    source: Source,
    places: Sequence[Place | None],
    thumbnails: Path,
    limits: UploadLimits,
    *,
    resolution: int,
    done: Callable[[float], None],
) -> Readings:
    """Decode each image that has a place; `done` hears which share of them has been looked at."""
    readings: list[Reading] = []
    bad: list[Problem] = []
    modes, sizes, notes = Counter[str](), Counter[str](), Counter[str]()
    with thumbnails.open("wb") as file:
        for index, (item, place) in enumerate(zip(source.items, places, strict=True)):
            if index % TOLD_EVERY == 0:
                done(index / len(places))
            if place is None:
                continue
            data = source.read(index)
            try:
                image = images.decode(data, max_pixels=limits.image_pixels)
            except images.BadImage as error:
                bad.append(Problem("error", error.code, item.name, error.message))
                continue
            small = images.fit(image.pixels, resolution)
            file.write((np.repeat(small[..., None], 3, 2) if image.is_grey else small).tobytes())
            readings.append(
                Reading(
                    index=index,
                    row=len(readings),
                    name=item.name,
                    place=place,
                    sha256=hashlib.sha256(data).hexdigest(),
                    pixels=image.digest(),
                    grey=image.is_grey,
                )
            )
            modes[image.mode] += 1
            sizes[image.size] += 1
            notes.update(image.notes)
    return Readings(tuple(readings), tuple(bad), modes, sizes, notes)

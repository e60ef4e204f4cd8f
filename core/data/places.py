"""Where images lie among those that were stored, by their places or as they were uploaded."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import BinaryIO

from core.domain.datasets import Dataset, ImagePlace
from core.errors import NotFound


@dataclass(frozen=True, slots=True)
class Found:
    """A stored image: its class, and its place in its split from 0."""

    label: str
    split: str
    index: int


def row(dataset: Dataset, place: ImagePlace) -> int:
    """Its place among all stored images, where those of train come first. Raises NotFound
    (`unknown_image`)."""
    train = place.split == "train"
    first, size = (0, dataset.n_train) if train else (dataset.n_train, dataset.n_test)
    if not 0 <= place.index < size:
        message = f"This dataset has {size} {place.split} images, numbered from 0."
        raise NotFound(message, code="unknown_image")
    return first + place.index


def find(originals: BinaryIO, names: Collection[str]) -> dict[str, Found]:
    """Those of these names that the stored file has: of the images themselves no byte is read."""
    from core.data import versions  # only here: pyarrow takes a while

    found: dict[str, Found] = {}
    seen = Counter[str]()
    for item in versions.read(originals):
        if item.path in names:
            found.setdefault(item.path, Found(item.label, item.split, seen[item.split]))
        seen[item.split] += 1
    return found

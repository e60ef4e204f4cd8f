"""What is worth a look in a dataset that is taken: repeats, twins, odd classes."""

import re
import unicodedata
from collections.abc import Iterator, Sequence

import numpy as np

from core.data import near_duplicates
from core.data.images import Pixels
from core.data.layout import TEST, TRAIN, Place
from core.data.selection import Reading, Selection
from core.domain.datasets import Problem

TWINS = ("near_conflict", "near_leak", "near_duplicate")
UNEVEN = 10.0  # times as many images in the largest class as in the smallest


def imbalance(chosen: Selection) -> float:
    """How many times more training images the largest class has than the smallest, from 1."""
    counts = [count for count in chosen.counts(TRAIN) if count]
    return max(counts) / min(counts)


def of_classes(places: Sequence[Place | None], chosen: Selection) -> Iterator[Problem]:
    """Classes that are lost, look alike in their names, or are of very different sizes."""
    named = {place.label for place in places if place is not None}
    for label in sorted(named - set(chosen.classes)):
        yield _warning("class_lost", label, "None of its images could be taken.")
    spelled: dict[str, str] = {}
    for label in chosen.classes:
        first = spelled.setdefault(_plain(label), label)
        if first != label:
            yield _warning("similar_classes", label, "Another class has nearly this name.", first)
    if (ratio := imbalance(chosen)) >= UNEVEN:
        words = f"The largest class has {ratio:.0f} times the training images of the smallest."
        yield _warning("imbalanced", "", words)


def repeats(chosen: Selection) -> Iterator[Problem]:
    """Each image that shows what an earlier one of its class and split shows already."""
    first: dict[str, Reading] = {}
    for reading in chosen.kept:
        other = first.setdefault(reading.pixels, reading)
        if other is not reading:
            words = "The same picture is there once more; both were kept."
            yield _warning("duplicate", reading.name, words, other.name)


def twins(chosen: Selection, thumbnails: Pixels) -> Iterator[Problem]:
    """Each image that looks like another without being the same, the worst kinds by name.

    Args:
        chosen: The dataset.
        thumbnails: `[n, side, side, 3]`, by the readings' rows.
    """
    kept, labels, splits = chosen.kept, chosen.labels, chosen.splits
    rows = np.array([reading.row for reading in kept], np.int64)
    same = [reading.pixels for reading in kept]
    for image, other in near_duplicates.twins(thumbnails, rows, same):
        name, twin = kept[image].name, kept[other].name
        if labels[image] != labels[other]:
            words = "It looks like an image of another class; both were kept."
            yield _warning("near_conflict", name, words, twin)
        elif TEST in (splits[image], splits[other]) and splits[image] != splits[other]:
            words = "It looks like an image of the other split; both were kept."
            yield _warning("near_leak", name, words, twin)
        else:
            words = "It looks like another image of its class; both were kept."
            yield _warning("near_duplicate", name, words, twin)


def _plain(label: str) -> str:
    """What two names share that differ in case, accents' encoding, spaces or marks."""
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", label).casefold()) or label


def _warning(code: str, place: str, message: str, *also: str) -> Problem:
    return Problem("warning", code, place, message, also)

"""Which images stay, as what, and where: duplicates, conflicts, splits and the content address."""

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from core.data import splits
from core.data.layout import TEST, TRAIN, Place
from core.domain.datasets import Problem
from core.errors import BadArchive

GIVEN, VALIDATION_AS_TEST, STRATIFIED = "given", "validation_as_test", "stratified"


@dataclass(frozen=True, slots=True)
class Reading:
    """One readable image: its place in the archive and in the scratch file, and its hashes."""

    index: int
    row: int
    name: str
    place: Place
    sha256: str
    pixels: str
    grey: bool


@dataclass(frozen=True, slots=True)
class Selection:
    """The dataset: images in canonical order, each with its label (an index) and its split."""

    kept: tuple[Reading, ...]
    classes: tuple[str, ...]
    labels: tuple[int, ...]
    splits: tuple[str, ...]
    origin: str
    duplicates: int
    problems: tuple[Problem, ...]

    def counts(self, split: str) -> tuple[int, ...]:
        """Images of one split, per class."""
        found = Counter(
            label for label, own in zip(self.labels, self.splits, strict=True) if own == split
        )
        return tuple(found[label] for label in range(len(self.classes)))


def check_classes(labels: Collection[str]) -> None:
    """Raise BadArchive when there is nothing to tell apart."""
    if not labels:
        raise BadArchive(
            "No image is in a class folder; put the images of each class into a folder with the "
            "class's name.",
            code="empty_dataset",
        )
    if len(labels) < 2:
        raise BadArchive(
            f"There is only one class ({next(iter(labels))}); a dataset needs at least two class "
            "folders with readable images.",
            code="too_few_classes",
        )


def select(
    readings: Sequence[Reading], *, seed: int, validation_as_test: bool = False
) -> Selection:
    """Drop what cannot be trusted, split what came unsplit, and put it all in canonical order."""
    problems: list[Problem] = []
    given = any(reading.place.split == TEST for reading in readings)
    kept = _without_conflicts(readings, problems)
    if given:
        kept = _without_leaks(kept, problems)
    origin = VALIDATION_AS_TEST if validation_as_test else GIVEN
    if not any(reading.place.split == TEST for reading in kept):
        origin = STRATIFIED
        if given:
            problems.append(_warning("test_redrawn", "", "No image of the test folder is left."))
    if origin == STRATIFIED:
        own = splits.stratified(
            [reading.place.label for reading in kept], [r.pixels for r in kept], seed=seed
        )
    else:
        kept = _without_untrained(kept, problems)
        own = tuple(reading.place.split or TRAIN for reading in kept)
    check_classes({reading.place.label for reading in kept})
    duplicates = splits.repeats([reading.pixels for reading in readings])
    return _in_order(kept, own, origin, duplicates, problems)


def content_address(selection: Selection) -> str:
    """SHA-256 over the sorted (class, split, image hash) lines: order and packing do not count."""
    lines = sorted(
        json.dumps([selection.classes[label], split, reading.sha256])
        for reading, label, split in zip(
            selection.kept, selection.labels, selection.splits, strict=True
        )
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _without_conflicts(readings: Sequence[Reading], problems: list[Problem]) -> list[Reading]:
    dropped = splits.conflicting(
        [reading.place.label for reading in readings], [reading.pixels for reading in readings]
    )
    problems += _left_out(
        (readings[index] for index in sorted(dropped)),
        "conflicting_labels",
        "The same picture is also in another class; all its copies were left out.",
    )
    return [reading for index, reading in enumerate(readings) if index not in dropped]


def _without_leaks(readings: Sequence[Reading], problems: list[Problem]) -> list[Reading]:
    dropped = splits.leaked(
        [reading.place.split for reading in readings], [reading.pixels for reading in readings]
    )
    problems += _left_out(
        (readings[index] for index in sorted(dropped)),
        "leaked_test_image",
        "The same picture is in the train folder; it was left out of the test split.",
    )
    return [reading for index, reading in enumerate(readings) if index not in dropped]


def _without_untrained(readings: Sequence[Reading], problems: list[Problem]) -> list[Reading]:
    trained = {reading.place.label for reading in readings if reading.place.split != TEST}
    problems += _left_out(
        (reading for reading in readings if reading.place.label not in trained),
        "class_without_train",
        "Its class has no train images left; it was left out.",
    )
    return [reading for reading in readings if reading.place.label in trained]


def _left_out(readings: Iterable[Reading], code: str, message: str) -> list[Problem]:
    return [Problem("error", code, reading.name, message) for reading in readings]


def _warning(code: str, place: str, message: str) -> Problem:
    return Problem("warning", code, place, message)


def _in_order(
    kept: Sequence[Reading],
    own: Sequence[str],
    origin: str,
    duplicates: int,
    problems: list[Problem],
) -> Selection:
    """Train first, then by class and content: the same images give the same file."""
    classes = tuple(sorted({reading.place.label for reading in kept}))
    label_of = {name: label for label, name in enumerate(classes)}
    order = sorted(
        range(len(kept)),
        key=lambda i: (
            own[i] == TEST,
            label_of[kept[i].place.label],
            kept[i].sha256,
            kept[i].name,
        ),
    )
    selection = Selection(
        kept=tuple(kept[i] for i in order),
        classes=classes,
        labels=tuple(label_of[kept[i].place.label] for i in order),
        splits=tuple(own[i] for i in order),
        origin=origin,
        duplicates=duplicates,
        problems=(),
    )
    return _with_warnings(selection, problems)


def _with_warnings(selection: Selection, problems: list[Problem]) -> Selection:
    train, test = selection.counts(TRAIN), selection.counts(TEST)
    for name, n_train, n_test in zip(selection.classes, train, test, strict=True):
        if n_train + n_test == 1:
            problems.append(
                _warning("single_image", name, "The class has one image; it can only train.")
            )
        elif not n_test:
            problems.append(_warning("class_without_test", name, "The class has no test image."))
    return Selection(
        selection.kept,
        selection.classes,
        selection.labels,
        selection.splits,
        selection.origin,
        selection.duplicates,
        tuple(problems),
    )

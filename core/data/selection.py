"""Which images stay, as what, and where: duplicates, conflicts, splits and the content address."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

from core.data import splits
from core.data.layout import TEST, TRAIN, Place, class_fault
from core.data.members import refusal
from core.domain.datasets import IntakeOptions, Problem

GIVEN, VALIDATION_AS_TEST, STRATIFIED = "given", "validation_as_test", "stratified"
_NAMED = 5  # copies that a finding names beside its own place


@dataclass(frozen=True, slots=True)
class Reading:
    """One readable image: its place in the upload and in the scratch file, and its hashes."""

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

    @property
    def groups(self) -> int:
        """Groups that the uploader has named."""
        return len({reading.place.group for reading in self.kept} - {None})

    def counts(self, split: str) -> tuple[int, ...]:
        """Images of one split, per class."""
        found = Counter(
            label for label, own in zip(self.labels, self.splits, strict=True) if own == split
        )
        return tuple(found[label] for label in range(len(self.classes)))


def select(
    readings: Sequence[Reading], options: IntakeOptions, *, validation_as_test: bool = False
) -> Selection:
    """Drop what cannot be trusted, split what came unsplit, and put it all in canonical order.

    Raises BadArchive if fewer than two classes are left.
    """
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
        own = _drawn(kept, options)
    else:
        kept = _without_untrained(kept, problems)
        own = tuple(reading.place.split or TRAIN for reading in kept)
        problems += _straddling(kept)
    fault = class_fault({reading.place.label for reading in kept}, images=len(readings))
    if fault is not None:
        raise refusal([fault])
    duplicates = splits.repeats([reading.pixels for reading in readings])
    return _in_order(kept, own, origin, duplicates, problems)


def _drawn(kept: Sequence[Reading], options: IntakeOptions) -> tuple[str, ...]:
    """Splits that keep together what shows the same or is of one group.

    By files, not by pixels, which another decoder may see otherwise: the dataset's address must
    not depend on it.
    """
    groups = splits.joined(
        [reading.sha256 for reading in kept],
        [reading.pixels for reading in kept],
        [reading.place.group for reading in kept],
    )
    labels = [reading.place.label for reading in kept]
    return splits.stratified(labels, groups, seed=options.seed, share=options.test_share)


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
    words = "The same picture is also in another class; all its copies were left out."
    copies: dict[str, list[str]] = {}
    for index in sorted(dropped):
        copies.setdefault(readings[index].pixels, []).append(readings[index].name)
    for index in sorted(dropped):
        own = readings[index]
        others = (name for name in copies[own.pixels] if name != own.name)
        also = tuple(islice(others, _NAMED))
        problems.append(Problem("error", "conflicting_labels", own.name, words, also))
    return [reading for index, reading in enumerate(readings) if index not in dropped]


def _without_leaks(readings: Sequence[Reading], problems: list[Problem]) -> list[Reading]:
    dropped = splits.leaked(
        [reading.place.split for reading in readings], [reading.pixels for reading in readings]
    )
    words = "The same picture is in the train folder; it was left out of the test split."
    trained: dict[str, str] = {}
    for reading in readings:
        if reading.place.split == TRAIN:
            trained.setdefault(reading.pixels, reading.name)
    for index in sorted(dropped):
        own = readings[index]
        also = (trained[own.pixels],)
        problems.append(Problem("error", "leaked_test_image", own.name, words, also))
    return [reading for index, reading in enumerate(readings) if index not in dropped]


def _without_untrained(readings: Sequence[Reading], problems: list[Problem]) -> list[Reading]:
    trained = {reading.place.label for reading in readings if reading.place.split != TEST}
    problems += _left_out(
        (reading for reading in readings if reading.place.label not in trained),
        "class_without_train",
        "Its class has no train images left; it was left out.",
    )
    return [reading for reading in readings if reading.place.label in trained]


def _straddling(kept: Sequence[Reading]) -> list[Problem]:
    """The groups that a given split divides: it is the uploader's, and stays."""
    sides: dict[str, set[bool]] = {}
    for reading in kept:
        if reading.place.group is not None:
            sides.setdefault(reading.place.group, set()).add(reading.place.split == TEST)
    words = "This group has images in train and in test; the given split was kept as it is."
    return [
        _warning("group_straddles", group, words)
        for group, found in sorted(sides.items())
        if len(found) > 1
    ]


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

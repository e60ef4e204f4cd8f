"""Where each image belongs: by a table's words, or by folders in the conventions people use.

`CLASS/image`, or `train/CLASS/image` beside `test/CLASS/image` (or `CLASS/train/image` beside
`CLASS/test/image`); any number of folders that only wrap the rest; `val` joins train, unless there
is no test folder: then it is the test split. Other folders inside a class folder belong to that
class.
"""

import re
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, replace

from core.data import names
from core.data.items import Item, Parts
from core.domain.datasets import GROUP_PREFIX, IntakeOptions, Problem
from core.errors import Detail

TRAIN, VAL, TEST = "train", "val", "test"
_SPLITS = {
    TRAIN: r"train(ing)?",
    VAL: r"val(id(ation)?)?|dev(elopment)?|eval(uation)?",
    TEST: r"test(ing)?|hold-?out",
}
_SPLIT = re.compile(
    "|".join(f"(?P<{role}>({words})([ _-]?(set|data|split|images?))?)"
             for role, words in _SPLITS.items()),
    re.IGNORECASE,
)  # fmt: skip
# As in train-00000-of-00002, test-00000-of-00001-8a1f2c, validation_3.
_PART = re.compile(r"([-_. ]?\d+)?(-of-\d+(-[0-9a-f]+)?)?$")
_LEFT_OUT = {
    "no_class": "The image is in no class folder; it was left out.",
    "no_label": "The table gives it no class; it was left out.",
    "outside_split": "It belongs to neither the train nor the test split; it was left out.",
}
_VALIDATION = (
    "was added to train; a validation part is drawn again when it is needed",
    "is the test split, as there is no test folder",
)


@dataclass(frozen=True, slots=True)
class Place:
    """An image's class and, where somebody said so, its split and what it must stay with."""

    label: str
    split: str | None
    group: str | None = None


@dataclass(frozen=True, slots=True)
class Layout:
    """A place for each image (None where left out), what to tell, and what to refuse it for."""

    places: tuple[Place | None, ...]
    problems: tuple[Problem, ...]
    faults: tuple[Detail, ...] = ()
    validation_as_test: bool = False


def arrange(items: Sequence[Item], options: IntakeOptions) -> Layout:
    """Find the images' classes, splits and groups; no image is looked at."""
    by_label = any(item.label is not None for item in items)
    spots = _by_table(items) if by_label else _by_folders(items)
    roles = {spot.split for spot in spots if isinstance(spot, Place)} - {None}
    # One split alone says nothing of the other, and what only tests cannot be learnt.
    given = TRAIN in roles and len(roles) > 1
    validation_as_test = given and TEST not in roles
    role_of = {VAL: TEST if validation_as_test else TRAIN, TRAIN: TRAIN, TEST: TEST}
    places: list[Place | None] = []
    problems: list[Problem] = []
    for item, spot in zip(items, spots, strict=True):
        if given and isinstance(spot, Place) and spot.split is None:
            spot = "outside_split"
        if isinstance(spot, Place):
            split = role_of[spot.split] if given and spot.split is not None else None
            places.append(Place(spot.label, split, _group(item, options)))
        else:
            places.append(None)
            problems.append(Problem("error", spot, item.name, _LEFT_OUT[spot]))
    if given and VAL in roles:
        words = f"The validation part {_VALIDATION[validation_as_test]}."
        problems.append(Problem("warning", "validation_folder", "", words))
    faults = tuple(_faults(items, [place for place in places if place], options))
    return Layout(tuple(places), tuple(problems), faults, validation_as_test)


def _by_table(items: Sequence[Item]) -> list[Place | str]:
    """Where a table puts each, or why nowhere; a folder may be the one to name the split."""
    folders = [item.parts[:-1] for item in items]
    wrapping = _shared(min(folders, default=()), max(folders, default=()))
    spots: list[Place | str] = []
    for item, steps in zip(items, folders, strict=True):
        if item.label is None:
            spots.append("no_label")
        elif item.split is None:
            found = (role for step in steps[wrapping:] if (role := role_named(step)) is not None)
            spots.append(Place(item.label, next(found, None)))
        else:
            spots.append(_said(Place(item.label, None), item.split))
    return spots


def _shared(one: Parts, other: Parts) -> int:
    """How many outer folders the two share."""
    steps = zip(one, other, strict=False)
    differing = (depth for depth, (mine, own) in enumerate(steps) if mine != own)
    return next(differing, min(len(one), len(other)))


def _said(place: Place, split: str) -> Place | str:
    role = role_named(split)
    return "outside_split" if role is None else replace(place, split=role)


def _by_folders(items: Sequence[Item]) -> list[Place | str]:
    """Where its folders put each, or why nowhere; a table may be the one to name the split."""
    images = [item.parts for item in items]
    depth = wrapping_depth(images)
    inner = [parts[depth:] for parts in images]
    role_of = split_folders(inner)
    if not role_of and (role_of := _split_folders_of_classes(inner)):
        inner = [(rest[1], rest[0], *rest[2:]) if len(rest) > 2 else rest[-1:] for rest in inner]
    spots = [_place(rest, role_of.get) if role_of else _class(rest) for rest in inner]
    return [
        _said(spot, item.split) if isinstance(spot, Place) and item.split is not None else spot
        for item, spot in zip(items, spots, strict=True)
    ]


def wrapping_depth(images: Sequence[Parts]) -> int:
    """How many outer folders hold everything else without being a class themselves."""
    depth = 0
    while True:
        tops = {parts[depth] for parts in images if len(parts) > depth + 1}
        if len(tops) != 1 or not any(len(parts) > depth + 2 for parts in images):
            return depth
        depth += 1


def split_folders(inner: Sequence[Parts]) -> Mapping[str, str]:
    """Which top folders are splits: empty unless train stands beside test or validation.

    A class may well be called "train" (cars, buses, trains), so a train folder with images
    directly in it is no split. A test folder may be (its images have no class then), unless other
    folders look like classes too.
    """
    tops = {parts[0] for parts in inner if len(parts) > 1}
    role_of = {top: role for top in tops if (role := role_of_file(top)) is not None}
    flat = {role_of.get(parts[0]) for parts in inner if len(parts) == 2} - {None}
    roles = set(role_of.values())
    if TRAIN in flat or TRAIN not in roles or len(roles) < 2 or (flat and tops - role_of.keys()):
        return {}
    return role_of


def _split_folders_of_classes(inner: Sequence[Parts]) -> Mapping[str, str]:
    """Which folders inside class folders are splits: empty unless every class has one.

    None of them may have images beside its splits, and train must be among these, with another.
    """
    steps = {parts[:2] for parts in inner if len(parts) > 2}
    role_of = {step: role for _, step in steps if (role := role_named(step)) is not None}
    roles = set(role_of.values())
    divided = {top for top, step in steps if step in role_of}
    if TRAIN not in roles or len(roles) < 2 or {p[0] for p in inner if len(p) > 1} != divided:
        return {}
    return {} if any(len(parts) == 2 for parts in inner) else role_of


def role_named(name: str) -> str | None:
    """The split that people mean by a folder, file or cell of this name, if they mean one."""
    found = _SPLIT.fullmatch(name.strip())
    if found is None:
        return None
    return next(role for role in _SPLITS if found[role] is not None)


def role_of_file(name: str) -> str | None:
    """The split that a file's name says, maybe with the number of a part: `train-00000-of-00002`.

    The name comes without its suffix. Folders are numbered too: `train2017`, `test1`.
    """
    return role_named(_PART.sub("", name, count=1))


def _place(rest: Parts, role_of: Callable[[str], str | None]) -> Place | str:
    if len(rest) < 2:
        return "no_class"
    role = role_of(rest[0])
    if role is None:
        return "outside_split"
    return "no_class" if len(rest) < 3 else Place(rest[1], role)


def _class(rest: Parts) -> Place | str:
    return "no_class" if len(rest) < 2 else Place(rest[0], None)


def _group(item: Item, options: IntakeOptions) -> str | None:
    """What the image's name begins with, if that is what groups are, else what its table says."""
    if options.group is None or not options.group.startswith(GROUP_PREFIX):
        return item.group
    head, found, _ = item.parts[-1].partition(options.group.removeprefix(GROUP_PREFIX))
    return head if found and head else None


def _faults(
    items: Sequence[Item], places: Sequence[Place], options: IntakeOptions
) -> Sequence[Detail]:
    """Why nothing can be made of this."""
    faults = []
    labels = {place.label for place in places}
    left_out = len(items) - len(places)
    by_label = any(item.label is not None for item in items)
    if labels and not by_label and all(map(role_of_file, labels)):
        words = (
            f"The only folders with images are {', '.join(sorted(labels))}; put the images of "
            "each class into a folder of its own inside them, or add a metadata.csv that names "
            "each image's class."
        )
        faults.append(Detail("", "only_splits", words))
    elif (nothing := class_fault(labels, images=len(items))) is not None:
        faults.append(nothing)
    elif left_out > len(places):
        words = (
            f"{left_out:,} of {len(items):,} images belong to no class; put the images of each "
            "class into a folder with the class's name."
        )
        faults.append(Detail("", "mostly_left_out", words))
    if places and options.group is not None and not any(place.group for place in places):
        by = names.printable(options.group)
        words = f"By {by} no image belongs to a group; see how files are named, or its column."
        faults.append(Detail("", "no_groups", words))
    return [*faults, *_untrained(places)]


def class_fault(labels: Set[str], *, images: int) -> Detail | None:
    """Why these classes make no dataset of that many images, if they do not."""
    if not images:
        words = (
            "The archive contains no images; put PNG, JPEG, WebP, BMP or GIF files into one "
            "folder per class."
        )
        return Detail("", "empty_dataset", words)
    if not labels:
        words = (
            "No image is in a class folder; put the images of each class into a folder with the "
            "class's name."
        )
        return Detail("", "empty_dataset", words)
    if len(labels) < 2:
        words = (
            f"There is only one class ({names.printable(next(iter(labels)))}); a dataset needs at "
            "least two class folders with readable images."
        )
        return Detail("", "too_few_classes", words)
    return None


def _untrained(places: Sequence[Place]) -> Sequence[Detail]:
    trained = {place.label for place in places if place.split != TEST}
    tested = {place.label for place in places if place.split == TEST}
    words = "The test folder has this class; the train folder lacks it."
    return [
        Detail(names.printable(label), "class_without_train", words)
        for label in sorted(tested - trained)
    ]

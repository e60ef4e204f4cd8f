"""Folders to classes and splits, in the image-folder conventions people already use.

`CLASS/image`, or `train/CLASS/image` beside `test/CLASS/image`; any number of folders that only
wrap the rest; `val` joins train, unless there is no test folder: then it is the test split.
Folders inside a class folder belong to that class.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core.data import names
from core.domain.datasets import Problem
from core.errors import Detail, InvalidInput

Parts = tuple[str, ...]
TRAIN, TEST = "train", "test"
_ALIASES = {
    "train": TRAIN, "training": TRAIN, "test": TEST, "testing": TEST,
    "val": "val", "valid": "val", "validation": "val", "dev": "val",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Place:
    """An image's class and, where the folders say so, its split."""

    label: str
    split: str | None


@dataclass(frozen=True, slots=True)
class Layout:
    """A place for each image (None where left out), and what to tell the user."""

    places: tuple[Place | None, ...]
    problems: tuple[Problem, ...]
    validation_as_test: bool = False


def arrange(images: Sequence[Parts]) -> Layout:
    """Find classes and splits from the images' names alone.

    Raises InvalidInput when the test folder has classes that the train folder lacks.
    """
    inner = [parts[_wrapping_depth(images) :] for parts in images]
    role_of = _split_folders(inner)
    validation_as_test = bool(role_of) and TEST not in role_of.values()
    places: list[Place | None] = []
    problems: list[Problem] = []
    for parts, rest in zip(images, inner, strict=True):
        place, problem = _place(rest, role_of, validation_as_test)
        places.append(place)
        if problem is not None:
            problems.append(Problem("error", problem[0], "/".join(parts), problem[1]))
    _check_test_classes(places)
    if "val" in role_of.values():
        use = (
            "is the test split, as there is no test folder"
            if validation_as_test
            else ("was added to train; a validation part is drawn again when it is needed")
        )
        problems.append(
            Problem("warning", "validation_folder", "", f"The validation folder {use}.")
        )
    return Layout(tuple(places), tuple(problems), validation_as_test)


def _wrapping_depth(images: Sequence[Parts]) -> int:
    """How many outer folders hold everything else without being a class themselves."""
    depth = 0
    while True:
        tops = {parts[depth] for parts in images if len(parts) > depth + 1}
        if len(tops) != 1 or not any(len(parts) > depth + 2 for parts in images):
            return depth
        depth += 1


def _split_folders(inner: Sequence[Parts]) -> Mapping[str, str]:
    """Which top folders are splits: empty unless train stands beside test or validation.

    A class may well be called "train" (cars, buses, trains), so a folder with images directly in
    it is never a split.
    """
    tops = {parts[0] for parts in inner if len(parts) > 1}
    flat = {parts[0] for parts in inner if len(parts) == 2}
    role_of = {top: _ALIASES[top.casefold()] for top in tops if top.casefold() in _ALIASES}
    if flat & role_of.keys() or len(set(role_of.values())) < 2 or TRAIN not in role_of.values():
        return {}
    return role_of


def _place(
    rest: Parts, role_of: Mapping[str, str], validation_as_test: bool
) -> tuple[Place | None, tuple[str, str] | None]:
    if len(rest) < 2:
        return None, ("no_class", "The image is in no class folder; it was left out.")
    if not role_of:
        return Place(rest[0], None), None
    role = role_of.get(rest[0])
    if role is None:
        return None, ("outside_split", "It is in neither the train nor the test folder; left out.")
    if role == "val":
        role = TEST if validation_as_test else TRAIN
    return Place(rest[1], role), None


def _check_test_classes(places: Sequence[Place | None]) -> None:
    trained = {place.label for place in places if place and place.split != TEST}
    tested = {place.label for place in places if place and place.split == TEST}
    details = [
        Detail(names.printable(label), "class_without_train", "The train folder lacks this class.")
        for label in sorted(tested - trained)
    ]
    if details:
        raise InvalidInput(
            f"{len(details)} classes of the test folder are missing from the train folder "
            f"({', '.join(detail.place for detail in details[:5])}).",
            code="class_without_train",
            details=details,
        )

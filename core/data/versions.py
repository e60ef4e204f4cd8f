"""What changed from one dataset to another: by the checksums of their image files, undecoded."""

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from sys import intern
from typing import Any, BinaryIO, Generic, TypeVar

import pyarrow.parquet as pq

LISTED = 200  # of each kind of change; the totals count them all
_COLUMNS = ["image.path", "label_name", "split", "sha256"]
_ROWS = 4_096  # read at once

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Item:
    """One image of a dataset; `path` is its name in the archive it came in."""

    sha256: str
    path: str
    label: str
    split: str


@dataclass(frozen=True, slots=True)
class Move:
    """One image that both datasets have, in other places."""

    before: Item
    after: Item


@dataclass(frozen=True, slots=True)
class Listed(Generic[T]):
    """So many in all, and the first of them by class and checksum."""

    total: int
    first: tuple[T, ...]


@dataclass(frozen=True, slots=True)
class ClassChange:
    """Train and test images of one class, in either dataset; None where it has no such class."""

    label: str
    before: tuple[int, int] | None
    after: tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class Difference:
    """From one dataset, `before`, to another, `after`.

    An image is its file: a picture that was saved anew is one removed and one added. `relabelled`
    and `resplit` are images that both have, in other classes or splits; those that changed both
    are in both.
    """

    unchanged: int
    added: Listed[Item]
    removed: Listed[Item]
    relabelled: Listed[Move]
    resplit: Listed[Move]
    classes: tuple[ClassChange, ...]

    @property
    def classes_added(self) -> tuple[str, ...]:
        """Classes that only the later one has."""
        return tuple(each.label for each in self.classes if each.before is None)

    @property
    def classes_removed(self) -> tuple[str, ...]:
        """Classes that only the earlier one has."""
        return tuple(each.label for each in self.classes if each.after is None)

    @property
    def nothing(self) -> bool:
        """Whether the two are the same images in the same places."""
        changes = (self.added, self.removed, self.relabelled, self.resplit)
        return not any(each.total for each in changes)


def read(originals: BinaryIO) -> Iterator[Item]:
    """The images of a stored Parquet file (`core.data.originals`): of the images themselves no
    byte is read. The stream must be seekable."""
    with pq.ParquetFile(originals, pre_buffer=False) as file:
        for batch in file.iter_batches(batch_size=_ROWS, columns=_COLUMNS):
            paths = (image["path"] or "" for image in batch["image"].to_pylist())
            rest = (batch[name].to_pylist() for name in ("label_name", "split", "sha256"))
            for path, label, split, sha256 in zip(paths, *rest, strict=True):
                yield Item(sha256, path, intern(label), intern(split))


def difference(before: Iterable[Item], after: Iterable[Item]) -> Difference:
    """What changed. Turned round it is the same with `added` and `removed` in each other's place
    and every move backwards; a copy of an image counts as an image."""
    mine, sums_before = _by_file(before)
    theirs, sums_after = _by_file(after)
    removed: list[Item] = []
    added: list[Item] = []
    moves: list[Move] = []
    unchanged = 0
    for sha256 in mine.keys() | theirs.keys():
        left, right = _left(mine.get(sha256, ()), theirs.get(sha256, ()))
        unchanged += len(mine.get(sha256, ())) - len(left)
        both = min(len(left), len(right))
        moves += map(Move, left[:both], right[:both])
        removed += left[both:]
        added += right[both:]
    relabelled = [each for each in moves if each.before.label != each.after.label]
    resplit = [each for each in moves if each.before.split != each.after.split]
    return Difference(
        unchanged=unchanged,
        added=_listed(added, _place),
        removed=_listed(removed, _place),
        relabelled=_listed(relabelled, _way),
        resplit=_listed(resplit, _way),
        classes=tuple(_classes(sums_before, sums_after)),
    )


def _by_file(items: Iterable[Item]) -> tuple[dict[str, list[Item]], Counter[tuple[str, str]]]:
    found: dict[str, list[Item]] = {}
    sums: Counter[tuple[str, str]] = Counter()
    for each in items:
        found.setdefault(each.sha256, []).append(each)
        sums[each.label, each.split] += 1
    return found, sums


def _left(mine: Sequence[Item], theirs: Sequence[Item]) -> tuple[list[Item], list[Item]]:
    """The copies of one file that are not in the same place in both, in order."""
    wheres = Counter((each.label, each.split) for each in mine)
    same = wheres & Counter((each.label, each.split) for each in theirs)
    return _without(mine, same), _without(theirs, same)


def _without(items: Sequence[Item], same: Counter[tuple[str, str]]) -> list[Item]:
    there, left = same.copy(), []
    for each in sorted(items, key=_place):
        if there[each.label, each.split] > 0:
            there[each.label, each.split] -= 1
        else:
            left.append(each)
    return left


def _classes(
    before: Mapping[tuple[str, str], int], after: Mapping[tuple[str, str], int]
) -> Iterator[ClassChange]:
    for label in sorted({label for label, _ in (*before, *after)}):
        yield ClassChange(label, _counts(before, label), _counts(after, label))


def _counts(sums: Mapping[tuple[str, str], int], label: str) -> tuple[int, int] | None:
    train, test = (sums.get((label, split), 0) for split in ("train", "test"))
    return (train, test) if train or test else None


def _listed(found: Sequence[T], key: Callable[[T], Any]) -> Listed[T]:
    return Listed(len(found), tuple(heapq.nsmallest(LISTED, found, key=key)))


def _place(item: Item) -> tuple[str, ...]:
    return item.label, item.sha256, item.split, item.path


def _way(move: Move) -> tuple[str, ...]:
    # Neither end goes first: turned round, the same moves are listed.
    first, last = sorted((_place(move.before), _place(move.after)))
    return (*first, *last)

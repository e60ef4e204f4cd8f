"""The difference of two datasets: its laws, and what it reads of their files."""

import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, cast

from hypothesis import given
from hypothesis import strategies as st

from core.data import originals, versions
from core.data.originals import Original
from core.data.versions import Difference, Item, Listed, Move, difference

ITEMS = st.builds(
    Item,
    sha256=st.sampled_from(["0a", "1b", "2c", "3d"]),
    path=st.sampled_from(["a.png", "b.png"]),
    label=st.sampled_from(["cat", "dog", "emu"]),
    split=st.sampled_from(["train", "test"]),
)
DATASETS = st.lists(ITEMS, max_size=12)


def turned(found: Difference) -> Difference:
    def back(moves: Listed[Move]) -> Listed[Move]:
        return replace(moves, first=tuple(Move(each.after, each.before) for each in moves.first))

    return replace(
        found,
        added=found.removed,
        removed=found.added,
        relabelled=back(found.relabelled),
        resplit=back(found.resplit),
        classes=tuple(replace(c, before=c.after, after=c.before) for c in found.classes),
    )


@given(DATASETS, DATASETS)
def test_turned_round_it_is_the_same_backwards(one: list[Item], other: list[Item]) -> None:
    assert difference(other, one) == turned(difference(one, other))


@given(DATASETS, DATASETS)
def test_every_image_is_accounted_for_once(one: list[Item], other: list[Item]) -> None:
    found = difference(one, other)
    both = [*found.relabelled.first, *found.resplit.first]
    moved = len({id(each) for each in both})
    assert found.unchanged + moved + found.removed.total == len(one)
    assert found.unchanged + moved + found.added.total == len(other)
    assert all(each.before.sha256 == each.after.sha256 for each in both)
    assert all(m.before.label != m.after.label for m in found.relabelled.first)
    assert all(m.before.split != m.after.split for m in found.resplit.first)
    # What was done to the one makes the other, wherever the files lie in the archives.
    left = places(one)
    left.subtract(places(found.removed.first))
    left.update(places(found.added.first))
    for each in {id(m): m for m in both}.values():
        left.subtract(places([each.before]))
        left.update(places([each.after]))
    assert +left == places(other)
    assert not -left


def places(items: Sequence[Item]) -> Counter[tuple[str, str, str]]:
    return Counter((each.sha256, each.label, each.split) for each in items)


@given(DATASETS)
def test_nothing_changes_in_another_order_or_archive(one: list[Item]) -> None:
    moved = [replace(each, path=f"data/{each.path}") for each in reversed(one)]
    found = difference(one, moved)
    assert found.nothing
    assert found.unchanged == len(one)
    assert all(each.before == each.after for each in found.classes)


@given(DATASETS, DATASETS)
def test_classes_are_counted(one: list[Item], other: list[Item]) -> None:
    found = difference(one, other)
    for each in found.classes:
        for items, counts in ((one, each.before), (other, each.after)):
            splits = [item.split for item in items if item.label == each.label]
            assert (counts or (0, 0)) == (splits.count("train"), splits.count("test"))
            assert (counts is None) == (not splits)
    names = {item.label for item in one}, {item.label for item in other}
    assert set(found.classes_added) == names[1] - names[0]
    assert set(found.classes_removed) == names[0] - names[1]


def test_an_image_may_change_both() -> None:
    here, there = Item("0a", "x.png", "cat", "train"), Item("0a", "x.png", "dog", "test")
    found = difference([here], [there])
    assert found.relabelled == found.resplit == Listed(1, (Move(here, there),))
    assert (found.unchanged, found.added.total, found.removed.total) == (0, 0, 0)


def test_lists_are_cut_short_and_say_so() -> None:
    many = [Item(f"{index:04}", f"{index}.png", "cat", "train") for index in range(1000)]
    found = difference(reversed(many), [])
    assert found.removed == Listed(1000, tuple(many[: versions.LISTED]))
    assert found.classes_removed == ("cat",)


class Counted(io.FileIO):
    """A file that counts what is read of it."""

    count = 0

    def readinto(self, buffer: object) -> int | None:
        read = super().readinto(buffer)  # type: ignore[arg-type]
        self.count += read or 0
        return read

    def read(self, size: int = -1) -> bytes | None:
        data = super().read(size)
        self.count += len(data or b"")
        return data


def test_images_are_not_read(tmp_path: Path) -> None:
    rows = [
        Original(bytes([index]) * 500_000, f"c/{index}.png", 0, "cat", "train", f"{index:064}")
        for index in range(40)
    ]
    path = tmp_path / "originals.parquet"
    originals.write(path, ["cat"], rows)
    with Counted(path) as file:
        found = list(versions.read(cast(BinaryIO, file)))
    assert found == [Item(f"{index:064}", f"c/{index}.png", "cat", "train") for index in range(40)]
    assert path.stat().st_size > 20_000_000
    assert file.count < 200_000

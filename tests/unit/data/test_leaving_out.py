"""A source without some of its images, and a stored dataset without them."""

from pathlib import Path

import pytest

from core.data.items import Item
from core.data.leaving_out import Without
from core.data.prepared import ORIGINALS_NAME
from core.domain.datasets import MOST_LEFT_OUT, IntakeOptions, Problem
from core.errors import Detail, InvalidInput
from tests.unit.data.builders import dataset, zip_bytes
from tests.unit.data.conftest import Prepare


class Letters:
    """Five images whose bytes are their names."""

    items = tuple(Item(name, (name,)) for name in "abcde")
    problems = (Problem("warning", "ignored_files", "", "1 file was ignored."),)
    faults: tuple[Detail, ...] = ()

    def read(self, index: int) -> bytes:
        return self.items[index].name.encode()


def test_what_is_left_keeps_its_bytes_and_what_is_not_is_told_of() -> None:
    left = Without(Letters(), [3, 0, 3])
    assert [item.name for item in left.items] == ["b", "c", "e"]
    assert [left.read(index) for index in range(3)] == [b"b", b"c", b"e"]
    told = [(each.code, each.place) for each in left.problems]
    assert told == [("ignored_files", ""), ("chosen_out", "a"), ("chosen_out", "d")]
    with pytest.raises(InvalidInput) as caught:
        Without(Letters(), [5])
    assert caught.value.stable_code == "unknown_image"


def test_a_dataset_made_of_another_keeps_every_other_place(
    prepare: Prepare, tmp_path: Path
) -> None:
    first = prepare(zip_bytes(dataset(per_class=6)), seed=3)
    stored = (tmp_path / "out" / ORIGINALS_NAME).read_bytes()
    again = prepare(stored)
    assert (again.sha256, again.train_counts) == (first.sha256, first.train_counts)
    less = prepare(stored, leave_out=(0, sum(first.train_counts)))
    assert sum(less.train_counts) == sum(first.train_counts) - 1
    assert sum(less.test_counts) == sum(first.test_counts) - 1
    assert less.report.split == "given"


@pytest.mark.parametrize("places", [(-1,), tuple(range(MOST_LEFT_OUT + 1))])
def test_places_are_few_and_from_nought(places: tuple[int, ...]) -> None:
    with pytest.raises(InvalidInput) as caught:
        IntakeOptions(leave_out=places)
    assert caught.value.stable_code == "bad_options"

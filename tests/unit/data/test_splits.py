"""Laws of the split: nothing straddles, nothing depends on order, every class trains."""

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from core.data import selection, splits
from core.data.layout import TEST, TRAIN, Place
from core.data.selection import Reading

# (label, group): a group keeps one label, as it does after conflicts are dropped.
GROUPED = st.lists(st.integers(0, 40), min_size=1, max_size=80).map(
    lambda groups: [(f"class{group % 3}", f"pixels{group}") for group in groups]
)
SEEDS = st.integers(0, 2**32)


@given(GROUPED, SEEDS)
def test_duplicates_never_straddle(rows: list[tuple[str, str]], seed: int) -> None:
    labels, groups = zip(*rows, strict=True)
    own = splits.stratified(labels, groups, seed=seed)
    train = {group for group, split in zip(groups, own, strict=True) if split == TRAIN}
    test = {group for group, split in zip(groups, own, strict=True) if split == TEST}
    assert not train & test


@given(GROUPED, SEEDS)
def test_every_class_trains_and_about_a_fifth_tests(
    rows: list[tuple[str, str]], seed: int
) -> None:
    labels, groups = zip(*rows, strict=True)
    own = splits.stratified(labels, groups, seed=seed)
    for label, total in Counter(labels).items():
        tested = sum(
            1 for name, split in zip(labels, own, strict=True) if (name, split) == (label, TEST)
        )
        assert tested <= max(1, round(0.2 * total))
        assert tested < total


@given(GROUPED, SEEDS, st.randoms(use_true_random=False))
def test_the_split_does_not_depend_on_order(
    rows: list[tuple[str, str]], seed: int, shuffler: random.Random
) -> None:
    def split_of(pairs: list[tuple[str, str]]) -> dict[str, str]:
        own = splits.stratified([a for a, _ in pairs], [b for _, b in pairs], seed=seed)
        return {group: split for (_, group), split in zip(pairs, own, strict=True)}

    shuffled = list(rows)
    shuffler.shuffle(shuffled)
    assert split_of(rows) == split_of(shuffled)


def test_distinct_images_split_exactly_and_by_seed() -> None:
    labels = ["a"] * 100 + ["b"] * 50 + ["c"] * 2 + ["d"]
    groups = [str(index) for index in range(153)]
    first = splits.stratified(labels, groups, seed=0)
    tested = Counter(label for label, split in zip(labels, first, strict=True) if split == TEST)
    assert tested == {"a": 20, "b": 10, "c": 1}
    assert first == splits.stratified(labels, groups, seed=0)
    assert first != splits.stratified(labels, groups, seed=1)


def reading(index: int, label: str, split: str | None, pixels: str) -> Reading:
    return Reading(
        index, index, f"{label}/{index}", Place(label, split), f"sha{index}", pixels, True
    )


def test_conflicting_labels_drop_every_copy() -> None:
    chosen = selection.select(
        [
            reading(0, "a", None, "x"),
            reading(1, "b", None, "x"),
            *(reading(i, "ab"[i % 2], None, f"p{i}") for i in range(2, 12)),
        ],
        seed=0,
    )
    assert {problem.code for problem in chosen.problems} == {"conflicting_labels"}
    assert {problem.place for problem in chosen.problems} == {"a/0", "b/1"}
    assert all(kept.index > 1 for kept in chosen.kept)
    assert chosen.duplicates == 1


def test_test_images_that_are_in_train_leave_the_test_split() -> None:
    rows = [reading(i, "ab"[i % 2], TRAIN, f"p{i}") for i in range(6)]
    rows += [
        reading(6, "a", TEST, "p0"),
        reading(7, "a", TEST, "new"),
        reading(8, "b", TEST, "n8"),
    ]
    chosen = selection.select(rows, seed=0)
    assert chosen.origin == selection.GIVEN
    assert [(p.code, p.place) for p in chosen.problems] == [("leaked_test_image", "a/6")]
    assert chosen.counts(TRAIN) == (3, 3)
    assert chosen.counts(TEST) == (1, 1)


def test_a_test_folder_that_only_repeats_train_is_replaced_and_said() -> None:
    rows = [reading(i, "ab"[i % 2], TRAIN, f"p{i}") for i in range(10)]
    rows += [reading(10, "a", TEST, "p0")]
    chosen = selection.select(rows, seed=0)
    assert chosen.origin == selection.STRATIFIED
    assert [p.code for p in chosen.problems] == ["leaked_test_image", "test_redrawn"]
    assert chosen.counts(TEST) == (1, 1)


def test_a_class_that_loses_its_train_images_is_left_out_and_said() -> None:
    rows = [reading(i, "ab"[i % 2], TRAIN, f"p{i}") for i in range(4)]
    rows += [
        reading(4, "c", TRAIN, "p0"),
        reading(5, "c", TEST, "n5"),
        reading(6, "a", TEST, "n6"),
    ]
    chosen = selection.select(rows, seed=0)
    assert chosen.classes == ("a", "b")
    assert ("class_without_train", "c/5") in [(p.code, p.place) for p in chosen.problems]


def test_small_classes_are_pointed_out() -> None:
    rows = [reading(i, "a", None, f"p{i}") for i in range(5)] + [reading(5, "b", None, "p5")]
    chosen = selection.select(rows, seed=0)
    assert [(p.code, p.place) for p in chosen.problems] == [("single_image", "b")]
    assert chosen.counts(TRAIN) == (4, 1)

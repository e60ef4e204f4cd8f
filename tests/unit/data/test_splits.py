"""Laws of the split: nothing straddles, nothing depends on order, every class trains."""

import random
from collections import Counter
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from core.data import selection, splits
from core.data.layout import TEST, TRAIN, Place
from core.data.selection import Reading
from core.domain.datasets import AS_USUAL, IntakeOptions

# (label, group): a group keeps one label, as it does after conflicts are dropped.
GROUPED = st.lists(st.integers(0, 40), min_size=1, max_size=80).map(
    lambda groups: [(f"class{group % 3}", f"pixels{group}") for group in groups]
)
SEEDS = st.integers(0, 2**32)


@given(GROUPED, SEEDS)
def test_duplicates_never_straddle(rows: list[tuple[str, str]], seed: int) -> None:
    labels, groups = zip(*rows, strict=True)
    own = splits.stratified(labels, groups, seed=seed, share=0.2)
    train = {group for group, split in zip(groups, own, strict=True) if split == TRAIN}
    test = {group for group, split in zip(groups, own, strict=True) if split == TEST}
    assert not train & test


@given(GROUPED, SEEDS)
def test_every_class_trains_and_about_a_fifth_tests(
    rows: list[tuple[str, str]], seed: int
) -> None:
    labels, groups = zip(*rows, strict=True)
    own = splits.stratified(labels, groups, seed=seed, share=0.2)
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
        own = splits.stratified([a for a, _ in pairs], [b for _, b in pairs], seed=seed, share=0.2)
        return {group: split for (_, group), split in zip(pairs, own, strict=True)}

    shuffled = list(rows)
    shuffler.shuffle(shuffled)
    assert split_of(rows) == split_of(shuffled)


SHARED = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 9)), min_size=1, max_size=80)


@given(SHARED, SEEDS, st.floats(0.05, 0.95))
def test_groups_of_several_classes_stay_together(
    rows: list[tuple[int, int]], seed: int, share: float
) -> None:
    labels, groups = [str(label) for label, _ in rows], [str(group) for _, group in rows]
    own = splits.stratified(labels, groups, seed=seed, share=share)
    assert len(set(zip(groups, own, strict=True))) == len(set(groups))
    for label, total in Counter(labels).items():
        tested = Counter(zip(labels, own, strict=True))[label, TEST]
        assert tested <= max(1, round(share * total))
        assert tested < total


KEYS = st.lists(
    st.tuples(st.integers(0, 12), st.none() | st.integers(0, 6)), min_size=1, max_size=40
)


@given(KEYS)
def test_what_shares_a_key_directly_or_by_others_is_one_group(
    rows: list[tuple[int, int | None]],
) -> None:
    names = [f"{number:03}" for number in range(len(rows))]
    pixels = [str(each) for each, _ in rows]
    said = [None if each is None else str(each) for _, each in rows]
    found = splits.joined(names, pixels, said)
    reached = {0}
    while True:  # the component of the first, by brute force
        more = {
            j
            for i in reached
            for j in range(len(rows))
            if pixels[i] == pixels[j] or (said[i] is not None and said[i] == said[j])
        }
        if more <= reached:
            break
        reached |= more
    assert {index for index, group in enumerate(found) if group == found[0]} == reached
    assert found[0] == min(names[index] for index in reached)


def test_the_draw_does_not_depend_on_what_a_decoder_makes_of_the_files() -> None:
    def drawn(decoder: str) -> list[str]:
        rows = [reading(i, "ab"[i % 2], None, f"{decoder}{i // 3}") for i in range(0, 60, 3)]
        chosen = selection.select(rows, AS_USUAL)
        return [f"{r.sha256} {split}" for r, split in zip(chosen.kept, chosen.splits, strict=True)]

    assert drawn("old") == drawn("new")


def test_addresses_outlast_versions() -> None:
    """Whoever has registered a dataset finds it again: what leads to an address never changes."""
    rows = [reading(i, "ab"[i % 2], None, f"p{i}") for i in range(10)]
    given_rows = [
        replace(r, place=replace(r.place, split=TEST if r.index > 7 else TRAIN)) for r in rows
    ]
    addresses = [
        selection.content_address(selection.select(rows, options))
        for rows, options in (
            (given_rows, AS_USUAL),
            (rows, AS_USUAL),
            (rows, IntakeOptions(seed=1)),
            (rows, IntakeOptions(test_share=0.4)),
        )
    ]
    assert [address[:16] for address in addresses] == [
        "1ab17f12ae77e15a",
        "14c7aee7aa3fd60f",
        "0fb4b1362b5f190e",
        "b31f909f58c59d53",
    ]


def test_groups_never_straddle_a_drawn_split_and_are_told_of_in_a_given_one() -> None:
    rows = [
        replace(
            reading(i, "ab"[i % 2], None, f"p{i}"), place=Place("ab"[i % 2], None, f"g{i // 4}")
        )
        for i in range(40)
    ]
    chosen = selection.select(rows, AS_USUAL)
    sides = {(r.place.group, split) for r, split in zip(chosen.kept, chosen.splits, strict=True)}
    assert (chosen.groups, len(sides)) == (10, 10)
    assert chosen.counts(TEST) == (4, 4)
    given_rows = [
        replace(each, place=replace(each.place, split=TEST if each.index % 4 == 3 else TRAIN))
        for each in rows[:8]
    ]
    assert [
        (p.severity, p.code, p.place) for p in selection.select(given_rows, AS_USUAL).problems
    ] == [
        ("warning", "group_straddles", "g0"),
        ("warning", "group_straddles", "g1"),
        ("warning", "class_without_test", "a"),
    ]


def test_distinct_images_split_exactly_and_by_seed() -> None:
    labels = ["a"] * 100 + ["b"] * 50 + ["c"] * 2 + ["d"]
    groups = [str(index) for index in range(153)]
    first = splits.stratified(labels, groups, seed=0, share=0.2)
    tested = Counter(label for label, split in zip(labels, first, strict=True) if split == TEST)
    assert tested == {"a": 20, "b": 10, "c": 1}
    assert first == splits.stratified(labels, groups, seed=0, share=0.2)
    assert first != splits.stratified(labels, groups, seed=1, share=0.2)


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
        AS_USUAL,
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
    chosen = selection.select(rows, AS_USUAL)
    assert chosen.origin == selection.GIVEN
    assert [(p.code, p.place) for p in chosen.problems] == [("leaked_test_image", "a/6")]
    assert chosen.counts(TRAIN) == (3, 3)
    assert chosen.counts(TEST) == (1, 1)


def test_a_test_folder_that_only_repeats_train_is_replaced_and_said() -> None:
    rows = [reading(i, "ab"[i % 2], TRAIN, f"p{i}") for i in range(10)]
    rows += [reading(10, "a", TEST, "p0")]
    chosen = selection.select(rows, AS_USUAL)
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
    chosen = selection.select(rows, AS_USUAL)
    assert chosen.classes == ("a", "b")
    assert ("class_without_train", "c/5") in [(p.code, p.place) for p in chosen.problems]


def test_small_classes_are_pointed_out() -> None:
    rows = [reading(i, "a", None, f"p{i}") for i in range(5)] + [reading(5, "b", None, "p5")]
    chosen = selection.select(rows, AS_USUAL)
    assert [(p.code, p.place) for p in chosen.problems] == [("single_image", "b")]
    assert chosen.counts(TRAIN) == (4, 1)

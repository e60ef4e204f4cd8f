"""Folders to classes and splits."""

from collections.abc import Callable

import pytest

from core.data import layout
from core.data.items import Item
from core.data.layout import Layout, Place, arrange
from core.domain.datasets import AS_USUAL, IntakeOptions


def layout_of(*names: str, options: IntakeOptions = AS_USUAL) -> Layout:
    return arrange([Item(name, tuple(name.split("/"))) for name in names], options)


def arranged(*names: str) -> dict[str, tuple[str, str | None] | None]:
    found = layout_of(*names)
    return {
        name: (place.label, place.split) if place else None
        for name, place in zip(names, found.places, strict=True)
    }


def codes(*names: str) -> list[str]:
    return [p.code for p in layout_of(*names).problems]


def faults(*names: str, options: IntakeOptions = AS_USUAL) -> list[tuple[str, str]]:
    return [(fault.code, fault.place) for fault in layout_of(*names, options=options).faults]


@pytest.mark.parametrize("prefix", ["", "data/", "a/b/c/"])
def test_class_folders_under_any_wrapping(prefix: str) -> None:
    names = [f"{prefix}cat/1.png", f"{prefix}dog/1.png"]
    assert list(arranged(*names).values()) == [("cat", None), ("dog", None)]


@pytest.mark.parametrize("prefix", ["", "mnist/"])
@pytest.mark.parametrize(
    ("train", "test"), [("train", "test"), ("Training", "TEST"), ("train2017", "test1")]
)
def test_split_folders(prefix: str, train: str, test: str) -> None:
    names = [
        f"{prefix}{train}/cat/1.png",
        f"{prefix}{train}/dog/1.png",
        f"{prefix}{test}/cat/2.png",
    ]
    assert list(arranged(*names).values()) == [("cat", "train"), ("dog", "train"), ("cat", "test")]


def test_validation_joins_train_when_there_is_a_test_folder() -> None:
    names = ["train/cat/1.png", "val/cat/2.png", "test/cat/3.png"]
    assert [found and found[1] for found in arranged(*names).values()] == [
        "train",
        "train",
        "test",
    ]
    assert codes(*names) == ["validation_folder"]


@pytest.mark.parametrize("alias", ["val", "valid", "validation"])
def test_validation_is_the_test_split_when_there_is_no_other(alias: str) -> None:
    names = ["train/cat/1.png", f"{alias}/cat/2.png"]
    assert [found and found[1] for found in arranged(*names).values()] == ["train", "test"]
    assert layout_of(*names).validation_as_test


def test_a_lone_train_folder_is_only_a_wrapper() -> None:
    assert arranged("train/cat/1.png", "train/dog/1.png")["train/cat/1.png"] == ("cat", None)


def test_train_can_be_a_class() -> None:
    names = ["car/1.png", "bus/1.png", "train/1.png", "test/1.png"]
    assert [found and found[0] for found in arranged(*names).values()] == [
        "car", "bus", "train", "test",
    ]  # fmt: skip


def test_folders_inside_a_class_belong_to_it() -> None:
    assert arranged("cat/a/1.png", "cat/b/2.png", "dog/3.png") == {
        "cat/a/1.png": ("cat", None),
        "cat/b/2.png": ("cat", None),
        "dog/3.png": ("dog", None),
    }


def test_stray_images_are_left_out_and_said() -> None:
    names = ["preview.png", "cat/1.png", "dog/1.png"]
    assert arranged(*names)["preview.png"] is None
    assert codes(*names) == ["no_class"]
    wrapped = ["set/preview.png", "set/cat/1.png", "set/dog/1.png"]
    assert arranged(*wrapped)["set/cat/1.png"] == ("cat", None)
    assert codes(*wrapped) == ["no_class"]


def test_images_outside_the_splits_are_left_out_and_said() -> None:
    names = ["train/cat/1.png", "test/cat/2.png", "extra/cat/3.png"]
    assert arranged(*names)["extra/cat/3.png"] is None
    assert codes(*names) == ["outside_split"]


def test_a_test_class_without_train_images_is_refused() -> None:
    names = ("train/cat/1.png", "train/dog/1.png", "test/cat/2.png", "test/dgo/2.png")
    assert faults(*names) == [("class_without_train", "dgo")]


def test_no_images_is_no_places() -> None:
    assert layout_of().places == ()
    assert layout_of("a.png").places == (None,)
    assert faults() == faults("a.png") == [("empty_dataset", "")]
    assert faults("a/1.png", "a/2.png") == [("too_few_classes", "")]


def test_all_that_is_wrong_is_said_at_once() -> None:
    options = IntakeOptions(group="prefix:__")
    names = ["1.png", "2.png", "3.png", "4.png", "a/5.png", "b/6.png"]
    assert faults(*names, options=options) == [("mostly_left_out", ""), ("no_groups", "")]
    assert codes(*names) == ["no_class"] * 4


def test_a_test_folder_without_classes_is_left_out() -> None:
    """As competitions publish theirs; and a class may still be called test."""
    names = ["train/cat/1.png", "train/dog/1.png", "test/1.png"]
    assert list(arranged(*names).values()) == [("cat", None), ("dog", None), None]
    assert codes(*names) == ["no_class"]
    names = ["train/steam/1.png", "train/2.png", "test/1.png"]
    assert [found and found[0] for found in arranged(*names).values()] == ["train"] * 2 + ["test"]
    names = ["train/steam/1.png", "bus/2.png", "test/1.png"]
    assert [found and found[0] for found in arranged(*names).values()] == ["train", "bus", "test"]


@pytest.mark.parametrize(
    ("train", "test"),
    [("Train_Set", "test-set"), ("training data", "holdout"), ("train images", "Test_Images")],
)
def test_split_folders_by_their_longer_names(train: str, test: str) -> None:
    names = [f"{train}/cat/1.png", f"{train}/dog/1.png", f"{test}/cat/2.png"]
    assert list(arranged(*names).values()) == [("cat", "train"), ("dog", "train"), ("cat", "test")]


def test_split_folders_inside_class_folders() -> None:
    names = ["cat/train/1.png", "cat/test/2.png", "dog/Train/3.png", "dog/val/4.png", "0.png"]
    assert list(arranged(*names).values()) == [
        ("cat", "train"), ("cat", "test"), ("dog", "train"), ("dog", "train"), None,
    ]  # fmt: skip
    assert codes(*names) == ["no_class", "validation_folder"]
    assert arranged(*(f"all/{name}" for name in names[:4])).keys() == {
        f"all/{name}" for name in names[:4]
    }
    assert codes(*names, "dog/rest/5.png")[:2] == ["no_class", "outside_split"]


@pytest.mark.parametrize("other", ["dog/3.png", "dog/brown/3.png", "cat/3.png"])
def test_a_class_may_have_folders_called_train_and_test(other: str) -> None:
    names = ["cat/train/1.png", "cat/test/2.png", "dog/train/4.png", "fox/1.png", other]
    assert {split for found in arranged(*names).values() if found for split in found[1:]} == {None}


@pytest.mark.parametrize(
    "names",
    [
        ["train/1.png", "test/2.png"],
        ["x/Training/1.png", "x/val/2.png", "x/test set/3.png"],
        ["cat/train/1.png", "cat/test/2.png"],
        ["train/cat.1.png", "train/dog.1.png", "test1/1.png"],
    ],
)
def test_splits_without_classes_are_no_classes(names: list[str]) -> None:
    assert faults(*names) == [("only_splits", "")]


def of_table(*rows: tuple[str | None, str | None]) -> Layout:
    items = [
        Item(f"{number}.png", (f"{number}.png",), label, split)
        for number, (label, split) in enumerate(rows)
    ]
    return arrange(items, AS_USUAL)


def test_a_table_says_more_than_folders() -> None:
    found = of_table(("cat", "train"), ("dog", "Training"), ("cat", "validation"), (None, "train"))
    assert found.places == (
        Place("cat", "train"),
        Place("dog", "train"),
        Place("cat", "test"),
        None,
    )
    assert [p.code for p in found.problems] == ["no_label", "validation_folder"]
    assert found.validation_as_test
    strange = of_table(("cat", "train"), ("dog", "train"), ("dog", "test"), ("dog", "elsewhere"))
    assert [p.code for p in strange.problems] == ["outside_split"]


def test_folders_say_the_split_where_a_table_says_only_classes() -> None:
    names = ["set/train/1.png", "set/train/2.png", "set/test/3.png", "set/more/4.png"]
    items = [
        Item(name, tuple(name.split("/")), label)
        for name, label in zip(names, ["cat", "dog", "cat", "dog"], strict=True)
    ]
    found = arrange(items, AS_USUAL)
    assert found.places == (
        Place("cat", "train"),
        Place("dog", "train"),
        Place("cat", "test"),
        None,
    )
    assert [p.code for p in found.problems] == ["outside_split"]
    assert arrange(items[:2], AS_USUAL).places == (Place("cat", None), Place("dog", None))


def test_a_table_says_the_split_where_folders_say_only_classes() -> None:
    rows = [("cat/1.png", "train"), ("dog/2.png", "train"), ("dog/3.png", "test")]
    found = arrange([Item(n, tuple(n.split("/")), None, split) for n, split in rows], AS_USUAL)
    assert found.places == (Place("cat", "train"), Place("dog", "train"), Place("dog", "test"))


@pytest.mark.parametrize("only", ["train", "test", "validation"])
def test_one_split_alone_says_nothing(only: str) -> None:
    found = of_table(("cat", only), ("dog", only))
    assert found.places == (Place("cat", None), Place("dog", None))
    assert not found.validation_as_test


def test_groups_are_what_names_begin_with() -> None:
    names = ["cat/p1__left.png", "dog/p1__right.png", "dog/p2.x__.png", "dog/alone.png"]
    found = layout_of(*names, options=IntakeOptions(group="prefix:__"))
    assert [place and place.group for place in found.places] == ["p1", "p1", "p2.x", None]
    assert [place and place.group for place in layout_of(*names).places] == [None] * 4


def test_folders_are_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once for each image would take minutes for as many as are allowed."""
    calls: list[int] = []
    measured: Callable[..., int] = layout.wrapping_depth

    def counted(images: list[tuple[str, ...]]) -> int:
        calls.append(len(images))
        return measured(images)

    monkeypatch.setattr(layout, "wrapping_depth", counted)
    layout_of(*(f"wrap/{'ab'[i % 2]}/{i}.png" for i in range(100)))
    assert calls == [100]

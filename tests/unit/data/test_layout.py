"""Folders to classes and splits."""

import pytest

from core.data.layout import Place, arrange
from core.errors import InvalidInput


def arranged(*names: str) -> dict[str, tuple[str, str | None] | None]:
    found = arrange([tuple(name.split("/")) for name in names])
    return {
        name: (place.label, place.split) if place else None
        for name, place in zip(names, found.places, strict=True)
    }


def codes(*names: str) -> list[str]:
    return [p.code for p in arrange([tuple(name.split("/")) for name in names]).problems]


@pytest.mark.parametrize("prefix", ["", "data/", "a/b/c/"])
def test_class_folders_under_any_wrapping(prefix: str) -> None:
    names = [f"{prefix}cat/1.png", f"{prefix}dog/1.png"]
    assert list(arranged(*names).values()) == [("cat", None), ("dog", None)]


@pytest.mark.parametrize("prefix", ["", "mnist/"])
@pytest.mark.parametrize(("train", "test"), [("train", "test"), ("Training", "TEST")])
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
    assert arrange([tuple(name.split("/")) for name in names]).validation_as_test


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
    with pytest.raises(InvalidInput) as caught:
        arranged("train/cat/1.png", "test/cat/2.png", "test/dgo/2.png")
    assert caught.value.stable_code == "class_without_train"
    assert [detail.place for detail in caught.value.details] == ["dgo"]


def test_no_images_is_no_places() -> None:
    assert arrange([]).places == ()
    assert arrange([("a.png",)]).places == (None,)
    assert Place("cat", None).split is None

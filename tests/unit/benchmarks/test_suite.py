"""The reader of suites: parts, classes, channels, and which images a seed takes."""

from pathlib import Path

import pytest
import torch

from tests.benchmarks.embedders.tasks import read_suite
from tests.benchmarks.suite import domains, read_labelled, read_parts, task_names
from tests.unit.benchmarks.suites import write_suite, write_task


def test_parts_have_the_archive_s_images_in_order(tmp_path: Path) -> None:
    write_task(tmp_path, "grey", each=3)

    found = read_parts(tmp_path, "grey")

    assert found["train"].classes == ("a", "b")
    assert found["train"].images.shape == (6, 1, 4, 4)
    assert found["train"].images[:, 0, 0, 0].tolist() == [10, 11, 12, 200, 201, 202]
    assert found["train"].labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert found["test"].labels.tolist() == [0, 1]


def test_one_coloured_image_makes_the_task_coloured(tmp_path: Path) -> None:
    write_task(tmp_path, "coloured", colour=True)

    assert read_parts(tmp_path, "coloured", ("test",))["test"].images.shape == (2, 3, 4, 4)


def test_the_seed_decides_which_images(tmp_path: Path) -> None:
    write_task(tmp_path, "task", each=20)

    def taken(seed: int) -> torch.Tensor:
        train, _ = read_labelled(tmp_path, "task", side=2, train=10, test=10, seed=seed)
        return train.images[:, 0, 0, 0]

    assert len(taken(0)) == 10
    assert torch.equal(taken(0), taken(0))
    assert not torch.equal(taken(0), taken(1))


def test_test_images_are_normalised_as_train_images(tmp_path: Path) -> None:
    write_task(tmp_path, "task", each=5)

    train, test = read_labelled(tmp_path, "task", side=4, train=100, test=100, seed=0)

    assert (len(train), len(test)) == (10, 2)
    assert torch.equal(train.mean, test.mean)
    assert torch.equal(train.std, test.std)


def test_domains_are_names_where_none_are_listed(tmp_path: Path) -> None:
    write_suite(tmp_path, ["x", "y"])
    assert domains(tmp_path) == {"x": "x", "y": "y"}

    write_suite(tmp_path, ["x", "y"], {"x": "letters", "absent": "letters"})
    assert domains(tmp_path) == {"x": "letters", "y": "y"}


def test_an_empty_folder_is_no_suite(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no TASK\.zip"):
        task_names(tmp_path)


def test_embedders_see_train_images_alone(tmp_path: Path) -> None:
    write_suite(tmp_path, ["x", "y"])

    first, second = read_suite(tmp_path, 3)

    assert (first.name, second.name) == ("x", "y")
    assert len(first.images) == len(first.labels) == 3
    assert {200, 201, 10, 11} >= set(first.images.flatten().tolist())

"""The reduced dataset: what is kept, independence of order, storage."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from core.ot.embedded_dataset import build, from_tensors, stratified_rows
from tests.unit.ot.conftest import Maker, gaussian_classes


def test_everything_is_kept_when_it_fits(make_dataset: Maker) -> None:
    dataset = make_dataset(seed=0, per_class=7)
    assert len(dataset.features) == 21
    assert dataset.labels.tolist() == sorted(dataset.labels.tolist())
    assert dataset.class_weights.tolist() == pytest.approx([1 / 3] * 3)
    assert dataset.dimension == 5


@settings(max_examples=30, deadline=None)
@given(counts=st.lists(st.integers(1, 60), min_size=1, max_size=8), samples=st.integers(1, 100))
def test_the_sample_is_stratified(counts: list[int], samples: int) -> None:
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    features = torch.randn(len(labels), 2, generator=torch.Generator().manual_seed(0))
    names = [str(label) for label in range(len(counts))]
    dataset = build(features, labels, names, samples=samples)
    kept = torch.bincount(dataset.labels, minlength=len(counts))
    total = sum(counts)
    assert int(kept.min()) >= 1
    assert len(dataset.labels) < samples + len(counts)
    if samples >= total:
        assert kept.tolist() == counts
    for label, count in enumerate(counts):
        assert int(kept[label]) <= max(samples * count / total + 1, 1)
    assert dataset.moments.counts.tolist() == counts


def test_moments_come_from_all_samples() -> None:
    features, labels = gaussian_classes(seed=0, per_class=100)
    small = build(features, labels, "abc", samples=12)
    large = build(features, labels, "abc", samples=300)
    assert len(small.features) == 12
    assert torch.equal(small.moments.means, large.moments.means)


@pytest.mark.parametrize("samples", [17, 1000])
def test_order_of_rows_and_numbering_of_classes_do_not_matter(samples: int) -> None:
    features, labels = gaussian_classes(seed=0, per_class=30)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(1))
    renamed = torch.tensor([2, 0, 1])
    first = build(features, labels, "abc", samples=samples)
    second = build(features[order], renamed[labels[order]], "bca", samples=samples)
    for label, name in enumerate(first.classes):
        other = second.classes.index(name)
        assert torch.equal(
            first.features[first.labels == label], second.features[second.labels == other]
        )


def test_the_seed_decides_which_samples_are_kept() -> None:
    features, labels = gaussian_classes(seed=0, per_class=50)
    draws = [build(features, labels, "abc", samples=15, seed=seed).features for seed in (0, 0, 1)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_smaller_samples_are_part_of_larger_ones(make_dataset: Maker) -> None:
    dataset = make_dataset(seed=0, per_class=40)
    small = set(stratified_rows(dataset.moments, dataset.labels, 10).tolist())
    large = set(stratified_rows(dataset.moments, dataset.labels, 31).tolist())
    assert len(small) == 10
    assert small < large


def test_classes_without_samples_are_left_out() -> None:
    dataset = build(torch.randn(4, 2), torch.tensor([0, 0, 2, 2]), ["a", "b", "c"])
    assert dataset.classes == ("a", "c")
    assert dataset.labels.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("features", "labels"),
    [
        (torch.full((2, 3), float("nan")), torch.tensor([0, 1])),
        (torch.full((2, 3), float("inf")), torch.tensor([0, 1])),
        (torch.zeros(2, 3), torch.tensor([0, 2])),
        (torch.zeros(2, 3), torch.tensor([-1, 0])),
        (torch.zeros(2, 3), torch.tensor([0.0, 1.0])),
        (torch.zeros(2, 3), torch.tensor([0])),
        (torch.zeros(2), torch.tensor([0, 1])),
        (torch.zeros(2, 0), torch.tensor([0, 1])),
        (torch.zeros(0, 3), torch.zeros(0, dtype=torch.long)),
    ],
)
def test_unusable_features_are_refused(features: torch.Tensor, labels: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"features|labels|sample"):
        build(features, labels, ["a", "b"])


def test_it_survives_a_file(make_dataset: Maker, tmp_path: Path) -> None:
    features, labels = gaussian_classes(seed=0)
    dataset = build(features, labels, ["ä", "b c", ""], embedder="oriented-energy@1")
    save_file(dataset.to_tensors(), tmp_path / "dataset.safetensors")
    again = from_tensors(load_file(tmp_path / "dataset.safetensors"))
    assert again.classes == dataset.classes
    assert again.embedder == dataset.embedder
    for name, tensor in dataset.to_tensors().items():
        assert torch.equal(again.to_tensors()[name], tensor), name


@pytest.mark.parametrize(
    ("name", "replacement"),
    [
        ("features", None),
        ("features", torch.full((60, 5), float("nan"))),
        ("labels", torch.full((60,), 3)),
        ("labels", torch.arange(60).flip(0) // 20),
        ("labels", torch.zeros(60, dtype=torch.long)),
        ("counts", torch.ones(2)),
        ("counts", torch.zeros(3)),
        ("means", torch.zeros(3, 4)),
        ("means", torch.full((3, 5), float("inf"))),
        ("factors", torch.zeros(3, 5)),
        ("traces", torch.full((3,), -1.0)),
        ("about", torch.zeros(4, dtype=torch.uint8)),
        ("about", torch.tensor(list(b"[]"), dtype=torch.uint8)),
    ],
)
def test_damaged_tensors_are_refused(
    make_dataset: Maker, name: str, replacement: torch.Tensor | None
) -> None:
    tensors = make_dataset(seed=0).to_tensors()
    if replacement is None:
        del tensors[name]
    else:
        tensors[name] = replacement
    with pytest.raises(ValueError, match=r"lacks|shape|finite|labels|positive|unreadable"):
        from_tensors(tensors)

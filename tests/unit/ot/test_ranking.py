"""Order of neighbours, ties, and equal sample sizes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from core.ot.dataset_distance import OTDDConfig, otdd
from core.ot.embedded_dataset import EmbeddedDataset, build
from core.ot.ranking import rank
from tests.unit.ot.conftest import gaussian_classes


def shifted(shift: float, *, seed: int = 0, per_class: int = 60) -> EmbeddedDataset:
    """Fresh samples of two fixed classes, moved along the diagonal."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(2).repeat_interleave(per_class)
    noise = torch.randn(len(labels), 4, generator=generator)
    return build(noise + 4 * labels[:, None] + shift, labels, ["low", "high"])


def test_nearer_sources_come_first() -> None:
    sources = {"far": shifted(5, seed=1), "near": shifted(0, seed=2), "middle": shifted(2, seed=3)}
    neighbours = rank(shifted(0.1), sources)
    assert [one.source for one in neighbours] == ["near", "middle", "far"]
    assert [one.tied_with_nearest for one in neighbours] == [True, False, False]
    for one in neighbours:
        assert one.distance == otdd(shifted(0.1), sources[one.source]).distance
        assert one.interval[0] <= one.distance <= one.interval[1]
        assert one.features_part + one.labels_part == pytest.approx(one.distance**2)


def test_samples_of_one_distribution_are_tied() -> None:
    sources = {f"copy {seed}": shifted(1, seed=seed) for seed in range(1, 5)}
    assert all(one.tied_with_nearest for one in rank(shifted(0), sources))


def test_the_same_source_twice_is_in_key_order() -> None:
    twin = shifted(1, seed=1)
    assert [one.source for one in rank(shifted(0), {"b": twin, "a": twin})] == ["a", "b"]


def test_matches_name_the_classes_that_correspond() -> None:
    target, source = shifted(0), shifted(0.2, seed=1)
    swapped = replace(source, classes=("tall", "short"))
    (one,) = rank(target, {"source": swapped}, matches=2)
    assert {(pair.target_class, pair.source_class) for pair in one.matches} == {
        ("low", "tall"), ("high", "short")
    }  # fmt: skip
    assert sum(pair.mass for pair in one.matches) == pytest.approx(1.0, abs=0.05)
    assert [pair.mass for pair in one.matches] == sorted(
        (pair.mass for pair in one.matches), reverse=True
    )


def test_all_sources_are_compared_at_one_sample_size() -> None:
    sources = {
        "large": shifted(1, seed=1, per_class=200),
        "small": shifted(1, seed=2, per_class=70),
    }
    by_key = {one.source: one for one in rank(shifted(0, per_class=300), sources)}
    assert by_key["large"].samples == by_key["small"].samples == (140, 140)


def test_a_tiny_source_does_not_coarsen_the_others() -> None:
    sources = {"large": shifted(1, seed=1, per_class=200), "tiny": shifted(1, seed=2, per_class=3)}
    by_key = {one.source: one for one in rank(shifted(0, per_class=300), sources)}
    assert by_key["large"].samples == (128, 128)
    assert by_key["tiny"].samples == (128, 6)


def test_no_sources_no_neighbours() -> None:
    assert rank(shifted(0), {}) == ()


def test_other_embedders_are_refused() -> None:
    strange = build(*gaussian_classes(seed=0, dimension=3), "abc")
    with pytest.raises(ValueError, match="embedded differently"):
        rank(shifted(0), {"fine": shifted(1), "strange": strange}, OTDDConfig(samples=20))

"""Summaries of sources: nothing is lost by joining and taking apart, little by rounding."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core.ot import targets
from core.ot.dataset_distance import OTDDConfig, otdd
from core.ot.embedded_dataset import EmbeddedDataset, build
from core.ot.source_block import (
    RANK,
    SAMPLES,
    SourceBlock,
    concatenate,
    pooled_signature,
    summarise,
)
from tests.unit.ot.conftest import gaussian_classes
from tests.unit.ot.registries import block_of


def source(
    seed: int, *, classes: int = 3, per_class: int = 6, dimension: int = 4
) -> EmbeddedDataset:
    features, labels = gaussian_classes(
        seed=seed, classes=classes, per_class=per_class, dimension=dimension
    )
    return build(features, labels, [f"{label}" for label in range(classes)])


def various() -> list[EmbeddedDataset]:
    return [
        source(0),
        source(1, classes=1, per_class=1),
        source(2).without_samples(),
        source(3, classes=5, per_class=80),
    ]


def equal(first: SourceBlock, second: SourceBlock) -> bool:
    pairs = [(getattr(first, each.name), getattr(second, each.name)) for each in fields(first)]
    return all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in pairs)


@settings(max_examples=15, deadline=None)
@given(rows=st.lists(st.integers(0, 3), min_size=1, max_size=7))
def test_what_is_taken_is_what_was_put_in(rows: list[int]) -> None:
    datasets = various()
    block = block_of(datasets)
    assert len(block) == 4
    taken = block.take(rows)
    assert len(taken) == len(rows)
    assert equal(taken, block_of([datasets[row] for row in rows]))
    assert equal(concatenate([block.take([row]) for row in rows]), taken)


def test_blocks_join_in_any_grouping() -> None:
    one, two, three, four = (summarise(each, samples=500) for each in various())
    flat = concatenate([one, two, three, four])
    assert equal(concatenate([concatenate([one, two]), concatenate([three, four])]), flat)
    assert equal(concatenate([one, concatenate([two, three, four])]), flat)
    assert equal(concatenate([flat]), flat)


def test_nothing_and_mixed_dimensions_make_no_block() -> None:
    with pytest.raises(ValueError, match="at least one"):
        concatenate([])
    with pytest.raises(ValueError, match="at least one"):
        block_of(various()).take([])
    with pytest.raises(ValueError, match="one feature dimension"):
        block_of([source(0), source(0, dimension=5)])


@pytest.mark.parametrize(
    ("classes", "per_class", "dimension"), [(2, 3, 4), (3, 200, 2), (10, 26, 115), (1, 1, 1)]
)
def test_its_size_is_as_documented(classes: int, per_class: int, dimension: int) -> None:
    one = summarise(
        source(0, classes=classes, per_class=per_class, dimension=dimension), samples=500
    )
    kept = min(classes * per_class, SAMPLES)
    expected = 12 * dimension + 28
    expected += classes * (8 * dimension + 2 * dimension * RANK + 12)
    expected += kept * (2 * dimension + 4)
    assert one.nbytes == expected + 16  # every list of starts ends with one more
    assert concatenate([one] * 5).nbytes == 5 * expected + 16


@settings(max_examples=10, deadline=None)
@given(
    seed=st.integers(0, 99),
    power=st.integers(-60, 60),
    offset=st.sampled_from([0.0, 7.0, 1000.0]),
    per_class=st.sampled_from([1, 5, 120]),
)
def test_samples_come_back_within_half_precision_of_their_spread(
    seed: int, power: int, offset: float, per_class: int
) -> None:
    features, labels = gaussian_classes(seed=seed, per_class=per_class)
    dataset = build((features.double() + offset) * 2.0**power, labels, "abc")
    block = block_of([source(5, dimension=5), dataset])
    found, classes = block.samples(1)
    assert found.dtype == torch.float64
    assert len(found) == min(3 * per_class, SAMPLES)
    counts = torch.bincount(classes, minlength=3)
    assert int(counts.max() - counts.min()) <= 1
    # The first of every class, as larger samples begin with them too.
    wanted = torch.cat(
        [dataset.features[dataset.labels == at][: int(counts[at])] for at in range(3)]
    ).double()
    assert classes.tolist() == sorted(classes.tolist())
    spread = float((dataset.features.double() - dataset.centre).abs().max())
    largest = float(wanted.abs().max())
    allowed = spread * 2**-11 * 1.01 + largest * 2**-23
    assert float((found - wanted).abs().max()) <= allowed


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 99), per_class=st.sampled_from([1, 2, 50]))
def test_moments_are_those_of_all_samples(seed: int, per_class: int) -> None:
    features, labels = gaussian_classes(seed=seed, per_class=per_class, dimension=6)
    rows = torch.arange(len(labels)) < len(labels) - (per_class > 2) * 7  # uneven shares
    features, labels = features[rows], labels[rows]
    block = summarise(build(features, labels, "abc", samples=5), samples=5)
    assert float(block.second_moments[0]) == pytest.approx(
        float(features.double().square().sum(1).mean()), rel=1e-9
    )
    shares = torch.bincount(labels).double() / len(labels)
    assert block.class_weights.tolist() == pytest.approx(shares.tolist())
    for label in range(3):
        its = features[labels == label].double().numpy()
        np.testing.assert_allclose(block.class_signatures[label, :6], its.mean(0), rtol=1e-5)
        factor = block.class_factors[label].astype(float) * float(block.class_scales[label])
        covariance = np.cov(its, rowvar=False) if per_class > 1 else np.zeros((6, 6))
        np.testing.assert_allclose(
            factor @ factor.T, covariance, atol=4e-3 * max(np.trace(covariance), 1e-9)
        )
        np.testing.assert_allclose(
            np.square(block.class_signatures[label, 6:]),
            np.linalg.eigvalsh(covariance)[::-1],
            rtol=1e-4,
            atol=1e-6,
        )


def test_statistics_alone_have_a_centre_and_no_samples() -> None:
    whole = source(0, per_class=30)
    block = summarise(whole.without_samples(), samples=500)
    assert np.diff(block.sample_starts).tolist() == [0]
    features, labels = block.samples(0)
    assert (features.shape, labels.shape) == ((0, 4), (0,))
    np.testing.assert_allclose(block.source_signatures[0, :4], whole.centre, rtol=1e-6)
    assert not block.source_signatures[0, 4:].any()
    same = summarise(whole, samples=500)
    for name in ("class_signatures", "class_factors", "class_weights", "second_moments"):
        assert np.array_equal(getattr(block, name), getattr(same, name))


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 500), samples=st.sampled_from([7, 30, 500]))
def test_pooled_signatures_bound_what_moving_samples_costs(seed: int, samples: int) -> None:
    first, second = source(seed, per_class=20), source(seed + 1000, classes=2, per_class=25)
    apart = pooled_signature(first, samples) - pooled_signature(second, samples)
    cost = otdd(first, second, OTDDConfig(samples=samples, lambda_y=0.0)).cost
    assert float(apart.square().sum()) <= cost * (1 + 1e-9)


def test_a_source_as_the_target_is_the_dataset_it_summarises() -> None:
    dataset = source(4, per_class=40)
    ready = targets.prepare(dataset, samples=500)
    again = targets.of_source(block_of([source(1), dataset]), 1)
    assert again.weights.tolist() == pytest.approx(ready.weights.tolist())
    torch.testing.assert_close(again.signatures, ready.signatures, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(
        again.source_signature, ready.source_signature, rtol=1e-6, atol=1e-6
    )
    widest = float(ready.factors.abs().max())
    padded = again.factors[..., : ready.factors.shape[-1]]
    torch.testing.assert_close(padded, ready.factors, rtol=0, atol=1e-3 * widest)
    assert again.second_moment == pytest.approx(ready.second_moment)
    assert again.spread == pytest.approx(ready.spread, rel=1e-5)

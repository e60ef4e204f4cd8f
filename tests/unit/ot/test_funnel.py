"""From thousands of sources to the nearest: planted ones come through, estimates are close."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from core.ot import class_plans, funnel, targets
from core.ot.class_plans import Bounds
from core.ot.dataset_distance import OTDDConfig, class_distance, otdd
from core.ot.embedded_dataset import EmbeddedDataset, build
from core.ot.source_block import SourceBlock, concatenate, summarise
from core.ot.targets import Target
from tests.unit.ot.conftest import gaussian_classes
from tests.unit.ot.registries import block_of

EVEN = {"lambda_x": 1.0, "lambda_y": 1.0}


def dataset(seed: int, *, classes: int = 2, per_class: int = 10) -> EmbeddedDataset:
    features, labels = gaussian_classes(
        seed=seed, classes=classes, per_class=per_class, dimension=3
    )
    return build(features, labels, [f"{label}" for label in range(classes)])


def moved(block: SourceBlock, step: np.ndarray) -> SourceBlock:
    """The same source elsewhere."""
    shift = step.astype(np.float32)
    signatures, pooled = block.class_signatures.copy(), block.source_signatures.copy()
    signatures[:, :3] += shift
    pooled[:, :3] += shift
    mean = block.class_weights @ block.class_signatures[:, :3]
    return replace(
        block,
        class_signatures=signatures,
        source_signatures=pooled,
        sample_centres=block.sample_centres + shift,
        second_moments=block.second_moments + 2 * mean @ step + step @ step,
    )


def crowd(count: int, seed: int = 0) -> list[SourceBlock]:
    """Sources of eight kinds, 4 to 8 away in any direction."""
    kinds = [summarise(dataset(100 + kind), samples=500) for kind in range(8)]
    random = np.random.default_rng(seed)
    steps = random.normal(size=(count, 3))
    steps *= random.uniform(4, 8, (count, 1)) / np.linalg.norm(steps, axis=1, keepdims=True)
    return [moved(kinds[at % 8], step) for at, step in enumerate(steps)]


def prepared(target: EmbeddedDataset, block: SourceBlock) -> tuple[Target, Bounds]:
    seen = targets.prepare(target, samples=500)
    return seen, class_plans.bound(seen, block)


def test_moved_summaries_are_summaries_of_what_was_moved() -> None:
    features, labels = gaussian_classes(seed=0, classes=2, per_class=10, dimension=3)
    step = np.array([3.0, -2.0, 0.5])
    found = moved(summarise(build(features, labels, "ab"), samples=500), step)
    wanted = summarise(build(features + torch.from_numpy(step), labels, "ab"), samples=500)
    np.testing.assert_allclose(found.class_signatures, wanted.class_signatures, atol=1e-5)
    np.testing.assert_allclose(found.source_signatures, wanted.source_signatures, atol=1e-5)
    np.testing.assert_allclose(found.second_moments, wanted.second_moments, rtol=1e-5)
    torch.testing.assert_close(found.samples(0)[0], wanted.samples(0)[0], atol=5e-3, rtol=0)


@pytest.mark.parametrize("count", [funnel.WIDE + 40, funnel.NARROW + 20])
def test_planted_sources_are_found_in_a_crowd(count: int) -> None:
    target = dataset(0, per_class=40)
    near = [moved(summarise(target, samples=500), np.array([at / 4, 0.0, 0.0])) for at in range(5)]
    blocks, places = crowd(count), [7, count // 3, count // 2, count - 9, 0]
    for place, block in zip(places, near, strict=True):
        blocks[place] = block
    block = concatenate(blocks)
    seen, bounds = prepared(target, block)
    plans = funnel.narrow(seen, block, bounds, **EVEN)
    assert len(plans) == funnel.NARROW
    assert [plan.row for plan in plans[:5]] == places
    costs = [plan.cost for plan in plans]
    assert costs == sorted(costs)
    found = funnel.estimate(seen, block, bounds, **EVEN)
    assert found.rows[:5].tolist() == places
    assert found.sampled == funnel.NARROW
    assert len(set(found.rows.tolist())) == funnel.NARROW
    more = funnel.estimate(seen, block, bounds, **EVEN, keep=70)
    assert more.sampled == funnel.NARROW
    assert len(more.rows) == 70
    for part in (found.squared, more.squared[:64], more.squared[64:]):
        assert np.array_equal(part, np.sort(part))


def test_only_what_is_allowed_comes_through_and_as_much_as_is_wanted() -> None:
    target, block = dataset(0), concatenate(crowd(90))
    seen, bounds = prepared(target, block)
    allowed = np.arange(5, 85)
    for keep, expected in ((1, funnel.NARROW), (70, 70), (80, 80), (500, 80)):
        plans = funnel.narrow(seen, block, bounds, **EVEN, keep=keep, allowed=allowed)
        assert len(plans) == expected
        assert {plan.row for plan in plans} <= set(allowed.tolist())
    every = [plan.row for plan in funnel.narrow(seen, block, bounds, **EVEN, keep=90)]
    first = [plan.row for plan in funnel.narrow(seen, block, bounds, **EVEN)]
    assert first[:40] == every[:40]
    some = funnel.estimate(seen, block, bounds, **EVEN, shortlist=3, allowed=np.array([4, 8]))
    assert sorted(some.rows.tolist()) == [4, 8]
    assert (some.sampled, some.error) == (2, None)


def test_plans_are_of_the_exact_transport_between_classes() -> None:
    target = dataset(0, classes=4)
    sources = [dataset(seed, classes=1 + seed % 5, per_class=15) for seed in range(1, 13)]
    block = block_of(sources)
    seen, bounds = prepared(target, block)
    for plan in funnel.narrow(seen, block, bounds, **EVEN):
        exact = class_distance(target, sources[plan.row], OTDDConfig(lambda_x=0.0))
        assert plan.cost == pytest.approx(exact.cost, rel=0.01)
        assert bounds.labels[plan.row] <= exact.cost
        np.testing.assert_allclose(plan.coupling.sum(0), plan.weights, atol=1e-9)
        np.testing.assert_allclose(plan.coupling.sum(1), seen.weights, atol=1e-9)


def test_estimates_are_close_and_say_how_close() -> None:
    target = dataset(0, classes=3, per_class=60)
    sources = [dataset(seed, classes=1 + seed % 5, per_class=60) for seed in range(1, 25)]
    block = block_of(sources)
    found = funnel.estimate(*reordered(target, block), **EVEN, shortlist=12)
    exact = np.array([otdd(target, sources[row]).cost for row in found.rows])
    missed = np.abs(found.squared - exact) / exact
    assert found.sampled == 24
    assert missed[:12].max() < 0.03  # of nearly all samples
    assert np.median(missed[12:]) < 0.08
    assert found.error is not None
    assert np.median(missed[12:]) < 3 * found.error + 0.01


def reordered(target: EmbeddedDataset, block: SourceBlock) -> tuple[Target, SourceBlock, Bounds]:
    seen, bounds = prepared(target, block)
    return seen, block, bounds


def test_without_samples_estimates_are_those_of_class_statistics() -> None:
    target = dataset(0, per_class=30)
    sources = [dataset(seed, per_class=30).without_samples() for seed in range(1, 6)]
    found = funnel.estimate(*reordered(target, block_of(sources)), **EVEN)
    assert (found.sampled, found.error, found.correction) == (0, None, 0.0)
    for row, squared in zip(found.rows.tolist(), found.squared.tolist(), strict=True):
        exact = class_distance(target, sources[row]).cost
        assert squared == pytest.approx(exact, rel=0.01)


def test_equal_sources_are_in_the_order_of_the_block() -> None:
    twin = dataset(1)
    found = funnel.estimate(
        *reordered(dataset(0), block_of([twin, dataset(2), twin, twin])), **EVEN
    )
    assert [row for row in found.rows.tolist() if row != 1] == [0, 2, 3]

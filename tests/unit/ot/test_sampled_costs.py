"""Estimates from small samples against the distance they stand for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.ot import class_plans, targets
from core.ot.class_plans import ClassPlan
from core.ot.dataset_distance import OTDDConfig, otdd
from core.ot.embedded_dataset import EmbeddedDataset, build
from core.ot.sampled_costs import transport_samples
from core.ot.source_block import RANK
from tests.unit.ot.conftest import gaussian_classes
from tests.unit.ot.registries import block_of, shifted


def dataset(seed: int, *, classes: int = 3, per_class: int = 20) -> EmbeddedDataset:
    features, labels = gaussian_classes(seed=seed, classes=classes, per_class=per_class)
    return build(features, labels, [f"{label}" for label in range(classes)])


def estimated(
    target: EmbeddedDataset, source: EmbeddedDataset, *, lambda_x: float, lambda_y: float
) -> tuple[float, ClassPlan]:
    block = block_of([shifted(9, dimension=5), source])
    seen = targets.prepare(target, samples=500)
    bounds = class_plans.bound(seen, block)
    (plan,) = class_plans.transport_classes(seen, block, bounds, [1], rank=RANK)
    (cost,) = transport_samples(
        seen, block, [plan], samples=256, lambda_x=lambda_x, lambda_y=lambda_y
    )
    return float(cost), plan


@settings(max_examples=10, deadline=None)
@given(
    seed=st.integers(0, 500),
    classes=st.integers(1, 5),
    lambdas=st.sampled_from([(1.0, 1.0), (1.0, 0.0), (0.0, 1.0), (0.3, 2.0)]),
)
def test_of_all_samples_it_is_the_distance_but_for_rounding(
    seed: int, classes: int, lambdas: tuple[float, float]
) -> None:
    target, source = dataset(seed), dataset(seed + 1000, classes=classes)
    lambda_x, lambda_y = lambdas
    cost, plan = estimated(target, source, lambda_x=lambda_x, lambda_y=lambda_y)
    exact = otdd(target, source, OTDDConfig(lambda_x=lambda_x, lambda_y=lambda_y)).cost
    assert cost == pytest.approx(exact, rel=0.02)
    assert plan.known.any()


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_of_a_part_of_the_samples_it_is_close(shift: float) -> None:
    target, source = shifted(0, per_class=400), shifted(shift, seed=1, per_class=400)
    cost, _ = estimated_plain(target, source)
    exact = otdd(target, source, OTDDConfig(samples=800)).cost
    # What is left is the scatter of 256 samples, which larger ones have less of.
    assert exact < cost == pytest.approx(exact, rel=0.15)
    assert cost > estimated_plain(target, shifted(shift / 2, seed=1, per_class=400))[0]


def test_what_is_near_is_told_apart_and_where_it_lies_does_not_matter() -> None:
    """Sample moments replaced in the cost alone would scatter twice as much at no distance."""
    missed = []
    for seed in range(10):
        target = shifted(0, seed=100 + seed, per_class=150)
        found = []
        for shift in (0.0, 3.0):
            source = shifted(shift, seed=200 + seed, per_class=150)
            exact = otdd(target, source, OTDDConfig(samples=300)).cost
            found.append(estimated_plain(target, source)[0] - exact)
        assert found[0] == pytest.approx(found[1], abs=0.02)
        missed.append(found[0])
    assert np.std(missed) < 0.05


@pytest.mark.parametrize("per_class", [1, 2, 3])
def test_classes_of_few_samples_are_estimated_too(per_class: int) -> None:
    target, source = (dataset(seed, classes=4, per_class=per_class) for seed in (0, 1))
    cost, _ = estimated(target, source, lambda_x=1.0, lambda_y=1.0)
    assert cost == pytest.approx(otdd(target, source).cost, rel=0.02)


def estimated_plain(target: EmbeddedDataset, source: EmbeddedDataset) -> tuple[float, ClassPlan]:
    block = block_of([source])
    seen = targets.prepare(target, samples=500)
    bounds = class_plans.bound(seen, block)
    (plan,) = class_plans.transport_classes(seen, block, bounds, [0], rank=RANK)
    (cost,) = transport_samples(seen, block, [plan], samples=256, lambda_x=1.0, lambda_y=1.0)
    return float(cost), plan


def test_a_dataset_is_at_no_distance_from_itself() -> None:
    both = dataset(3)
    cost, _ = estimated(both, both, lambda_x=1.0, lambda_y=1.0)
    spread = float((both.moments.weights * both.moments.traces).sum())
    assert 0 <= cost <= 1e-3 * spread


def test_what_the_plan_uses_is_known_afterwards() -> None:
    target, source = dataset(0, classes=4), dataset(1, classes=5)
    seen, block = targets.prepare(target, samples=500), block_of([source])
    bounds = class_plans.bound(seen, block)
    plan = ClassPlan(block, bounds, 0)
    assert not plan.known.any()
    transport_samples(seen, block, [plan], samples=256, lambda_x=1.0, lambda_y=1.0)
    assert plan.known.sum() >= 5  # every class goes somewhere
    assert (plan.costs >= bounds.classes - 1e-9).all()
    assert (plan.costs <= bounds.classes + bounds.headroom + 1e-9).all()

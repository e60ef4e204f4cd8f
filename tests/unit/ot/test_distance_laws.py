"""Laws of the distance for every exponent, weight and solver, and what odd datasets get."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from core.ot import class_plans, embedders, funnel, neighbourhoods, targets
from core.ot.dataset_distance import DatasetDistance, OTDDConfig, class_distance, otdd
from core.ot.embedded_dataset import EmbeddedDataset, build
from core.ot.layout import lay_out
from core.ot.ranking import rank
from tests.unit.ot.conftest import gaussian_classes
from tests.unit.ot.registries import block_of, rank_named

Distance = Callable[[EmbeddedDataset, EmbeddedDataset, OTDDConfig], DatasetDistance]

SEEDS = st.integers(0, 500)
EXPONENTS = st.sampled_from([1.0, 1.5, 2.0])
MEASURES = st.sampled_from([otdd, class_distance])
LAMBDAS = st.sampled_from([(1.0, 1.0), (1.0, 0.0), (0.0, 1.0), (1e-6, 1.0), (1.0, 1e6)])


def dataset(
    seed: int, *, classes: int = 3, per_class: int = 6, scale: float = 1.0, shift: float = 0.0
) -> EmbeddedDataset:
    """Doubles go in; what is kept is of 32 bits."""
    features, labels = gaussian_classes(seed=seed, classes=classes, per_class=per_class)
    return build(features.double() * scale + shift, labels, [f"{i}" for i in range(classes)])


def config_of(p: float, lambdas: tuple[float, float]) -> OTDDConfig:
    return OTDDConfig(p=p, lambda_x=lambdas[0], lambda_y=lambdas[1])


def is_sound(measured: DatasetDistance) -> None:
    """Numbers, none negative, that belong together."""
    low, high = measured.interval
    values = (low, measured.distance, high, measured.features_part, measured.labels_part)
    assert all(math.isfinite(value) and value >= 0 for value in values), measured
    assert low <= measured.distance <= high
    assert measured.features_part + measured.labels_part == pytest.approx(measured.cost)
    assert float(measured.coupling.sum()) == pytest.approx(1.0)
    assert all(bool(torch.isfinite(side).all()) for side in measured.influence)


@settings(max_examples=9, deadline=None)
@given(seed=SEEDS, p=EXPONENTS, lambdas=LAMBDAS, measure=MEASURES)
def test_identity_and_symmetry(
    seed: int, p: float, lambdas: tuple[float, float], measure: Distance
) -> None:
    first, second = dataset(seed), dataset(seed + 1000, classes=2, per_class=8)
    config = config_of(p, lambdas)
    same = measure(first, first, config)
    is_sound(same)
    assert same.distance == 0.0
    there, back = measure(first, second, config), measure(second, first, config)
    is_sound(there)
    assert there.distance == pytest.approx(back.distance, rel=1e-9)
    # Potentials, and so intervals, are not unique where masses happen to fit.
    assert there.interval == pytest.approx(back.interval, rel=0.02, abs=1e-9)


@settings(max_examples=9, deadline=None)
@given(
    seed=SEEDS,
    p=EXPONENTS,
    lambdas=st.sampled_from([(1.0, 1.0), (1.0, 0.0), (0.0, 1.0)]),
    measure=MEASURES,
    power=st.integers(-12, 12),
)
def test_distance_and_interval_scale_with_the_features(
    seed: int, p: float, lambdas: tuple[float, float], measure: Distance, power: int
) -> None:
    # Powers of two, so that not even rounding differs.
    config, scale = config_of(p, lambdas), 2.0**power
    plain = measure(dataset(seed), dataset(seed + 1000), config)
    scaled = measure(dataset(seed, scale=scale), dataset(seed + 1000, scale=scale), config)
    assert scaled.distance / scale == pytest.approx(plain.distance, rel=1e-9)
    assert [end / scale for end in scaled.interval] == pytest.approx(plain.interval, rel=1e-6)


@settings(max_examples=9, deadline=None)
@given(seed=SEEDS, p=EXPONENTS, measure=MEASURES, shift=st.integers(-64, 64))
def test_moving_both_datasets_changes_nothing(
    seed: int, p: float, measure: Distance, shift: int
) -> None:
    config = OTDDConfig(p=p)
    plain = measure(dataset(seed), dataset(seed + 1000), config)
    moved = measure(dataset(seed, shift=shift), dataset(seed + 1000, shift=shift), config)
    assert moved.distance == pytest.approx(plain.distance, rel=1e-4)


@settings(max_examples=8, deadline=None)
@given(seed=SEEDS, p=EXPONENTS, lambdas=LAMBDAS, measure=MEASURES)
def test_order_of_samples_and_numbering_of_classes_do_not_matter(
    seed: int, p: float, lambdas: tuple[float, float], measure: Distance
) -> None:
    features, labels = gaussian_classes(seed=seed, per_class=7)
    generator = torch.Generator().manual_seed(seed)
    order, renamed = (
        torch.randperm(21, generator=generator),
        torch.randperm(3, generator=generator),
    )
    other, config = dataset(seed + 1000, classes=4, per_class=5), config_of(p, lambdas)
    plain = measure(build(features, labels, "abc"), other, config)
    mixed = measure(build(features[order], renamed[labels[order]], "abc"), other, config)
    assert mixed.distance == pytest.approx(plain.distance, rel=1e-9)
    assert mixed.interval == pytest.approx(plain.interval, rel=0.02, abs=1e-9)


@settings(max_examples=12, deadline=None)
@given(seed=SEEDS, p=EXPONENTS, lambdas=LAMBDAS)
def test_between_class_statistics_the_detour_is_never_shorter(
    seed: int, p: float, lambdas: tuple[float, float]
) -> None:
    a, b, c = dataset(seed), dataset(seed + 1000, classes=2), dataset(seed + 2000, classes=4)
    config = config_of(p, lambdas)
    there, on, at_once = (class_distance(*pair, config) for pair in ((a, b), (b, c), (a, c)))
    assert at_once.distance <= (there.distance + on.distance) * (1 + 1e-9)


def transported(costs: np.ndarray, first: np.ndarray, second: np.ndarray) -> float:
    """Least cost by a linear programme."""
    n, m = costs.shape
    constraints = np.vstack([np.kron(np.eye(n), np.ones(m)), np.kron(np.ones(n), np.eye(m))])
    found = linprog(costs.ravel(), A_eq=constraints, b_eq=np.concatenate([first, second]))
    return float(found.fun)


@settings(max_examples=5, deadline=None)
@given(seed=SEEDS, p=EXPONENTS, lambdas=st.sampled_from([(1.0, 1.0), (0.3, 2.0), (0.0, 1.0)]))
def test_labels_by_samples_agree_with_nested_linear_programmes(
    seed: int, p: float, lambdas: tuple[float, float]
) -> None:
    first, second = dataset(seed, per_class=4), dataset(seed + 1000, classes=2, per_class=5)
    x, y = first.features.double().numpy(), second.features.double().numpy()
    a, b = first.labels.numpy(), second.labels.numpy()
    squared = np.square(x[:, None] - y[None]).sum(-1)
    labels = np.array(
        [
            [
                transported(squared[a == i][:, b == j], np.full(4, 1 / 4), np.full(5, 1 / 5))
                for j in range(2)
            ]
            for i in range(3)
        ]
    )
    costs = lambdas[0] * squared ** (p / 2) + lambdas[1] * labels[a][:, b] ** (p / 2)
    expected = transported(costs, np.full(12, 1 / 12), np.full(10, 1 / 10))
    config = OTDDConfig(p=p, lambda_x=lambdas[0], lambda_y=lambdas[1], labels="samples")
    measured = otdd(first, second, config)
    is_sound(measured)
    assert measured.cost == pytest.approx(expected, rel=1e-6)
    assert measured.distance == pytest.approx(expected ** (1 / p), rel=1e-6)


@settings(max_examples=3, deadline=None)
@given(seed=SEEDS, p=EXPONENTS)
def test_the_entropic_distance_falls_to_the_exact_one(seed: int, p: float) -> None:
    first, second = dataset(seed), dataset(seed + 1000)
    exact = otdd(first, second, OTDDConfig(p=p))
    costs = []
    for epsilon in (1.0, 0.1, 0.005):
        measured = otdd(first, second, OTDDConfig(p=p, solver="entropic", epsilon=epsilon))
        is_sound(measured)
        costs.append(measured.cost)
    assert costs == sorted(costs, reverse=True)
    assert exact.cost <= costs[-1] * (1 + 1e-9)
    assert costs[-1] == pytest.approx(exact.cost, rel=0.01)


@pytest.mark.parametrize("scale", [2.0**-80, 1.0, 2.0**40])
def test_the_entropic_distance_scales_with_the_features(scale: float) -> None:
    config = OTDDConfig(solver="entropic", epsilon=0.1)
    plain = otdd(dataset(0), dataset(1000), config)
    scaled = otdd(dataset(0, scale=scale), dataset(1000, scale=scale), config)
    assert scaled.distance / scale == pytest.approx(plain.distance, rel=1e-9)


@pytest.mark.parametrize("measure", [otdd, class_distance])
@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_the_type_of_the_features_does_not_matter(measure: Distance, kind: torch.dtype) -> None:
    features, labels = gaussian_classes(seed=3)
    features = features.to(torch.float16 if kind is torch.float64 else kind)
    other, config = dataset(9), OTDDConfig()
    plain = measure(build(features.float(), labels, "abc"), other, config)
    again = measure(build(features.to(kind), labels, "abc"), other, config)
    assert again.distance == plain.distance
    assert again.coupling.dtype == torch.float64


ODD = {
    "one class": (torch.randn(5, 4, generator=torch.Generator().manual_seed(0)), [0] * 5),
    "one image per class": (
        torch.randn(3, 4, generator=torch.Generator().manual_seed(1)),
        [0, 1, 2],
    ),
    "identical images": (torch.ones(6, 4), [0, 0, 0, 1, 1, 1]),
    "one image": (torch.zeros(1, 4), [0]),
    "a constant feature": (
        torch.randn(8, 4, generator=torch.Generator().manual_seed(2))
        * torch.tensor([1.0, 0.0, 1.0, 0.0]),
        [0, 0, 0, 0, 1, 1, 1, 2],
    ),
    "huge": (torch.full((4, 4), 1e15), [0, 0, 1, 1]),
    "tiny": (torch.full((4, 4), 1e-30), [0, 0, 1, 1]),
    "one dimension": (
        torch.randn(8, 1, generator=torch.Generator().manual_seed(3)),
        [0, 0, 0, 1, 1, 1, 2, 2],
    ),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_datasets_have_distances(name: str) -> None:
    features, labels = ODD[name]
    odd = build(features, torch.tensor(labels), "abc")
    plain = build(*gaussian_classes(seed=0, dimension=features.shape[1]), "abc")
    for p in (1.0, 1.5, 2.0):
        config = OTDDConfig(p=p)
        by_samples = OTDDConfig(p=p, labels="samples")
        for first, second in ((odd, odd), (odd, plain), (plain, odd)):
            is_sound(otdd(first, second, config))
            is_sound(otdd(first, second, by_samples))
            is_sound(class_distance(first, second, config))
        is_sound(otdd(odd, plain, OTDDConfig(p=p, solver="entropic", epsilon=0.1)))
        assert otdd(odd, odd, config).distance == class_distance(odd, odd, config).distance == 0


@pytest.mark.parametrize("name", ODD)
def test_odd_datasets_are_ranked_judged_and_laid_out(name: str) -> None:
    features, labels = ODD[name]
    odd = build(features, torch.tensor(labels), "abc")
    sources = {
        f"{seed}": build(*gaussian_classes(seed=seed, dimension=features.shape[1]), "abc")
        for seed in range(3)
    }
    sources |= {"odd": odd, "its statistics": odd.without_samples()}
    for target in (odd, odd.without_samples(), sources["0"]):
        order, names = rank_named(target, sources, k=2, budget=0)
        assert len(names) == 5
        for each in order.neighbours:
            assert 0 <= each.interval[0] <= each.distance <= each.interval[1] < math.inf
        assert target is sources["0"] or order.neighbours[0].distance == 0.0
    block = block_of(list(sources.values()))
    yardstick = neighbourhoods.measure(block)
    assert len(yardstick.references) == 5
    assert np.isfinite(yardstick.distances).all()
    assert (yardstick.distances >= 0).all()
    places, stress = lay_out(neighbourhoods.distances_between(block, range(5)))
    assert np.isfinite(places).all()
    assert 0 <= stress < 1


def test_two_classes_and_a_thousand() -> None:
    features = torch.randn(1500, 3, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(1500) % 1000
    many = build(features, labels, [f"{label}" for label in range(1000)])
    few = build(*gaussian_classes(seed=1, classes=2, dimension=3), "ab")
    for measure in (otdd, class_distance):
        there = measure(many, few, OTDDConfig(samples=50))
        is_sound(there)
        assert there.coupling.shape == (1000, 2)
    order, names = rank_named(few, {"many": many, "few": few})
    assert names == ["few", "many"]
    assert order.neighbours[0].distance == 0.0
    yardstick = neighbourhoods.measure(block_of([many, few]))
    expected = class_distance(many, few, OTDDConfig(lambda_x=0.0)).distance
    assert yardstick.distances == pytest.approx([expected, expected], rel=0.05)


@pytest.mark.parametrize("channels", [1, 3])
def test_images_of_one_pixel_have_distances(channels: int) -> None:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (12, channels, 1, 1), generator=generator, dtype=torch.uint8)
    features = embedders.create().embed(pixels)
    assert bool(torch.isfinite(features).all())
    labels = torch.arange(12) % 3
    first, second = build(features, labels, "abc"), build(features[:8], labels[:8] % 2, "ab")
    for measure in (otdd, class_distance):
        is_sound(measure(first, second, OTDDConfig()))
        assert measure(first, first, OTDDConfig()).distance == 0.0


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_features_that_are_no_numbers_are_named(value: float) -> None:
    features, labels = gaussian_classes(seed=0)
    features[7, 2] = value
    with pytest.raises(ValueError, match="features hold values that are not finite"):
        build(features, labels, "abc")


def test_other_dimensions_are_refused_wherever_they_meet() -> None:
    wide, narrow = dataset(0), build(*gaussian_classes(seed=0, dimension=4), "abc")
    for measure in (otdd, class_distance):
        with pytest.raises(ValueError, match="5 dimensions"):
            measure(wide, narrow)
    with pytest.raises(ValueError, match="one feature dimension"):
        block_of([wide, narrow])
    with pytest.raises(ValueError, match="5 dimensions"):
        rank(narrow, block_of([wide]), lambda _: wide)


@settings(max_examples=9, deadline=None)
@given(seed=SEEDS, offset=st.sampled_from([0.0, 30.0, 3e3, 3e5]))
def test_no_bound_is_above_the_distance_however_far_from_the_origin(
    seed: int, offset: float
) -> None:
    # A shift costs exactly itself: nothing is left for rounding to hide in.
    features, labels = gaussian_classes(seed=seed, per_class=10)
    step = torch.zeros(5, dtype=torch.float64)
    step[seed % 5] = 0.5
    target = build(features.double() + offset, labels, "abc")
    source = build(features.double() + offset + step, labels, "abc")
    bounds = class_plans.bound(targets.prepare(target, samples=500), block_of([source]))
    for lambda_x, lambda_y in ((1.0, 0.0), (0.0, 1.0), (1.0, 1.0)):
        cost = otdd(target, source, config_of(2.0, (lambda_x, lambda_y))).cost
        lower = lambda_x * bounds.features[0] + lambda_y * bounds.labels[0]
        assert lower <= cost * (1 + 1e-9)


def test_bad_numbers_never_leave_the_funnel() -> None:
    sources = [build(features, torch.tensor(labels), "abc") for features, labels in ODD.values()]
    sources = [source for source in sources if source.dimension == 4]
    block = block_of(sources)
    for source in sources:
        seen = targets.prepare(source, samples=500)
        found = funnel.estimate(
            seen, block, class_plans.bound(seen, block), lambda_x=1.0, lambda_y=1.0
        )
        assert sorted(found.rows.tolist()) == list(range(len(sources)))
        assert np.isfinite(found.squared).all()
        assert (found.squared >= 0).all()
        assert math.isfinite(found.correction)
        assert found.error is None or math.isfinite(found.error)

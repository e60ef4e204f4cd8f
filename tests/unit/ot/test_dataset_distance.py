"""Laws of the distance, and agreement with an independent linear programme."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from core.ot.dataset_distance import DatasetDistance, OTDDConfig, class_distance, otdd
from core.ot.embedded_dataset import EmbeddedDataset, build
from core.ot.sampling import draw
from tests.unit.ot.conftest import gaussian_classes
from tests.unit.ot.test_label_distances import oracle as squared_gaussian_distance

SEEDS = st.integers(0, 500)


def dataset(
    seed: int, *, classes: int = 3, per_class: int = 8, scale: float = 1.0, samples: int = 1000
) -> EmbeddedDataset:
    features, labels = gaussian_classes(seed=seed, classes=classes, per_class=per_class)
    return build(features * scale, labels, [str(i) for i in range(classes)], samples=samples)


def linear_programme(
    first: EmbeddedDataset, second: EmbeddedDataset, lambdas: tuple[float, float]
) -> float:
    """Squared OTDD of two small datasets kept whole, with nothing of ours but the features."""
    x, y = first.features.double().numpy(), second.features.double().numpy()
    a, b = first.labels.numpy(), second.labels.numpy()
    labels = np.array(
        [
            [squared_gaussian_distance(x[a == i], y[b == j]) for j in range(b.max() + 1)]
            for i in range(a.max() + 1)
        ]
    )
    features = np.square(x[:, None] - y[None]).sum(-1)
    costs = lambdas[0] * features + lambdas[1] * labels[a][:, b]
    n, m = costs.shape
    constraints = np.vstack([np.kron(np.eye(n), np.ones(m)), np.kron(np.ones(n), np.eye(m))])
    masses = np.concatenate([np.full(n, 1 / n), np.full(m, 1 / m)])
    return float(linprog(costs.ravel(), A_eq=constraints, b_eq=masses).fun)


@settings(max_examples=12, deadline=None)
@given(seed=SEEDS, lambdas=st.sampled_from([(1.0, 1.0), (1.0, 0.0), (0.0, 1.0), (0.3, 2.0)]))
def test_agrees_with_a_linear_programme(seed: int, lambdas: tuple[float, float]) -> None:
    first, second = dataset(seed), dataset(seed + 1000, classes=2, per_class=9)
    config = OTDDConfig(lambda_x=lambdas[0], lambda_y=lambdas[1])
    measured = otdd(first, second, config)
    assert measured.converged
    assert measured.cost == pytest.approx(linear_programme(first, second, lambdas), rel=1e-6)
    assert measured.distance == pytest.approx(math.sqrt(measured.cost))


@pytest.mark.parametrize("samples", [10, 1000])
@pytest.mark.parametrize("per_class", [1, 4, 50])
def test_a_dataset_is_at_zero_from_itself(samples: int, per_class: int) -> None:
    both = dataset(0, per_class=per_class)
    measured = otdd(both, both, OTDDConfig(samples=samples))
    assert measured.distance == 0.0
    assert measured.interval == (0.0, pytest.approx(0.0, abs=1e-6))
    assert measured.coupling.diagonal().sum() == pytest.approx(1.0)
    assert class_distance(both, both).distance == 0.0


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS)
def test_it_is_symmetric(seed: int) -> None:
    first, second = dataset(seed), dataset(seed + 1000, classes=4, per_class=5)
    there, back = otdd(first, second), otdd(second, first)
    assert there.distance == pytest.approx(back.distance, rel=1e-9)
    there, back = class_distance(first, second), class_distance(second, first)
    assert there.distance == pytest.approx(back.distance, rel=1e-9)


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, measure=st.sampled_from([class_distance, otdd]))
def test_the_detour_is_never_shorter(
    seed: int, measure: Callable[[EmbeddedDataset, EmbeddedDataset], DatasetDistance]
) -> None:
    a, b, c = dataset(seed), dataset(seed + 1000, classes=2), dataset(seed + 2000, classes=4)
    there, on, at_once = (measure(*pair).distance for pair in ((a, b), (b, c), (a, c)))
    assert at_once <= there + on + 1e-9


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, scale=st.floats(1e-3, 1e3))
def test_it_scales_with_the_features(seed: int, scale: float) -> None:
    plain = otdd(dataset(seed), dataset(seed + 1000))
    scaled = otdd(dataset(seed, scale=scale), dataset(seed + 1000, scale=scale))
    assert scaled.distance == pytest.approx(scale * plain.distance, rel=1e-4)


@pytest.mark.parametrize("samples", [13, 1000])
def test_order_of_samples_and_numbering_of_classes_do_not_matter(samples: int) -> None:
    features, labels = gaussian_classes(seed=0, per_class=30)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(1))
    renamed = torch.tensor([1, 2, 0])
    other = dataset(7, per_class=30)
    config = OTDDConfig(samples=samples)
    first = otdd(build(features, labels, "abc"), other, config)
    second = otdd(build(features[order], renamed[labels[order]], "cab"), other, config)
    assert second.distance == pytest.approx(first.distance, rel=1e-9)
    torch.testing.assert_close(second.coupling[renamed], first.coupling, rtol=0, atol=1e-9)


def test_shifting_a_dataset_costs_the_shift() -> None:
    features, labels = gaussian_classes(seed=0)
    shift = torch.tensor([3.0, 0.0, 0.0, 0.0, 4.0])
    moved = otdd(build(features, labels, "abc"), build(features + shift, labels, "abc"))
    assert moved.cost <= 50.0 + 1e-4
    alone = otdd(
        build(features, labels, "abc"),
        build(features + shift, labels, "abc"),
        OTDDConfig(lambda_y=0.0),
    )
    assert alone.cost == pytest.approx(25.0, rel=1e-5)
    assert alone.labels_part == pytest.approx(0.0, abs=1e-9)


def test_parts_add_up_and_the_coupling_keeps_class_shares() -> None:
    first = dataset(0, classes=4, per_class=9)
    features, labels = gaussian_classes(seed=5, classes=2, per_class=12)
    second = build(features[:18], labels[:18], "ab")  # 12 of one class, 6 of the other
    measured = otdd(first, second, OTDDConfig(samples=10, lambda_x=0.5))
    assert measured.features_part + measured.labels_part == pytest.approx(measured.cost)
    assert min(measured.features_part, measured.labels_part) > 0
    assert measured.coupling.shape == (4, 2)
    assert measured.coupling.sum(1).tolist() == pytest.approx([0.25] * 4)
    assert measured.coupling.sum(0).tolist() == pytest.approx([2 / 3, 1 / 3])
    assert measured.samples == (10, 10)


def test_a_sample_keeps_exact_class_shares() -> None:
    features, labels = gaussian_classes(seed=0, per_class=30)
    uneven = build(features[:70], labels[:70], "abc")
    sample = draw(uneven, 11)
    shares = torch.zeros(3, dtype=torch.float64).index_add_(0, sample.labels, sample.weights)
    assert shares.tolist() == pytest.approx([3 / 7, 3 / 7, 1 / 7])


def test_the_interval_holds_the_distance_and_narrows_with_samples() -> None:
    widths = []
    for samples in (30, 120, 480):
        measured = otdd(
            dataset(0, per_class=200), dataset(9, per_class=200), OTDDConfig(samples=samples)
        )
        low, high = measured.interval
        assert 0 <= low < measured.distance < high
        widths.append(high - low)
    assert widths[0] > 1.5 * widths[1] > 2.25 * widths[2]


def test_the_interval_widens_with_confidence() -> None:
    first, second = dataset(0), dataset(9)
    widths = [
        np.diff(otdd(first, second, OTDDConfig(confidence=level)).interval).item()
        for level in (0.5, 0.95, 0.99)
    ]
    assert widths == sorted(widths)


def test_the_interval_covers_the_mean_over_samples() -> None:
    # Fresh datasets from two fixed distributions: 95 % intervals should miss their mean rarely.
    def fresh(seed: int, centre: float) -> EmbeddedDataset:
        generator = torch.Generator().manual_seed(seed)
        labels = torch.arange(60) % 2
        noise = torch.randn(60, 3, generator=generator)
        return build(noise * (1 + centre) + 2 * labels[:, None] + centre, labels, "ab")

    measured = [otdd(fresh(seed, 0.0), fresh(seed + 500, 1.0)) for seed in range(60)]
    mean = np.mean([one.distance for one in measured])
    covered = np.mean([one.interval[0] <= mean <= one.interval[1] for one in measured])
    spread = np.std([one.distance for one in measured])
    half_width = np.mean([one.interval[1] - one.interval[0] for one in measured]) / 2
    assert covered >= 0.85
    assert half_width < 2 * 1.96 * spread  # honest, not merely huge


@pytest.mark.parametrize(
    ("features", "labels"),
    [
        (torch.randn(5, 4, generator=torch.Generator().manual_seed(0)), [0] * 5),  # one class
        (torch.randn(3, 4, generator=torch.Generator().manual_seed(0)), [0, 1, 2]),  # one each
        (torch.ones(6, 4), [0, 0, 0, 1, 1, 1]),  # identical images
        (torch.zeros(1, 4), [0]),  # a single image
        (torch.full((4, 4), 1e15), [0, 0, 1, 1]),
        (torch.full((4, 4), 1e-30), [0, 0, 1, 1]),
    ],
)
def test_degenerate_datasets_have_a_distance(features: torch.Tensor, labels: list[int]) -> None:
    odd = build(features, torch.tensor(labels), "abc")
    plain = build(*gaussian_classes(seed=0, dimension=4), "abc")
    for first, second in ((odd, odd), (odd, plain), (plain, odd)):
        measured = otdd(first, second)
        values = (measured.distance, measured.features_part, measured.labels_part)
        assert all(math.isfinite(value) and value >= 0 for value in values)
        assert 0 <= measured.interval[0] <= measured.distance <= measured.interval[1] < math.inf
        assert measured.coupling.sum() == pytest.approx(1.0)
        assert measured.converged
    assert otdd(odd, odd).distance == 0.0


def test_a_thousand_classes_are_no_special_case() -> None:
    features = torch.randn(1500, 2, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(1500) % 1000
    many = build(features, labels, [str(i) for i in range(1000)])
    assert len(many.labels) == 1000
    measured = otdd(many, dataset_2d(), OTDDConfig(samples=50))
    assert measured.samples[0] == 1000
    assert measured.distance > 0


def dataset_2d() -> EmbeddedDataset:
    return build(*gaussian_classes(seed=1, dimension=2), "abc")


def test_features_of_different_embedders_do_not_compare() -> None:
    one = dataset(0)
    other = replace(one, embedder="another@1")
    for compare in (otdd, class_distance):
        with pytest.raises(ValueError, match="embedded differently"):
            compare(one, other)
        with pytest.raises(ValueError, match=r"5 dimensions.*2"):
            compare(one, dataset_2d())


@pytest.mark.parametrize(
    "settings_",
    [
        {"samples": 0},
        {"lambda_x": -1.0},
        {"lambda_y": float("nan")},
        {"lambda_x": 0.0, "lambda_y": 0.0},
        {"confidence": 1.0},
    ],
)
def test_senseless_settings_are_refused(settings_: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"samples|lambda|confidence"):
        OTDDConfig(**settings_)  # type: ignore[arg-type]

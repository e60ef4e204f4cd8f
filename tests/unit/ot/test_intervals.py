"""Sampling variance and the effect of samples on label distances."""

from __future__ import annotations

import math

import pytest
import torch

from core.ot.intervals import critical_value, label_influence, root_interval, sampling_variance


def test_variance_of_a_plain_mean() -> None:
    values = torch.randn(50, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = float(values.var() / 50)
    weights = torch.full((50,), 1 / 50, dtype=torch.float64)
    assert sampling_variance(values, weights) == pytest.approx(expected)
    assert sampling_variance(values + 7, weights) == pytest.approx(expected)
    assert sampling_variance(values[:1], torch.ones(1)) == 0.0


def test_interval_of_the_root() -> None:
    low, high = root_interval(4.0, 0.25, confidence=0.95)
    assert low == pytest.approx(math.sqrt(4 - 1.959964 * 0.5))
    assert high == pytest.approx(math.sqrt(4 + 1.959964 * 0.5))
    assert root_interval(0.01, 1.0, confidence=0.95)[0] == 0.0
    assert critical_value(0.95) == pytest.approx(1.959964, abs=1e-6)


@pytest.mark.parametrize("p", [1.0, 1.5, 2.0])
def test_label_influence_is_the_derivative_along_one_sample(p: float) -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(9, 3, generator=generator, dtype=torch.float64)
    labels = torch.tensor([0, 0, 0, 0, 0, 0, 1, 1, 1])
    others = torch.randn(2, 3, generator=generator, dtype=torch.float64)
    coupling = torch.tensor([[0.5, 1 / 6], [0.0, 1 / 3]], dtype=torch.float64)

    def means(weights: torch.Tensor) -> torch.Tensor:
        one_hot = torch.nn.functional.one_hot(labels).double() * weights[:, None]
        return (one_hot / one_hot.sum(0)).T @ features

    def transported(weights: torch.Tensor) -> float:
        gaps = means(weights)[:, None] - others[None]
        return float((coupling * gaps.square().sum(-1) ** (p / 2)).sum())

    plain = torch.ones(9, dtype=torch.float64)
    squared = (means(plain)[:, None] - others[None]).square().sum(-1)
    influence = label_influence(
        features,
        labels,
        means_mD=means(plain),
        other_means_nD=others,
        coupling_mn=coupling * p / 2 * squared ** (p / 2 - 1),
        shares_m=coupling.sum(1),
    )
    for sample in range(9):
        step = torch.zeros(9, dtype=torch.float64)
        step[sample] = 1e-6
        slope = (transported(plain + step) - transported(plain - step)) / 2e-6
        assert float(influence[sample]) == pytest.approx(9 * slope, rel=1e-5)

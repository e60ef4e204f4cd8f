"""Transport between classes: as cheap as with every label distance known, and with fewer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core.ot.class_transport import LazyCosts, gaussian_costs, transport
from core.ot.label_distances import squared_gaussian_distances
from core.ot.moments import ClassMoments, class_moments
from tests.unit.ot.conftest import gaussian_classes
from tests.unit.ot.test_solvers import transport_lp


def moments(seed: int, *, classes: int, per_class: int = 9, dimension: int = 4) -> ClassMoments:
    features, labels = gaussian_classes(
        seed=seed, classes=classes, per_class=per_class, dimension=dimension
    )
    return class_moments(features, labels, classes=classes)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 500),
    m=st.integers(1, 9),
    n=st.integers(1, 9),
    power=st.sampled_from([0.5, 0.75, 1.0]),
)
def test_it_is_as_cheap_as_a_linear_programme_that_knows_everything(
    seed: int, m: int, n: int, power: float
) -> None:
    first, second = moments(seed, classes=m), moments(seed + 1000, classes=n)
    random = np.random.default_rng(seed)
    shares = random.dirichlet(np.ones(m)), random.dirichlet(np.ones(n))
    lazy, evaluate = gaussian_costs(first, second)
    weights = torch.from_numpy(shares[0]), torch.from_numpy(shares[1])
    result = transport(*weights, lazy, evaluate, power=power)
    exact = squared_gaussian_distances(first, second)
    assert result.converged
    expected = transport_lp(*shares, exact.numpy() ** power)
    assert result.cost == pytest.approx(expected, rel=1e-7)
    assert bool(lazy.known[result.plan > 0].all())
    torch.testing.assert_close(lazy.costs[lazy.known], exact[lazy.known], rtol=1e-9, atol=1e-9)
    assert bool((lazy.costs <= exact * (1 + 1e-9)).all())


def test_few_label_distances_of_many_are_evaluated() -> None:
    first, second = moments(0, classes=40), moments(1, classes=40)
    lazy, evaluate = gaussian_costs(first, second)
    evaluated = 0

    def counting(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        nonlocal evaluated
        evaluated += len(left)
        return evaluate(left, right)

    transport(first.weights, second.weights, lazy, counting)
    assert evaluated == int(lazy.known.sum())
    assert evaluated < 1600 / 4


def test_what_is_known_is_not_asked_for_again() -> None:
    asked: list[list[int]] = []

    def evaluate(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        asked.append((10 * left + right).tolist())
        return torch.full((len(left),), 5.0, dtype=torch.float64)

    lazy = LazyCosts(torch.zeros(2, 2, dtype=torch.float64), torch.zeros(2, 2, dtype=torch.bool))
    assert lazy.learn(torch.tensor([[True, False], [True, False]]), evaluate)
    assert lazy.learn(torch.tensor([[True, True], [False, False]]), evaluate)
    assert not lazy.learn(torch.tensor([[True, True], [True, False]]), evaluate)
    assert asked == [[0, 10], [1]]
    assert lazy.costs.tolist() == [[5.0, 5.0], [5.0, 0.0]]


@pytest.mark.parametrize("rank", [1, 2, 7])
def test_cut_factors_keep_bounds_and_zeros(rank: int) -> None:
    first = moments(0, classes=5, per_class=20, dimension=8)
    second = moments(1, classes=4, per_class=5, dimension=8)
    lazy, evaluate = gaussian_costs(first, second, rank=rank)
    bounds = lazy.costs.clone()
    lazy.learn(torch.ones_like(lazy.known), evaluate)
    assert bool((lazy.costs >= bounds * (1 - 1e-9)).all())
    itself, evaluate = gaussian_costs(first, first, rank=rank)
    result = transport(first.weights, first.weights, itself, evaluate)
    assert result.cost == pytest.approx(0.0, abs=1e-12)


def test_different_dimensions_are_refused() -> None:
    with pytest.raises(ValueError, match="4 and 3 dimensions"):
        gaussian_costs(moments(0, classes=2), moments(0, classes=2, dimension=3))

"""Exact transport: oracles, potentials, and what happens when it cannot finish."""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from core.ot.solvers import solve_exactly


def transport_lp(first: np.ndarray, second: np.ndarray, costs: np.ndarray) -> float:
    """Optimal cost by a dense linear programme."""
    n, m = costs.shape
    rows = np.kron(np.eye(n), np.ones(m))
    columns = np.kron(np.ones(n), np.eye(m))
    answer = linprog(
        costs.ravel(), A_eq=np.vstack([rows, columns]), b_eq=np.concatenate([first, second])
    )
    return float(answer.fun)


@settings(max_examples=25, deadline=None)
@given(n=st.integers(1, 7), m=st.integers(1, 7), seed=st.integers(0, 999))
def test_matches_a_linear_programme(n: int, m: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = rng.dirichlet(np.ones(n)), rng.dirichlet(np.ones(m))
    costs = rng.random((n, m)) * 10 ** rng.uniform(-3, 6)
    result = solve_exactly(*(torch.from_numpy(array) for array in (first, second, costs)))
    assert result.converged
    assert result.cost == pytest.approx(transport_lp(first, second, costs), rel=1e-7)
    np.testing.assert_allclose(result.plan.sum(1), first, atol=1e-9)
    np.testing.assert_allclose(result.plan.sum(0), second, atol=1e-9)


def test_potentials_price_the_plan_and_never_exceed_the_costs() -> None:
    generator = torch.Generator().manual_seed(0)
    costs = 50 * torch.rand(20, 30, generator=generator, dtype=torch.float64)
    first, second = torch.ones(20) / 20, torch.ones(30) / 30
    result = solve_exactly(first, second, costs)
    dual = result.first_potential.mean() + result.second_potential.mean()
    assert float(dual) == pytest.approx(result.cost, rel=1e-9)
    slack = costs - result.first_potential[:, None] - result.second_potential[None]
    assert float(slack.min()) > -1e-9


def test_marginals_are_normalised() -> None:
    costs = torch.rand(3, 4, generator=torch.Generator().manual_seed(1))
    once = solve_exactly(torch.ones(3), torch.ones(4), costs)
    scaled = solve_exactly(torch.full((3,), 7.0), torch.full((4,), 0.1), costs)
    assert once.cost == pytest.approx(scaled.cost, rel=1e-12)
    assert float(once.plan.sum()) == pytest.approx(1.0)


def test_free_transport_costs_nothing() -> None:
    result = solve_exactly(torch.ones(3), torch.ones(2), torch.zeros(3, 2))
    assert result.cost == 0.0
    assert result.converged


def test_giving_up_is_a_value_not_a_warning() -> None:
    costs = torch.rand(80, 80, generator=torch.Generator().manual_seed(2))
    result = solve_exactly(torch.ones(80), torch.ones(80), costs, max_steps=3)
    assert not result.converged
    assert result.warning


@pytest.mark.parametrize(
    ("first", "second", "costs"),
    [
        (torch.ones(2), torch.ones(3), torch.zeros(3, 2)),
        (torch.zeros(2), torch.ones(2), torch.zeros(2, 2)),
        (torch.tensor([1.0, -1.0]), torch.ones(2), torch.zeros(2, 2)),
        (torch.ones(2), torch.ones(2), torch.tensor([[0.0, float("nan")], [0.0, 0.0]])),
        (torch.ones(2), torch.ones(2), torch.tensor([[0.0, -1.0], [0.0, 0.0]])),
        (torch.ones(0), torch.ones(2), torch.zeros(0, 2)),
    ],
)
def test_nonsense_is_refused(
    first: torch.Tensor, second: torch.Tensor, costs: torch.Tensor
) -> None:
    with pytest.raises(ValueError, match=r"marginal|costs"):
        solve_exactly(first, second, costs)


def test_threads_leave_the_filters_of_warnings_as_they_were() -> None:
    before = list(warnings.filters)
    short = torch.rand(60, 60, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def give_up(steps: int) -> bool:
        return solve_exactly(torch.ones(60), torch.ones(60), short, max_steps=steps).converged

    with ThreadPoolExecutor(4) as pool:
        assert not any(pool.map(give_up, [1 + at % 7 for at in range(200)]))
    assert list(warnings.filters) == before

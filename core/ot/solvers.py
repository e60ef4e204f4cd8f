"""Exact optimal transport behind one typed result; the only module that knows POT."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

with warnings.catch_warnings():
    # POT's docstrings hold escapes that Python warns about each time it compiles them.
    warnings.simplefilter("ignore")
    import ot as pot

# The network simplex needs far fewer steps on 1000 x 1000; POT's own default gives up at 500.
_MAX_STEPS = 2_000_000


@dataclass(frozen=True, slots=True, eq=False)
class TransportResult:
    """An optimal plan, or the best one found when ``converged`` is false.

    Attributes:
        cost: Total cost of the plan, in the units of the ground cost.
        plan: ``[N, M]`` float64; rows sum to the first marginal, columns to the second.
        first_potential: ``[N]`` Kantorovich potential of the first marginal.
        second_potential: ``[M]`` potential of the second; together they price the plan.
        converged: Whether the solver proved the plan optimal.
        warning: What the solver said when it did not.
    """

    cost: float
    plan: Tensor
    first_potential: Tensor
    second_potential: Tensor
    converged: bool
    warning: str | None = None


def solve_exactly(
    first_marginal: Tensor, second_marginal: Tensor, costs: Tensor, *, max_steps: int = _MAX_STEPS
) -> TransportResult:
    """Earth mover's distance by the network simplex, in float64 (Bonneel et al. 2011).

    Costs are scaled to a maximum of one for the solver, whose tolerances are absolute.

    Args:
        first_marginal: ``[N]`` non-negative weights; normalised here to sum to one.
        second_marginal: ``[M]`` likewise.
        costs: ``[N, M]`` finite, non-negative.
        max_steps: Simplex steps before giving up with ``converged=False``.

    Returns:
        The plan, its cost and its potentials, on the device of ``costs``.

    Raises:
        ValueError: If shapes disagree, a marginal has no mass, or a value is negative or not
            finite.
    """
    first, second = _normalised(first_marginal), _normalised(second_marginal)
    if costs.shape != (len(first), len(second)):
        raise ValueError(
            f"costs {tuple(costs.shape)} do not fit marginals of {len(first)} and {len(second)}"
        )
    if not bool(torch.isfinite(costs).all()) or bool((costs < 0).any()):
        raise ValueError("costs must be finite and non-negative")
    scaled = costs.detach().cpu().double()
    scale = float(scaled.max())
    scaled = scaled / scale if scale > 0 else scaled
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # reported as a value, below
        plan, log = pot.emd(
            first.numpy(), second.numpy(), scaled.numpy(), numItermax=max_steps, log=True
        )
    plan = torch.from_numpy(plan)
    return TransportResult(
        cost=float((plan * scaled).sum()) * scale,
        plan=plan.to(costs.device),
        first_potential=torch.from_numpy(log["u"] * scale).to(costs.device),
        second_potential=torch.from_numpy(log["v"] * scale).to(costs.device),
        converged=log["warning"] is None,
        warning=log["warning"],
    )


def _normalised(marginal: Tensor) -> Tensor:
    weights = marginal.detach().cpu().double()
    total = weights.sum()
    if weights.ndim != 1 or not bool(torch.isfinite(weights).all()) or bool((weights < 0).any()):
        raise ValueError("a marginal is a vector of finite non-negative weights")
    if not float(total) > 0:
        raise ValueError("a marginal needs some mass")
    return weights / total

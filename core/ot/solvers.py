"""Optimal transport, exact or entropic, behind one typed result; only this module knows POT."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class _Quiet:
    """No warnings while any thread is inside.

    The filters belong to all threads: were each to save and restore them by itself, as the
    standard library does, those of one could be left to the process by another.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._saved = warnings.catch_warnings()

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                self._saved = warnings.catch_warnings()
                self._saved.__enter__()
                warnings.simplefilter("ignore")

    def __exit__(self, *raised: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._saved.__exit__(None, None, None)


_quiet = _Quiet()


def _network_simplex() -> Callable[..., Any]:
    """POT's. It loads half of SciPy, and a search that ranks nothing needs none of it.

    Under `_quiet`: its docstrings hold escapes that Python warns about each time it compiles them.
    """
    import ot

    emd: Callable[..., Any] = ot.emd
    return emd


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
    with _quiet:  # reported as a value, below
        plan, log = _network_simplex()(
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


def exact_plan(
    first: NDArray[np.float64], second: NDArray[np.float64], costs: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The plan of :func:`solve_exactly` alone, for thousands of small problems in a row.

    Args:
        first: ``[N]`` weights that sum to one.
        second: ``[M]`` weights that sum to one.
        costs: ``[N, M]`` finite, non-negative, of the order of one.

    Returns:
        ``[N, M]`` optimal plan.
    """
    with _quiet:  # degenerate marginals: the plan is the best found
        plan: NDArray[np.float64] = _network_simplex()(
            first, second, costs, numItermax=_MAX_STEPS, check_marginals=False, center_dual=False
        )
    return plan


def solve_entropic(
    first_marginals: Tensor,
    second_marginals: Tensor,
    costs: Tensor,
    *,
    epsilon: float = 0.01,
    max_steps: int = 2000,
    tolerance: float = 1e-6,
) -> tuple[TransportResult, ...]:
    """Entropic transport by Sinkhorn's iterations in the log domain, a batch at a time.

    Cuturi 2013 with the stabilised updates of Peyre & Cuturi 2019 (eq. 4.43); epsilon is halved
    down to its value (their remark 4.9), so that small values stay affordable. The plan is rounded
    onto its marginals (Altschuler et al. 2017, algorithm 2): what is reported is the cost of a
    transport that exists, at or above the exact one.

    Args:
        first_marginals: ``[B, N]`` positive weights; normalised here.
        second_marginals: ``[B, M]`` likewise.
        costs: ``[B, N, M]`` finite, non-negative, on any device; computed in float64.
        epsilon: Strength of the entropy *as a share of each problem's mean cost*: an absolute one
            would mean something else for every embedding.
        max_steps: Iterations at the last epsilon before giving up with ``converged=False``.
        tolerance: Largest total error of a marginal that counts as converged.

    Returns:
        One result for each problem, in order.

    Raises:
        ValueError: If shapes disagree, a marginal has no mass, a value is negative or not finite,
            or epsilon is not positive.
    """
    _check_batch(first_marginals, second_marginals, costs, epsilon)
    if not len(costs):
        return ()
    scale_B11 = (
        costs.double().mean((1, 2), keepdim=True).clamp_min(torch.finfo(torch.float64).tiny)
    )
    scaled_BNM = costs.double() / scale_B11
    log_first_BN1 = _log_shares(first_marginals, costs.device)[:, :, None]
    log_second_B1M = _log_shares(second_marginals, costs.device)[:, None, :]
    left_BN1, right_B1M = torch.zeros_like(log_first_BN1), torch.zeros_like(log_second_B1M)
    strength = max(1.0, epsilon)
    while True:
        last = strength <= epsilon
        for step in range(max_steps if last else 20):
            left_BN1 = -strength * torch.logsumexp(
                (right_B1M - scaled_BNM) / strength + log_second_B1M, 2, keepdim=True
            )
            right_B1M = -strength * torch.logsumexp(
                (left_BN1 - scaled_BNM) / strength + log_first_BN1, 1, keepdim=True
            )
            if last and step % 10 == 9:
                plan_BNM = _entropic_plan(
                    left_BN1, right_B1M, scaled_BNM, strength, log_first_BN1, log_second_B1M
                )
                if bool((_row_error(plan_BNM, log_first_BN1) <= tolerance).all()):
                    break
        if last:
            break
        strength = max(strength / 2, epsilon)
    plan_BNM = _entropic_plan(
        left_BN1, right_B1M, scaled_BNM, strength, log_first_BN1, log_second_B1M
    )
    converged = (_row_error(plan_BNM, log_first_BN1) <= tolerance).tolist()
    rounded_BNM = _rounded(plan_BNM, log_first_BN1.exp(), log_second_B1M.exp())
    return tuple(
        TransportResult(
            cost=float((rounded_BNM[i] * costs[i]).sum()),
            plan=rounded_BNM[i],
            first_potential=(left_BN1 * scale_B11)[i, :, 0],
            second_potential=(right_B1M * scale_B11)[i, 0],
            converged=converged[i],
            warning=None if converged[i] else f"marginals not met within {max_steps} iterations",
        )
        for i in range(len(costs))
    )


def _check_batch(first: Tensor, second: Tensor, costs: Tensor, epsilon: float) -> None:
    if costs.ndim != 3 or first.shape != costs.shape[:2] or second.shape != costs.shape[::2]:
        raise ValueError(
            f"costs {tuple(costs.shape)} do not fit marginals {tuple(first.shape)} "
            f"and {tuple(second.shape)}"
        )
    if not epsilon > 0:
        raise ValueError(f"epsilon must be positive, not {epsilon}")
    if not bool(torch.isfinite(costs).all()) or bool((costs < 0).any()):
        raise ValueError("costs must be finite and non-negative")


def _log_shares(marginals_BN: Tensor, device: torch.device) -> Tensor:
    weights_BN = torch.stack([_normalised(marginal) for marginal in marginals_BN])
    return weights_BN.log().to(device)


def _entropic_plan(
    left_BN1: Tensor,
    right_B1M: Tensor,
    costs_BNM: Tensor,
    epsilon: float,
    log_first_BN1: Tensor,
    log_second_B1M: Tensor,
) -> Tensor:
    exponent_BNM = (left_BN1 + right_B1M - costs_BNM) / epsilon
    return (exponent_BNM + log_first_BN1 + log_second_B1M).exp()


def _row_error(plan_BNM: Tensor, log_first_BN1: Tensor) -> Tensor:
    return (plan_BNM.sum(2) - log_first_BN1.exp()[..., 0]).abs().sum(1)


def _rounded(plan_BNM: Tensor, first_BN1: Tensor, second_B1M: Tensor) -> Tensor:
    """The nearest cheap plan with exactly these marginals: scale down, then spread the rest."""
    tiny = torch.finfo(plan_BNM.dtype).tiny
    plan_BNM = plan_BNM * (first_BN1 / plan_BNM.sum(2, keepdim=True).clamp_min(tiny)).clamp_max(1)
    plan_BNM = plan_BNM * (second_B1M / plan_BNM.sum(1, keepdim=True).clamp_min(tiny)).clamp_max(1)
    missing_BN1 = (first_BN1 - plan_BNM.sum(2, keepdim=True)).clamp_min(0)
    missing_B1M = (second_B1M - plan_BNM.sum(1, keepdim=True)).clamp_min(0)
    total_B11 = missing_BN1.sum(1, keepdim=True).clamp_min(tiny)
    return plan_BNM + missing_BN1 * missing_B1M / total_B11


def _normalised(marginal: Tensor) -> Tensor:
    weights = marginal.detach().cpu().double()
    total = weights.sum()
    if weights.ndim != 1 or not bool(torch.isfinite(weights).all()) or bool((weights < 0).any()):
        raise ValueError("a marginal is a vector of finite non-negative weights")
    if not float(total) > 0:
        raise ValueError("a marginal needs some mass")
    return weights / total

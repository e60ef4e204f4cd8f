"""Transport between the classes of two datasets, evaluating only the label distances it needs.

Of all m x n distances between classes an optimal plan uses fewer than m + n. So the problem is
solved with lower bounds, the pairs its plan uses are evaluated, and this repeats until every pair
used is known: then no plan can be cheaper, since no cost was overstated. What has a thousand
classes on either side costs some thousand decompositions, not a million.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from core.ot import label_distances, solvers
from core.ot.moments import ClassMoments
from core.ot.solvers import TransportResult

Evaluate = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class LazyCosts:
    """Costs of which some are known and the others bounded from below.

    Attributes:
        costs: ``[m, n]`` float64.
        known: ``[m, n]`` bool: true where the cost is exact.
    """

    costs: Tensor
    known: Tensor

    def learn(self, pairs: Tensor, evaluate: Evaluate) -> bool:
        """Evaluate those of the ``[m, n]`` bool `pairs` that are not known; false if none was."""
        left, right = torch.nonzero(pairs & ~self.known, as_tuple=True)
        if not len(left):
            return False
        self.costs[left, right] = evaluate(left, right)
        self.known[left, right] = True
        return True


def gaussian_costs(
    first: ClassMoments, second: ClassMoments, *, rank: int | None = None
) -> tuple[LazyCosts, Evaluate]:
    """Squared distances between class Gaussians, all of them bounds so far, and how to evaluate.

    Args:
        first: Moments of m classes.
        second: Moments of n classes in the same dimensions.
        rank: Columns of the factors to use; ``None`` uses all that are kept.

    Returns:
        The costs, and a function from class indices ``[P]``, ``[P]`` to exact distances ``[P]``.

    Raises:
        ValueError: If the feature dimensions differ.
    """
    bounds_mn = label_distances.spectral_lower_bounds(first, second)

    def evaluate(left: Tensor, right: Tensor) -> Tensor:
        return label_distances.squared_gaussian_pairs(first, second, left, right, rank=rank)

    return LazyCosts(bounds_mn, torch.zeros_like(bounds_mn, dtype=torch.bool)), evaluate


def transport(
    first_weights: Tensor,
    second_weights: Tensor,
    lazy: LazyCosts,
    evaluate: Evaluate,
    *,
    power: float = 1.0,
) -> TransportResult:
    """Optimal transport between classes; `lazy` learns on the way what it needs.

    Args:
        first_weights: ``[m]`` class shares.
        second_weights: ``[n]`` class shares.
        lazy: Squared label distances, ``[m, n]``.
        evaluate: What tells true ones.
        power: What the costs are raised to before they are transported.

    Returns:
        The optimal plan; every pair that it uses is known afterwards.
    """
    while True:
        result = solvers.solve_exactly(first_weights, second_weights, lazy.costs**power)
        if not lazy.learn(result.plan > 0, evaluate):
            return result

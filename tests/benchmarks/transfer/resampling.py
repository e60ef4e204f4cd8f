"""Statistics of paired, censored results: some arms never reach what is asked for."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TypeVar

import numpy as np
from scipy.stats import rankdata

_T = TypeVar("_T")
DRAWS = 2000
LEVEL = 0.95


def ratio(reference: float, other: float | None) -> float:
    """How many times sooner `other` is; 0 where it never is, the lowest a ratio can be.

    Args:
        reference: Positive.
        other: Positive, or None for never.
    """
    return 0.0 if other is None else reference / other


def censored_median(values: Sequence[float | None]) -> float | None:
    """The median where None is later than all: None where it falls on one that never is."""
    found = statistics.median([math.inf if value is None else value for value in values])
    return found if math.isfinite(found) else None


def interval(
    groups: Sequence[Sequence[_T]],
    statistic: Callable[[Sequence[_T]], float | None],
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> tuple[float, float] | None:
    """Percentile bootstrap: groups are drawn with replacement, then members of each.

    Args:
        groups: Results by target, of each its seeds'.
        statistic: Of all results together; a draw for which it is None is left out.
        draws: Resamples.
        seed: Decides them.

    Returns:
        The 95 % interval; None for fewer than two groups, which tell nothing of another one.
    """
    filled = [group for group in groups if group]
    if len(filled) < 2:
        return None
    generator, found = random.Random(seed), list[float]()
    for _ in range(draws):
        chosen = generator.choices(filled, k=len(filled))
        value = statistic([m for group in chosen for m in generator.choices(group, k=len(group))])
        if value is not None:
            found.append(value)
    if not found:
        return None
    found.sort()
    tail = (1 - LEVEL) / 2
    low, high = math.floor(tail * len(found)), math.ceil((1 - tail) * len(found)) - 1
    return found[low], found[high]


def spearman(pairs: Sequence[tuple[float, float]]) -> float | None:
    """Spearman's rank correlation; None where one side does not vary."""
    if len({first for first, _ in pairs}) < 2 or len({second for _, second in pairs}) < 2:
        return None
    ranks = [rankdata([pair[side] for pair in pairs]) for side in (0, 1)]
    return float(np.corrcoef(*ranks)[0, 1])


def held(times: Sequence[float], values: Sequence[float], at: float, before: float) -> float:
    """A staircase: the latest value at that time.

    Args:
        times: Rising.
        values: From each time on.
        at: When.
        before: The value until the first time.
    """
    found = before
    for time, value in zip(times, values, strict=True):
        if time > at:
            break
        found = value
    return found


def mean_held(times: Sequence[float], values: Sequence[float], end: float, before: float) -> float:
    """The mean of that staircase from 0 to `end`, exactly."""
    edges = [0.0, *(time for time in times if 0 < time < end), end]
    area = 0.0
    for left, right in pairwise(edges):
        area += (right - left) * held(times, values, left, before)
    return area / end

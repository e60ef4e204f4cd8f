"""The area that trade-offs of two objectives dominate, and which few of them dominate most."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

from core.nas.pareto import Objectives

G = TypeVar("G")


def hypervolume(points: Iterable[Objectives], corner: Objectives) -> float:
    """The area that points of two objectives dominate below `corner`."""
    total, reached = 0.0, corner[1]
    for first, second in sorted(points):
        total += max(0.0, corner[0] - first) * max(0.0, reached - second)
        reached = min(reached, second)
    return total


def spread(scored: Mapping[G, Objectives], count: int, corner: Objectives) -> list[G]:
    """At most `count` genomes, one after another that which adds most hypervolume."""
    chosen: dict[G, Objectives] = {}
    for _ in range(min(count, len(scored))):
        before = hypervolume(chosen.values(), corner)
        gains = {
            each: hypervolume([*chosen.values(), point], corner) - before
            for each, point in scored.items()
            if each not in chosen
        }
        best = max(gains, key=lambda each: gains[each])
        if gains[best] <= 0:
            break
        chosen[best] = scored[best]
    return list(chosen)

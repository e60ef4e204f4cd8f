"""Trade-offs between objectives: non-dominated sets and NSGA-II (Deb et al. 2002).

All objectives are minimised. Written here rather than taken from a library: the known one brings
plotting, automatic differentiation and two other optimisers for what is a sort and a loop, and a
costly evaluation wants a count of evaluations, a cache and genomes that are values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch

from core.nas.genotype import Genotype
from core.nas.images import epoch_generator
from core.nas.objectives import CostTable
from core.nas.selection.best_of import Candidate, Proposal
from core.nas.selection.variation import cross, mutate

Objectives = tuple[float, ...]
G = TypeVar("G")

_NSGA = 25  # stream of `epoch_generator`
_ATTEMPTS = 50  # draws in search of a genome not evaluated yet


def dominates(first: Objectives, second: Objectives) -> bool:
    """Whether `first` is nowhere worse and somewhere better."""
    pairs = list(zip(first, second, strict=True))
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


def non_dominated(points: Sequence[Objectives]) -> list[int]:
    """Indices, in rising order, of the points that no other dominates; equal points stay.

    Raises:
        ValueError: points of different lengths, or an objective that is not a number.
    """
    if any(math.isnan(value) for point in points for value in point):
        raise ValueError("objectives: not a number")
    front: list[int] = []
    # What dominates a point precedes it in lexicographic order, and so does one of the front.
    for i in sorted(range(len(points)), key=lambda i: points[i]):
        if not any(dominates(points[j], points[i]) for j in front):
            front.append(i)
    return sorted(front)


def fronts(points: Sequence[Objectives]) -> list[list[int]]:
    """Non-dominated sorting (Deb et al. 2002, section III-A).

    Args:
        points: Objectives of every individual.

    Returns:
        Indices in rising order: those that nothing dominates, those that only the former do, ...

    Raises:
        ValueError: as `non_dominated`.
    """
    found, left = [], list(range(len(points)))
    while left:
        front = [left[i] for i in non_dominated([points[i] for i in left])]
        found.append(front)
        left = sorted(set(left) - set(front))
    return found


def crowding(points: Sequence[Objectives]) -> list[float]:
    """Crowding distance within one front (Deb et al. 2002, section III-B); larger is lonelier.

    Per objective the gap between the two neighbours over the front's range; infinite for the
    first and the last. Objectives that are all equal do not count.
    """
    distances = [0.0] * len(points)
    for values in zip(*points, strict=True):
        order = sorted(range(len(points)), key=lambda i: values[i])
        extent = values[order[-1]] - values[order[0]]
        if not extent:
            continue
        distances[order[0]] = distances[order[-1]] = float("inf")
        for before, i, after in zip(order, order[1:], order[2:], strict=False):
            distances[i] += (values[after] - values[before]) / extent
    return distances


@dataclass(frozen=True, slots=True)
class Generation(Generic[G]):
    """The state after one generation.

    Args:
        index: 0 for the initial population.
        population: Survivors, best front first.
        evaluated: Every genome evaluated so far, with its objectives.
    """

    index: int
    population: tuple[G, ...]
    evaluated: Mapping[G, Objectives]

    def front(self) -> dict[G, Objectives]:
        """The non-dominated of all that were evaluated, by rising first objective."""
        genomes, points = list(self.evaluated), list(self.evaluated.values())
        found = [(points[i], genomes[i]) for i in non_dominated(points)]
        return {genome: point for point, genome in sorted(found, key=lambda each: each[0])}


def nsga2(
    initial: Iterable[G],
    evaluate: Callable[[G], Objectives],
    vary: Callable[[G, G, torch.Generator], G],
    *,
    population: int,
    evaluations: int,
    seed: int,
) -> Iterator[Generation[G]]:
    """NSGA-II (Deb et al. 2002, section III-C) under a budget of evaluations.

    Parents win a tournament of two by front, then by crowding; parents and children together
    are cut to the population's size by the same order. A genome is evaluated once: children that
    were had before are drawn again, so that the budget goes to new ones.

    Args:
        initial: First genomes (hashable values); repeated ones count once.
        evaluate: Objectives of a genome, all minimised.
        vary: Two parents to a child.
        population: Survivors of a generation and children at most.
        evaluations: In all, the initial ones included.
        seed: Decides tournaments and variation.

    Yields:
        The initial generation and every later one; the last stops at the budget, or where no new
        child is found.

    Raises:
        ValueError: no genomes, a population under 2, or a budget that is not positive.
    """
    genomes = list(dict.fromkeys(initial))[: max(0, evaluations)]
    if not genomes or population < 2:
        raise ValueError(f"nsga2: {len(genomes)} genomes for a population of {population}")
    generator = epoch_generator(seed, 0, _NSGA)
    evaluated = {genome: evaluate(genome) for genome in genomes}
    members, index = survivors(genomes, evaluated, population), 0
    yield Generation(index, tuple(members), dict(evaluated))
    while len(evaluated) < evaluations:
        room = min(population, evaluations - len(evaluated))
        children = breed(members, evaluated, vary, room, generator)
        if not children:
            return
        evaluated |= {child: evaluate(child) for child in children}
        members, index = survivors([*members, *children], evaluated, population), index + 1
        yield Generation(index, tuple(members), dict(evaluated))


def trade_off(
    score: Callable[[Proposal], Candidate], costs: Sequence[CostTable]
) -> Callable[[Genotype], Objectives]:
    """Objectives of a genotype: its error with inherited weights, then each of its costs.

    Args:
        score: As `core.nas.selection.best_of.Scorer`.
        costs: Such as parameters, multiply-adds, latency.
    """

    def evaluate(genotype: Genotype) -> Objectives:
        error = 1 - score(Proposal(genotype, "nsga2")).accuracy
        return error, *(table.cost(genotype) for table in costs)

    return evaluate


def vary_genotypes(first: Genotype, second: Genotype, generator: torch.Generator) -> Genotype:
    """Crossover by node, then the mutation of one edge's operation or source."""
    return mutate(cross(first, second, generator), generator)


def survivors(genomes: list[G], evaluated: Mapping[G, Objectives], count: int) -> list[G]:
    """The first `count`, by front and within it by falling crowding distance."""
    points = [evaluated[genome] for genome in genomes]
    order: list[int] = []
    for front in fronts(points):
        lonely = crowding([points[i] for i in front])
        order += [i for _, i in sorted(zip(lonely, front, strict=True), key=lambda e: -e[0])]
    return [genomes[i] for i in order[:count]]


def breed(
    members: Sequence[G],
    evaluated: Mapping[G, Objectives],
    vary: Callable[[G, G, torch.Generator], G],
    count: int,
    generator: torch.Generator,
) -> list[G]:
    """New genomes, at most `count`."""
    found: dict[G, None] = {}
    for _ in range(_ATTEMPTS * count):
        if len(found) == count:
            break
        # Members are in order already: the lower of two places wins the tournament.
        drawn = torch.randint(len(members), (2, 2), generator=generator).min(dim=1).values
        first, second = (members[at] for at in drawn.tolist())
        child = vary(first, second, generator)
        if child not in evaluated:
            found[child] = None
    return list(found)

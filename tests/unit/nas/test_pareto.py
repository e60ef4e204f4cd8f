"""Sorting against brute force, fronts that are known exactly, and volume that never falls."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core.nas.genotype import Edge, Genotype
from core.nas.objectives import flop_costs, parameter_costs
from core.nas.pareto import (
    Generation,
    Objectives,
    crowding,
    dominates,
    fronts,
    non_dominated,
    nsga2,
    trade_off,
    vary_genotypes,
)
from core.nas.selection.best_of import Candidate, Proposal
from core.nas.selection.variation import choices, uniform_sample
from core.nas.space import Space

Bits = tuple[int, ...]

points = st.integers(1, 3).flatmap(
    lambda count: st.lists(st.tuples(*[st.integers(0, 5).map(float)] * count), max_size=25)
)


@given(points)
@settings(max_examples=150, deadline=None)
def test_sorting_agrees_with_peeling_by_brute_force(found: list[Objectives]) -> None:
    def beaten(i: int, among: list[int]) -> bool:
        return any(
            found[j] != found[i] and all(a <= b for a, b in zip(found[j], found[i], strict=True))
            for j in among
        )

    left, expected = list(range(len(found))), []
    while left:
        front = [i for i in left if not beaten(i, left)]
        expected.append(front)
        left = [i for i in left if i not in front]
    assert fronts(found) == expected
    assert non_dominated(found) == (expected[0] if expected else [])


@given(points.filter(bool))
@settings(max_examples=100, deadline=None)
def test_dominance_is_a_strict_order(found: list[Objectives]) -> None:
    for a, b, c in itertools.product(found[:5], repeat=3):
        assert not (dominates(a, b) and dominates(b, a))
        assert not (dominates(a, b) and dominates(b, c)) or dominates(a, c)


def test_what_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="not a number"):
        fronts([(1.0, 2.0), (math.nan, 1.0)])


def test_crowding_by_hand() -> None:
    front = [(0.0, 4.0), (1.0, 2.0), (3.0, 1.0), (4.0, 0.0)]
    assert crowding(front) == [math.inf, 3 / 4 + 3 / 4, 3 / 4 + 2 / 4, math.inf]
    assert crowding([(1.0, 2.0), (1.0, 2.0)]) == [0.0, 0.0]
    assert crowding([]) == []


def two_ends(genome: Bits) -> Objectives:
    """Leading ones against trailing zeros (LOTZ, Laumanns et al. 2004): front 1^i 0^(n-i)."""
    leading = sum(1 for _ in itertools.takewhile(bool, genome))
    trailing = sum(1 for _ in itertools.takewhile(lambda bit: not bit, reversed(genome)))
    return float(-leading), float(-trailing)


def vary_bits(first: Bits, second: Bits, generator: torch.Generator) -> Bits:
    mask = torch.randint(2, (len(first),), generator=generator).tolist()
    child = [a if m else b for a, b, m in zip(first, second, mask, strict=True)]
    child[int(torch.randint(len(child), (), generator=generator))] ^= 1
    return tuple(child)


def search(seed: int, evaluations: int = 600, population: int = 20) -> list[Generation[Bits]]:
    draws = torch.Generator().manual_seed(seed)
    initial = [tuple(torch.randint(2, (9,), generator=draws).tolist()) for _ in range(population)]
    return list(
        nsga2(
            initial, two_ends, vary_bits, population=population, evaluations=evaluations, seed=seed
        )
    )  # fmt: skip


def area(front: list[Objectives], corner: float = 1.0) -> float:
    """Hypervolume in two dimensions: what the front dominates below the corner."""
    total, reached = 0.0, corner
    for first, second in sorted(front):
        total += max(0.0, corner - first) * max(0.0, reached - second)
        reached = min(reached, second)
    return total


def test_area_by_hand() -> None:
    assert area([(0.0, 0.0)]) == 1
    assert area([(-1.0, 0.0), (0.0, -1.0)]) == 3


@pytest.mark.parametrize("seed", range(3))
def test_the_known_front_is_found_and_volume_never_falls(seed: int) -> None:
    generations = search(seed)
    exact = {(float(-i), float(i - 9)) for i in range(10)}
    assert set(generations[-1].front().values()) == exact
    volumes = [area(list(each.front().values())) for each in generations]
    assert volumes == sorted(volumes)
    assert volumes[0] < volumes[-1] == area(list(exact))
    # Far fewer evaluations than genomes there are of these, and none twice.
    survivors = {two_ends(genome) for genome in generations[-1].population}
    assert survivors <= set(generations[-1].evaluated.values())
    assert len(exact & survivors) >= 8


def test_the_search_repeats_and_keeps_to_its_budget() -> None:
    calls: list[Bits] = []

    def counted(genome: Bits) -> Objectives:
        calls.append(genome)
        return two_ends(genome)

    initial = [(0,) * 9, (1,) * 9, (0,) * 9]
    found = list(nsga2(initial, counted, vary_bits, population=6, evaluations=50, seed=0))
    assert len(calls) == len(set(calls)) == 50
    assert found[0].evaluated.keys() == {(0,) * 9, (1,) * 9}
    assert [each.index for each in found] == list(range(len(found)))
    assert search(0, 100) == search(0, 100)
    assert search(0, 100) != search(1, 100)


def test_a_space_that_is_all_seen_ends_the_search() -> None:
    found = list(
        nsga2([(0, 0), (1, 1)], two_ends, vary_bits, population=4, evaluations=99, seed=0)
    )  # fmt: skip
    assert len(found[-1].evaluated) == 4
    assert set(found[-1].front()) == {(0, 0), (1, 0), (1, 1)}


def test_impossible_searches_are_refused() -> None:
    for initial, population in (([], 4), ([(0,)], 1)):
        with pytest.raises(ValueError, match="nsga2"):
            next(nsga2(initial, two_ends, vary_bits, population=population, evaluations=9, seed=0))


def every_genotype(space: Space) -> list[Genotype]:
    """All cells of one node whose two in-edges are fixed."""
    pairs = itertools.product(choices(space.cell), repeat=2)
    cells = [((Edge(first, 0), Edge(second, 1)),) for first, second in pairs]
    return [Genotype(*both) for both in itertools.product(cells, repeat=2)]


def test_genotypes_trade_accuracy_for_cost() -> None:
    space = Space(channels=4, layers=3, nodes=1)
    costs = [parameter_costs(space, 7), flop_costs(space, 7, 8)]
    draws = torch.Generator().manual_seed(0)
    worth = torch.rand(2, len(space.operations), generator=draws)

    def score(proposal: Proposal) -> Candidate:
        genotype = proposal.genotype
        accuracy = sum(
            0.25 * float(worth[edge.source, space.operations.index(edge.operation)])
            for cell in (genotype.normal, genotype.reduction)
            for edge in cell[0]
        )
        return Candidate(genotype, proposal.origin, accuracy, 0.0, 0)

    two, three = trade_off(score, costs[1:]), trade_off(score, costs)
    everything = every_genotype(space)
    assert len(set(everything)) == 7**4
    exact = [two(everything[i]) for i in non_dominated([two(each) for each in everything])]
    initial = [uniform_sample(space, draws) for _ in range(16)]
    found = list(nsga2(initial, two, vary_genotypes, population=16, evaluations=300, seed=0))
    corner = max(point[1] for point in map(two, everything))
    scaled = [
        area([(error, work / corner) for error, work in points])
        for points in (
            found[-1].front().values(),
            [two(uniform_sample(space, draws)) for _ in range(300)],
            exact,
        )
    ]
    assert scaled[1] < scaled[0] <= scaled[2]
    assert scaled[0] > 0.99 * scaled[2]
    genotype = everything[5]
    assert three(genotype)[1:] == tuple(table.cost(genotype) for table in costs)
    assert three(genotype)[0] == two(genotype)[0] == 1 - score(Proposal(genotype, "")).accuracy

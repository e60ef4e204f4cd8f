"""Draws follow the weights, mutations change one edge, children are made of their parents."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import torch

from core.nas.derive import strongest
from core.nas.genotype import Cell, Edge, Genotype
from core.nas.selection.variation import choices, cross, mutate, sample, uniform_sample
from core.nas.space import CELL_SPACES, Space

SPACES = [Space(nodes=3, cells=cells) for cells in CELL_SPACES]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def neighbours(genotype: Genotype) -> set[Genotype]:
    """Every genotype that differs in one edge's operation or source, by brute force."""
    space = CELL_SPACES[genotype.cells]
    found = set()
    for kind in ("normal", "reduction"):
        cell: Cell = getattr(genotype, kind)
        for at, node in enumerate(cell):
            for edge in node:
                rest = [other for other in node if other != edge]
                taken = {other.source for other in rest}
                free = [s for s in range(at + space.inputs) if s not in taken]
                changes = [Edge(edge.operation, source) for source in free]
                changes += [Edge(operation, edge.source) for operation in choices(space)]
                for change in changes:
                    edges = tuple(sorted([*rest, change], key=lambda each: each.source))
                    changed = (*cell[:at], edges, *cell[at + 1 :])
                    found.add(replace(genotype, **{kind: changed}))
    return found - {genotype}


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.cells)
def test_mutations_are_exactly_the_neighbours(space: Space) -> None:
    draws = generator()
    genotype = uniform_sample(space, draws)
    assert {mutate(genotype, draws) for _ in range(4000)} == neighbours(genotype)


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.cells)
def test_sharp_weights_leave_no_choice(space: Space) -> None:
    weights = {
        kind: torch.rand(space.edges, len(space.operations), generator=generator(1)) * 600
        for kind in space.kinds
    }
    sharp = {kind: (each - each.max()).double().exp() for kind, each in weights.items()}
    expected = strongest(space, sharp)
    draws = generator()
    found = Counter(sample(space, sharp, draws) for _ in range(20))
    assert found.most_common(1)[0][0] == expected


def test_draws_follow_the_weights() -> None:
    space = Space(nodes=1, cells="s3")
    table = torch.tensor([[9.0, 1.0, 2.0], [0.5, 3.0, 4.0]])  # of none, skip, convolution
    draws = generator()
    count = 3000
    found = Counter(
        tuple(edge.operation == "skip_connect" for edge in sample(
            space, {"normal": table, "reduction": table}, draws
        ).normal[0])
        for _ in range(count)
    )  # fmt: skip
    # Both edges are kept, and what one draws does not depend on the other.
    first, second = 1 / 3, 3 / 7
    for skips, chance in {
        (True, True): first * second,
        (True, False): first * (1 - second),
        (False, True): (1 - first) * second,
        (False, False): (1 - first) * (1 - second),
    }.items():
        assert found[skips] / count == pytest.approx(chance, abs=0.03)


def test_uniform_draws_are_uniform_in_sources_and_operations() -> None:
    space = Space(nodes=2)
    draws = generator()
    cells = [uniform_sample(space, draws).normal for _ in range(2000)]
    sources = Counter(tuple(edge.source for edge in cell[1]) for cell in cells)
    assert set(sources) == {(0, 1), (0, 2), (1, 2)}
    assert all(count / 2000 == pytest.approx(1 / 3, abs=0.04) for count in sources.values())
    operations = Counter(edge.operation for cell in cells for node in cell for edge in node)
    assert "none" not in operations
    assert all(count / 8000 == pytest.approx(1 / 7, abs=0.02) for count in operations.values())


def test_weights_that_all_but_vanish_still_give_a_genotype() -> None:
    space = Space(nodes=4)
    weights = torch.zeros(space.edges, len(space.operations))
    weights[:, 0] = 1.0  # none takes everything
    assert len(sample(space, {"normal": weights, "reduction": weights}, generator()).normal) == 4


@pytest.mark.parametrize("bad", [-1.0, float("nan"), float("inf")])
def test_impossible_weights_are_refused(bad: float) -> None:
    space = Space(nodes=1)
    weights = torch.full((space.edges, len(space.operations)), bad)
    with pytest.raises(ValueError, match=r"strengths\.normal"):
        sample(space, {"normal": weights, "reduction": weights}, generator())


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.cells)
def test_children_take_every_node_from_a_parent(space: Space) -> None:
    draws = generator()
    first, second = uniform_sample(space, draws), uniform_sample(space, draws)
    children = [cross(first, second, draws) for _ in range(200)]
    for kind in space.kinds:
        for at in range(space.nodes):
            nodes = {getattr(child, kind)[at] for child in children}
            assert nodes == {getattr(first, kind)[at], getattr(second, kind)[at]}
    assert cross(first, first, draws) == first


def test_strangers_have_no_child() -> None:
    draws = generator()
    first = uniform_sample(Space(nodes=2), draws)
    for other in (Space(nodes=3), Space(nodes=2, cells="s2")):
        with pytest.raises(ValueError, match="no child"):
            cross(first, uniform_sample(other, draws), draws)

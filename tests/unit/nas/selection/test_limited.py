"""The strongest cells within a limit, against trying all of them."""

from collections.abc import Iterator
from itertools import combinations, product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from core.nas.derive import strongest
from core.nas.genotype import Cell, Edge, Genotype
from core.nas.network import Network, parameter_count
from core.nas.objectives import CostTable, parameter_costs
from core.nas.selection.limited import cheapest, strongest_within
from core.nas.space import Space

SMALL = (
    Space(nodes=2, cells="s2"),
    Space(nodes=2, cells="s3"),
    Space(nodes=2, cells="nas-bench-201"),
)
ROUNDED = 1 - 4 * 2 / 8192  # of the limit: what rounding may leave unused, of eight edges


def cells(space: Space) -> Iterator[Cell]:
    """All cells of one kind."""
    kept = space.cell.kept
    names = [n for n in space.operations if n != "none"]
    nodes = [
        [
            tuple(Edge(name, at) for name, at in zip(operations, sources, strict=True))
            for sources in combinations(range(space.sources(node)), kept or space.sources(node))
            for operations in product(names, repeat=len(sources))
        ]
        for node in range(space.nodes)
    ]
    return product(*nodes)


def genotypes(space: Space) -> Iterator[Genotype]:
    each = list(cells(space))
    for found in product(each, repeat=len(space.kinds)):
        yield Genotype(found[0], found[1] if len(found) > 1 else (), space.cells)


def worth(genotype: Genotype, strengths: dict[str, Tensor], space: Space) -> float:
    of = {"normal": genotype.normal, "reduction": genotype.reduction}
    return sum(
        float(strengths[kind][space.edge(node, e.source), space.operations.index(e.operation)])
        for kind in space.kinds
        for node, edges in enumerate(of[kind])
        for e in edges
    )


def drawn(space: Space, seed: int) -> tuple[dict[str, Tensor], CostTable]:
    """Weights and costs; some operations are free, as pooling is."""
    generator = torch.Generator().manual_seed(seed)
    shape = space.edges, len(space.operations)
    strengths = {k: torch.rand(shape, generator=generator).softmax(-1) for k in space.kinds}
    costs = {
        kind: tuple(
            tuple(float(each) for each in row)
            for row in torch.randint(0, 5, shape, generator=generator) * 100
        )
        for kind in space.kinds
    }
    return strengths, CostTable(space, 50.0, costs)


@pytest.mark.parametrize("space", SMALL, ids=lambda each: each.cells)
@given(seed=st.integers(0, 10_000), share=st.floats(0, 1), skips=st.none() | st.integers(0, 3))
def test_no_other_cells_within_the_limit_are_stronger(
    space: Space, seed: int, share: float, skips: int | None
) -> None:
    strengths, costs = drawn(space, seed)
    allowed = [g for g in genotypes(space) if skips is None or g.skip_count <= skips]
    low, high = (f(costs.cost(g) for g in allowed) for f in (min, max))
    assert costs.cost(cheapest(costs, max_skips=skips)) == low
    most = low + share * (high - low)
    fitting = [g for g in allowed if costs.cost(g) <= 50 + ROUNDED * (most - 50)]
    found = strongest_within(strengths, costs, most, max_skips=skips)
    assert costs.cost(found) <= most
    assert skips is None or found.skip_count <= skips
    best = max((worth(g, strengths, space) for g in fitting), default=0.0)
    assert worth(found, strengths, space) >= best - 1e-9


@pytest.mark.parametrize("cell_space", ["darts", "s2", "s3"])
def test_without_a_limit_that_binds_it_is_the_derived_one(cell_space: str) -> None:
    space = Space(channels=4, layers=3, nodes=4, cells=cell_space)
    costs = parameter_costs(space, 3)
    for seed in range(5):
        strengths, _ = drawn(space, seed)
        assert strongest_within(strengths, costs, 1e9) == strongest(space, strengths)


@pytest.mark.parametrize("partial", [1, 2])
def test_the_network_has_no_more_parameters_than_the_limit(partial: int) -> None:
    space = Space(channels=4, layers=3, nodes=4, partial=partial)
    costs, generator = parameter_costs(space, 3), torch.Generator().manual_seed(0)
    strengths, _ = drawn(space, 0)
    smallest = cheapest(costs, max_skips=2)
    whole, least = (costs.cost(g) for g in (strongest(space, strengths), smallest))
    for share in (0.0, 0.2, 0.7):
        most = least + share * (whole - least)
        genotype = strongest_within(strengths, costs, most, max_skips=2)
        size = parameter_count(Network(space, genotype, 3, generator))
        assert size == costs.cost(genotype) <= most
        assert genotype.skip_count <= 2
    for most in (least - 1, 1):
        with pytest.raises(ValueError, match=f"less than the {least:g} of"):
            strongest_within(strengths, costs, most, max_skips=2)


def test_ties_go_to_the_lower_source_and_the_earlier_operation() -> None:
    space = Space(channels=4, layers=3, nodes=3)
    alike = torch.ones(space.edges, len(space.operations))
    strengths = dict.fromkeys(space.kinds, alike)
    found = strongest_within(strengths, parameter_costs(space, 3), 1e9)
    assert found == strongest(space, strengths)
    assert {(e.source, e.operation) for node in found.normal for e in node} == {
        (0, "max_pool_3x3"), (1, "max_pool_3x3"),
    }  # fmt: skip


def test_where_edges_may_be_empty_none_is_and_the_output_hangs_on_the_input() -> None:
    """Though nothing is cheaper than ``none``, and nothing stronger."""
    space = Space(channels=4, layers=3, nodes=3, cells="nas-bench-201")
    costs, strengths = parameter_costs(space, 3), {"normal": torch.rand(space.edges, 5)}
    strengths["normal"][:, space.operations.index("none")] = 2.0
    least = cheapest(costs, max_skips=2)
    for found in (least, strongest_within(strengths, costs, costs.cost(least), max_skips=2)):
        assert found.skip_count <= 2
        assert "none" not in {edge.operation for node in found.normal for edge in node}


def test_weights_that_are_no_numbers_are_refused() -> None:
    space = SMALL[0]
    strengths, costs = drawn(space, 0)
    strengths["normal"][0, 0] = float("nan")
    with pytest.raises(ValueError, match="not finite"):
        strongest_within(strengths, costs, 1e9)

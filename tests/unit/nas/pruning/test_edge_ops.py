"""Operations on edges: the cost of a genotype's mask is the genotype's, and cells are whole."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from core.nas.derive import strongest
from core.nas.genotype import Genotype
from core.nas.images import LabelledImages
from core.nas.network import inherit
from core.nas.normalisation import reestimate
from core.nas.objectives import parameter_costs
from core.nas.pruning.components import by_group
from core.nas.pruning.edge_ops import EdgeComponents
from core.nas.pruning.subset import search
from core.nas.pruning.subset_config import SubsetConfig
from core.nas.space import Space
from core.nas.supernet import Supernet

BENCH = Space(channels=2, layers=3, nodes=3, input_channels=1, cells="nas-bench-201")


def components(space: Space, seed: int = 0) -> EdgeComponents:
    supernet = Supernet(space, 10, torch.Generator().manual_seed(seed))
    return EdgeComponents(supernet, parameter_costs(space, 10))


def scores(edges: EdgeComponents, seed: int) -> Tensor:
    return torch.randn(edges.count, generator=torch.Generator().manual_seed(seed))


def test_whole_costs_one_and_a_genotype_what_it_costs(space: Space, genotype: Genotype) -> None:
    edges = components(space)
    assert float(edges.cost(torch.ones(edges.count))) == pytest.approx(1)
    cost = float(edges.cost(edges.mask(genotype))) * edges.whole
    assert cost == pytest.approx(edges.costs.cost(genotype))


def test_a_masked_supernet_computes_what_its_genotype_does(
    space: Space, digits: LabelledImages
) -> None:
    edges = components(space)
    mask = edges.feasible(scores(edges, 1))
    edges.put(mask.float())
    batch = digits.normalise(digits.images[:40])
    reestimate(edges.model, [(batch, digits.labels[:40])])
    network = inherit(edges.model, edges.genotype(scores(edges, 1))).eval()
    with torch.no_grad():
        assert torch.allclose(edges.model.eval()(batch), network(batch), atol=1e-5)


def test_a_node_keeps_its_best_edges_above_the_threshold_or_not(space: Space) -> None:
    edges = components(space)
    for shift in (-10.0, 0.0, 10.0):
        drawn = scores(edges, 2) + shift
        genotype = edges.genotype(drawn)
        parts = {k: v.view(space.edges, -1) for k, v in by_group(drawn, edges.sizes).items()}
        positive = {kind: part - drawn.min() for kind, part in parts.items()}
        assert genotype == strongest(space, positive)
        per_cell = [
            int(part.sum()) for part in by_group(edges.mask(genotype), edges.sizes).values()
        ]
        assert per_cell == [2 * space.nodes] * 2


def test_cells_with_empty_edges_lead_from_input_to_output() -> None:
    edges = components(BENCH)
    for seed in range(20):
        for shift in (-10.0, -1.0, 0.0):
            drawn = scores(edges, seed) + shift
            cell = edges.genotype(drawn).normal
            kept = {
                (n, e.source) for n, node in enumerate(cell) for e in node if e.operation != "none"
            }
            read = {source - 1 for _, source in kept} | {BENCH.nodes - 1}
            made = {node for node, _ in kept}
            # Whoever is read is made, and whoever is made is read: 0 is the cell's input.
            assert made == read - {-1}
            above = by_group(drawn, edges.sizes)["normal"].view(BENCH.edges, -1)[:, 1:] > 0
            if shift == -10.0:
                assert not above.any()
                assert len(kept) == len(made)  # no more than is needed


def test_the_best_genotype_that_fits_is_smaller_the_less_may_be_spent(space: Space) -> None:
    edges = components(space)
    drawn = scores(edges, 3)
    free = float(edges.cost(edges.feasible(drawn)))
    costs = [float(edges.cost(edges.fit(drawn, share * free))) for share in (1.0, 0.9, 0.8, 0.0)]
    assert costs[0] == free
    assert costs[1] <= 0.9 * free
    assert costs[2] <= 0.8 * free
    assert costs == sorted(costs, reverse=True)
    # Less than any genotype costs: the smallest, whose operations have no weights.
    mask = edges.fit(drawn, 0.0)
    free_of_charge = edges.feasible(
        drawn
        - 1e9
        * torch.cat(
            [torch.tensor(edges.costs.edges[kind]).flatten() for kind in edges.sizes]
        ).double()
    )
    assert float(edges.cost(mask)) == float(edges.cost(free_of_charge))


def test_a_price_ends_in_cheap_operations(digits: LabelledImages) -> None:
    space = Space(channels=2, layers=3, nodes=2, input_channels=1)
    halves = digits.take(torch.arange(40)).halves(0)
    config = SubsetConfig(epochs=2, batch_size=20, theta_spread=0.0, rest=0.0, gamma=1e4)
    edges = components(space)
    cost = search(edges, *halves, config).cost
    assert cost == pytest.approx(float(edges.cost(edges.fit(scores(edges, 0), 0.0))))


def test_partial_channels_are_refused() -> None:
    space = Space(channels=4, layers=3, nodes=2, partial=2)
    with pytest.raises(ValueError, match="partial"):
        components(space)

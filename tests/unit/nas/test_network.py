"""The derived network is the supernet with one-hot mixtures, and derivation reads the alphas."""

from __future__ import annotations

import pytest
import torch

from core.nas.derive import derive, mean_entropy, strongest
from core.nas.genotype import Edge, Genotype
from core.nas.network import Network, flops, inherit, parameter_count, unfold
from core.nas.operations import PackedConvolution
from core.nas.space import Space
from core.nas.supernet import Supernet


def decided(space: Space, genotype: Genotype, *, training: bool) -> Supernet:
    """A supernet whose mixtures are one-hot: the genotype's operations, ``none`` elsewhere."""
    supernet = Supernet(space, 5, torch.Generator().manual_seed(3)).double().train(training)
    torch.manual_seed(4)
    with torch.no_grad():
        for name, buffer in supernet.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_()
            elif name.endswith("running_var"):
                buffer.uniform_(0.5, 2)
        cells = {"normal": genotype.normal, "reduction": genotype.reduction}
        for kind, alphas in supernet.alphas().items():
            alphas.fill_(-1e4)
            alphas[:, 0] = 1e3
            for node, edges in enumerate(cells[kind]):
                for edge in edges:
                    column = space.operations.index(edge.operation)
                    alphas[space.edge(node, edge.source), column] = 1e4
    return supernet


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("size", [8, 9])
def test_inherited_network_computes_what_the_decided_supernet_does(
    space: Space, genotype: Genotype, training: bool, size: int
) -> None:
    supernet = decided(space, genotype, training=training)
    network = inherit(supernet, genotype)
    assert network.training is training
    images = torch.randn(6, 1, size, size, dtype=torch.float64)
    expected, got = supernet(images), network(images)
    assert (expected - got).abs().max() <= 1e-10 * expected.abs().max()
    assert derive(supernet) == genotype


@pytest.mark.parametrize(
    "space",
    [
        Space(channels=4, layers=4, nodes=2, input_channels=1, cells="s3", stem_stride=2),
        Space(channels=2, layers=5, nodes=3, input_channels=1, cells="nas-bench-201"),
    ],
)
def test_in_every_cell_space_it_computes_what_the_decided_supernet_does(space: Space) -> None:
    generator = torch.Generator().manual_seed(1)
    weights = {kind: torch.rand(space.edges, len(space.operations)) for kind in space.kinds}
    for each in weights.values():
        each.uniform_(generator=generator)
    genotype = strongest(space, weights)
    supernet = decided(space, genotype, training=False)
    images = torch.randn(3, 1, 12, 12, dtype=torch.float64)
    expected, got = supernet(images), inherit(supernet, genotype)(images)
    assert (expected - got).abs().max() <= 1e-10 * expected.abs().max()
    assert derive(supernet) == genotype


def test_from_partial_channels_it_inherits_what_fits() -> None:
    space = Space(channels=8, layers=3, nodes=2, partial=4)
    supernet = Supernet(space, 4, torch.Generator().manual_seed(0))
    network = inherit(supernet, derive(supernet))
    kept, new = supernet.state_dict(), network.state_dict()
    for name in ("stem", "cells.1.preprocess.0.weight", "classifier.weight"):
        assert torch.equal(kept[name], new[name])
    assert network(torch.randn(2, 3, 8, 8)).shape == (2, 4)


def test_partial_channels_weigh_edges_by_betas(genotype: Genotype) -> None:
    space = Space(channels=8, layers=3, partial=2)
    supernet = Supernet(space, 4, torch.Generator().manual_seed(0))
    with torch.no_grad():
        for alphas in supernet.alphas().values():
            alphas.zero_()
            alphas[:, 4] = 1.0
        for betas in supernet.betas().values():
            betas.zero_()
            betas[space.edge(3, 1)] = betas[space.edge(3, 4)] = 2.0
    assert [edge.source for edge in derive(supernet).normal[3]] == [1, 4]


def test_inheriting_shares_no_memory(space: Space, genotype: Genotype) -> None:
    supernet = decided(space, genotype, training=True)
    network = inherit(supernet, genotype)
    before = supernet.state_dict()["stem"].clone()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    assert torch.equal(supernet.state_dict()["stem"], before)


def test_derivation_keeps_the_two_strongest_edges_and_never_none(space: Space) -> None:
    supernet = Supernet(space, 5, torch.Generator().manual_seed(0))
    with torch.no_grad():
        supernet.alphas_normal.zero_()
        supernet.alphas_normal[:, 0] = 5.0  # none dominates everywhere
        supernet.alphas_normal[space.edge(3, 4), 6] = 4.0
        supernet.alphas_normal[space.edge(3, 2), 2] = 3.0
        supernet.alphas_normal[space.edge(3, 0), 5] = 2.0
    node = derive(supernet).normal[3]
    assert [(e.operation, e.source) for e in node] == [("avg_pool_3x3", 2), ("dil_conv_3x3", 4)]
    with torch.no_grad():
        supernet.alphas_normal[0, 0] = float("nan")
    with pytest.raises(ValueError, match="not finite"):
        derive(supernet)


def test_entropy() -> None:
    assert mean_entropy(torch.zeros(3, 8)) == pytest.approx(torch.tensor(8.0).log().item())
    assert mean_entropy(torch.tensor([[1e4] + [0.0] * 7])) == 0


def test_genotype_and_space_must_agree(genotype: Genotype) -> None:
    with pytest.raises(ValueError, match="4 nodes, but the space has 3"):
        Network(Space(channels=2, layers=3, nodes=3), genotype, 2, torch.Generator())


def test_costs_are_the_sums_over_operations() -> None:
    cell = ((Edge("skip_connect", 0), Edge("sep_conv_3x3", 1)),)
    genotype = Genotype(normal=cell, reduction=cell)
    space = Space(channels=2, layers=3, nodes=1, stem_multiplier=1, input_channels=1)
    network = Network(space, genotype, 5, torch.Generator().manual_seed(0))
    # Cells of width 2, 4 (reduction), 8 (reduction) at 8, 4 and 2 pixels; inputs 2 2, 2 2, 2 4.
    stem = 9 * 2
    first = 2 * 2 + 2 * 2 + 2 * (9 * 2 + 4)
    second = 2 * 4 + 2 * 4 + 4 * 4 + 2 * (9 * 4 + 16)
    third = 2 * 8 + 4 * 8 + 8 * 8 + 2 * (9 * 8 + 64)
    norms = 2 * (2 + 4 * 2 + 5 * 4 + 5 * 8)
    assert parameter_count(network) == stem + first + second + third + norms + 5 * 8 + 5
    # A factorised reduction runs as a 2x2 kernel, four times its weights.
    work = 64 * (stem + first) + 64 * (8 + 8) + 16 * (4 * 16 + 2 * (9 * 4 + 16))
    work += 16 * (4 * 16) + 16 * 32 + 4 * (4 * 64 + 2 * (9 * 8 + 64))
    assert flops(network, 8) == work + 5 * 8


def test_unfolding_keeps_the_function(space: Space, genotype: Genotype) -> None:
    network = Network(space, genotype, 3, torch.Generator().manual_seed(0)).double().eval()
    images = torch.randn(3, 1, 8, 8, dtype=torch.float64)
    convolutions = [m for m in network.modules() if isinstance(m, PackedConvolution)]
    assert any(m.folds(images) for m in convolutions)
    assert not any(
        m.folds(images) for m in unfold(network).modules() if isinstance(m, PackedConvolution)
    )
    assert (network(images) - unfold(network)(images)).abs().max() < 1e-12


def test_drop_path_scales_survivors_and_only_in_training(space: Space, genotype: Genotype) -> None:
    network = Network(space, genotype, 3, torch.Generator().manual_seed(0))
    images = torch.randn(4, 1, 8, 8)
    plain = network.eval()(images)
    network.drop_path = 0.5
    assert torch.equal(network(images), plain)
    network.train()
    network.path_generator = torch.Generator().manual_seed(1)
    first = network(images)
    network.path_generator = torch.Generator().manual_seed(1)
    assert torch.equal(network(images), first)
    assert not torch.equal(network(images), first)

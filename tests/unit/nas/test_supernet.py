"""The packed supernet is the textbook one: same function, gradients and parameter count."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.nas.genotype import Genotype
from core.nas.network import inherit
from core.nas.normalisation import ScaledBatchNorm
from core.nas.space import Space
from core.nas.supernet import Supernet, outgoing_rows
from tests.unit.nas.plain_darts import PlainCell, PlainDarts, pack, packed_gradients

# Four nodes; five layers, so that normal cells follow each other; widths on both sides of every
# choice between dense and depthwise; maps smaller than the kernels.
CASES = [
    (Space(channels=2, layers=3, input_channels=1), 3, 8),
    (Space(channels=2, layers=5, nodes=2, stem_multiplier=2), 5, 4),
    (Space(channels=10, layers=3, nodes=1, input_channels=2), 2, 4),
    (Space(channels=4, layers=3, nodes=2, cells="s2"), 3, 8),
    (Space(channels=2, layers=4, nodes=3, cells="s3", stem_stride=2), 2, 16),
    (Space(channels=4, layers=5, nodes=3, cells="nas-bench-201"), 3, 9),
    (Space(channels=8, layers=3, nodes=2, partial=4, input_channels=1), 3, 8),
    (Space(channels=4, layers=3, nodes=3, partial=2, stem_stride=8), 2, 32),
]


def architecture(plain: PlainDarts) -> list[Tensor]:
    return [p for name, p in plain.named_parameters() if name.startswith(("alphas_", "betas_"))]


def plain_network(space: Space, seed: int = 0) -> PlainDarts:
    torch.manual_seed(seed)
    plain = PlainDarts(space, 6).double()
    with torch.no_grad():
        for parameter in architecture(plain):
            parameter.mul_(1000)  # unequal mixtures: a swapped edge must show
        for name, buffer in plain.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_()
            elif name.endswith("running_var"):
                buffer.uniform_(0.5, 2)
    # One statistic per pooled state in the packed network; one per edge here, equal in any run.
    pools = [at for at, name in enumerate(space.operations) if "pool" in name]
    for cell in plain.cells:
        if not isinstance(cell, PlainCell):
            continue
        for rows in outgoing_rows(space):
            first, *others = (cell.edges[row] for row in rows)
            for edge in others:
                for pool in pools:
                    edge.operations[pool].load_state_dict(first.operations[pool].state_dict())
    return plain


@pytest.mark.parametrize("convolutions", ["dense", "depthwise", "auto"])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("space", "batch", "size"), CASES)
def test_equals_the_textbook_network(
    space: Space, batch: int, size: int, training: bool, convolutions: str
) -> None:
    plain = plain_network(space).train(training)
    packed = pack(plain, convolutions=convolutions)
    torch.manual_seed(1)
    images = torch.randn(batch, space.input_channels, size, size, dtype=torch.float64)
    labels = torch.arange(batch) % 6
    expected, got = plain(images), packed(images)
    assert (expected - got).abs().max() <= 1e-12 * max(1.0, expected.abs().max().item())
    F.cross_entropy(expected, labels).backward()
    F.cross_entropy(got, labels).backward()
    wanted = packed_gradients(plain)
    for name, parameter in packed.named_parameters():
        assert parameter.grad is not None, name
        scale = wanted[name].abs().max()
        assert (wanted[name] - parameter.grad).abs().max() <= 1e-10 * scale + 1e-15, name


@pytest.mark.parametrize(("space", "batch", "size"), CASES)
def test_statistics_follow_the_textbook_network(space: Space, batch: int, size: int) -> None:
    plain = plain_network(space)
    packed = pack(plain)
    images = torch.randn(batch, space.input_channels, size, size, dtype=torch.float64)
    plain(images)
    packed(images)
    plain.eval()
    packed.eval()
    assert (plain(images) - packed(images)).abs().max() <= 1e-11


@pytest.mark.parametrize("convolutions", ["auto", "depthwise"])
@pytest.mark.parametrize(("space", "batch", "size"), CASES)
def test_maps_computed_again_change_no_bit(
    space: Space, batch: int, size: int, convolutions: str
) -> None:
    plain = plain_network(space)
    images = torch.randn(batch, space.input_channels, size, size, dtype=torch.float64)
    labels = torch.arange(batch) % 6
    kept, found = [], []
    for recompute in (False, True):
        packed = pack(plain, convolutions=convolutions)
        packed.recompute(recompute)
        sizes: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda tensor, sizes=sizes: sizes.append(tensor.numel()) or tensor,
            lambda tensor: tensor,
        ):
            loss = F.cross_entropy(packed(images), labels)
        loss.backward()
        kept.append(sum(sizes))
        gradients = [p.grad for p in packed.parameters()]
        found.append([loss, *gradients, *packed.buffers()])  # running statistics moved once
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
    assert kept[1] < kept[0]


@pytest.mark.parametrize(("space", "batch", "size"), CASES)
def test_parameter_count_is_the_textbook_one(space: Space, batch: int, size: int) -> None:
    plain = PlainDarts(space, 6)
    packed = Supernet(space, 6, torch.Generator().manual_seed(0))
    assert sum(p.numel() for p in packed.parameters()) == sum(
        p.numel() for p in plain.parameters()
    )
    assert sum(p.numel() for p in packed.weight_parameters()) == sum(
        p.numel()
        for name, p in plain.named_parameters()
        if not name.startswith(("alphas_", "betas_"))
    )


def test_initial_weights_are_distributed_as_the_textbook_ones() -> None:
    space = Space(channels=16, layers=3, input_channels=3)
    torch.manual_seed(0)
    from_torch = pack(PlainDarts(space, 10))
    ours = Supernet(space, 10, torch.Generator().manual_seed(0))
    for (name, a), (_, b) in zip(
        from_torch.named_parameters(), ours.named_parameters(), strict=True
    ):
        if a.numel() > 500:
            assert a.std().item() == pytest.approx(b.std().item(), rel=0.1), name


def test_the_seed_decides_the_weights() -> None:
    space = Space(channels=2, layers=3)
    networks = [Supernet(space, 3, torch.Generator().manual_seed(s)) for s in (1, 1, 2)]
    first, same, other = (n.state_dict()["stem"] for n in networks)
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("size", [5, 7, 9, 13])
def test_odd_sizes_pass(size: int) -> None:
    space = Space(channels=2, layers=3)
    network = Supernet(space, 3, torch.Generator().manual_seed(0))
    assert network(torch.randn(4, 3, size, size)).shape == (4, 3)
    assert network.features(torch.randn(4, 3, size, size)).shape == (4, space.feature_channels)


def test_alphas_are_in_the_state_and_apart_from_the_weights() -> None:
    network = Supernet(Space(channels=2, layers=3), 3, torch.Generator().manual_seed(0))
    state = network.state_dict()
    assert state["alphas_normal"].shape == state["alphas_reduction"].shape == (14, 8)
    weights = {id(p) for p in network.weight_parameters()}
    alphas = {id(p) for p in network.alpha_parameters()}
    assert not weights & alphas
    assert weights | alphas == {id(p) for p in network.parameters()}


def test_gradients_reach_normalisation_in_the_layout_of_its_input(
    space: Space, genotype: Genotype
) -> None:
    # Otherwise torch's backward kernel is up to thirty times slower.
    supernet = Supernet(space, 3, torch.Generator().manual_seed(0))
    for network in (supernet, inherit(supernet, genotype)):
        slow: list[str] = []

        def watch(name: str, slow: list[str], maps: Tensor) -> None:
            def check(gradient: Tensor) -> None:
                if not gradient.is_contiguous(memory_format=torch.channels_last):
                    slow.append(name)

            maps.register_hook(check)

        for name, module in network.named_modules():
            if isinstance(module, ScaledBatchNorm | nn.BatchNorm2d):
                module.register_forward_hook(
                    lambda _module, _inputs, maps, name=name, slow=slow: watch(name, slow, maps)
                )
        F.cross_entropy(network(torch.randn(4, 1, 8, 8)), torch.zeros(4).long()).backward()
        assert slow == []

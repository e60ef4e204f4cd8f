"""Re-estimated running statistics are the statistics."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from core.nas.genotype import Genotype
from core.nas.images import LabelledImages, epoch_generator
from core.nas.network import Network
from core.nas.normalisation import ScaledBatchNorm, reestimate
from core.nas.space import Space
from core.nas.supernet import Supernet


def test_running_statistics_become_the_average_of_the_batches(
    digits: LabelledImages, space: Space
) -> None:
    network = Supernet(space, 10, torch.Generator().manual_seed(0)).double().eval()
    network.stem_norm.running_mean.fill_(1e6)  # what was there must not shine through
    network.cells[0].preprocess[0].norm.running_var.fill_(1e6)
    few = digits.sample(100, epoch_generator(0, 0))
    batches = [(images.double(), labels) for images, labels in few.batches(33)]
    reestimate(network, batches)
    maps = [F.conv2d(images, network.stem, padding=1) for images, _ in batches]
    share = [len(m) / 100 for m in maps]
    mean = sum(s * m.mean(dim=(0, 2, 3)) for s, m in zip(share, maps, strict=True))
    var = sum(
        s * m.transpose(0, 1).flatten(1).var(dim=1) for s, m in zip(share, maps, strict=True)
    )
    assert torch.allclose(network.stem_norm.running_mean, mean, rtol=1e-12, atol=1e-12)
    assert torch.allclose(network.stem_norm.running_var, var, rtol=1e-12, atol=1e-12)
    assert network.cells[0].preprocess[0].norm.running_var.max() < 100


def test_evaluation_then_equals_training_on_one_batch(
    digits: LabelledImages, space: Space
) -> None:
    network = Supernet(space, 10, torch.Generator().manual_seed(0)).double()
    (images, labels), *_ = digits.batches(300)
    images = images.double()
    expected = network(images)
    reestimate(network, [(images, labels)])
    # Running variances are unbiased, batch variances are not: 1 / (N h w) apart.
    assert (network.eval()(images) - expected).abs().max() < 0.01


def test_mode_momentum_weights_and_gradients_stay(digits: LabelledImages, space: Space) -> None:
    network = Supernet(space, 10, torch.Generator().manual_seed(0)).eval()
    before = [p.detach().clone() for p in network.parameters()]
    reestimate(network, digits.batches(600))
    assert not network.training
    assert network.stem_norm.momentum == 0.1
    assert all(p.grad is None for p in network.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))


def test_statistics_are_those_of_the_whole_network_not_of_dropped_paths(
    digits: LabelledImages, space: Space, genotype: Genotype
) -> None:
    network = Network(space, genotype, 10, torch.Generator().manual_seed(0))
    states = []
    for chance in (0.0, 0.5):
        network.drop_path = chance
        reestimate(network, digits.batches(300))
        states.append({name: value.clone() for name, value in network.state_dict().items()})
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_no_images_are_refused(space: Space) -> None:
    with pytest.raises(ValueError, match="no images"):
        reestimate(Supernet(space, 2, torch.Generator()), [])


def test_the_scale_is_an_argument() -> None:
    torch.manual_seed(0)
    maps, scale = torch.randn(5, 3, 4, 4), torch.tensor([0.5, 2.0, 0.0])
    norm = ScaledBatchNorm(3)
    assert torch.allclose(norm(maps, scale), norm(maps) * scale[:, None, None], atol=1e-6)

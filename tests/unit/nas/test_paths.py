"""A path is the derived network on the supernet's own weights, and learns from the mixture."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from core.nas.genotype import Genotype
from core.nas.loop import gradients
from core.nas.network import inherit
from core.nas.optimisers import Momentum
from core.nas.paths import Path, sandwich_loss
from core.nas.selection.variation import uniform_sample
from core.nas.space import Space
from core.nas.supernet import Supernet


def drawn(space: Space) -> Supernet:
    return Supernet(space, 5, torch.Generator().manual_seed(3)).double()


@pytest.fixture
def images() -> torch.Tensor:
    generator = torch.Generator().manual_seed(4)
    return torch.randn(6, 1, 8, 8, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("cells", ["darts", "s3", "nas-bench-201"])
def test_a_path_computes_what_its_derived_network_does(cells: str, images: torch.Tensor) -> None:
    space = Space(channels=2, layers=3, nodes=3, input_channels=1, cells=cells)
    supernet = drawn(space)
    genotype = uniform_sample(space, torch.Generator().manual_seed(5))
    statistics = {n: b.clone() for n, b in supernet.named_buffers()}
    logits = Path(supernet, genotype)(images)
    torch.testing.assert_close(logits, inherit(supernet, genotype)(images), rtol=0, atol=1e-12)
    for name, buffer in supernet.named_buffers():
        assert torch.equal(buffer, statistics[name]), name


def test_its_gradients_are_those_of_the_derived_network(
    space: Space, genotype: Genotype, images: torch.Tensor
) -> None:
    supernet, labels = drawn(space), torch.arange(6) % 5
    name = "cells.0.states.0.convolutions.sep_conv_5x5.pointwise"
    packed = supernet.get_parameter(name)
    (found,) = gradients(F.cross_entropy(Path(supernet, genotype)(images), labels), [packed])
    network = inherit(supernet, genotype)
    single = network.get_parameter("cells.0.operations.0.pointwise")  # sep_conv_5x5 of state 0
    (expected,) = gradients(F.cross_entropy(network(images), labels), [single])
    assert found is not None
    assert expected is not None
    torch.testing.assert_close(found[:, :1], expected, rtol=1e-10, atol=1e-14)
    assert not found[:, 1:].any()  # the edges that the genotype left out
    assert expected.any()


def test_without_paths_the_sandwich_is_plain_cross_entropy(
    space: Space, images: torch.Tensor
) -> None:
    supernet, labels = drawn(space), torch.arange(6) % 5
    loss, logits = sandwich_loss(supernet, images, labels, [])
    assert torch.equal(loss, F.cross_entropy(logits, labels))


def test_paths_learn_the_mixtures_answers_and_do_not_move_them(
    space: Space, genotype: Genotype, images: torch.Tensor
) -> None:
    supernet, labels = drawn(space), torch.arange(6) % 5
    whole, logits = sandwich_loss(supernet, images, labels, [genotype, genotype])
    told = whole - F.cross_entropy(logits, labels)
    answers = logits.detach().softmax(dim=1)
    expected = -(answers * Path(supernet, genotype)(images).log_softmax(dim=1)).sum(1).mean()
    torch.testing.assert_close(told, expected)
    (alphas,) = gradients(whole, [supernet.alphas()["normal"]])
    (plain,) = gradients(
        sandwich_loss(supernet, images, labels, [])[0], [supernet.alphas()["normal"]]
    )
    torch.testing.assert_close(alphas, plain)


@pytest.mark.slow
def test_paths_come_nearer_to_the_mixture(space: Space, genotype: Genotype) -> None:
    """Descending the sandwich brings a path's answers to the mixture's."""
    generator = torch.Generator().manual_seed(6)
    images = torch.randn(20, 1, 8, 8, generator=generator, dtype=torch.float64)
    labels = torch.arange(20) % 5

    def distance(genotypes: list[Genotype]) -> float:
        supernet = drawn(space)
        descent = Momentum(supernet.weight_parameters())
        for _ in range(25):
            loss, _ = sandwich_loss(supernet, images, labels, genotypes)
            found = gradients(loss, descent.parameters)
            descent.step(found, rate=0.05, momentum=0.9, weight_decay=0.0, clip=5.0)
        answers = supernet(images).log_softmax(dim=1)
        path = Path(supernet, genotype)(images).log_softmax(dim=1)
        return F.kl_div(path, answers, log_target=True, reduction="batchmean").item()

    assert distance([genotype]) < 0.3 * distance([])


def test_partial_channels_have_no_paths(genotype: Genotype) -> None:
    space = Space(channels=8, layers=3, nodes=4, input_channels=1, partial=4)
    with pytest.raises(ValueError, match="partial channels"):
        Path(Supernet(space, 5, torch.Generator()), genotype)

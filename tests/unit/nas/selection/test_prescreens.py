"""Pre-screens against gradients written out; whatever is screened stays as it was."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from core.nas.images import LabelledImages
from core.nas.network import inherit
from core.nas.selection.best_of import Proposal
from core.nas.selection.prescreens import (
    PRESCREENS,
    fisher_rao,
    jacobian_correlation,
    screened,
)
from core.nas.selection.variation import uniform_sample
from core.nas.space import Space
from core.nas.supernet import Supernet

SPACE = Space(channels=2, layers=3, nodes=2, input_channels=1)
LABELS = torch.zeros(6, dtype=torch.long)


class Square(nn.Module):
    """Half the sum of squares: the slope at an image is the image."""

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1).square().sum(dim=1, keepdim=True) / 2


@pytest.fixture
def small() -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Conv2d(3, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 4)
    )
    return net.double()


@pytest.fixture
def images() -> Tensor:
    return torch.randn(6, 1, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def test_correlation_of_slopes(images: Tensor) -> None:
    values = np.linalg.eigvalsh(np.corrcoef(images.flatten(1).numpy()))
    expected = -sum(math.log(value + 1e-5) + 1 / (value + 1e-5) for value in values)
    assert jacobian_correlation(Square(), images, LABELS) == pytest.approx(expected)


def test_slopes_that_are_all_alike_score_least(images: Tensor) -> None:
    linear = nn.Sequential(nn.Flatten(), nn.Linear(36, 3)).double()
    expected = -(math.log(6) + 1 / 6 + 5 * (math.log(1e-5) + 1e5))
    assert jacobian_correlation(linear, images, LABELS) == pytest.approx(expected, rel=1e-4)


class Deaf(nn.Module):
    """Answers alike whatever it sees."""

    def forward(self, images: Tensor) -> Tensor:
        return images.new_ones(len(images), 4, requires_grad=True)


def test_a_network_without_slopes_has_no_score(images: Tensor) -> None:
    assert math.isnan(jacobian_correlation(Deaf(), images, LABELS))


def test_fisher_rao_norm_by_hand() -> None:
    torch.manual_seed(0)
    linear, draw = nn.Linear(5, 3).double(), torch.Generator().manual_seed(1)
    images = torch.randn(12, 5, dtype=torch.float64, generator=draw)
    labels = torch.randint(3, (12,), generator=draw)
    weight, bias = (each.detach().numpy() for each in (linear.weight, linear.bias))
    along = []
    for at in range(0, 12, 3):
        x, y = images[at : at + 3].numpy(), labels[at : at + 3].numpy()
        logits = x @ weight.T + bias
        chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        error = (chances - np.eye(3)[y]) / 3
        along.append((weight * (error.T @ x)).sum() + bias @ error.sum(axis=0))
    assert fisher_rao(linear, images, labels) == pytest.approx(np.mean(np.square(along)))


def test_normalised_weights_have_no_fisher_rao_norm() -> None:
    torch.manual_seed(0)
    first, last = nn.Linear(5, 6, bias=False), nn.Linear(6, 3)
    model = nn.Sequential(first, nn.BatchNorm1d(6, eps=1e-12, affine=False), last).double()
    images, labels = torch.randn(12, 5).double(), torch.arange(12) % 3
    whole = fisher_rao(model, images, labels)
    first.weight.requires_grad_(False)
    assert fisher_rao(model, images, labels) == pytest.approx(whole)
    assert whole > 0


@pytest.mark.parametrize("name", PRESCREENS)
def test_nothing_is_changed_and_seeds_repeat(name: str, digits: LabelledImages) -> None:
    supernet = Supernet(SPACE, 10, torch.Generator().manual_seed(0))
    draws = torch.Generator().manual_seed(1)
    proposed = [Proposal(uniform_sample(SPACE, draws), "sample") for _ in range(4)]
    before = {key: value.clone() for key, value in supernet.state_dict().items()}

    found, again, other = (
        list(screened(supernet, proposed, digits, PRESCREENS[name], seed=seed))
        for seed in (0, 0, 1)
    )

    assert [proposal for proposal, _ in found] == proposed
    scores = [score for _, score in found]
    assert all(map(math.isfinite, scores))
    assert len(set(scores)) == 4
    assert found == again
    assert found != other
    for key, value in supernet.state_dict().items():
        assert value.equal(before[key])
    assert all(parameter.grad is None for parameter in supernet.parameters())


def test_cells_are_screened_with_what_they_inherit(digits: LabelledImages) -> None:
    supernet = Supernet(SPACE, 10, torch.Generator().manual_seed(0))
    proposal = Proposal(uniform_sample(SPACE, torch.Generator().manual_seed(1)), "sample")
    seen = list[dict[str, Tensor]]()

    def prescreen(model: nn.Module, images: Tensor, labels: Tensor) -> float:
        assert model.training
        assert (len(images), len(labels)) == (64, 64)
        seen.append(dict(model.named_parameters()))
        return math.nan

    assert list(screened(supernet, [proposal], digits, prescreen, seed=0)) == [
        (proposal, -math.inf)
    ]
    inherited = dict(inherit(supernet, proposal.genotype).named_parameters())
    assert all(torch.equal(value, inherited[name]) for name, value in seen[0].items())


@pytest.mark.parametrize("name", PRESCREENS)
def test_order_of_images_does_not_matter(name: str, small: nn.Module, images: Tensor) -> None:
    labels = torch.tensor([0, 1, 2, 3, 0, 1])
    found = PRESCREENS[name](small, images, labels)
    order = torch.tensor([1, 0, 2, 3, 4, 5])
    assert PRESCREENS[name](small, images[order], labels[order]) == pytest.approx(found)

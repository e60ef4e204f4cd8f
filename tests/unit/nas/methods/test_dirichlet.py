"""DrNAS: draws on the simplex, their derivative that of the expectation, torch's divergence."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.distributions import Dirichlet as Reference
from torch.distributions import kl_divergence

from core.nas import methods
from core.nas.methods.dirichlet import concentration, divergence, sample
from core.nas.search import SearchConfig
from core.nas.space import Space
from core.nas.supernet import Supernet

PARAMETERS = torch.tensor([0.3, 1.0, 2.5, 4.0], dtype=torch.float64)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_draws_are_on_the_simplex_and_the_generators() -> None:
    rows = PARAMETERS.float().expand(1000, 4)
    drawn = sample(rows, seeded())
    assert (drawn >= 0).all()
    torch.testing.assert_close(drawn.sum(dim=-1), torch.ones(1000))
    assert torch.equal(drawn, sample(rows, seeded()))
    assert not torch.equal(drawn, sample(rows, seeded(1)))


def test_moments_are_the_distributions() -> None:
    drawn = sample(PARAMETERS.expand(200_000, 4), seeded())
    reference = Reference(PARAMETERS)
    torch.testing.assert_close(drawn.mean(dim=0), reference.mean, rtol=0.01, atol=0)
    torch.testing.assert_close(drawn.var(dim=0), reference.variance, rtol=0.02, atol=0)


def moment(parameters: Tensor) -> Tensor:
    """``E f`` in closed form for ``f(x) = x_0 x_3 + x_2^2``."""
    total = parameters.sum()
    first = parameters[0] * parameters[3] / (total * (total + 1))
    return first + parameters[2] * (parameters[2] + 1) / (total * (total + 1))


def test_the_gradient_is_that_of_the_expectation() -> None:
    parameters = PARAMETERS.clone().requires_grad_()
    drawn = sample(parameters.expand(400_000, 4), seeded())
    value = (drawn[:, 0] * drawn[:, 3] + drawn[:, 2] ** 2).mean()
    (got,) = torch.autograd.grad(value, parameters)
    step = 1e-5
    expected = torch.stack(
        [
            (moment(PARAMETERS + step * unit) - moment(PARAMETERS - step * unit)) / (2 * step)
            for unit in torch.eye(4, dtype=torch.float64)
        ]
    )
    torch.testing.assert_close(got, expected, rtol=0.02, atol=2e-4)


def test_divergence_from_the_symmetric_distribution() -> None:
    torch.manual_seed(0)
    parameters = 3 * torch.rand(5, 8, dtype=torch.float64) + 0.01
    expected = kl_divergence(Reference(parameters), Reference(torch.ones_like(parameters)))
    torch.testing.assert_close(divergence(parameters), expected)
    ones = torch.ones(2, 8, dtype=torch.float64)
    assert divergence(ones).abs().max() < 1e-12


def test_parameters_stay_positive() -> None:
    alphas = torch.tensor([[-200.0, -1.0, 0.0, 2.0]])
    got = concentration(alphas)[0]
    assert (got > 0).all()
    torch.testing.assert_close(got[1:], torch.tensor([torch.tensor(-1.0).exp().item(), 1.0, 3.0]))


def test_steps_draw_and_measuring_takes_the_mean() -> None:
    space = Space(channels=2, layers=3, nodes=1, input_channels=1, cells="s3")
    supernet = Supernet(space, 3, seeded())
    method = methods.create("drnas", supernet)
    method.begin(0, SearchConfig(epochs=2))
    alphas = supernet.alphas()["normal"]
    draws = [method.relax_alphas("normal", alphas) for _ in range(2)]
    assert not torch.equal(*draws)
    assert all(draw.requires_grad for draw in draws)
    assert not method.relax_weights("normal", alphas).requires_grad
    mean = Reference(concentration(alphas.detach())).mean
    torch.testing.assert_close(method.relax("normal", alphas.detach()), mean)
    torch.testing.assert_close(method.preference("normal", alphas.detach()), mean)


@pytest.mark.parametrize("sign", [-1, 1])
def test_the_anchor_draws_alphas_to_zero(sign: int) -> None:
    space = Space(channels=2, layers=3, nodes=1, input_channels=1, cells="s3")
    supernet = Supernet(space, 3, seeded())
    batch = torch.randn(4, 1, 8, 8, generator=seeded()), torch.arange(4) % 3
    with torch.no_grad():
        for alphas in supernet.alphas().values():
            alphas.fill_(sign)

    def gradient(anchor: float) -> Tensor:
        method = methods.create("drnas", supernet, anchor=anchor)
        method.begin(0, SearchConfig(epochs=1))
        supernet.relaxation = method.relax_alphas
        return torch.autograd.grad(method.loss(batch), supernet.alpha_parameters()[0])[0]

    assert (sign * (gradient(1.0) - gradient(0.0)) > 0).all()

"""The masks' gradient is the warm sigmoid's, whatever the cold forward pass computes."""

from __future__ import annotations

import pytest
import torch

from core.nas.pruning import relaxation


def test_the_gradient_is_the_surrogates() -> None:
    theta = torch.linspace(-3, 3, 13, dtype=torch.float64).requires_grad_()
    weight = torch.linspace(-1, 2, 13, dtype=torch.float64)
    cold = relaxation.masks(theta, cold=0.01, warm=0.7)
    (weight * cold).sum().backward()
    warm = torch.sigmoid(theta.detach() / 0.7)
    assert theta.grad is not None
    assert torch.allclose(theta.grad, weight * warm * (1 - warm) / 0.7, atol=0, rtol=1e-12)


def test_at_equal_temperatures_it_is_a_plain_sigmoid() -> None:
    theta = torch.linspace(-2, 2, 9, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda t: relaxation.masks(t, cold=0.5, warm=0.5), (theta,), atol=1e-8
    )


def test_the_cold_limit_is_a_step() -> None:
    theta = torch.tensor([-2.0, -1e-3, 1e-3, 2.0])
    assert relaxation.masks(theta, cold=1e-6, warm=1.0).tolist() == [0.0, 0.0, 1.0, 1.0]


def test_noisy_masks_are_as_likely_as_the_warm_ones_say() -> None:
    generator = torch.Generator().manual_seed(0)
    theta = torch.tensor([-1.0, 0.0, 2.0])
    draws = torch.stack(
        [
            relaxation.masks(theta, cold=1e-6, warm=0.8, noise=relaxation.logistic(3, generator))
            for _ in range(4000)
        ]
    )
    # Four standard errors of 4000 draws.
    assert torch.allclose(draws.mean(0), torch.sigmoid(theta / 0.8), atol=4 * 0.5 / 4000**0.5)


def test_noisy_gradients_average_to_the_derivative_of_the_mean_loss() -> None:
    """Of a loss that is linear in each mask, but not in all of them together."""
    generator = torch.Generator().manual_seed(1)
    theta = torch.tensor([0.5, -0.4], dtype=torch.float64).requires_grad_()
    total = torch.zeros(2, dtype=torch.float64)
    for _ in range(4000):
        noise = relaxation.logistic(2, generator).double()
        first, second = relaxation.masks(theta, cold=1e-6, warm=1.0, noise=noise)
        total += torch.autograd.grad(3 * first * second - second, theta)[0]
    chances = torch.sigmoid(theta)
    first, second = chances
    expected = torch.autograd.grad(3 * first * second - second, theta)[0]
    assert torch.allclose(total / 4000, expected, atol=0.03)


def test_parameters_stay_where_they_can_still_move() -> None:
    theta = torch.tensor([-9.0, 0.5, 9.0])
    relaxation.clip(theta, 0.2)
    assert theta.tolist() == [-1.0, 0.5, 1.0]


def test_the_warm_temperature_falls_to_the_cold_one() -> None:
    found = [relaxation.annealed(1.0, 0.01, at) for at in (-1.0, 0.0, 0.5, 1.0, 2.0)]
    assert found == pytest.approx([1.0, 1.0, 0.1, 0.01, 0.01])


@pytest.mark.parametrize(("cold", "warm"), [(0.0, 1.0), (1.0, 0.5)])
def test_temperatures_out_of_order_are_refused(cold: float, warm: float) -> None:
    with pytest.raises(ValueError, match="cold <= warm"):
        relaxation.masks(torch.zeros(1), cold=cold, warm=warm)

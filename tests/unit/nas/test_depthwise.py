"""The arranged backward passes are those of the ordinary convolution."""

from __future__ import annotations

import itertools

import pytest
import torch

from core.nas.depthwise import convolve, depthwise

# Even and odd sides, sides below the kernels', single pixels.
SIDES = [(1, 1), (1, 5), (2, 3), (3, 2), (4, 4), (5, 8), (8, 5), (9, 7)]


@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("width", [1, 3, 5])
def test_gradients_are_those_of_the_ordinary_convolution(
    width: int, stride: int, dilation: int
) -> None:
    torch.manual_seed(0)
    for (height, breadth), channels in itertools.product(SIDES, (1, 6)):
        maps = torch.randn(3, channels, height, breadth, dtype=torch.float64, requires_grad=True)
        kernels = torch.randn(channels, width, width, dtype=torch.float64, requires_grad=True)
        expected, got = (f(maps, kernels, stride, dilation) for f in (convolve, depthwise))
        assert torch.allclose(expected, got, rtol=0, atol=1e-12)
        arriving = torch.randn_like(expected)
        wanted = torch.autograd.grad(expected, [maps, kernels], arriving)
        found = torch.autograd.grad(got, [maps, kernels], arriving)
        for ours, theirs in zip(found, wanted, strict=True):
            assert (ours - theirs).abs().max() <= 1e-12, (height, breadth, channels)


def test_only_what_is_asked_for_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object) -> None:
        raise AssertionError("the kernels' gradient was not asked for")

    monkeypatch.setattr("core.nas.depthwise.kernel_gradient", forbidden)
    maps, kernels = torch.randn(2, 4, 6, 6, requires_grad=True), torch.randn(4, 3, 3)
    kernels.requires_grad_()
    (found,) = torch.autograd.grad(depthwise(maps, kernels, 1, 1).sum(), [maps])
    assert found.shape == maps.shape
    with pytest.raises(AssertionError, match="not asked for"):
        depthwise(maps, kernels, 1, 1).sum().backward()


def test_other_precisions_pass_through() -> None:
    maps, kernels = torch.randn(2, 4, 6, 6), torch.randn(4, 3, 3, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert depthwise(maps, kernels, 1, 1).dtype == torch.bfloat16


def test_second_derivatives_are_refused() -> None:
    maps, kernels = torch.randn(2, 4, 6, 6), torch.randn(4, 3, 3, requires_grad=True)
    loss = depthwise(maps, kernels, 1, 1).square().sum()
    (slope,) = torch.autograd.grad(loss, [kernels], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.sum().backward()

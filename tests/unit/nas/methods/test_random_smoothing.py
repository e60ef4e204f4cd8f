"""SDARTS-RS: noise in weight steps alone, bounded, of mean zero, growing."""

from __future__ import annotations

import pytest
import torch

from core.nas import methods
from core.nas.methods.random_smoothing import RandomSmoothing
from core.nas.search import SearchConfig
from core.nas.space import Space
from core.nas.supernet import Supernet


@pytest.fixture
def method() -> RandomSmoothing:
    space = Space(channels=2, layers=3, nodes=2, input_channels=1)
    supernet = Supernet(space, 3, torch.Generator().manual_seed(0))
    made = methods.create("sdarts-rs", supernet)
    assert isinstance(made, RandomSmoothing)
    return made


def test_only_weight_steps_are_noisy(method: RandomSmoothing) -> None:
    method.begin(0, SearchConfig(epochs=1))
    alphas = torch.randn(5, 8)
    plain = alphas.softmax(dim=-1)
    for calm in (method.relax, method.relax_alphas, method.preference):
        assert torch.equal(calm("normal", alphas), plain)
    first, second = (method.relax_weights("normal", alphas) for _ in range(2))
    assert not torch.equal(first, second)


def test_the_noise_is_uniform_about_zero(method: RandomSmoothing) -> None:
    method.begin(0, SearchConfig(epochs=1))
    alphas = torch.zeros(10_000, 8, dtype=torch.float64)
    noise = method.relax_weights("normal", alphas) - 1 / 8
    assert noise.abs().max() <= 0.03
    assert noise.abs().max() > 0.0299
    assert noise.mean().abs() < 4 * 0.03 / (3 * 80_000) ** 0.5  # four standard errors
    assert noise.std().item() == pytest.approx(0.03 / 3**0.5, rel=0.01)


def test_the_radius_grows_from_first_towards_last(method: RandomSmoothing) -> None:
    config = SearchConfig(epochs=50)
    radii = []
    for epoch in (0, 25, 49):
        method.begin(epoch, config)
        radii.append(method.radius)
    assert radii == pytest.approx([0.03, 0.165, 0.03 + 0.27 * 0.98])

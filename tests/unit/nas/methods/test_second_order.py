"""Second order in place equals the paper's recipe on copies of the textbook network."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.nas import methods
from core.nas.methods.base import Batch
from core.nas.optimisers import Momentum
from core.nas.search import SearchConfig
from core.nas.space import Space
from core.nas.supernet import Supernet
from tests.unit.nas.plain_darts import PlainDarts, pack, packed_gradients

CONFIG = SearchConfig(epochs=1, momentum=0.9, weight_decay=0.03)
RATE = 0.07
SPACE = Space(channels=2, layers=3, nodes=2, input_channels=1)


def slopes(model: nn.Module, batch: Batch) -> dict[str, Tensor]:
    """The gradient of the cross-entropy, by parameter."""
    images, labels = batch
    loss = F.cross_entropy(model(images), labels)
    return dict(
        zip(
            (name for name, _ in model.named_parameters()),
            torch.autograd.grad(loss, list(model.parameters())),
            strict=True,
        )
    )


def moved(model: nn.Module, steps: dict[str, Tensor], size: float) -> nn.Module:
    """A copy of the model whose weights, not its alphas, have gone along `steps`."""
    copied = deepcopy(model)
    with torch.no_grad():
        for name, parameter in copied.named_parameters():
            if not name.startswith("alphas_"):
                parameter += size * steps[name]
    return copied


def recipe(
    model: nn.Module, train: Batch, valid: Batch, velocity: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Liu et al. 2019, equations 7 and 8, with the momentum of the authors' code."""
    now = slopes(deepcopy(model), train)
    step = {
        name: CONFIG.momentum * velocity[name] + now[name] + CONFIG.weight_decay * parameter
        for name, parameter in model.named_parameters()
    }
    ahead = slopes(moved(model, step, -RATE), valid)
    direction = {name: g for name, g in ahead.items() if not name.startswith("alphas_")}
    norm = torch.cat([g.flatten() for g in direction.values()]).norm().item()
    epsilon = 0.01 / norm
    plus = slopes(moved(model, direction, epsilon), train)
    minus = slopes(moved(model, direction, -epsilon), train)
    return {
        name: ahead[name] - RATE * (plus[name] - minus[name]) / (2 * epsilon)
        for name in ahead
        if name.startswith("alphas_")
    }


def batch(seed: int, size: int = 8) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(5, 1, size, size, generator=generator, dtype=torch.float64)
    return images, torch.arange(5) % 3


@pytest.fixture(scope="module")
def plain() -> PlainDarts:
    torch.manual_seed(0)
    network = PlainDarts(SPACE, 3).double()
    with torch.no_grad():
        for alphas in (network.alphas_normal, network.alphas_reduction):
            alphas.mul_(1000)
    return network


def with_velocities(plain: PlainDarts) -> tuple[Supernet, Momentum, dict[str, Tensor]]:
    """The packed network, an optimiser under way, and the same velocities for the plain one."""
    torch.manual_seed(1)
    velocity = {name: 0.1 * torch.randn_like(p) for name, p in plain.named_parameters()}
    for name, parameter in plain.named_parameters():
        parameter.grad = velocity[name]
    packed = packed_gradients(plain)
    supernet = pack(plain)
    descent = Momentum(supernet.weight_parameters())
    names = {id(p): name for name, p in supernet.named_parameters()}
    for parameter, own in zip(descent.parameters, descent.velocities, strict=True):
        own.copy_(packed[names[id(parameter)]])
    return supernet, descent, velocity


def test_equals_the_recipe_on_copies(plain: PlainDarts) -> None:
    supernet, descent, velocity = with_velocities(plain)
    train, valid = batch(2), batch(3)
    wanted = recipe(plain, train, valid, velocity)
    method = methods.create("darts-second-order", supernet)
    got = method.gradients(train, valid, descent=descent, config=CONFIG, rate=RATE)
    first = methods.create("darts", supernet).gradients(
        train, valid, descent=descent, config=CONFIG, rate=RATE
    )
    for kind, gradient, plainer in zip(("normal", "reduction"), got, first, strict=True):
        assert gradient is not None
        assert plainer is not None
        expected = wanted[f"alphas_{kind}"]
        assert (gradient - expected).norm() <= 1e-10 * expected.norm()
        assert (gradient - plainer).norm() > 1e-2 * expected.norm()  # else nothing was tested


def test_leaves_weights_and_statistics_to_the_bit(plain: PlainDarts) -> None:
    supernet, descent, _ = with_velocities(plain)
    before = {name: value.clone() for name, value in supernet.state_dict().items()}
    velocities = [v.clone() for v in descent.velocities]
    method = methods.create("darts-second-order", supernet)
    method.gradients(batch(2), batch(3), descent=descent, config=CONFIG, rate=RATE)
    after = supernet.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(map(torch.equal, velocities, descent.velocities))


def test_weights_come_back_from_a_failed_pass(plain: PlainDarts) -> None:
    supernet, descent, _ = with_velocities(plain)
    before = {name: value.clone() for name, value in supernet.state_dict().items()}
    method = methods.create("darts-second-order", supernet)
    images, _ = batch(3)
    with pytest.raises(IndexError, match="out of bounds"):
        method.gradients(
            batch(2), (images, torch.full((5,), 7)), descent=descent, config=CONFIG, rate=RATE
        )
    after = supernet.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_without_a_rate_it_is_first_order(plain: PlainDarts) -> None:
    supernet, descent, _ = with_velocities(plain)
    train, valid = batch(2), batch(3)
    second, first = (
        methods.create(name, supernet).gradients(
            train, valid, descent=descent, config=CONFIG, rate=0.0
        )
        for name in ("darts-second-order", "darts")
    )
    for ours, plainer in zip(second, first, strict=True):
        assert ours is not None
        assert plainer is not None
        assert torch.equal(ours, plainer)

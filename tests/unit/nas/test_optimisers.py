"""Our optimisers take the steps of torch's."""

from __future__ import annotations

import torch

from core.nas.optimisers import Adam, Momentum


def pair() -> tuple[list[torch.nn.Parameter], list[torch.nn.Parameter]]:
    torch.manual_seed(0)
    shapes = [(3, 4), (5,), (2, 2, 2)]
    values = [torch.randn(shape, dtype=torch.float64) for shape in shapes]
    return tuple([torch.nn.Parameter(v.clone()) for v in values] for _ in range(2))


def test_momentum_equals_torch() -> None:
    ours, theirs = pair()
    reference = torch.optim.SGD(theirs, lr=0.1, momentum=0.9, weight_decay=3e-2)
    descent = Momentum(ours)
    for step in range(5):
        gradients = [torch.randn_like(p) * (3 - step) for p in theirs]
        for parameter, gradient in zip(theirs, gradients, strict=True):
            parameter.grad = gradient.clone()
        torch.nn.utils.clip_grad_norm_(theirs, 2.0)
        reference.step()
        descent.step(gradients, rate=0.1, momentum=0.9, weight_decay=3e-2, clip=2.0)
    for a, b in zip(ours, theirs, strict=True):
        assert torch.allclose(a, b, rtol=1e-13, atol=1e-14)


def test_adam_equals_torch() -> None:
    ours, theirs = pair()
    reference = torch.optim.Adam(theirs, lr=0.01, betas=Adam.BETAS, weight_decay=1e-3)
    adam = Adam(ours)
    for _ in range(5):
        gradients = [torch.randn_like(p) for p in theirs]
        for parameter, gradient in zip(theirs, gradients, strict=True):
            parameter.grad = gradient.clone()
        reference.step()
        adam.step(gradients, rate=0.01, weight_decay=1e-3)
    for a, b in zip(ours, theirs, strict=True):
        assert torch.allclose(a, b, rtol=1e-12, atol=1e-13)


def test_parameters_without_gradient_stay() -> None:
    ours, before = pair()
    Momentum(ours).step(
        [None, torch.ones_like(ours[1]), None], rate=1, momentum=0, weight_decay=1, clip=9
    )
    Momentum(ours).step([None] * 3, rate=1, momentum=0, weight_decay=1, clip=9)
    Adam(ours).step([None] * 3, rate=1, weight_decay=1)
    assert torch.equal(ours[0], before[0])
    assert torch.equal(ours[2], before[2])
    assert not torch.equal(ours[1], before[1])

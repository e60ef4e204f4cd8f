"""bf16 keeps statistics and losses in fp32; deterministic runs repeat and are strict."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from core.nas.genotype import Genotype
from core.nas.network import Network
from core.nas.precision import autocast, deterministic, require, widened
from core.nas.space import Space

CPU = torch.device("cpu")


def test_maps_are_bf16_statistics_losses_and_gradients_are_not(
    space: Space, genotype: Genotype
) -> None:
    network = Network(space, genotype, 10, torch.Generator().manual_seed(0))
    images = torch.randn(32, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    kept: list[torch.Tensor] = []
    hook = network.stem_norm.register_forward_hook(lambda _m, inputs, _o: kept.append(inputs[0]))
    with autocast("bf16", CPU):
        logits = network(images)
        loss = F.cross_entropy(widened(logits), torch.arange(32) % 10)
    hook.remove()
    (maps,) = kept
    assert maps.dtype == torch.bfloat16
    assert logits.dtype == torch.bfloat16
    assert loss.dtype == torch.float32
    found = torch.autograd.grad(loss, list(network.parameters()), allow_unused=True)
    assert {gradient.dtype for gradient in found if gradient is not None} == {torch.float32}
    # The sums over 2048 values are exact to fp32: bf16 sums would be off by a hundredth.
    for buffer, measured in (
        (network.stem_norm.running_mean, 0.1 * maps.float().mean(dim=(0, 2, 3))),
        (network.stem_norm.running_var, 0.9 + 0.1 * maps.float().var(dim=(0, 2, 3))),
    ):
        assert buffer.dtype == torch.float32
        assert (buffer - measured).abs().max() < 1e-6


def test_bf16_approximates_fp32_and_fp32_is_untouched(space: Space, genotype: Genotype) -> None:
    network = Network(space, genotype, 10, torch.Generator().manual_seed(0))
    images = torch.randn(16, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    plain = network(images)
    with autocast("fp32", CPU):
        assert torch.equal(network(images), plain)
    with autocast("bf16", CPU):
        rough = network(images).float()
    assert 0 < (rough - plain).abs().max() < 0.1 * plain.abs().max()
    double = plain.double()
    assert widened(double) is double


def test_what_a_device_cannot_do_is_refused_with_a_way_out() -> None:
    require("bf16", CPU)
    require("fp32", torch.device("meta"))
    with pytest.raises(ValueError, match="meta cannot compute with bf16; use fp32"):
        require("bf16", torch.device("meta"))
    with pytest.raises(ValueError, match="'fp16' is not one of fp32, bf16"):
        require("fp16", CPU)


def test_deterministic_mode_is_strict_within_and_gone_after() -> None:
    assert not torch.are_deterministic_algorithms_enabled()
    with deterministic():
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.is_deterministic_algorithms_warn_only_enabled()
    assert not torch.are_deterministic_algorithms_enabled()
    with deterministic(False):
        assert not torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with deterministic():
            assert not torch.is_deterministic_algorithms_warn_only_enabled()
        assert torch.is_deterministic_algorithms_warn_only_enabled()
    finally:
        torch.use_deterministic_algorithms(False)


def test_within_it_an_operation_without_a_deterministic_kernel_raises() -> None:
    with pytest.raises(RuntimeError, match="deterministic"), deterministic():
        torch.zeros(4).put_(torch.tensor([0, 0]), torch.ones(2))
    assert not torch.are_deterministic_algorithms_enabled()

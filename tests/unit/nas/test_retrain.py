"""Retraining learns, resumes to the bit with every option, and hands on the network alone."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load, save
from torch import Tensor

from core.nas.auxiliary import AuxiliaryHead, auxiliary_head, tapped
from core.nas.averaging import WeightAverage
from core.nas.evaluate import evaluate
from core.nas.export import onnx_bytes, parity
from core.nas.genotype import Edge, Genotype
from core.nas.images import LabelledImages
from core.nas.loop import TrainingConfig
from core.nas.losses import distillation
from core.nas.network import Network, inherit
from core.nas.normalisation import reestimate
from core.nas.retrain import RetrainConfig, RetrainState, planned_epochs, retrain
from core.nas.space import Space
from core.nas.supernet import Supernet

Halves = tuple[LabelledImages, LabelledImages]
EVERYTHING = RetrainConfig(
    epochs=4,
    batch_size=40,
    learning_rate=0.1,
    warmup_epochs=1,
    drop_path=0.2,
    auxiliary=0.4,
    label_smoothing=0.1,
    ema=0.9,
    distillation=0.3,
    augment="trivial",
    flip=True,
    deterministic=True,
)


@pytest.fixture(scope="module")
def small(halves: Halves) -> Halves:
    train, valid = halves
    return train.take(torch.arange(80)), valid.take(torch.arange(60))


@pytest.fixture(scope="module")
def teacher(space: Space, digits: LabelledImages) -> Supernet:
    supernet = Supernet(space, 10, torch.Generator().manual_seed(5))
    reestimate(supernet, digits.take(torch.arange(100)).batches(100))
    return supernet


def network(space: Space, genotype: Genotype) -> Network:
    return Network(space, genotype, 10, torch.Generator().manual_seed(0))


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(
        torch.equal(first[name], second[name]) for name in first
    )


def ticks(seconds: float) -> Iterator[float]:
    """A clock's readings, each so much later than the last: an epoch takes two."""
    now = 0.0
    while True:
        yield now
        now += seconds


def test_retraining_resumes_to_the_bit_and_learns(
    halves: Halves, space: Space, genotype: Genotype
) -> None:
    config = RetrainConfig(epochs=4, batch_size=40, learning_rate=0.1, drop_path=0.2)
    whole, saved = RetrainState(network(space, genotype)), b""
    for record in retrain(whole, *halves, config):
        if record.epoch == 2:
            saved = save(whole.tensors())
        last = record
    resumed = RetrainState(network(space, genotype))
    resumed.load(load(saved))
    assert [r.epoch for r in retrain(resumed, *halves, config)] == [3, 4]
    assert same(whole.tensors(), resumed.tensors())
    assert last.valid_accuracy > 0.3
    assert evaluate(whole.network, halves[1], 50).accuracy == pytest.approx(last.valid_accuracy)


@pytest.mark.parametrize(
    "config",
    [
        EVERYTHING,
        replace(EVERYTHING, augment="auto", precision="bf16", budget_seconds=5.0),
        replace(EVERYTHING, solve_head=True),
        RetrainConfig(epochs=3, batch_size=40, augment="cutout", ema=0.5),
    ],
    ids=["everything", "bf16 within a budget", "solved heads", "averaged with cutout"],
)
def test_every_option_resumes_to_the_bit(
    small: Halves, space: Space, genotype: Genotype, teacher: Supernet, config: RetrainConfig
) -> None:
    def run(
        state: RetrainState, tick: float, saved: list[bytes]
    ) -> list[tuple[int, int, float, str]]:
        clock = ticks(tick)
        rows = []
        for record in retrain(
            state,
            *small,
            config,
            teacher=teacher if config.distillation else None,
            clock=lambda: next(clock),
        ):
            saved.append(save(state.tensors()))
            rows.append((record.epoch, record.epochs, record.valid_loss, record.precision))
        return rows

    def begin() -> RetrainState:
        return RetrainState(network(space, genotype), config, side=8)

    whole, saved = begin(), list[bytes]()
    rows = run(whole, 1.0, saved)
    torch.rand(5)  # someone else's randomness
    resumed = begin()
    resumed.load(load(saved[1]))
    # Resumed on a machine ten times as slow: the plan is the same.
    assert run(resumed, 10.0, []) == rows[2:]
    assert same(whole.tensors(), resumed.tensors())
    assert rows[-1][0] == rows[-1][1] == (config.epochs if not config.budget_seconds else 3)
    assert {row[3] for row in rows} == {config.precision}


def test_the_plan_ends_the_cosine_within_the_budget(
    small: Halves, space: Space, genotype: Genotype
) -> None:
    def rates(budget: float | None, epochs: int = 9) -> list[float]:
        config = RetrainConfig(epochs=epochs, batch_size=80, budget_seconds=budget)
        clock = ticks(0.5)  # half a second between readings: so long takes every record
        state = RetrainState(network(space, genotype))
        records = list(retrain(state, *small, config, clock=lambda: next(clock)))
        assert records[-1].epochs == records[-1].epoch
        if budget and budget > 1:
            assert sum(record.seconds for record in records) <= budget
        return [record.learning_rate for record in records[1:]]

    # Start and first epoch take 1.0 s; 0.9 of the other 1.7 is three epochs of 0.5 s.
    assert rates(2.7) == rates(None, epochs=4)
    assert len(rates(1000.0)) == 9
    assert len(rates(0.1)) == 1  # already spent; what was done counts


@pytest.mark.parametrize(
    ("left", "seconds", "asked", "planned"),
    [
        (100.0, 1.0, 20, 20),
        (10.0, 1.0, 20, 10),
        (9.9, 3.0, 20, 3),
        (-5.0, 1.0, 20, 1),
        (5, 0, 7, 7),
    ],
)
def test_planned_epochs(left: float, seconds: float, asked: int, planned: int) -> None:
    assert planned_epochs(left, seconds, asked) == planned


def test_the_rate_warms_up_and_anneals() -> None:
    config = TrainingConfig(epochs=8, learning_rate=0.8, learning_rate_min=0.0, warmup_epochs=3)
    found = [config.rate(epoch) for epoch in range(8)]
    cosine = [0.4 * (1 + math.cos(math.pi * k / 5)) for k in range(5)]
    assert found == pytest.approx([0.2, 0.4, 0.6, *cosine])
    plain = TrainingConfig(epochs=8, learning_rate=0.8, learning_rate_min=0.1)
    assert plain.rate(0) == 0.8
    assert plain.rate(2, epochs=4) == pytest.approx(0.45)
    assert plain.rate(8) == pytest.approx(0.1)


def test_label_smoothing_follows_its_formula(
    small: Halves, space: Space, genotype: Genotype
) -> None:
    train, _ = small
    config = RetrainConfig(
        epochs=1, batch_size=80, learning_rate=0.0, label_smoothing=0.2, augment="none"
    )
    net = network(space, genotype).train()
    (images, labels), *_ = train.batches(80)
    log_odds = net(images).log_softmax(dim=1)
    targets = 0.8 * F.one_hot(labels, 10) + 0.2 / 10
    expected = -(targets * log_odds).sum(dim=1).mean()
    record = list(retrain(RetrainState(network(space, genotype)), *small, config))[-1]
    assert record.train_loss == pytest.approx(expected.item(), rel=1e-5)


def test_distillation_is_hintons(small: Halves) -> None:
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 6, 4, generator=generator, dtype=torch.float64)
    found = distillation(student, teacher, 3.0)
    target = (teacher / 3).softmax(dim=1)
    soft = -(target * (student / 3).log_softmax(dim=1)).sum(dim=1).mean()
    entropy = -(target * target.log()).sum(dim=1).mean()
    assert found == pytest.approx(9 * (soft - entropy).item())
    equal = teacher.clone().requires_grad_()
    loss = distillation(equal, teacher + 2.0, 3.0)  # logits are equal up to a constant
    (gradient,) = torch.autograd.grad(loss, equal)
    assert abs(loss.item()) < 1e-12
    assert gradient.abs().max() < 1e-12
    # For high temperatures it matches centred logits (equation 4): T^2 / (N T^2) sum / 2 K.
    centred = (student - student.mean(1, keepdim=True)) - (teacher - teacher.mean(1, keepdim=True))
    expected = centred.square().sum(dim=1).mean() / (2 * 4)
    assert distillation(student, teacher, 1e4) == pytest.approx(expected.item(), rel=1e-3)


def test_without_weight_a_teacher_changes_nothing_and_a_perfect_pupil_does_not_move(
    small: Halves, space: Space, genotype: Genotype
) -> None:
    plain = RetrainConfig(epochs=1, batch_size=40)
    first, second = (RetrainState(network(space, genotype)) for _ in range(2))
    list(retrain(first, *small, plain))
    tiny = replace(plain, distillation=1e-30)  # the least share that asks for a teacher
    list(retrain(second, *small, tiny, teacher=network(space, genotype)))
    assert same(first.tensors(), second.tensors())

    # In evaluation mode pupil and teacher are one function: nothing is left to learn.
    pupil = network(space, genotype)
    reestimate(pupil, small[0].batches(80))
    teacher = network(space, genotype)
    teacher.load_state_dict(pupil.state_dict())
    (images, _), *_ = small[0].batches(80)
    loss = distillation(pupil.eval()(images), teacher.eval()(images).detach(), 4.0)
    found = torch.autograd.grad(loss, list(pupil.parameters()), allow_unused=True)
    assert max(float(g.abs().max()) for g in found if g is not None) < 1e-6


def test_distillation_pulls_towards_the_teacher(
    small: Halves, space: Space, genotype: Genotype, teacher: Supernet
) -> None:
    def apart(share: float) -> float:
        config = RetrainConfig(
            epochs=6, batch_size=40, learning_rate=0.1, distillation=share, augment="none"
        )
        state = RetrainState(inherit(teacher, genotype))
        list(retrain(state, *small, config, teacher=teacher if share else None))
        (images, _), *_ = small[1].batches(60)
        with torch.no_grad():
            pupil = state.network.eval()(images)
            return float(distillation(pupil, teacher.eval()(images), 4.0))

    assert apart(1.0) < 0.5 * apart(0.0)


def test_averages_follow_the_closed_form(space: Space, genotype: Genotype) -> None:
    net = network(space, genotype).double()
    average = WeightAverage(net)
    beginning = net.stem.detach().clone()
    weights = []
    for step in range(30):
        with torch.no_grad():
            net.stem.copy_(torch.full_like(net.stem, float(step)))
        weights.append(float(step))
        average.update(net, 0.6)
    decays = [min(0.6, (1 + t) / (10 + t)) for t in range(30)]
    # a = w_0 prod d + sum_t (1 - d_t) w_t prod_{s > t} d_s
    expected = beginning * math.prod(decays)
    for t, value in enumerate(weights):
        expected += (1 - decays[t]) * value * math.prod(decays[t + 1 :])
    assert (average.network.stem - expected).abs().max() < 1e-12
    assert int(average.steps) == 30
    assert average.network.stem.data_ptr() != net.stem.data_ptr()


def test_the_average_is_measured_with_statistics_of_its_own(
    small: Halves, space: Space, genotype: Genotype
) -> None:
    config = RetrainConfig(epochs=2, batch_size=40, learning_rate=0.1, ema=0.5)
    state = RetrainState(network(space, genotype), config)
    *_, last = retrain(state, *small, config)
    kept = state.result()
    assert kept is not state.network
    assert not torch.equal(kept.stem, state.network.stem)
    before = {name: value.clone() for name, value in kept.state_dict().items()}
    reestimate(kept, small[0].batches(256))
    for name, value in kept.state_dict().items():
        assert torch.allclose(value, before[name], atol=1e-5)
    found = evaluate(kept, small[1], 50)
    assert found.loss == pytest.approx(last.valid_loss, rel=1e-4)
    # The descent itself knows nothing of the average.
    plain = RetrainState(network(space, genotype))
    list(retrain(plain, *small, replace(config, ema=0.0)))
    assert torch.equal(plain.network.stem, state.network.stem)


def test_the_auxiliary_head_trains_along_and_is_not_handed_on(small: Halves) -> None:
    cell = ((Edge("skip_connect", 0), Edge("sep_conv_3x3", 1)),)  # little: exporting takes time
    space = Space(channels=2, layers=3, nodes=1, input_channels=1)

    def tiny() -> Network:
        return network(space, Genotype(normal=cell, reduction=cell))

    config = RetrainConfig(epochs=1, batch_size=40, learning_rate=0.1, auxiliary=0.4)
    state = RetrainState(tiny(), config, side=8)
    assert state.auxiliary is not None
    first = state.auxiliary.weight.detach().clone()
    list(retrain(state, *small, config))
    assert not torch.equal(state.auxiliary.weight, first)
    assert any(name.startswith("auxiliary.") for name in state.tensors())
    kept = state.result()
    assert kept.state_dict().keys() == tiny().state_dict().keys()
    exported = onnx_bytes(kept, small[0].mean, small[0].std, 8)
    assert parity(exported, kept, small[1]) < 1e-4


def test_the_auxiliary_loss_is_weighed(small: Halves, space: Space, genotype: Genotype) -> None:
    def train_loss(weight: float) -> float:
        config = RetrainConfig(
            epochs=1, batch_size=80, learning_rate=0.0, auxiliary=weight, augment="none"
        )
        state = RetrainState(network(space, genotype), config, side=8)
        return list(retrain(state, *small, config))[-1].train_loss

    plain, some, more = train_loss(0.0), train_loss(0.4), train_loss(0.8)
    assert some - plain == pytest.approx((more - plain) / 2, rel=1e-4)
    config = RetrainConfig(epochs=1, batch_size=80, auxiliary=0.4)
    state = RetrainState(network(space, genotype), config, side=8)
    (images, labels), *_ = small[0].batches(80)
    state.network.train()
    _, maps = tapped(state.network, images)
    assert state.auxiliary is not None
    second = F.cross_entropy(state.auxiliary(maps), labels)
    assert some - plain == pytest.approx(0.4 * second.item(), rel=1e-3)


@pytest.mark.parametrize(("side", "pool", "kernel"), [(14, 5, 2), (8, 5, 2), (7, 5, 1), (2, 2, 1)])
def test_auxiliary_heads_fit_maps_of_any_size(side: int, pool: int, kernel: int) -> None:
    head = AuxiliaryHead(6, side, 10, torch.Generator().manual_seed(0))
    assert (head.pool, head.second.shape[-1]) == (pool, kernel)
    assert head(torch.ones(2, 6, side, side)).shape == (2, 10)
    if side == 8:  # as in the paper: one place is left, and nothing to average
        pooled = F.avg_pool2d(torch.ones(2, 6, 8, 8), 5, stride=3)
        assert F.conv2d(F.conv2d(pooled, head.first), head.second).shape == (2, 768, 1, 1)


def test_the_auxiliary_map_lies_after_two_thirds_of_the_cells(genotype: Genotype) -> None:
    net = Network(
        Space(channels=2, layers=6, nodes=4, input_channels=1),
        genotype,
        3,
        torch.Generator().manual_seed(0),
    ).eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    head = auxiliary_head(net, (1, 16, 16), torch.Generator().manual_seed(0))
    images = torch.randn(2, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    logits, maps = tapped(net, images)
    assert torch.equal(logits, net(images))
    assert maps.shape == (2, 4 * 8, 4, 4)  # after both reductions, at cells 2 and 4
    assert head.first.shape[1] == 32
    assert not any(cell._forward_hooks for cell in net.cells)
    assert same(before, dict(net.state_dict()))


def test_deterministic_runs_are_equal_to_the_bit(
    small: Halves, space: Space, genotype: Genotype
) -> None:
    config = RetrainConfig(epochs=1, batch_size=40, drop_path=0.3, deterministic=True)

    def outcome() -> dict[str, Tensor]:
        state = RetrainState(network(space, genotype))
        for _ in retrain(state, *small, config):
            assert not torch.are_deterministic_algorithms_enabled()  # between epochs
        return state.tensors()

    assert same(outcome(), outcome())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("drop_path", 1.0),
        ("epochs", -1),
        ("auxiliary", -0.1),
        ("label_smoothing", 1.0),
        ("ema", 1.0),
        ("distillation", 1.1),
        ("temperature", 0.0),
        ("budget_seconds", -1.0),
        ("budget_seconds", float("nan")),
        ("warmup_epochs", 1.5),
        ("precision", "fp16"),
        ("cutout", 2.0),
    ],
)
def test_retraining_settings_are_checked(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=field):
        RetrainConfig(**{"epochs": 1, field: value})


def test_settings_state_and_teacher_must_agree(
    small: Halves, space: Space, genotype: Genotype, teacher: Supernet
) -> None:
    plain = RetrainConfig(epochs=1)
    averaged, deep = replace(plain, ema=0.9), replace(plain, auxiliary=0.4)
    taught = replace(plain, distillation=0.5)
    net = network(space, genotype)
    other = Supernet(space, 3, torch.Generator().manual_seed(0))
    for state, config, given, message in (
        (RetrainState(net), averaged, None, "ema"),
        (RetrainState(net), deep, None, "auxiliary"),
        (RetrainState(net, averaged), plain, None, "ema"),
        (RetrainState(net), taught, None, "without a teacher"),
        (RetrainState(net), plain, teacher, "with a teacher"),
        (RetrainState(net), taught, other, "3 classes for a network of 10"),
    ):
        with pytest.raises(ValueError, match=message):
            next(retrain(state, *small, config, teacher=given))
    with pytest.raises(ValueError, match="side"):
        RetrainState(net, deep)

"""A batch that fits is found once, kept by a resumed job, and what cannot be is refused."""

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import psutil
import pytest
import torch

from core.domain.datasets import Dataset
from core.domain.searches import (
    PretrainSpec,
    Retraining,
    SearchSpec,
    SpaceSpec,
    StartPolicy,
    Training,
)
from core.domain.work import PretrainInputs, SearchInputs
from core.errors import InvalidInput
from core.nas.classifier import ImageClassifier
from core.nas.memory import largest_by_trial
from core.nas.ranks import Ranks
from core.nas.space import Space
from core.pipelines import machine, pretrain_supernet, search_architecture
from core.pipelines.context import Stopped
from tests.unit.pipelines.conftest import World, apart
from tests.unit.pipelines.test_jobs import source_of

EMBEDDER = "oriented-energy@1"
SPACE = SpaceSpec(channels=2, layers=3, nodes=1, resolution=8, cells="s2")
TRAINING = Training(epochs=2, batch_size=16, fit_batch=True)
Register = Callable[..., Dataset]
pytestmark = pytest.mark.usefixtures("without_onnx")


def free(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=size))


def test_the_batch_follows_free_memory_up_to_what_was_asked_for(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    space, found = Space(channels=2, layers=3, nodes=1, cells="s2"), []
    for size in (2**40, 2**20, 2**19):
        free(monkeypatch, size)
        fit = machine.fitted(TRAINING, space, 3, resolution=8, context=world)
        assert replace(fit, batch_size=16) == TRAINING
        found.append(fit.batch_size)
    assert found[0] == 16 >= found[1] > found[2] >= 2
    free(monkeypatch, 1)
    with pytest.raises(InvalidInput, match="no batch of 2 to 16 images fits in memory"):
        machine.fitted(TRAINING, space, 3, resolution=8, context=world)
    asked = replace(TRAINING, fit_batch=False)
    assert machine.fitted(asked, space, 3, resolution=8, context=world) == asked


def test_a_batch_fits_where_each_share_does(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []

    def fit(_: ImageClassifier, __: tuple[int, ...], *, limit: int, available: int) -> int:
        asked.append((limit, available))
        return limit

    class Two(Ranks):
        size = 2

        def least(self, values: torch.Tensor) -> torch.Tensor:
            return values.clamp_max(next(others))

    monkeypatch.setattr(machine, "fit_batch", fit)
    free(monkeypatch, 1000)
    space = Space(channels=2, layers=3, nodes=1, cells="s2")
    training, others, found = replace(TRAINING, batch_size=15), iter((9, 5)), []
    for _ in range(2):
        fits = machine.fitted(training, space, 3, resolution=8, context=world, ranks=Two())
        found.append(fits.batch_size)
    assert asked == [(8, 500)] * 2
    assert found == [15, 10]


def test_a_resumed_search_keeps_the_batch_it_began_with(
    world: World, registered: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = registered("target")
    spec = SearchSpec(
        target.id,
        EMBEDDER,
        StartPolicy.COLD,
        space=SPACE,
        training=TRAINING,
        retrain_epochs=1,
    )
    inputs = SearchInputs(spec, target, None, ())
    free(monkeypatch, 2**19)
    with pytest.raises(Stopped):
        search_architecture.run(inputs, replace(world, stop_after=2))
    free(monkeypatch, 2**40)
    outcome = search_architecture.run(inputs, world)
    size = outcome.start["batch_size"]
    assert 2 <= size < 16
    asked = replace(spec, training=replace(TRAINING, batch_size=size, fit_batch=False))
    named = search_architecture.run(replace(inputs, spec=asked), apart(world, "named"))
    assert [row["valid_loss"] for row in outcome.metrics["arms"][0]["history"]] == [
        row["valid_loss"] for row in named.metrics["arms"][0]["history"]
    ]


@pytest.mark.parametrize("several", [False, True])
def test_a_resumed_pretraining_keeps_it_too(
    world: World, registered: Register, monkeypatch: pytest.MonkeyPatch, several: bool
) -> None:
    dataset = registered("source")
    others = (registered("other", seed=4),) if several else ()
    spec = PretrainSpec(
        dataset.id,
        "net",
        EMBEDDER,
        SPACE,
        TRAINING,
        others=tuple(each.id for each in others),
        steps=2,
    )
    inputs = PretrainInputs(spec, dataset, None, others=others)
    free(monkeypatch, 2**19)
    whole = pretrain_supernet.run(inputs, apart(world, "whole"))
    with pytest.raises(Stopped):
        pretrain_supernet.run(inputs, replace(world, stop_after=1))
    free(monkeypatch, 2**40)
    assert pretrain_supernet.run(inputs, world).sha256 == whole.sha256
    unlimited = pretrain_supernet.run(inputs, apart(world, "unlimited"))
    assert unlimited.sha256 != whole.sha256


@pytest.fixture
def on_gpu(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """The CPU plays a GPU on which 12 images fit; the trials made on it, by what was tried."""
    trials: list[tuple[str, int]] = []

    def fit(model: ImageClassifier, shape: tuple[int, int, int], *, limit: int, **_: int) -> int:
        def attempt(count: int) -> None:
            trials.append((type(model).__name__, count))
            if count > 12:
                raise torch.OutOfMemoryError

        assert shape == (3, 8, 8)
        return largest_by_trial(attempt, limit=limit)

    monkeypatch.setattr(machine, "fit_batch", fit)
    monkeypatch.setattr(machine, "_is_tried", lambda *_: True)
    return trials


def test_a_gpu_is_tried_without_being_asked(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    unasked = Training()
    for device, tried in (("cpu", False), ("cuda", True), ("cuda:1", True)):
        assert machine._is_tried(unasked, replace(world, device=device)) is tried
    assert machine._is_tried(TRAINING, world)


def test_every_training_of_a_search_begins_with_what_fits(
    world: World, registered: Register, on_gpu: list[tuple[str, int]]
) -> None:
    source, target = registered("source", seed=1), registered("target", seed=2)
    unasked = replace(TRAINING, epochs=20, fit_batch=False)
    pretraining = PretrainSpec(source.id, "net", EMBEDDER, SPACE, replace(unasked, epochs=1))
    pretrained = pretrain_supernet.run(
        PretrainInputs(pretraining, source, None), apart(world, "source")
    )
    assert pretrained.metrics["batch_size"] == 8
    assert {name for name, _ in on_gpu} == {"Supernet"}
    on_gpu.clear()
    spec = SearchSpec(
        target.id,
        EMBEDDER,
        StartPolicy.RACE,
        space=SPACE,
        training=unasked,
        retrain_epochs=1,
        patience=1,
    )
    inputs = SearchInputs(spec, target, None, (source_of(source, pretrained),))
    outcome = search_architecture.run(inputs, world)
    start = outcome.start
    assert (start["batch_size"], start["retrain_batch_size"]) == (8, 8)
    assert start["batch_halvings"] == 0
    assert on_gpu.count(("Supernet", 16)) == 2  # one for each contestant
    assert on_gpu.count(("Network", 8)) == 1


@pytest.mark.parametrize("stop_after", [1, 5])
def test_a_search_that_ran_out_of_gpu_memory_goes_on_with_half_the_batch(
    world: World, registered: Register, stop_after: int
) -> None:
    target = registered("target")
    spec = SearchSpec(
        target.id,
        EMBEDDER,
        StartPolicy.COLD,
        space=SPACE,
        training=replace(TRAINING, fit_batch=False),
        learning_rates=(0.05,),
        retrain_epochs=3,
    )
    inputs = SearchInputs(spec, target, None, ())
    with pytest.raises(Stopped):
        search_architecture.run(inputs, replace(world, stop_after=stop_after))
    steps = len(world.checkpoints)
    with pytest.raises(Stopped):  # and is stopped once more, which halves nothing
        search_architecture.run(inputs, replace(world, halvings=1, stop_after=stop_after + 1))
    assert len(world.checkpoints) > steps
    outcome = search_architecture.run(inputs, replace(world, halvings=1))
    start = outcome.start
    assert (start["batch_size"], start["retrain_batch_size"]) == (8, 8)
    assert start["batch_halvings"] == 1


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("stopped", [False, True])
def test_a_pretraining_does_too(
    world: World, registered: Register, several: bool, stopped: bool
) -> None:
    dataset = registered("source")
    others = (registered("other", seed=4),) if several else ()
    spec = PretrainSpec(
        dataset.id,
        "net",
        EMBEDDER,
        SPACE,
        replace(TRAINING, fit_batch=False),
        others=tuple(each.id for each in others),
        steps=2,
    )
    inputs = PretrainInputs(spec, dataset, None, others=others)
    if stopped:
        with pytest.raises(Stopped):
            pretrain_supernet.run(inputs, replace(world, stop_after=1))
    with pytest.raises(Stopped):
        pretrain_supernet.run(inputs, replace(world, halvings=1, stop_after=1))
    outcome = pretrain_supernet.run(inputs, replace(world, halvings=1))
    assert outcome.metrics["batch_size"] == 8


def test_no_batch_is_halved_to_less_than_two(world: World) -> None:
    for size, halvings, expected in ((64, 0, 64), (64, 3, 8), (5, 1, 2), (3, 1, 2), (2, 9, 2)):
        assert machine.again(size, 0, replace(world, halvings=halvings)) == expected
    assert machine.again(8, 2, replace(world, halvings=3)) == 4


def test_a_precision_that_the_device_has_not_is_refused(
    world: World, registered: Register
) -> None:
    with pytest.raises(InvalidInput, match="use fp32"):
        machine.require("bf16", "meta")
    with pytest.raises(InvalidInput, match="fp8"):
        machine.require("fp8", "cpu")
    target = registered("target")
    elsewhere = replace(world, device="meta")
    for changes in (
        {"retraining": Retraining(precision="bf16")},
        {"training": Training(precision="bf16")},
    ):
        spec = SearchSpec(target.id, EMBEDDER, StartPolicy.COLD, space=SPACE, **changes)
        with pytest.raises(InvalidInput, match="use fp32"):
            search_architecture.run(SearchInputs(spec, target, None, ()), elsewhere)

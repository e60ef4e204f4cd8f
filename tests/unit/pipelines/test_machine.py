"""A batch that fits is found once, kept by a resumed job, and what cannot be is refused."""

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import psutil
import pytest

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
from core.nas.space import Space
from core.pipelines import machine, pretrain_supernet, search_architecture
from core.pipelines.context import Stopped
from tests.unit.pipelines.conftest import World, apart

EMBEDDER = "oriented-energy@1"
SPACE = SpaceSpec(channels=2, layers=3, nodes=1, resolution=8, cells="s2")
TRAINING = Training(epochs=2, batch_size=16, fit_batch=True)
Register = Callable[..., Dataset]


def free(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=size))


def test_the_batch_follows_free_memory_up_to_what_was_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    space, found = Space(channels=2, layers=3, nodes=1, cells="s2"), []
    for size in (2**40, 2**20, 2**19):
        free(monkeypatch, size)
        fit = machine.fitted(TRAINING, space, 3, resolution=8, device="cpu")
        assert replace(fit, batch_size=16) == TRAINING
        found.append(fit.batch_size)
    assert found[0] == 16 >= found[1] > found[2] >= 2
    free(monkeypatch, 1)
    with pytest.raises(InvalidInput, match="no batch of 2 to 16 images fits in memory"):
        machine.fitted(TRAINING, space, 3, resolution=8, device="cpu")
    asked = replace(TRAINING, fit_batch=False)
    assert machine.fitted(asked, space, 3, resolution=8, device="cpu") == asked


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

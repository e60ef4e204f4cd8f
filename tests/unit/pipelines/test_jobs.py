"""Every pipeline on a small dataset, through a real store, and resumed where it was stopped."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.torch import load_file

from core.config import Settings
from core.domain.datasets import Dataset
from core.domain.searches import (
    AtMost,
    Budget,
    EmbedSpec,
    HeadInit,
    Objective,
    PretrainSpec,
    RankSpec,
    SearchSpec,
    Selection,
    SpaceSpec,
    StartPolicy,
    TradeOffs,
    Training,
)
from core.domain.supernets import SupernetId
from core.domain.work import (
    EmbedInputs,
    PretrainInputs,
    PretrainOutcome,
    RankInputs,
    SearchInputs,
    SearchOutcome,
    Source,
    StartingPoint,
)
from core.errors import CorruptObject, Diverged, InvalidInput, NotFound
from core.ot import embedders
from core.pipelines import (
    bilevel,
    compare_datasets,
    dataset_images,
    embed_dataset,
    objects,
    pretrain_supernet,
    search_architecture,
)
from core.pipelines.context import Stopped
from core.services import finished, wire
from core.services.repeating import Config
from tests.unit.pipelines.conftest import World, apart

EMBEDDER = "oriented-energy@1"
SPACE = SpaceSpec(channels=2, layers=3, nodes=2, resolution=16)
TRAINING = Training(epochs=2, batch_size=16, seed=3)
Register = Callable[..., Dataset]


def pretrain(world: World, dataset: Dataset) -> PretrainOutcome:
    spec = PretrainSpec(dataset.id, "net", EMBEDDER, SPACE, TRAINING)
    return pretrain_supernet.run(PretrainInputs(spec, dataset, None), world)


def source_of(dataset: Dataset, outcome: PretrainOutcome) -> Source:
    assert outcome.embedding is not None
    supernet = StartingPoint(
        id=SupernetId(uuid4()),
        name="net",
        space=outcome.space,
        resolution=outcome.resolution,
        key=outcome.key,
        sha256=outcome.sha256,
    )
    return Source(dataset.id, dataset.name, dataset.classes, outcome.embedding, supernet=supernet)


def search_inputs(
    dataset: Dataset, *sources: Source, policy: StartPolicy, **changes: object
) -> SearchInputs:
    spec = SearchSpec(
        dataset_id=dataset.id,
        embedder=EMBEDDER,
        policy=policy,
        space=SPACE,
        training=TRAINING,
        learning_rates=(0.05, 0.025),
        retrain_epochs=2,
        selection=Selection.BEST_OF,
    )
    return SearchInputs(replace(spec, **changes), dataset, None, sources)


def several(
    world: World, *datasets: Dataset, parent: StartingPoint | None = None, **changes: Any
) -> PretrainOutcome:
    spec = PretrainSpec(
        datasets[0].id, "net", EMBEDDER, SPACE, replace(TRAINING, paths=1),
        others=tuple(each.id for each in datasets[1:]), steps=3,
    )  # fmt: skip
    inputs = PretrainInputs(
        replace(spec, **changes), datasets[0], None, others=datasets[1:], parent=parent
    )
    return pretrain_supernet.run(inputs, world)


@pytest.mark.slow
@pytest.mark.usefixtures("without_onnx")
def test_a_multi_dataset_supernet_is_a_start_for_another(
    world: World, registered: Register
) -> None:
    datasets = registered("stripes", seed=1), registered("fewer", classes=2, seed=2)
    outcome = several(world, *datasets)
    assert [record.step for record in world.records] == [1, 2]
    assert set(outcome.metrics["valid_accuracies"]) == {"stripes", "fewer"}
    assert sum(outcome.metrics["history"][0]["steps_of"]) == 3
    tensors = load_file(objects.fetch(world.store, outcome.key, world.scratch / "net"))
    assert not [name for name in tensors if name.startswith("classifier.")]
    target = registered("target", seed=3)
    pretrained = replace(outcome, embedding=pretrain(apart(world, "one"), target).embedding)
    source = source_of(datasets[0], pretrained)
    chosen = search_inputs(
        target, source, policy=StartPolicy.SUPERNET, supernet_id=source.supernet.id,
        selection=Selection.MAGNITUDE,
    )  # fmt: skip
    found = search_architecture.run(chosen, apart(world, "search"))
    assert found.start["supernet_id"] == str(source.supernet.id)


def test_a_multi_dataset_training_resumes_to_the_bit(world: World, registered: Register) -> None:
    datasets = registered("stripes", seed=1), registered("fewer", classes=2, seed=2)
    undisturbed = several(apart(world, "whole"), *datasets)
    with pytest.raises(Stopped):
        several(replace(world, stop_after=1), *datasets)
    resumed = several(world, *datasets)
    assert resumed.sha256 == undisturbed.sha256
    assert [record.step for record in world.records] == [1, 2]


@pytest.mark.slow
def test_a_multi_dataset_supernet_goes_on_from_its_parent(
    world: World, registered: Register
) -> None:
    first, second, third = (registered(f"stripes {n}", seed=n) for n in range(3))
    parent = several(apart(world, "parent"), first, second)
    point = StartingPoint(
        SupernetId(uuid4()), "parent", parent.space, parent.resolution, parent.key, parent.sha256
    )

    def went_on(context: World, *datasets: Dataset, rate: float = 0.05) -> PretrainOutcome:
        return several(
            context, *datasets, parent=point, continue_from=point.id, learning_rate=rate
        )

    whole = went_on(apart(world, "whole"), third, first, second)
    assert set(whole.metrics["valid_accuracies"]) == {"stripes 0", "stripes 1", "stripes 2"}
    stopped = apart(world, "stopped", stop_after=1)
    with pytest.raises(Stopped):
        went_on(stopped, third, first, second)
    resumed = apart(world, "resumed")
    resumed.checkpoints = stopped.checkpoints
    assert went_on(resumed, third, first, second).sha256 == whole.sha256
    # Nothing to replay: the new one alone, still a supernet of no single dataset. Hardly a step
    # away, it is its parent.
    near = went_on(apart(world, "near"), third, rate=1e-9)
    tensors = [
        load_file(objects.fetch(world.store, each.key, world.scratch / each.sha256))
        for each in (parent, near)
    ]
    torch.testing.assert_close(*({n: t[n] for n in KEPT} for t in tensors), rtol=0, atol=1e-6)
    assert not [name for name in tensors[1] if name.startswith("classifier.")]
    broken = replace(point, space={**point.space, "nodes": 3})
    with pytest.raises(InvalidInput, match=r"'parent' cannot be continued: .*tensor"):
        several(
            apart(world, "broken"), third, parent=broken, continue_from=point.id,
            space=replace(SPACE, nodes=3),
        )  # fmt: skip


KEPT = ("stem", "stem_norm.weight")


def test_embedding_is_stored_under_its_content(world: World, registered: Register) -> None:
    dataset = registered("stripes")
    outcome = embed_dataset.run(
        EmbedInputs(
            EmbedSpec(dataset.id, EMBEDDER),
            dataset,
        ),
        world,
    )
    embedding = outcome.embedding
    assert dataset.sha256 in embedding.key
    assert embed_dataset.load(embedding, world).dimension == embedding.dimension


def test_a_changed_embedding_is_refused(world: World, registered: Register) -> None:
    dataset = registered("stripes")
    outcome = embed_dataset.run(EmbedInputs(EmbedSpec(dataset.id, EMBEDDER), dataset), world)
    wrong = replace(outcome.embedding, sha256="0" * 64)
    with pytest.raises(CorruptObject, match="SHA-256"):
        embed_dataset.load(wrong, world)


def test_another_resolution_is_packed_once_from_the_originals(
    world: World, registered: Register
) -> None:
    dataset = registered("stripes")
    train, test = dataset_images.load(world, dataset, resolution=16, channels=3)
    assert train.images.shape[1:] == (3, 16, 16)
    assert (len(train), len(test)) == (dataset.n_train, dataset.n_test)
    assert world.store.exists(f"default/datasets/{dataset.sha256}/packed-16.safetensors")


def test_ranking_puts_the_like_dataset_first(world: World, registered: Register) -> None:
    target, like, unlike = (
        registered("target", seed=1),
        registered("like", seed=2),
        registered("unlike", classes=2, seed=3),
    )
    sources = tuple(source_of(d, pretrain(apart(world, d.name), d)) for d in (unlike, like))
    outcome = compare_datasets.run(
        RankInputs(RankSpec(target.id, EMBEDDER), target, None, sources), world
    )
    names = [n.dataset_name for n in outcome.ranking.neighbours]
    assert names == ["like", "unlike"]
    assert outcome.embedding is not None
    first, second = outcome.ranking.neighbours
    assert first.interval[0] <= first.distance <= first.interval[1]
    assert first.distance < second.distance


@pytest.fixture
def source(world: World, registered: Register) -> Source:
    dataset = registered("source", seed=7)
    return source_of(dataset, pretrain(apart(world, "source"), dataset))


@pytest.fixture
def warm(world: World, registered: Register, source: Source) -> SearchInputs:
    return search_inputs(registered("target"), source, policy=StartPolicy.NEAREST)


@pytest.mark.slow
@pytest.mark.usefixtures("without_onnx")
def test_a_stopped_search_ends_as_an_undisturbed_one(
    world: World, warm: SearchInputs, tmp_path: Path
) -> None:
    whole = apart(world, "undisturbed")
    undisturbed = search_architecture.run(warm, whole)
    total = len(whole.records)  # two arms and a retraining: a start and an epoch or more of each
    assert total >= 3 * 2
    for stop in (1, 4, total - 1):
        stopped = apart(world, f"stopped{stop}", stop_after=stop)
        with pytest.raises(Stopped):
            search_architecture.run(warm, stopped)
        resumed = apart(world, f"resumed{stop}")
        resumed.checkpoints = stopped.checkpoints
        # By then the registry may hand over other sources: what was chosen stays chosen.
        ended = search_architecture.run(replace(warm, sources=()), resumed)
        assert len(resumed.records) == total - stop
        assert ended.genotype == undisturbed.genotype
        assert _weights(world, ended, tmp_path) == _weights(world, undisturbed, tmp_path)
        assert _accuracies(ended) == _accuracies(undisturbed)


@pytest.mark.slow
def test_a_warm_search_hands_over_a_model(
    world: World, warm: SearchInputs, tmp_path: Path
) -> None:
    outcome = search_architecture.run(warm, world)
    assert outcome.start["dataset_name"] == "source"
    assert outcome.ranking is not None
    assert {item.name for item in outcome.artifacts} == {
        "genotype.json", "metrics.json", "config.json", "README.md", "report.html",
        "model.onnx", "model.safetensors", "alike.onnx",
    }  # fmt: skip
    for item in outcome.artifacts:
        objects.fetch(world.store, item.key, tmp_path / item.name, sha256=item.sha256)
    manifest = objects.fetch(
        world.store, outcome.manifest_key, tmp_path / "m.json", sha256=outcome.manifest_sha256
    )
    assert len(json.loads(manifest.read_text())) == len(outcome.artifacts)
    _, test = dataset_images.load(world, warm.dataset, resolution=16, channels=3)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    scaled = test.images.numpy().astype(np.float32) / 255
    logits, probabilities = session.run(None, {"images": scaled})
    guesses = logits.argmax(axis=1)
    accuracy = float((guesses == test.labels.numpy()).mean())
    assert accuracy == pytest.approx(outcome.metrics["retrained"]["test_accuracy"], abs=0.02)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    assert outcome.metrics["onnx_difference"] <= 1e-4
    for each in outcome.metrics["retrained"]["confused"]:
        for at in each["images"]:
            assert (test.labels[at], guesses[at]) == (each["true"], each["predicted"])
    assert all(each["flops"] > 0 for each in outcome.metrics["selection"]["candidates"])
    index = onnxruntime.InferenceSession(tmp_path / "alike.onnx")
    train, _ = dataset_images.load(world, warm.dataset, resolution=16, channels=3)
    own = train.images[:4].numpy().astype(np.float32) / 255
    similarities, places, labels = index.run(None, {"images": own})
    assert places[:, 0].tolist() == [0, 1, 2, 3]
    assert labels[:, 0].tolist() == train.labels[:4].tolist()
    np.testing.assert_allclose(similarities[:, 0], 1, atol=1e-4)
    assert [p.fraction for p in world.progress] == sorted(p.fraction for p in world.progress)
    assert world.progress[-1].fraction == pytest.approx(1.0)
    assert "<svg" in (tmp_path / "report.html").read_text()

    # What it keeps is read by who estimates the next one, and by who asks for it again.
    kept = json.loads(json.dumps([outcome.start, outcome.metrics]))
    took, twice = (finished._one(warm.spec, *kept, s, warm.dataset.train_counts) for s in (9, 18))
    assert (took.warm, took.raced, took.lead) == (True, False, None)
    assert (took.device, took.processes, set(took.memory)) == ("cpu", 1, {"host"})
    assert took.used is not None
    assert 0 < took.used <= 1
    assert twice.ratio == pytest.approx(2 * took.ratio)
    config = wire.load(Config, json.loads((tmp_path / "config.json").read_text()))
    assert config.spec == warm.spec
    assert config.dataset_sha256 == warm.dataset.sha256
    assert config.start.supernet_sha256 == warm.sources[0].supernet.sha256
    assert config.start.learning_rates == warm.spec.learning_rates


@pytest.mark.usefixtures("without_onnx")
def test_a_cold_search_ranks_nothing(world: World, registered: Register) -> None:
    inputs = search_inputs(
        registered("target"), policy=StartPolicy.COLD, head=HeadInit.RANDOM,
        learning_rates=(0.05,), selection=Selection.MAGNITUDE,
    )  # fmt: skip
    outcome = search_architecture.run(inputs, world)
    assert outcome.ranking is None
    assert outcome.start["supernet_id"] is None
    assert len(outcome.metrics["arms"]) == 1
    # Nobody agreed to more.
    assert outcome.contribution is None
    assert not world.store.exists(world.key("supernet.safetensors"))


@pytest.mark.usefixtures("without_onnx")
def test_a_search_lists_refined_trade_offs_and_trains_the_same_cells(
    world: World, registered: Register
) -> None:
    inputs = search_inputs(
        registered("target"), policy=StartPolicy.COLD, learning_rates=(0.05,),
        selection=Selection.MAGNITUDE, objectives=(Objective.FLOPS,),
    )  # fmt: skip
    refined = replace(inputs, spec=replace(inputs.spec, trade_offs=TradeOffs.REFINED))
    plain, found = (
        search_architecture.run(each, apart(world, str(number)))
        for number, each in enumerate((inputs, refined))
    )
    assert found.metrics["selection"]["trade_offs"] != plain.metrics["selection"]["trade_offs"]
    losses = (
        [epoch["train_loss"] for epoch in each.metrics["retrained"]["history"]]
        for each in (plain, found)
    )
    assert next(losses) == next(losses)


@pytest.mark.usefixtures("without_onnx")
def test_what_no_cells_can_keep_to_ends_a_search_before_it_begins(
    world: World, registered: Register
) -> None:
    inputs = search_inputs(
        registered("target"), policy=StartPolicy.COLD, learning_rates=(0.05,),
        selection=Selection.MAGNITUDE, at_most=AtMost(parameters=1),
    )  # fmt: skip
    with pytest.raises(InvalidInput, match=r"No cells keep to at_most\.parameters = 1:"):
        search_architecture.run(inputs, world)
    assert world.records == []


@pytest.mark.usefixtures("without_onnx")
def test_a_given_architecture_is_trained_and_no_more(
    world: World, registered: Register, tmp_path: Path
) -> None:
    node = [["sep_conv_3x3", 0], ["max_pool_3x3", 1]]
    given = {"normal": [node] * 2, "reduction": [node] * 2}
    inputs = search_inputs(
        registered("target"), policy=StartPolicy.COLD, learning_rates=None,
        selection=Selection.MAGNITUDE, genotype=given, budget=Budget(seconds=3600.0),
    )  # fmt: skip
    outcome = search_architecture.run(inputs, world)
    assert outcome.genotype == given
    assert [each.stage for each in world.records] == ["retrain"] * 3
    metrics = outcome.metrics
    assert not {"supernet", "discretised", "selection"} & set(metrics)
    assert (metrics["arms"], metrics["best_arm"]) == ([], None)
    assert len(metrics["retrained"]["history"]) == 3
    fractions = [each.fraction for each in world.progress]
    assert fractions == sorted(fractions)
    assert fractions[-1] == pytest.approx(1.0)
    files = {each.name: each for each in outcome.artifacts}
    for name, alone in (("README.md", "**retrained"), ("report.html", "given cells")):
        said = objects.fetch(
            world.store, files[name].key, tmp_path / name, sha256=files[name].sha256
        ).read_text()
        assert "The architecture was given" in said
        assert alone in said
        assert "inherited weights" not in said
    took = finished._one(inputs.spec, outcome.start, metrics, 9, inputs.dataset.train_counts)
    assert (took.warm, took.raced, took.used) == (False, False, None)

    stopped = apart(world, "stopped", stop_after=2)  # amid the retraining
    with pytest.raises(Stopped):
        search_architecture.run(inputs, stopped)
    stopped.stop_after, before = None, len(stopped.progress)
    again = search_architecture.run(inputs, stopped)
    assert _weights(world, again, tmp_path) == _weights(world, outcome, tmp_path)
    resumed = [each.fraction for each in stopped.progress[before:]]
    assert resumed == sorted(resumed)
    assert resumed[-1] == pytest.approx(1.0)
    other = replace(inputs, spec=replace(inputs.spec, training=replace(TRAINING, seed=4)))
    differently = search_architecture.run(other, apart(world, "seed"))
    assert _weights(world, differently, tmp_path) != _weights(world, outcome, tmp_path)


@pytest.mark.usefixtures("without_onnx")
@pytest.mark.parametrize("patience", [0, 1])
def test_what_a_search_saves_is_spent_on_retraining(
    world: World, registered: Register, patience: int
) -> None:
    asked = replace(TRAINING, epochs=5)
    inputs = search_inputs(
        registered("target"), policy=StartPolicy.COLD, learning_rates=(1e-6,), training=asked,
        retrain_epochs=1, selection=Selection.MAGNITUDE, patience=patience,
    )  # fmt: skip
    outcome = search_architecture.run(inputs, world)
    (arm,) = outcome.metrics["arms"]
    # Nothing is learned at that rate, which one epoch shows; it saves four.
    searched, retrained = (2, 1 + 2 * 4) if patience else (6, 1)
    assert len(arm["history"]) == searched
    assert (arm["history"][-1]["stopped"] is not None) is bool(patience)
    assert len(outcome.metrics["retrained"]["history"]) == 1 + retrained
    fractions = [each.fraction for each in world.progress]
    assert fractions == sorted(fractions)
    assert fractions[-1] == pytest.approx(1.0)

    stopped = apart(world, "stopped", stop_after=searched + 2)  # amid the retraining
    with pytest.raises(Stopped):
        search_architecture.run(inputs, stopped)
    stopped.stop_after, before = None, len(stopped.progress)
    again = search_architecture.run(inputs, stopped)
    assert _accuracies(again) == _accuracies(outcome)
    assert len(again.metrics["retrained"]["history"]) == 1 + retrained
    resumed = [each.fraction for each in stopped.progress[before:]]
    assert resumed == sorted(resumed)
    assert resumed[-1] == pytest.approx(1.0)


@pytest.mark.usefixtures("without_onnx")
def test_a_rate_that_diverges_loses_alone(
    world: World, registered: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = bilevel.search.run

    def diverging(state: Any, train: Any, valid: Any, config: Any, **more: Any) -> Any:
        if config.learning_rate > 1:
            raise bilevel.search.Diverged("loss: nan")
        return honest(state, train, valid, config, **more)

    monkeypatch.setattr(bilevel.search, "run", diverging)
    dataset = registered("target")
    rates = (5.0, 0.05)
    inputs = search_inputs(dataset, policy=StartPolicy.COLD, learning_rates=rates)
    outcome = search_architecture.run(inputs, world)
    assert outcome.metrics["best_arm"] == 1
    assert "learning rate 5" in outcome.metrics["arms"][0]["diverged"]
    every = search_inputs(dataset, policy=StartPolicy.COLD, learning_rates=(5.0, 6.0))
    with pytest.raises(Diverged, match=r"learning rate 5.*learning rate 6"):
        search_architecture.run(every, apart(world, "every"))


def test_an_unknown_embedder_is_named(world: World, registered: Register) -> None:
    dataset = registered("stripes")
    with pytest.raises(InvalidInput, match="nonesuch"):
        embed_dataset.run(EmbedInputs(EmbedSpec(dataset.id, "nonesuch@1"), dataset), world)


def test_an_unknown_supernet_is_said_to_be_unknown(world: World, registered: Register) -> None:
    inputs = search_inputs(
        registered("target"), policy=StartPolicy.SUPERNET, supernet_id=SupernetId(uuid4())
    )
    with pytest.raises(NotFound, match="no supernet"):
        search_architecture.run(inputs, world)


def _weights(world: World, outcome: SearchOutcome, tmp_path: Path) -> dict[str, list[float]]:
    item = next(a for a in outcome.artifacts if a.name == "model.safetensors")
    path = objects.fetch(world.store, item.key, tmp_path / "weights", sha256=item.sha256)
    return {name: tensor.flatten().tolist() for name, tensor in load_file(path).items()}


def _accuracies(outcome: SearchOutcome) -> list[float]:
    return [
        outcome.metrics[key]["test_accuracy"] for key in ("supernet", "discretised", "retrained")
    ]


def test_the_default_embedder_in_settings_is_the_one_that_ships() -> None:
    assert Settings().embedder == embedders.create().identifier

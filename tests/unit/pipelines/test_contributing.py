"""A search's supernet as a source: only where that was agreed to, and then as good as any."""

from collections.abc import Callable
from dataclasses import replace
from uuid import uuid4

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from core.domain.datasets import Dataset, DatasetId
from core.domain.searches import SearchSpec, SpaceSpec, StartPolicy, Training
from core.domain.supernets import SupernetId
from core.domain.work import PretrainOutcome, SearchInputs, Source, StartingPoint
from core.nas.space import Space
from core.nas.supernet import Supernet
from core.pipelines import contributing, dataset_images, notes, objects, search_architecture
from core.pipelines.context import Stopped
from tests.unit.pipelines.conftest import World, apart

EMBEDDER = "oriented-energy@1"
SPACE = SpaceSpec(channels=2, layers=3, nodes=2, resolution=16)
Register = Callable[..., Dataset]


def inputs_of(dataset: Dataset, *sources: Source, **changes: object) -> SearchInputs:
    spec = SearchSpec(
        dataset.id,
        EMBEDDER,
        policy=StartPolicy.NEAREST,  # which embeds; nothing is near, so it is cold
        space=SPACE,
        training=Training(epochs=1, batch_size=16, seed=3),
        learning_rates=(0.2, 0.02),
        retrain_epochs=1,
    )
    return SearchInputs(replace(spec, **changes), dataset, None, sources)


def warm(source: Source, given: PretrainOutcome) -> Source:
    supernet = StartingPoint(
        SupernetId(uuid4()), "given", given.space, given.resolution, given.key, given.sha256
    )
    return replace(source, supernet=supernet)


@pytest.mark.slow
def test_a_contributed_supernet_runs_in_the_race_of_another_dataset(
    world: World, registered: Register
) -> None:
    dataset = registered("source", seed=7)
    outcome = search_architecture.run(inputs_of(dataset, contribute=True), world)
    given = outcome.contribution
    assert given is not None
    kept = outcome.metrics["arms"][outcome.metrics["best_arm"]]
    assert given.metrics["history"] == kept["history"]
    assert given.metrics["test_accuracy"] == outcome.metrics["supernet"]["test_accuracy"]
    assert (given.seconds, given.resolution) == (kept["seconds"], 16)
    assert outcome.embedding is not None
    bare = Source(dataset.id, dataset.name, dataset.classes, outcome.embedding)
    source = warm(bare, given)
    target = registered("target", seed=2)
    second = apart(world, "second", stop_after=2)
    race: dict[str, object] = {"policy": StartPolicy.RACE, "learning_rates": None}
    with pytest.raises(Stopped):
        search_architecture.run(inputs_of(target, source, **race), second)
    raced = [record.values for record in second.records if record.stage == "race"]
    assert [each["contestant"] for each in raced] == ["given", "cold start"]
    assert raced[0]["valid_accuracy"] > 1 / 3


def test_the_classifier_stays_and_the_same_search_gives_the_same_bytes(
    world: World, registered: Register
) -> None:
    images, _ = dataset_images.load(world, registered("source"), resolution=16, channels=3)
    spec = SearchSpec(DatasetId(uuid4()), EMBEDDER, training=Training(batch_size=16))
    space = Space(channels=2, layers=3, nodes=2)
    written = notes.Notes(None, None, {"resolution": 16}, best_arm=1, figures={"supernet": {}})
    written.arms = [{"history": [], "seconds": each} for each in (1.0, 2.0)]

    def given(attempt: str) -> tuple[PretrainOutcome, dict[str, Tensor], dict[str, Tensor]]:
        supernet = Supernet(space, images.classes, torch.Generator().manual_seed(5))
        context = apart(world, attempt)
        made = contributing.hand_over(supernet, written, images, spec, context)
        path = objects.fetch(world.store, made.key, context.scratch / "got", sha256=made.sha256)
        return made, load_file(path), supernet.state_dict()

    first, stored, whole = given("1")
    second, _, _ = given("2")  # after a kill, say
    assert first.sha256 == second.sha256
    assert first.key != second.key
    assert (first.seconds, first.metrics["search_seconds"]) == (2.0, 2.0)
    assert set(whole) - set(stored) == {"classifier.weight", "classifier.bias"}
    assert all(stored[name].equal(whole[name]) for name in stored)

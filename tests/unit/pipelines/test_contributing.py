"""A search's supernet as a source: complete but for its classifier, and fit to run in a race."""

from collections.abc import Callable
from uuid import uuid4

import pytest
import torch
from safetensors.torch import load_file

from core.domain.datasets import Dataset
from core.domain.searches import EmbedSpec, SearchSpec, SpaceSpec, Training
from core.domain.supernets import SupernetId
from core.domain.work import EmbedInputs, PretrainOutcome, SearchInputs, Source, StartingPoint
from core.nas.space import Space
from core.nas.supernet import Supernet
from core.pipelines import (
    contributing,
    dataset_images,
    embed_dataset,
    notes,
    objects,
    search_architecture,
)
from core.pipelines.context import Stopped
from tests.unit.pipelines.conftest import World, apart

EMBEDDER = "oriented-energy@1"
SPACE = Space(channels=2, layers=3, nodes=2)
ASKED = SpaceSpec(channels=2, layers=3, nodes=2, resolution=16)
Register = Callable[..., Dataset]


def given(world: World, dataset: Dataset, attempt: str) -> tuple[PretrainOutcome, Supernet]:
    """What one attempt at a search on the dataset hands over, and the supernet it is of."""
    images, _ = dataset_images.load(world, dataset, resolution=16, channels=3)
    spec = SearchSpec(dataset.id, EMBEDDER, training=Training(batch_size=16))
    written = notes.Notes(None, None, {"resolution": 16}, best_arm=1, figures={"supernet": {}})
    written.arms = [{"history": [], "seconds": each} for each in (1.0, 2.0)]
    supernet = Supernet(SPACE, images.classes, torch.Generator().manual_seed(5))
    made = contributing.hand_over(supernet, written, images, spec, apart(world, attempt))
    return made, supernet


def test_the_classifier_stays_and_the_same_search_gives_the_same_bytes(
    world: World, registered: Register
) -> None:
    dataset = registered("source")
    (first, supernet), (second, _) = (given(world, dataset, attempt) for attempt in "ab")
    assert first.sha256 == second.sha256  # after a kill, say
    assert first.key != second.key
    assert (first.seconds, first.metrics["search_seconds"]) == (2.0, 2.0)
    path = objects.fetch(world.store, first.key, world.scratch / "got", sha256=first.sha256)
    stored, whole = load_file(path), supernet.state_dict()
    assert set(whole) - set(stored) == {"classifier.weight", "classifier.bias"}
    assert all(stored[name].equal(whole[name]) for name in stored)


def test_it_runs_in_the_race_of_another_dataset(world: World, registered: Register) -> None:
    dataset, target = registered("source", seed=7), registered("target", seed=2)
    made, _ = given(world, dataset, "first")
    embedded = embed_dataset.run(EmbedInputs(EmbedSpec(dataset.id, EMBEDDER), dataset), world)
    start = StartingPoint(
        SupernetId(uuid4()), "given", made.space, made.resolution, made.key, made.sha256
    )
    source = Source(dataset.id, dataset.name, dataset.classes, embedded.embedding, supernet=start)
    spec = SearchSpec(target.id, EMBEDDER, space=ASKED, training=Training(1, 16))
    context = apart(world, "second", stop_after=2)
    with pytest.raises(Stopped):
        search_architecture.run(SearchInputs(spec, target, None, (source,)), context)
    raced = [record.values for record in context.records]
    assert [each["contestant"] for each in raced] == ["given", "cold start"]
    assert raced[0]["valid_accuracy"] is not None

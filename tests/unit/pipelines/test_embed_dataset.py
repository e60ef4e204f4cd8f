"""Embedding in parts: resumed to the last bit, heard of on the way, kept out of others' state."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

import pytest
import torch
from safetensors.torch import load_file, save_file

from core.data import packing
from core.domain import embedders as names
from core.domain import keys
from core.domain.datasets import Dataset, Embedding
from core.domain.identity import DEFAULT
from core.domain.jobs import JobRecord, Progress
from core.domain.searches import EmbedSpec, RankSpec
from core.domain.supernets import SupernetId
from core.domain.work import EmbedInputs, RankInputs, Trunk
from core.errors import CorruptObject, DeletedMeanwhile, InvalidInput
from core.nas.space import Space
from core.nas.supernet import Supernet
from core.ot import embedders
from core.pipelines import compare_datasets, dataset_images, embed_dataset, objects
from core.pipelines.context import Stopped
from core.pipelines.feature_file import FeatureFile
from core.services import wire
from tests.unit.pipelines.conftest import World

EMBEDDER = "oriented-energy@1"
Register = Callable[..., Dataset]


@dataclass
class Halting(World):
    """Is asked to stop after that many reports of progress."""

    halt_after: int = 10**9

    def report(self, progress: Progress, record: JobRecord | None = None) -> None:
        super().report(progress, record)
        if len(self.progress) >= self.halt_after:
            raise Stopped


def apart(world: World, name: str, halt_after: int = 10**9) -> Halting:
    """Another job in the same store."""
    scratch = world.scratch.parent / f"scratch-{name}"
    scratch.mkdir()
    return Halting(
        world.store, scratch, world.kept, world.cache, attempt=name, halt_after=halt_after
    )


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seven images at a time, each worth a checkpoint."""
    monkeypatch.setattr(embed_dataset, "BATCH", 7)
    monkeypatch.setattr(embed_dataset, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(embed_dataset, "_CHECKPOINT_SHARE", 1e9)


def embed(
    dataset: Dataset, world: World, embedder: str = EMBEDDER, trunk: Trunk | None = None
) -> Embedding:
    inputs = EmbedInputs(EmbedSpec(dataset.id, embedder), dataset, trunk=trunk)
    return embed_dataset.run(inputs, world).embedding


@pytest.fixture
def trunk(world: World, registered: Register, tmp_path: Path) -> Trunk:
    """A registered supernet, as far as an embedder can tell: weights nobody has trained."""
    space = Space(channels=2, layers=3, nodes=2)
    network = Supernet(space, 3, torch.Generator().manual_seed(1))
    path = tmp_path / "supernet.safetensors"
    save_file({name: value.contiguous() for name, value in network.state_dict().items()}, path)
    world.store.put("supernet", path)
    source = registered("source", seed=7)
    return Trunk(
        SupernetId(uuid4()), space.to_dict(), 16, "supernet", objects.checksum(path), source
    )


@pytest.mark.usefixtures("small_steps")
def test_stopped_in_the_middle_it_ends_as_if_undisturbed(
    world: World, registered: Register
) -> None:
    dataset = registered("stripes")  # 48 images: seven batches
    whole = embed(dataset, apart(world, "whole"))
    stopped = apart(world, "stopped", halt_after=4)
    with pytest.raises(Stopped):
        embed(dataset, stopped)
    assert [step for step, _ in stopped.checkpoints] == [7, 14]
    resumed = apart(world, "resumed")
    resumed.checkpoints = stopped.checkpoints
    again = embed(dataset, resumed)
    assert again.sha256 == whole.sha256
    assert len(resumed.progress) == 1 + 5  # the two batches that were kept are not done again


@pytest.mark.usefixtures("small_steps")
def test_progress_rises_and_says_what_is_left(world: World, registered: Register) -> None:
    embed(registered("stripes"), world)
    fractions = [each.fraction for each in world.progress]
    assert fractions == sorted(fractions)
    assert (fractions[0], len(fractions)) == (0.0, 8)
    assert 0.9 < fractions[-1] <= 1.0
    left = [each.eta_seconds for each in world.progress[1:]]
    assert all(eta is not None and eta >= 0 for eta in left)
    assert left[-1] == 0
    assert {each.stage for each in world.progress} == {"embed"}


@pytest.mark.usefixtures("small_steps")
def test_within_another_job_its_checkpoints_are_left_alone(
    world: World, registered: Register, tmp_path: Path
) -> None:
    foreign = tmp_path / "state.safetensors"
    save_file({"weights": torch.zeros(3)}, foreign)
    world.checkpoints = [(5, foreign)]
    dataset = registered("stripes")
    inputs = RankInputs(RankSpec(dataset.id, EMBEDDER), dataset, None, ())
    outcome = compare_datasets.run(inputs, world)
    assert world.checkpoints == [(5, foreign)]
    assert outcome.embedding is not None
    parts = [each for each in world.progress if each.stage == "embed"]
    assert len(parts) == 8
    assert all(each.fraction <= 0.1 and each.eta_seconds is None for each in parts)


def test_checkpoints_are_rare_when_work_is_short(world: World, registered: Register) -> None:
    embed(registered("stripes"), world)
    assert world.checkpoints == []


@pytest.mark.usefixtures("small_steps")
def test_another_embedders_checkpoint_is_not_believed(
    world: World, registered: Register, tmp_path: Path
) -> None:
    dataset = registered("stripes")
    whole = embed(dataset, apart(world, "whole"))
    other = FeatureFile(tmp_path / "f", rows=48, dimension=whole.dimension)
    path = other.save(tmp_path / "c.safetensors", 14, embedder="oriented-energy@0", seconds=1.0)
    world.checkpoints = [(14, path)]
    assert embed(dataset, world).sha256 == whole.sha256
    assert [step for step, _ in world.checkpoints[1:]] == [21, 28, 35, 42]


def test_features_are_saved_in_the_common_format(tmp_path: Path) -> None:
    rows = torch.arange(12.0).reshape(4, 3)
    features = FeatureFile(tmp_path / "f", rows=4, dimension=3)
    features.write(0, rows)
    path = features.save(tmp_path / "c.safetensors", 3, embedder="e@1", seconds=2.5)
    assert torch.equal(load_file(path)["features"], rows[:3])
    again = FeatureFile(tmp_path / "g", rows=4, dimension=3)
    assert again.resume(path, embedder="e@1") == (3, 2.5)
    assert torch.equal(again.tensor()[:3], rows[:3])
    assert FeatureFile(tmp_path / "h", rows=2, dimension=3).resume(path, embedder="e@1")[0] == 0
    path.write_bytes(b"not this")
    assert again.resume(path, embedder="e@1") == (0, 0.0)


def test_images_are_read_in_parts(
    world: World, registered: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = registered("stripes")
    whole, _ = dataset_images.load(world, dataset, resolution=32, channels=dataset.channels)
    train = dataset_images.open_train(world, dataset, resolution=32)
    assert torch.equal(torch.cat(list(train.batches(7))), whole.images)
    assert torch.equal(train.labels, whole.labels)
    monkeypatch.setattr(packing, "read", lambda _: pytest.fail("the whole file was read"))
    assert embed(dataset, world).samples == dataset.n_train


def test_done_is_not_done_again(
    world: World, registered: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = registered("stripes")
    embedding = embed(dataset, world)
    monkeypatch.setattr(embedders, "create", lambda *_, **__: pytest.fail("embedded again"))
    inputs = EmbedInputs(EmbedSpec(dataset.id, EMBEDDER), dataset, embedding)
    assert embed_dataset.run(inputs, world).embedding == embedding


def test_a_trunk_embeds_another_dataset(world: World, registered: Register, trunk: Trunk) -> None:
    target = registered("target", seed=1)
    identifier = names.of_trunk(trunk.supernet_id)
    embedding = embed(target, world, identifier, trunk)
    assert embedding.embedder == identifier
    assert embedding.dimension == Space.from_dict(trunk.space).feature_channels
    assert embed(target, apart(world, "again"), identifier, trunk).sha256 == embedding.sha256


def test_an_images_features_do_not_depend_on_its_dataset(
    world: World, registered: Register, trunk: Trunk
) -> None:
    identifier = names.of_trunk(trunk.supernet_id)
    three, two = registered("three", seed=1), registered("two", classes=2, seed=1)
    found = []
    for dataset in (three, two):  # the first two classes have the same images
        context = apart(world, dataset.name)
        embedding = embed(dataset, context, identifier, trunk)
        found.append(embed_dataset.load(embedding, context).moments.means[:2])
    torch.testing.assert_close(*found)


def test_a_trunk_goes_over_the_wire(world: World, registered: Register, trunk: Trunk) -> None:
    dataset = registered("target")
    inputs = EmbedInputs(EmbedSpec(dataset.id, "trunk@x"), dataset, trunk=trunk)
    assert wire.load(EmbedInputs, wire.dump(inputs)) == inputs


def test_changed_or_unfit_weights_are_refused(
    world: World, registered: Register, trunk: Trunk
) -> None:
    dataset = registered("target")
    with pytest.raises(CorruptObject):
        embed(dataset, world, "trunk@x", replace(trunk, sha256="0" * 64))
    with pytest.raises(InvalidInput) as refused:
        embed(dataset, world, "trunk@x", replace(trunk, space={**trunk.space, "channels": 4}))
    assert refused.value.stable_code == "unknown_embedder"


def test_the_names_are_those_of_the_embedders(tmp_path: Path) -> None:
    assert tuple(each.name for each in names.BUILT_IN) == embedders.available()
    analytic = names.BUILT_IN[0]
    assert embedders.create().identifier == f"{analytic.name}@{analytic.version}"


def test_a_trunk_whose_images_were_deleted_meanwhile_says_so(
    world: World, registered: Register, trunk: Trunk
) -> None:
    dataset = registered("target", seed=5)
    world.store.delete(
        each.key for each in world.store.listing(keys.dataset(DEFAULT, trunk.source.sha256))
    )
    with pytest.raises(DeletedMeanwhile, match=f"'{trunk.source.name}' were deleted"):
        embed(dataset, world, names.of_trunk(trunk.supernet_id), trunk)

"""Masks taken over by nearness: one, or several as one, with what was measured told."""

from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

import pytest
import torch
from safetensors.torch import load_file

from core.domain.datasets import Dataset
from core.domain.prunings import MaskPolicy, PruneSpec, PruningId
from core.domain.searches import EmbedSpec, RankSpec
from core.domain.work import EmbedInputs, KnownMask, PruneInputs, RankInputs, Source
from core.errors import InvalidInput
from core.pipelines import embed_dataset, prune_architecture
from core.pipelines.context import Stopped
from tests.unit.pipelines.conftest import World, apart
from tests.unit.pipelines.test_prune_architecture import (
    SMALL,
    Register,
    fetched,
    small_networks,
    timeless,
)

EMBEDDER = "oriented-energy@1"
STEM, WIDE = "body.1.conv", "body.2.0"
__all__ = ["small_networks"]
pytestmark = pytest.mark.usefixtures("without_onnx")


@dataclass
class Scene:
    """A target, a dataset of the very same kind, and one of other classes."""

    target: Dataset
    twin: Dataset
    far: Dataset
    ranked: RankInputs

    def inputs(self, policy: MaskPolicy, *known: KnownMask, **changes: Any) -> PruneInputs:
        spec = PruneSpec(
            self.target.id, SMALL, share=0.5, retrain_epochs=1, batch_size=24, mask=policy,
            embedder=EMBEDDER,
        )  # fmt: skip
        asked = replace(spec, **changes)
        return PruneInputs(asked, self.target, self.target, known=known, ranked=self.ranked)


def known(of: Dataset, stem: range, wide: range, *, scored: bool = True) -> KnownMask:
    """A mask that keeps these chunks of each group."""
    mask = {
        name: [int(at in kept) for at in range(16)] for name, kept in ((STEM, stem), (WIDE, wide))
    }
    scores = {name: [kept - 0.5 for kept in part] for name, part in mask.items()}
    return KnownMask(PruningId(uuid4()), of.id, of.name, mask, scores if scored else None)


@pytest.fixture
def scene(world: World, registered: Register) -> Scene:
    target = registered("target", seed=1)
    sources = []
    for dataset in (registered("twin", seed=2), registered("far", classes=2, seed=3)):
        place = apart(world, f"embed-{dataset.name}")
        seen = embed_dataset.run(EmbedInputs(EmbedSpec(dataset.id, EMBEDDER), dataset), place)
        assert seen.embedding is not None
        sources.append(
            (dataset, Source(dataset.id, dataset.name, dataset.classes, seen.embedding))
        )
    (twin, near), (far, other) = sources
    ranked = RankInputs(RankSpec(target.id, EMBEDDER), target, None, (other, near))
    return Scene(target, twin, far, ranked)


def test_the_nearest_datasets_mask_is_taken_as_it_is(world: World, scene: Scene) -> None:
    """Also by an attempt that goes on where another was stopped; a new embedding is handed on."""
    near = known(scene.twin, range(3, 9), range(5))
    inputs = scene.inputs(MaskPolicy.NEAREST, known(scene.far, range(1), range(1)), near)
    found = prune_architecture.run(inputs, world)
    assert found.mask == near.mask
    assert found.metrics["search"] == {"history": [], "scores": None}
    (taken,) = found.metrics["taken"]
    assert (taken["pruning_id"], taken["weight"]) == (str(near.pruning_id), 1.0)
    assert taken["interval"][0] <= taken["distance"] <= taken["interval"][1]
    assert f"'twin' (pruning {near.pruning_id}" in fetched(world, found, "README.md").read_text()
    assert found.embedding is not None
    assert found.embedding.dataset_id == scene.target.id
    assert [each.stage for each in world.records] == ["train", "train"]
    assert world.progress[-1].fraction == pytest.approx(1.0)

    stopped = apart(world, "stopped", stop_after=1)
    with pytest.raises(Stopped):
        prune_architecture.run(inputs, stopped)
    resumed = apart(world, "resumed")
    resumed.checkpoints = list(stopped.checkpoints)
    ended = prune_architecture.run(replace(inputs, known=(), ranked=None), resumed)
    assert timeless(ended.metrics) == timeless(found.metrics)
    assert ended.embedding is not None
    with pytest.raises(InvalidInput, match="are gone"):
        prune_architecture.run(replace(inputs, known=()), apart(world, "none"))

    model = {each.name: each for each in found.artifacts}["model.safetensors"]
    terms: dict[str, Any] = {"inherit": True, "learning_rate": 0.0}
    going_on = scene.inputs(MaskPolicy.NEAREST, replace(near, weights=model), **terms)
    carried = prune_architecture.run(going_on, apart(world, "carried"))
    before, after = (
        load_file(fetched(world, each, "model.safetensors")) for each in (found, carried)
    )
    assert torch.equal(before["body.1.conv.weight"], after["body.1.conv.weight"])


def test_masks_are_combined_to_the_share(world: World, scene: Scene) -> None:
    """What both need stays, whichever chunks they had; the nearer decides where they differ."""
    near, far = known(scene.twin, range(8), range(8, 16)), known(scene.far, range(2), range(14))
    named: dict[str, Any] = {"masks_from": (far.pruning_id, near.pruning_id)}
    found = prune_architecture.run(scene.inputs(MaskPolicy.COMBINE, far, near, **named), world)
    assert 0.45 < found.metrics["kept"] <= 0.5
    weights = {each["dataset_name"]: each["weight"] for each in found.metrics["taken"]}
    assert weights["twin"] > weights["far"]
    assert sum(weights.values()) == pytest.approx(1.0)
    kept = {name: sum(part) for name, part in found.mask.items()}
    assert kept[STEM] == pytest.approx(8, abs=2)
    card = fetched(world, found, "README.md").read_text()
    assert "combined of those learned on 'far'" in card

    own = known(scene.target, range(8), range(8))
    bare = known(scene.twin, range(8), range(8), scored=False)  # of an older release
    again = apart(world, "own")
    terms: dict[str, Any] = {"masks_from": (own.pruning_id, bare.pruning_id)}
    inputs = scene.inputs(MaskPolicy.COMBINE, own, bare, **terms)
    taken = prune_architecture.run(inputs, again).metrics["taken"]
    assert taken[0]["weight"] > taken[1]["weight"]
    other = replace(bare, mask={"body": [1]})
    with pytest.raises(InvalidInput, match="not one of this network"):
        prune_architecture.run(replace(inputs, known=(own, other)), apart(world, "other"))

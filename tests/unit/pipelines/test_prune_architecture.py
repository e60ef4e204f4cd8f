"""Pruning a known network: what comes of it, resumed where it was stopped, and what is refused."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from core.domain.datasets import Dataset
from core.domain.identity import DEFAULT
from core.domain.prunings import Architecture, PruneSpec, PruningId
from core.domain.uploads import Part, Upload, UploadId, UploadState
from core.domain.work import PruneInputs, PruneOutcome
from core.errors import InvalidInput
from core.pipelines import known_network, objects, prune_architecture
from core.pipelines.context import Stopped
from tests.unit.pipelines.conftest import World, apart

Register = Callable[..., Dataset]
SMALL = Architecture.MOBILENET_V3_SMALL


def tiny(_name: str, *, weights: None = None, num_classes: int = 10) -> nn.Module:
    """As small as a known network could be: two convolutions, the second a residual branch."""

    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16)

        def forward(self, maps: torch.Tensor) -> torch.Tensor:
            answer: torch.Tensor = maps + self.norm(self.conv(maps))
            return answer

    stem = nn.Sequential(nn.Conv2d(3, 16, 3, stride=2, bias=False), nn.BatchNorm2d(16), nn.ReLU())
    widened = nn.Sequential(nn.Conv2d(16, 32, 3, stride=2), nn.BatchNorm2d(32), nn.ReLU())
    pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(stem, Residual(), widened, pooled, nn.Linear(32, num_classes))


@pytest.fixture(autouse=True)
def small_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torchvision's take minutes; that they can be pruned is tested beside `core.nas.pruning`."""
    monkeypatch.setattr("torchvision.models.get_model", tiny)


def asked(dataset: Dataset, source: Dataset | None = None, **changes: Any) -> PruneInputs:
    spec = PruneSpec(
        dataset.id, SMALL, share=0.25, epochs=2, retrain_epochs=1, batch_size=24, seed=3,
        source_id=None if source is None else source.id,
    )  # fmt: skip
    return PruneInputs(replace(spec, **changes), dataset, source or dataset)


def fetched(world: World, outcome: PruneOutcome, name: str) -> Path:
    found = {each.name: each for each in outcome.artifacts}[name]
    return objects.fetch(
        world.store, found.key, world.scratch / f"got-{name}", sha256=found.sha256
    )


def brought(world: World, state: dict[str, torch.Tensor]) -> tuple[Upload, tuple[Part, ...]]:
    """A safetensors state that came as an upload."""
    path = world.scratch / "brought.safetensors"
    save_file(state, path)
    size, name = path.stat().st_size, uuid4().hex
    world.store.put(name, path)
    part = Part(name, 0, size, objects.checksum(path))
    at: Any = None
    upload = Upload(
        UploadId(uuid4()), DEFAULT, "weights.safetensors", size, size, part.sha256,
        UploadState.USED, at, at,
    )  # fmt: skip
    return upload, (part,)


def goes_on(
    world: World, taken: PruneInputs, found: PruneOutcome, weights: Mapping[str, torch.Tensor]
) -> None:
    """What is left of a network begins with another's weights, but for the classifier."""
    still = replace(taken.spec, inherit=True, learning_rate=0.0)  # what does not move is as it was
    model = {each.name: each for each in found.artifacts}["model.safetensors"]
    carried = prune_architecture.run(
        replace(taken, spec=still, carried=model), apart(world, "carried")
    )
    state = load_file(fetched(world, carried, "model.safetensors"))
    learned_there = [n for n in weights if n.startswith("body.") and "running_" not in n]
    assert all(torch.equal(state[name], weights[name]) for name in learned_there)
    assert state["classifier.weight"].abs().max() > 0
    with pytest.raises(InvalidInput, match="without inherit"):
        prune_architecture.run(replace(taken, spec=still), apart(world, "gone"))


def test_what_is_left_is_smaller_and_goes_anywhere(
    world: World, registered: Register, request: pytest.FixtureRequest
) -> None:
    """The ONNX file, the weights and the mask; a mask is another dataset's start, too."""
    source, target = registered("source", seed=1), registered("target", classes=2, seed=2)
    found = prune_architecture.run(asked(target, source), world)
    metrics = found.metrics
    assert 0.2 < metrics["kept"] <= 0.25
    assert metrics["parameters"] == round(metrics["kept"] * metrics["full"]["parameters"])
    assert metrics["flops"] < metrics["full"]["flops"]
    assert [each["epoch"] for each in metrics["search"]["history"]] == [0, 1, 2]
    assert [(each.stage, each.step) for each in world.records] == [
        ("mask", 0), ("mask", 1), ("mask", 2), ("train", 0), ("train", 1),
    ]  # fmt: skip
    kept = {each["name"]: each["kept"] for each in metrics["groups"]}
    assert all(kept.values())
    assert sum(kept.values()) < sum(each["channels"] for each in metrics["groups"])
    assert world.progress[-1].fraction == pytest.approx(1.0)
    assert metrics["onnx_difference"] < 1e-4
    session = onnxruntime.InferenceSession(fetched(world, found, "model.onnx"))
    (_, probabilities) = session.run(None, {"images": np.zeros((3, 3, 32, 32), np.float32)})
    assert probabilities.shape == (3, 2)
    weights = load_file(fetched(world, found, "model.safetensors"))
    learned = sum(
        t.numel() for n, t in weights.items() if "running_" not in n and "num_b" not in n
    )
    assert learned == metrics["parameters"]
    assert json.loads(fetched(world, found, "mask.json").read_text()) == found.mask
    card = fetched(world, found, "README.md").read_text()
    assert "learned on 'source'" in card
    assert f"{metrics['parameters']:,}" in card

    request.getfixturevalue("without_onnx")  # seen once
    third = registered("third", seed=4)
    taken = replace(asked(third, mask_from=PruningId(uuid4())), mask=found.mask)
    again = prune_architecture.run(taken, apart(world, "again"))
    assert again.mask == found.mask
    assert again.metrics["groups"] == metrics["groups"]
    assert again.metrics["search"]["history"] == []
    with pytest.raises(InvalidInput, match="not one of this network"):
        prune_architecture.run(replace(taken, mask={"body": [1]}), apart(world, "other"))

    goes_on(world, taken, found, weights)


@pytest.mark.usefixtures("without_onnx")
def test_a_stopped_pruning_ends_as_an_undisturbed_one(world: World, registered: Register) -> None:
    """Wherever it was stopped: while searching, training, or training a control."""
    inputs = asked(registered("stripes"), epochs=1, controls=True)
    whole = apart(world, "undisturbed")
    undisturbed = prune_architecture.run(inputs, whole)
    assert [each.stage for each in whole.records[::2]] == [
        "mask", "train", "train:full", "train:magnitude", "train:random",
    ]  # fmt: skip
    arms = undisturbed.metrics["controls"]
    assert arms["full"]["parameters"] == undisturbed.metrics["full"]["parameters"]
    for name in ("magnitude", "random"):
        assert 0.95 < arms[name]["kept"] / undisturbed.metrics["kept"] <= 1
    for stop in (1, 2, 4, 7):
        stopped = apart(world, f"stopped{stop}", stop_after=stop)
        with pytest.raises(Stopped):
            prune_architecture.run(inputs, stopped)
        resumed = apart(world, f"resumed{stop}")
        resumed.checkpoints = list(stopped.checkpoints)
        ended = prune_architecture.run(inputs, resumed)
        assert ended.mask == undisturbed.mask
        assert timeless(ended.metrics) == timeless(undisturbed.metrics)
        weights = [
            {each.name: each.sha256 for each in one.artifacts}["model.safetensors"]
            for one in (ended, undisturbed)
        ]
        assert weights[0] == weights[1]
        assert len(stopped.records) + len(resumed.records) == len(whole.records)


def timeless(value: Any) -> Any:
    """Without what a clock or the machine said."""
    if isinstance(value, dict):
        said = {"seconds", "elapsed", "machine"}
        return {name: timeless(each) for name, each in value.items() if name not in said}
    return [timeless(each) for each in value] if isinstance(value, list) else value


@pytest.mark.usefixtures("without_onnx")
def test_a_price_in_place_of_a_share_decides_how_much_is_left(
    world: World, registered: Register
) -> None:
    """Nothing is worth a huge one; next to none lets everything stay."""
    dataset = registered("stripes")
    terms: dict[str, Any] = {"share": None, "epochs": 12, "batch_size": 8}
    cheap, dear = (
        prune_architecture.run(asked(dataset, gamma=gamma, **terms), apart(world, str(gamma)))
        for gamma in (1e-9, 1e4)
    )
    assert (cheap.metrics["gamma"], cheap.metrics["share"]) == (1e-9, None)
    assert dear.metrics["kept"] < 0.1 < 0.5 < cheap.metrics["kept"]
    assert dear.metrics["search"]["history"][-1]["gamma"] == 1e4
    card = fetched(world, dear, "README.md").read_text()
    assert "learned on 'stripes' at a price of 10000 nats for the whole network" in card


@pytest.mark.usefixtures("without_onnx")
def test_brought_weights_are_kept_or_only_searched_with(
    world: World, registered: Register
) -> None:
    dataset = registered("stripes")
    state = tiny(SMALL, num_classes=7).state_dict()
    weights = brought(world, state)
    terms: dict[str, Any] = {
        "retrain_epochs": 1,
        "epochs": 1,
        "learning_rate": 1e-9,
        "weights": weights[0].id,
    }
    inputs = replace(asked(dataset, inherit=True, **terms), weights=weights)
    found = prune_architecture.run(inputs, world)
    trained = load_file(fetched(world, found, "model.safetensors"))
    own = state["0.0.weight"]
    kept = trained["body.0.0.weight"]
    assert len(kept) <= len(own)
    nearest = (kept.flatten(1)[:, None] - own.flatten(1)[None]).abs().amax(dim=2).amin(dim=1)
    assert float(nearest.max()) < 1e-5
    fresh = replace(asked(dataset, **terms), weights=weights)
    again = apart(world, "fresh")
    drawn = load_file(fetched(again, prune_architecture.run(fresh, again), "model.safetensors"))
    first = drawn["body.0.0.weight"]
    apart_by = (first.flatten(1)[:, None] - own.flatten(1)[None]).abs().amax(dim=2).amin(dim=1)
    assert float(apart_by.min()) > 1e-3


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.pop("0.0.weight"), "lacks '0.0.weight'"),
        (lambda s: s.update(more=torch.zeros(1)), "has besides 'more'"),
        (lambda s: s.update({"0.0.weight": torch.zeros(1, 3, 3, 3)}), r"shape \[1, 3,"),
        (lambda s: s["0.1.bias"].fill_(float("nan")), "not finite"),
        (lambda s: s.update({"0.1.bias": torch.zeros(16, dtype=torch.int64)}), "int64"),
    ],
)
def test_weights_of_another_network_are_refused(
    tmp_path: Path, change: Callable[[dict[str, torch.Tensor]], Any], words: str
) -> None:
    state = tiny(SMALL, num_classes=2).state_dict()
    change(state)
    save_file(state, tmp_path / "weights")
    with pytest.raises(InvalidInput, match=words) as caught:
        known_network.build(SMALL, 2, torch.Generator(), tmp_path / "weights")
    assert caught.value.stable_code == "bad_weights"


def test_what_is_no_safetensors_file_is_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1)}, tmp_path / "weights.pt")
    with pytest.raises(InvalidInput, match="no whole safetensors"):
        known_network.build(SMALL, 2, torch.Generator(), tmp_path / "weights.pt")


def test_a_network_is_built_by_its_generator_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # torchvision's own
    first, second = (
        known_network.build(SMALL, 3, torch.Generator().manual_seed(1), None).state_dict()
        for _ in range(2)
    )
    assert "body.features.0.0.weight" in first
    assert all(torch.equal(first[name], second[name]) for name in first)

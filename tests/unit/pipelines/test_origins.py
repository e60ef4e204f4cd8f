"""Sources in a space of the search's own: adapted as they are loaded, alike at every attempt."""

from collections.abc import Callable
from dataclasses import replace
from uuid import uuid4

import pytest
import torch
from torch import Tensor

from core.domain.datasets import Dataset, DatasetId
from core.domain.searches import Method, SearchSpec, Selection, SpaceSpec, StartPolicy, Training
from core.domain.supernets import SupernetId
from core.domain.work import SearchInputs, SearchOutcome, StartingPoint
from core.errors import InvalidInput
from core.nas import warm_start
from core.nas.head import collect_features
from core.nas.images import LabelledImages
from core.nas.space import Space
from core.nas.supernet import Supernet
from core.pipelines import bilevel, dataset_images, origins, search_architecture, supernet_file
from core.pipelines.context import Stopped
from core.pipelines.origins import Origin
from tests.unit.pipelines.conftest import World, apart

SOURCE = Space(channels=4, layers=3, nodes=2)
WIDER = SpaceSpec(channels=8, layers=3, nodes=2, resolution=16)
SEED = 3
Register = Callable[..., Dataset]
pytestmark = pytest.mark.usefixtures("without_onnx")


def spec_of(dataset: Dataset | None = None, **changes: object) -> SearchSpec:
    spec = SearchSpec(
        dataset_id=DatasetId(uuid4()) if dataset is None else dataset.id,
        embedder="oriented-energy@1",
        policy=StartPolicy.SUPERNET,
        space=WIDER,
        adapt=True,
        training=Training(epochs=1, batch_size=16, seed=SEED),
        retrain_epochs=1,
        selection=Selection.MAGNITUDE,
    )
    return replace(spec, **changes)


def registered_net(world: World, space: Space, name: str = "net", **cast: object) -> StartingPoint:
    """A supernet with alphas that say something, as a job or an import would store it."""
    supernet = Supernet(space, 1, bilevel.generator(7))
    for alphas in supernet.alphas().values():
        alphas.data.normal_(generator=bilevel.generator(8))
    state = {n: t.to(**cast) if t.is_floating_point() else t  # type: ignore[call-overload]
             for n, t in supernet.state_dict().items()}  # fmt: skip
    key, sha256 = supernet_file.keep(apart(world, name), state)
    return StartingPoint(SupernetId(uuid4()), name, space.to_dict(), 16, key, sha256)


def loaded(world: World, net: StartingPoint, spec: SearchSpec) -> warm_start.Source:
    space = origins.space(Origin(net), spec)
    found = origins.load(net, space, world, seed=spec.training.seed)
    assert isinstance(found, warm_start.Source)
    assert found.space == space
    return found


def features(source: warm_start.Source, images: LabelledImages) -> Tensor:
    """What a search begins with, before its first step, seen by its head."""
    train, valid = images.halves(SEED)
    supernet = warm_start.begin(
        source, images.classes, train, valid,
        head="closed_form", generator=bilevel.generator(SEED), batch_size=len(train),
    )  # fmt: skip
    return collect_features(supernet, valid.batches(16))


def duplicated(found: Tensor, space: Space, channels: int) -> Tensor:
    """The features of a wider net, whose halves of a cell hold the source's again and again."""
    old, new = 2 * space.channels, 2 * channels
    half = torch.arange(new) % old
    cell = torch.cat([half, half + old])
    return torch.cat([found[:, 2 * old * node + cell] for node in range(space.nodes)], dim=1)


def test_a_source_brings_its_space_unless_it_is_adapted(world: World) -> None:
    net = registered_net(world, SOURCE)
    own, asked = spec_of(adapt=False), spec_of(space=replace(WIDER, resolution=64))
    assert origins.space(Origin(net), own) == SOURCE
    assert origins.resolution(Origin(net), own) == 16
    assert origins.described(Origin(net), own, reason=None)["adapted"] is None
    assert origins.space(Origin(net), asked) == replace(SOURCE, channels=8, stem_stride=2)
    assert origins.resolution(Origin(net), asked) == 64
    assert origins.described(Origin(net), asked, reason=None)["adapted"] == {
        "from": {"channels": 4, "stem_stride": 1, "resolution": 16},
        "to": {"channels": 8, "stem_stride": 2, "resolution": 64},
    }
    assert origins.described(origins.COLD, asked, reason=None)["adapted"] is None
    same = spec_of(space=replace(WIDER, channels=4))
    assert origins.described(Origin(net), same, reason=None)["adapted"] is None


def test_a_wider_start_computes_what_its_source_does(
    world: World, registered: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, _ = dataset_images.load(world, registered("target"), resolution=16, channels=3)
    net = registered_net(world, SOURCE)
    expected = duplicated(features(loaded(world, net, spec_of(adapt=False)), images), SOURCE, 8)
    off = (features(loaded(world, net, spec_of()), images) - expected).norm() / expected.norm()
    assert 0 < off < 0.5  # copies are parted a little
    monkeypatch.setattr(origins, "NOISE", 0.0)
    torch.testing.assert_close(
        features(loaded(world, net, spec_of()), images), expected, rtol=1e-3, atol=1e-4
    )


def test_the_seed_decides_what_an_adaptation_draws(world: World) -> None:
    net = registered_net(world, SOURCE, dtype=torch.bfloat16)
    deeper = spec_of(space=replace(WIDER, layers=5))
    first, again = loaded(world, net, deeper).state, loaded(world, net, deeper).state
    other = loaded(world, net, replace(deeper, training=Training(seed=4))).state
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)
    assert first["stem"].dtype == torch.float32


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"space": replace(WIDER, cells="s2")}, r"'net'.*space\.cells: 's2' is not.*'darts'"),
        ({"space": replace(WIDER, nodes=3)}, r"'net'.*space\.nodes: 3 is not the source's 2"),
        ({"training": Training(method=Method.PC_DARTS)}, r"space\.partial: 4 is not"),
    ],
)
def test_what_cannot_be_adapted_is_said(
    world: World, change: dict[str, object], said: str
) -> None:
    net = registered_net(world, SOURCE)
    with pytest.raises(InvalidInput, match=said):
        loaded(world, net, spec_of(**change))


def test_a_search_in_its_own_space_from_a_narrower_source(
    world: World, registered: Register
) -> None:
    dataset, net = registered("target"), registered_net(world, SOURCE)
    spec = spec_of(dataset, supernet_id=net.id, learning_rates=(0.025, 0.05))
    inputs = SearchInputs(spec, dataset, None, (), shared=(net,))
    whole = search_architecture.run(inputs, apart(world, "whole"))
    assert whole.start["adapted"] == {"from": {"channels": 4}, "to": {"channels": 8}}
    assert whole.start["space"] == replace(SOURCE, channels=8).to_dict()
    stopped = apart(world, "stopped", stop_after=2)  # the second rate adapts the source again
    with pytest.raises(Stopped):
        search_architecture.run(inputs, stopped)
    resumed = apart(world, "resumed")
    resumed.checkpoints = stopped.checkpoints
    ended = search_architecture.run(inputs, resumed)
    assert losses(ended) == losses(whole)
    assert ended.genotype == whole.genotype


def losses(outcome: SearchOutcome) -> list[list[object]]:
    return [[row["valid_loss"] for row in arm["history"]] for arm in outcome.metrics["arms"]]


def test_a_named_source_of_other_cells_fails_the_job(world: World, registered: Register) -> None:
    dataset, net = registered("target"), registered_net(world, SOURCE)
    spec = spec_of(dataset, supernet_id=net.id, space=replace(WIDER, cells="s3"))
    inputs = SearchInputs(spec, dataset, None, (), shared=(net,))
    with pytest.raises(InvalidInput, match=r"space\.cells: 's3' is not the source's 'darts'"):
        search_architecture.run(inputs, world)
